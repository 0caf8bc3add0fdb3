//! `sudo -u azureuser` blocks under whatever an administrator has in `/etc/sudoers` (CONTRACT 4.1).

use std::time::{Duration, Instant};

use super::{holding, in_time, outcome, prepare, run_with};
use crate::support::{
    Place, Room, SUITES,
    setup::{Request, run, run_json},
};

/// What administrators and distributions write there.
const DEFAULTS: [&str; 6] =
    ["use_pty", "requiretty", "!env_reset", "env_reset", "env_reset, !env_keep", "use_pty, requiretty, !env_reset"];

/// The three ways to run something as the user; what comes on standard input where it says `BLOCK`.
const WAYS: [&str; 3] =
    ["sudo -u azureuser -i BLOCK", "sudo -u azureuser bash BLOCK", "sudo -u azureuser bash -c PLAIN"];

/// A room in which these are the last of the administrator's own `Defaults`.
fn room_with(suite: &str, defaults: &str) -> Room {
    let room = Room::new(suite);
    room.bash(&format!("sed -i 's/^[@#]includedir/Defaults {defaults}\\n&/' /etc/sudoers; visudo -c")).ok();
    let main = room.read("/etc/sudoers").expect("the file");
    assert!(main.contains(&format!("\nDefaults {defaults}\n")), "{main}");
    room
}

/// Runs `commands` (without single quotes) as the user in that way.
fn in_way(way: &str, commands: &str) -> String {
    let block = format!("<<'EOF'\n{commands}\nEOF");
    way.replace("BLOCK", &block).replace("PLAIN", &format!("'{commands}'"))
}

/// Does `check` for each release, each of these settings and each way; says which of them failed, and how.
fn everywhere(settings: &[&str], check: fn(&Room, &str) -> Result<(), String>) {
    let on = |suite: &str| {
        let mut failed = Vec::new();
        for defaults in settings {
            let room = room_with(suite, defaults);
            for way in WAYS {
                if let Err(what) = check(&room, way) {
                    failed.push(format!("{suite}, Defaults {defaults}, {way}: {what}"));
                }
            }
        }
        failed
    };
    let failed: Vec<String> = std::thread::scope(|scope| {
        let threads = SUITES.map(|suite| scope.spawn(move || on(suite)));
        threads.into_iter().flat_map(|thread| thread.join().expect("a release")).collect()
    });
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

fn same<Value: PartialEq + std::fmt::Debug>(found: Value, expected: Value) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{found:?} and not {expected:?}")) }
}

#[test]
fn a_block_writes_to_dev_stdout_and_dev_stderr_in_order_and_loses_nothing() {
    everywhere(&DEFAULTS, |room, way| {
        let inside = "echo 2; echo 3 > /dev/stdout; echo 4 > /dev/stderr; echo 5 >&2; echo 6; echo 7 >> /dev/stdout";
        let script = format!("echo 0; echo 1 >&2\n{}\necho 8; seq 9 12 >&2", in_way(way, inside));
        let (code, outcomes) = run_json(room, &Request::creation(script), &["--rerun"]);
        let folder = format!("/var/lib/ci-setup-agent/runs/{}", outcomes[0]["runId"].as_str().expect("an id"));
        let log = room.read(format!("{folder}/output.log")).expect("a log");
        let lines: String = (0..=12).map(|number| format!("{number}\n")).collect();
        same((code, log), (0, lines))
    });
}

#[test]
fn a_block_finds_the_variables_and_no_terminal_and_its_exit_status_passes_on() {
    everywhere(&DEFAULTS, |room, way| {
        let inside = "echo $CI_RESOURCE_GROUP $CI_WORKSPACE $CI_NAME $CI_LOCAL_UBUNTU_USER; id -un; exit 7";
        let script = format!("{}\necho $?\n{}", in_way(way, inside), in_way(way, "exit 9"));
        let ran = run(room, &Request::creation(&script));
        room.bash("rm -r /var/lib/ci-setup-agent").ok();
        same((ran.code, ran.stdout.as_str()), (9, "my-rg my-ws ci-1 azureuser\nazureuser\n7\n"))
            .map_err(|what| format!("{what}; {}", ran.stderr))
    });
}

#[test]
fn time_that_is_up_ends_every_process_of_a_block() {
    everywhere(&DEFAULTS, |room, way| {
        let inside =
            "hold victim-1 & (setsid hold victim-2 > /dev/null 2>&1 &); trap \"\" TERM; echo out; hold victim-3";
        let (ran, took) = in_time(room, ["2s", "20s"], |timeout| {
            prepare(room, &in_way(way, inside), timeout);
            let began = Instant::now();
            let ran = room.run(run_with(&["--grace", "0.3s"]));
            (!ran.stdout.is_empty()).then(|| (ran, began.elapsed()))
        });
        let (state, left) = (outcome(room)["state"].clone(), holding(room, "victim"));
        let names: Vec<&str> = left.iter().map(|process| process.command.as_str()).collect();
        same((ran.code, ran.stdout.as_str(), state.as_str()), (124, "out\n", Some("timedOut")))?;
        same(names, Vec::new())?;
        if took < Duration::from_secs(60) { Ok(()) } else { Err(format!("{took:?}")) }
    });
}
