//! Nothing survives a timeout, nothing is forgotten after a crash (CONTRACT 4.1, 5, 9).

mod bystanders;
mod callers;
mod crash;
mod crowds;
mod escapes;
mod fallbacks;
mod leftovers;
mod listed;
mod power;
mod signals;
mod sudo;

use serde_json::Value;

use crate::support::call::Spawned;
use crate::support::{Place, Process, wait_until};

/// A program that stays, with a mark for its name that the test finds it by, whatever becomes of its
/// environment: `hold MARK`.
const HOLD: &str = "#!/bin/bash\nexec -a \"$1\" sleep 10000\n";

/// Where the request of a test lies.
const REQUEST: &str = "/root/request.json";

/// Puts a creation script on the share, a request for it beside, and the helper program.
fn prepare(place: &impl Place, script: &str, timeout: &str) {
    place.write("/usr/local/bin/hold", HOLD, 0o755);
    let folder = place.share().join("Users/admin");
    std::fs::create_dir_all(&folder).expect("a folder on the share");
    std::fs::write(folder.join("setup.sh"), script).expect("a script on the share");
    let script = serde_json::json!({
        "scriptSource": "workspaceStorage", "scriptData": "Users/admin/setup.sh", "timeout": timeout,
    });
    let request = serde_json::json!({"setupScripts": {"scripts": {"creationScript": script}}});
    place.write(REQUEST, request.to_string(), 0o600);
}

/// `ci-setup-agent run` with these options, for [`REQUEST`].
fn run_with(options: &[&str]) -> Vec<String> {
    let identity = ["--resource-group", "rg", "--workspace", "wks", "--name", "ci-1"];
    let grace = if options.contains(&"--grace") { &[][..] } else { &["--grace", "1s"] };
    let fixed = ["ci-setup-agent", "run"].into_iter().chain(identity).chain(grace.iter().copied());
    fixed.chain(options.iter().copied()).chain([REQUEST]).map(str::to_owned).collect()
}

/// The only outcome in the state directory.
fn outcome(place: &impl Place) -> Value {
    let all = outcomes(place);
    let [only] = &all[..] else { panic!("one run, not {all:#?}") };
    only.clone()
}

/// All outcomes in the state directory, oldest first.
fn outcomes(place: &impl Place) -> Vec<Value> {
    let runs = place.bash("cd /var/lib/ci-setup-agent/runs 2> /dev/null && ls -tr").stdout;
    let read = |run: &str| place.read(format!("/var/lib/ci-setup-agent/runs/{run}/outcome.json"));
    let parse = |text: String| serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text:?}"));
    runs.lines().filter_map(read).map(parse).collect()
}

/// Tries with a longer timeout where this computer was too busy for the first one: `attempt` gives `None` where time
/// was up before all had come so far as it has to be by then. Each begins anew.
fn in_time<T>(place: &impl Place, timeouts: [&str; 2], mut attempt: impl FnMut(&str) -> Option<T>) -> T {
    let try_with = |timeout: &&str| {
        place.bash("rm -rf /var/lib/ci-setup-agent /root/ready").ok();
        attempt(timeout)
    };
    timeouts.iter().find_map(try_with).unwrap_or_else(|| panic!("not ready before {timeouts:?}"))
}

/// Starts that run and waits until the script's own process marked `victim` is there.
fn start(place: &impl Place, options: &[&str]) -> Spawned {
    let mut running = place.spawn(run_with(options));
    wait_for(place, "victim", &mut running);
    running
}

/// The processes that are `hold` with a mark that begins so.
fn holding(place: &impl Place, mark: &str) -> Vec<Process> {
    let mut found = place.processes();
    found.retain(|process| process.command.starts_with(mark));
    found
}

/// Waits until `hold` runs with that mark, and returns its pid on the host; `None` if the run ends first.
fn wait_or_end(place: &impl Place, mark: &str, running: &mut Spawned) -> Option<i32> {
    wait_until(&format!("a process marked {mark}"), || match holding(place, mark).first() {
        Some(process) => Ok(Some(process.pid)),
        None if running.is_running() => Err((running.stdout(), running.stderr())),
        None => Ok(None),
    })
}

/// Waits until `hold` runs with that mark, and returns its pid on the host.
fn wait_for(place: &impl Place, mark: &str, running: &mut Spawned) -> i32 {
    let found = wait_or_end(place, mark, running);
    found.unwrap_or_else(|| panic!("it ended: {} {}", running.stdout(), running.stderr()))
}

/// Waits until there is no process with that mark.
fn wait_for_none(place: &impl Place, mark: &str) {
    wait_until(&format!("the end of {mark}"), || match &holding(place, mark)[..] {
        [] => Ok(()),
        some => Err(some.to_vec()),
    });
}
