//! Exit codes, with GNU `timeout -k` as the oracle where it has an answer (CONTRACT 3.3, 8).

use nix::sys::signal::Signal;

use crate::support::{
    Place, Room, SHARE,
    setup::{Request, assert_error_and_hint, only, outcome_in, run, run_call, run_json, run_with, runs},
    wait_until,
};

/// Asserts that `run` exits as GNU `timeout -k` does on the same script; returns the outcome's state.
fn as_timeout_does(room: &Room, script: &str, timeout: &str, grace: &str) -> String {
    room.write("/root/oracle.sh", script, 0o644);
    let oracle = room.run(["timeout", "-k", grace, timeout, "bash", "/root/oracle.sh"]);
    let request = Request::creation(script).with("timeout", timeout);
    let (code, outcomes) = run_json(room, &request, &["--rerun", "--grace", grace]);
    assert_eq!(code, oracle.code, "{script:?} {timeout} {grace}");
    assert_eq!(outcomes[0]["exitCode"], code, "{:#}", outcomes[0]);
    outcomes[0]["state"].as_str().expect("a state").to_owned()
}

/// The agent itself may still be at its last words when its caller has the result.
fn assert_nobody_left(room: &Room) {
    wait_until("everybody to be gone", || match room.processes() {
        left if left.is_empty() => Ok(()),
        left => Err(left),
    });
}

#[test]
fn a_script_s_own_code_is_the_code() {
    let room = Room::new("bookworm");
    for code in [0, 1, 2, 3, 63, 64, 123, 124, 125, 126, 127, 128, 129, 137, 143, 200, 254, 255, 256, 300, -1] {
        let state = as_timeout_does(&room, &format!("exit {code}"), "1m", "5s");
        assert_eq!(state, if code & 255 == 0 { "succeeded" } else { "failed" }, "{code}");
    }
}

#[test]
fn a_script_that_died_by_a_signal_gives_128_and_its_number() {
    let room = Room::new("bookworm");
    for signal in ["HUP", "INT", "ABRT", "KILL", "USR1", "SEGV", "PIPE", "ALRM", "34", "RTMAX", "TERM"] {
        let state = as_timeout_does(&room, &format!("ulimit -c 0; kill -{signal} $$; sleep 1"), "1m", "5s");
        assert_eq!(state, "failed", "{signal}");
    }
    let outcome = outcome_in(&room, runs(&room).last().expect("a run"));
    assert_eq!(outcome["error"]["code"], "script-killed", "{outcome:#}");
}

#[test]
fn time_that_is_up_gives_124_whatever_the_script_makes_of_it() {
    let room = Room::new("bookworm");
    for (script, timeout) in [
        ("sleep 60", "0.2"),
        ("trap 'exit 0' TERM; sleep 60 & wait", "0.2s"),
        ("trap 'exit 9' TERM; sleep 60 & wait", "0.003m"),
        ("exec sleep 60", ".2"),
        ("while :; do :; done", "2e-1"),
    ] {
        assert_eq!(as_timeout_does(&room, script, timeout, "5s"), "timedOut", "{script}");
    }
}

/// Here the contract differs from GNU `timeout`, which exits with 137: that the time was up is what counts.
#[test]
fn a_script_that_does_not_end_when_asked_to_is_killed_after_the_grace() {
    let room = Room::new("bookworm");
    let request = Request::creation("trap '' TERM; while :; do sleep 0.05; done").with("timeout", "0.2");
    let (code, outcomes) = run_json(&room, &request, &["--grace", "0.3"]);
    assert_eq!((code, outcomes[0]["state"].as_str()), (124, Some("timedOut")), "{:#}", outcomes[0]);
    assert_eq!(outcomes[0]["scriptExit"]["signal"], "SIGKILL");
    assert_eq!(outcomes[0]["error"]["code"], "timed-out");
    let elapsed = outcomes[0]["elapsedSeconds"].as_f64().expect("seconds");
    assert!((0.5..5.0).contains(&elapsed), "{elapsed}");
    assert_nobody_left(&room);
}

#[test]
fn nought_is_no_limit_and_so_is_infinity() {
    let room = Room::new("bookworm");
    for timeout in ["0", "0s", "0.0m", "inf", "1e400"] {
        assert_eq!(as_timeout_does(&room, "sleep 0.2; exit 5", timeout, "5s"), "failed");
        let outcome = outcome_in(&room, runs(&room).last().expect("a run"));
        assert_eq!(outcome["timeout"]["seconds"], serde_json::Value::Null, "{outcome:#}");
    }
}

