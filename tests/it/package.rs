//! The Debian package: what is generated for it, what is in it, and its life on machines that boot.
//!
//! `$SETUP_TESTS_DEB` names the package under test, as `scripts/build-deb` prints it; `scripts/test` sets it.

mod content;
mod examples;
mod generated;
mod lab;
mod machines;
mod removal;
mod scripts;
mod upgrade;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::{Machine, Place, wait_until};

const REQUEST: &str = "/etc/ci-setup-agent/request.json";

/// The package under test.
fn deb() -> PathBuf {
    let deb = std::env::var_os("SETUP_TESTS_DEB").map(PathBuf::from);
    let deb = deb.expect("SETUP_TESTS_DEB is not set: build the package with scripts/build-deb, or call scripts/test");
    assert!(deb.is_file(), "SETUP_TESTS_DEB: there is no {}", deb.display());
    deb
}

/// Runs a program on the host, and fails with its output unless it exits 0.
#[track_caller]
fn host(command: &mut Command) -> String {
    let output = command.output().expect("a program on the host");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// A machine that is off, without the agent that the harness puts there.
fn bare(suite: &str) -> Machine {
    let machine = Machine::new(suite);
    std::fs::remove_file(machine.path("/usr/bin/ci-setup-agent")).expect("the harness's own agent");
    machine
}

/// Runs dpkg on the disk of a machine that is off, as the making of an image does: no systemd, no /proc.
#[track_caller]
fn dpkg_offline(machine: &Machine, arguments: &[&str]) -> String {
    let root = machine.disk().root();
    host(
        Command::new("chroot")
            .arg(root)
            .arg("dpkg")
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
    )
}

/// A machine that is off, with the package installed as in the making of an image.
fn with_package(suite: &str) -> Machine {
    let machine = bare(suite);
    machine.install(&deb(), "/var/tmp/agent.deb", 0o644);
    dpkg_offline(&machine, &["-i", "/var/tmp/agent.deb"]);
    machine
}

/// What somebody wants the instance `name` to run.
fn request(name: &str, creation: &str, startup: &str) -> String {
    let script = |text: &str| json!({"scriptSource": "inline", "scriptData": STANDARD.encode(text)});
    let id = format!(
        "/subscriptions/s/resourceGroups/rg/providers/Microsoft.MachineLearningServices/workspaces/wsp/computes/{name}"
    );
    let scripts = json!({"creationScript": script(creation), "startupScript": script(startup)});
    let properties = json!({"computeType": "ComputeInstance", "properties": {"setupScripts": {"scripts": scripts}}});
    json!({"id": id, "name": name, "properties": properties}).to_string()
}

/// A machine whose first boot will find a request for `ci-1`.
fn requested(suite: &str, creation: &str, startup: &str) -> Machine {
    let machine = with_package(suite);
    machine.write(REQUEST, request("ci-1", creation, startup), 0o600);
    machine
}

/// Waits until the service of the package has nothing more to do.
fn settle(machine: &Machine) {
    wait_until("ci-setup-agent.service to end", || {
        let state = machine.run(["systemctl", "show", "--property=ActiveState", "ci-setup-agent.service"]).stdout;
        if state.contains("=inactive") || state.contains("=failed") { Ok(()) } else { Err(state) }
    });
}

/// All runs of the machine: script, state, and the instance's name.
fn runs(machine: &Machine) -> Vec<String> {
    let text = machine.run(["ci-setup-agent", "status", "--json"]).stdout;
    let all: Vec<Value> = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    all.iter().map(|run| [&run["script"], &run["state"], &run["instance"]["name"]].map(word).join(" ")).collect()
}

/// What the share holds of the runs of a script, oldest first: the text of that file.
fn on_share(machine: &Machine, name: &str, script: &str, file: &str) -> Vec<String> {
    let folder = machine.share().join("Logs").join(name).join(script);
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    folders.sort();
    folders.iter().map(|folder| std::fs::read_to_string(folder.join(file)).unwrap_or_default()).collect()
}

/// Everything on the disk that is not a record of the system's own: type, mode, owner, and what is in it.
fn listing(root: &Path) -> Vec<String> {
    const OTHERS: [&str; 12] = [
        "proc",
        "sys",
        "run",
        "tmp",
        "dev",
        "mnt",
        "var/tmp",
        "var/log",
        "var/cache",
        "var/lib/dpkg",
        "var/lib/systemd/timers",
        "var/lib/systemd/random-seed",
    ];
    let others = OTHERS.map(|path| format!("-path ./{path}")).join(" -o ");
    let lines = format!(
        "set -e; cd \"$0\"\n\
         find . -xdev \\( {others} \\) -prune -o -printf '%p %y %m %U:%G %l\\n'\n\
         find . -xdev \\( {others} \\) -prune -o -type f -print0 | xargs -0 sha1sum\n"
    );
    host(Command::new("sh").args(["-c", &lines]).arg(root)).lines().map(str::to_owned).collect()
}

/// What is in one list and not in the other.
fn differences(before: &[String], after: &[String]) -> Vec<String> {
    let [before, after] = [before, after].map(|lines| lines.iter().collect::<BTreeSet<_>>());
    let gone = before.difference(&after).map(|line| format!("- {line}"));
    gone.chain(after.difference(&before).map(|line| format!("+ {line}"))).collect()
}
