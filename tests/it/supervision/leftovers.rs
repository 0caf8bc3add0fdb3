//! What a script leaves behind when it ends by itself (CONTRACT 5).

use std::time::{Duration, Instant};

use super::{holding, outcome, prepare, run_with, wait_for_none};
use crate::support::{Cgroups, Machine, Place, Room, SUITES, wait_until};

/// A daemon that holds the script's stdout and goes on writing to it.
const DAEMON: &str = "
    (setsid bash -c 'trap \"echo pipe > /root/broken\" PIPE
        until test -e /root/go; do sleep 0.1; done
        for i in 1 2 3; do echo late $i; sleep 0.1; done
        exec -a victim-daemon sleep 10000' &)
    echo early
";

fn wait_for_daemon(place: &impl Place) {
    wait_until("the daemon", || match holding(place, "victim-daemon").len() {
        1 => Ok(()),
        count => Err(count),
    });
}

fn log_of(place: &impl Place) -> Option<String> {
    let outcome = outcome(place);
    place.read(format!("/var/lib/ci-setup-agent/runs/{}/output.log", outcome["runId"].as_str()?))
}

fn mirror_of(place: &impl Place) -> Option<String> {
    let outcome = outcome(place);
    std::fs::read_to_string(place.share().join(outcome["output"]["mirrorPath"].as_str()?).join("output.log")).ok()
}

#[test]
fn a_daemon_that_holds_the_output_holds_nobody_up_and_is_recorded_on() {
    for cgroups in [Cgroups::Unified, Cgroups::None] {
        let room = Room::with_cgroups("bookworm", cgroups);
        prepare(&room, DAEMON, "1000s");
        let began = Instant::now();
        assert_eq!(room.run(run_with(&[])).ok(), "early\n");
        // Whoever waits for the daemon waits for ever.
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        let outcome = outcome(&room);
        assert_eq!(outcome["state"], "succeeded");
        assert_eq!(outcome["processes"]["leftCount"], 1.max(outcome["processes"]["leftCount"].as_u64().unwrap_or(0)));
        room.write("/root/go", "", 0o644);
        let all = "early\nlate 1\nlate 2\nlate 3\n";
        wait_until("the spool", || match log_of(&room) {
            Some(log) if log == all => Ok(()),
            other => Err(other),
        });
        wait_until("the mirror", || match mirror_of(&room) {
            Some(log) if log == all => Ok(()),
            other => Err(other),
        });
        assert_eq!(room.read("/root/broken"), None, "nobody got SIGPIPE");
        wait_for_daemon(&room);
        // The next run has its turn meanwhile.
        assert_eq!(room.run(run_with(&[])).code, 0);
    }
}

#[test]
fn leftovers_that_are_not_kept_are_ended_and_the_run_has_succeeded() {
    let room = Room::new("bookworm");
    prepare(
        &room,
        "(setsid bash -c 'trap \"\" TERM; exec hold victim' &); hold victim-child & sleep 0.3; echo end",
        "1000s",
    );
    let ran = room.run(run_with(&["--leftovers", "kill", "--grace", "1000s"]));
    assert_eq!(ran.ok(), "end\n");
    assert!(holding(&room, "victim").is_empty());
    assert_eq!(outcome(&room)["state"], "succeeded");
}

#[test]
fn the_outcome_lists_who_was_left_and_the_share_gets_only_names() {
    let room = Room::new("bookworm");
    // Both are there, whatever it took, and the shell and the sudo that made the second are gone.
    let script = "setsid hold victim-of-root & sudo -u azureuser bash -c 'setsid hold victim-of-user > /dev/null &'\n\
                  until pgrep -f '^victim-of-root' && pgrep -f '^victim-of-user'; do sleep 0.1; done\n\
                  while pgrep -x sudo; do sleep 0.1; done\nsleep 1.2\n";
    prepare(&room, script, "1000s");
    room.run(run_with(&[])).ok();
    let outcome = outcome(&room);
    let processes = &outcome["processes"];
    assert_eq!(processes["leftCount"], 2, "{outcome:#}");
    let left = processes["left"].as_array().expect("a list");
    let find = |user: &str| left.iter().find(|process| process["user"] == user).expect("a process of that user");
    assert_eq!(find("root")["command"], "victim-of-root 10000");
    assert_eq!(find("azureuser")["command"], "victim-of-user 10000");
    assert!((1.0..60.0).contains(&find("root")["seconds"].as_f64().expect("an age")), "{processes:#}");
    let inside = room.bash("pgrep -f '^victim-of-root'").ok();
    assert_eq!(find("root")["pid"].to_string(), inside.trim());
    let path = outcome["output"]["mirrorPath"].as_str().expect("a mirror");
    let public = std::fs::read_to_string(room.share().join(path).join("outcome.json")).expect("an outcome");
    assert!(public.contains("\"victim-of-root\"") && !public.contains("10000"), "{public}");
}

#[test]
fn a_daemon_outlives_the_service_that_called_the_agent_and_is_recorded_on() {
    for suite in SUITES {
        let machine = Machine::booted(suite);
        prepare(&machine, DAEMON, "1000s");
        let unit = format!("[Service]\nType=oneshot\nExecStart=/usr/bin/{}\n", run_with(&[]).join(" "));
        machine.write("/etc/systemd/system/caller.service", unit, 0o644);
        machine.run(["systemctl", "start", "caller"]).ok();
        machine.run(["systemctl", "stop", "caller"]).ok();
        machine.write("/root/go", "", 0o644);
        wait_until("what it writes later", || match log_of(&machine) {
            Some(log) if log.ends_with("late 3\n") => Ok(()),
            other => Err((suite, other)),
        });
        assert_eq!(machine.read("/root/broken"), None);
        assert!(!outcome(&machine)["warnings"].to_string().contains("no-scope"), "{:#}", outcome(&machine));
        let scopes = machine.bash("systemctl show -p TasksMax,OOMPolicy,Delegate 'ci-setup-creation*.scope'").ok();
        assert!(scopes.contains("TasksMax=infinity") && scopes.contains("Delegate=yes"), "{suite}: {scopes}");
        assert!(!scopes.contains("OOMPolicy") || scopes.contains("OOMPolicy=continue"), "{suite}: {scopes}");
        // With its last process the scope goes too.
        wait_for_daemon(&machine);
        machine.bash("pkill -f '^victim-daemon'").ok();
        wait_until("the end of the scope", || {
            match machine.bash("systemctl --no-legend list-units 'ci-setup-*'").stdout {
                units if units.is_empty() => Ok(()),
                units => Err(units),
            }
        });
    }
}

#[test]
fn a_daemon_outlives_the_session_that_called_the_agent() {
    let machine = Machine::booted("bookworm");
    prepare(&machine, DAEMON, "1000s");
    // Sessions end with everything in them where the administrator wants it so.
    machine.write("/etc/systemd/logind.conf.d/kill.conf", "[Login]\nKillUserProcesses=yes\nKillExcludeUsers=\n", 0o644);
    machine.run(["systemctl", "restart", "systemd-logind"]).ok();
    machine.write("/root/call.sh", run_with(&[]).join(" "), 0o755);
    machine
        .run([
            "su",
            "-",
            "azureuser",
            "-c",
            "sudo bash -c '. /dev/stdin' < /dev/null; sudo cat /root/call.sh | sudo bash",
        ])
        .ok();
    machine.write("/root/go", "", 0o644);
    wait_until("what it writes later", || match log_of(&machine) {
        Some(log) if log.ends_with("late 3\n") => Ok(()),
        other => Err(other),
    });
    wait_for_daemon(&machine);
    machine.bash("pkill -f '^victim-daemon'").ok();
    wait_for_none(&machine, "victim");
}

#[test]
fn a_bus_that_hangs_or_is_gone_costs_a_warning_and_a_bounded_time() {
    let machine = Machine::booted("bookworm");
    prepare(&machine, "echo ran", "1000s");
    machine.bash("systemctl kill --signal=STOP dbus.service").ok();
    let began = Instant::now();
    let ran = machine.run(run_with(&[]));
    let took = began.elapsed();
    machine.bash("pkill -CONT dbus-daemon").ok();
    assert_eq!(ran.ok(), "ran\n");
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert!(outcome(&machine)["warnings"].to_string().contains("no-scope"));
    machine.bash("rm -r /var/lib/ci-setup-agent; mv /run/dbus /run/no-dbus").ok();
    assert_eq!(machine.run(run_with(&[])).ok(), "ran\n");
    assert!(outcome(&machine)["warnings"].to_string().contains("no-scope"));
}