#[test]
fn a_script_that_is_not_there_gives_127_and_one_that_cannot_be_started_126() {
    let room = Room::new("bookworm");
    room.bash(&format!("mkdir -p {SHARE}/Users/folder.sh; mkfifo {SHARE}/Users/fifo.sh")).ok();
    room.write(format!("{SHARE}/Users/bad.sh"), "#!/no/such/interpreter\n", 0o755);
    room.write(format!("{SHARE}/Users/dir.sh"), "#!/tmp\n", 0o755);
    room.write(format!("{SHARE}/Users/plain.sh"), "#!/etc/passwd\n", 0o755);
    room.write(format!("{SHARE}/Users/relative.sh"), "#!bash\n", 0o755);
    for (name, code) in
        [("none", 127), ("folder", 126), ("fifo", 126), ("bad", 126), ("dir", 126), ("plain", 126), ("relative", 126)]
    {
        let ran = run(&room, &Request::creation_at(&format!("Users/{name}.sh")));
        assert_eq!(ran.code, code, "{name}: {ran:?}");
        assert_error_and_hint(&ran);
    }
}

#[test]
fn an_interpreter_that_the_kernel_refuses_gives_126_and_uses_nothing_up() {
    let room = Room::new("bookworm");
    room.write("/usr/local/bin/broken", "\x7fELF and nothing behind", 0o755);
    let request = Request::creation("#!/usr/local/bin/broken\n");
    for _ in 0..2 {
        let ran = run(&room, &request);
        assert_eq!(ran.code, 126, "{ran:?}");
        assert_error_and_hint(&ran);
    }
    assert_eq!(run(&room, &Request::creation("echo mended")).ok(), "mended\n");
}

#[test]
fn a_signal_to_the_agent_stops_the_run_and_is_its_code() {
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        let room = Room::new("bookworm");
        let request = Request::creation("trap 'echo asked; exit 0' TERM; echo up; while :; do :; done");
        let running = run_call(&room, &request, &[]).spawn();
        wait_until("the script", || if running.stdout() == "up\n" { Ok(()) } else { Err(running.stderr()) });
        running.signal(signal);
        let ran = running.wait();
        assert_eq!((ran.code, ran.stdout.as_str()), (code, "up\nasked\n"), "{ran:?}");
        assert_error_and_hint(&ran);
        let outcome = outcome_in(&room, &only(runs(&room)));
        assert_eq!((&outcome["state"], &outcome["error"]["code"]), (&"interrupted".into(), &"stopped".into()));
    }
}

#[test]
fn a_stop_while_the_share_is_waited_for_is_that_signals_code() {
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        let room = Room::new("bookworm");
        room.bash(&format!("umount {SHARE}")).ok();
        let running = run_call(&room, &Request::creation_at("Users/x.sh"), &[]).spawn();
        wait_until("the run's folder", || if runs(&room).is_empty() { Err(running.stderr()) } else { Ok(()) });
        running.signal(signal);
        let ran = running.wait();
        assert_eq!(ran.code, code, "{ran:?}");
        assert_error_and_hint(&ran);
    }
}

#[test]
fn a_stop_while_the_request_is_still_being_typed_ends_the_call() {
    let room = Room::new("bookworm");
    let running = room.spawn(["bash", "-c", "exec 3<> <(:); ci-setup-agent run - <&3"]);
    wait_until("the agent", || {
        room.processes().into_iter().find(|one| one.command.starts_with("ci-setup-agent")).ok_or(())
    });
    let agent = room.processes().into_iter().find(|one| one.command.starts_with("ci-setup-agent")).expect("it runs");
    wait_until("it to read", || {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(agent.pid), Signal::SIGINT).ok();
        if room.processes().iter().any(|one| one.pid == agent.pid) { Err(()) } else { Ok(()) }
    });
    assert_eq!(running.wait().code, 130);
}

#[test]
fn best_effort_forgives_what_comes_from_a_script_and_nothing_else() {
    let room = Room::new("bookworm");
    let calls =
        [("exit 7", "1m", 0), ("kill -9 $$", "1m", 0), ("sleep 60", "0.1", 0), ("true", "1m", 0), ("true", "x", 125)];
    for (script, timeout, code) in calls {
        let request = Request::creation(script).with("timeout", timeout);
        let ran = run_with(&room, &request, &["--rerun", "--best-effort"]);
        assert_eq!(ran.code, code, "{script}: {ran:?}");
    }
    let ran = run_with(&room, &Request::creation_at("none.sh"), &["--rerun", "--best-effort"]);
    assert_eq!(ran.code, 127, "{ran:?}");
    assert_eq!(run(&room, &Request::creation("exit 7")).code, 0, "what was recorded last counts");
}
