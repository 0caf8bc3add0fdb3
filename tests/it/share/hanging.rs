//! A share that has taken a request and never answers: whoever asked cannot even be killed.

use std::fs;
use std::time::Duration;

use faultfs::{Errno, Fault, Ops, Rule};
use nix::sys::signal::Signal;

use super::bench::{Bench, NAME, STATE};
use crate::support::{Place, Process, assert_within, wait_until};

#[test]
fn an_inline_script_runs_and_ends_in_time_while_the_share_hangs_from_beginning_to_end() {
    for (script, timeout, code, longest) in [
        ("cd /; echo begun; exit 3", "20s", 3, 5),
        ("cd /; echo begun; sleep 100", "3s", 124, 3 + 1),
        ("trap '' TERM; echo begun; sleep 100", "3s", 124, 3 + 1),
    ] {
        // Timeout, grace, flush wait, and one second.
        assert_within(script, Duration::from_secs(longest + 1 + 1), || {
            let bench = Bench::new();
            bench.inline(script, timeout);
            bench.share.hang(Ops::ALL);
            let (ran, took) = bench.run(&["--grace", "1s", "--flush-wait", "1s", "--share-wait", "60s"]);
            assert_eq!(ran.code, code, "{}", ran.stderr);
            assert_eq!(bench.spool(), b"begun\n");
            assert_ne!(bench.mirror_state(), "current");
            bench.share.heal();
            bench.wait_until_nobody_records();
            assert_eq!(bench.sync().code, 0);
            bench.assert_mirrored(script);
            took
        });
    }
}

#[test]
fn what_was_hung_is_made_complete_after_a_release_an_abort_and_an_error() {
    type Recovery = fn(&Bench);
    let recoveries: [(&str, Recovery); 3] = [
        ("release", |bench| bench.share.heal()),
        ("abort", |bench| {
            bench.share.remount();
            bench.share.heal();
        }),
        ("error", |bench| {
            bench.share.fail_hung(Errno::EIO);
            bench.share.heal();
        }),
    ];
    for (what, recover) in recoveries {
        let bench = Bench::new();
        bench.inline("cd /; seq 1 1000; until [ -e /run/gate ]; do sleep 0.01; done; seq 1 100000", "60s");
        let agent = bench.agent(&["--flush-wait", "1s"]).spawn();
        wait_until("output", || if agent.stdout().contains("\n1000\n") { Ok(()) } else { Err(agent.stderr()) });
        bench.share.hang(Ops::WRITE);
        bench.room.write("/run/gate", "", 0o600);
        assert_eq!(agent.wait().code, 0, "{what}");
        assert_eq!(bench.mirror_state(), "behind", "{what}");
        // `sync` while it still hangs: it says so, in time, and can go.
        bench.wait_until_nobody_records();
        let stuck = bench.room.run(["ci-setup-agent", "sync", "--flush-wait", "1s"]);
        assert_eq!(stuck.code, 1, "{what}: {}", stuck.stderr);
        assert!(stuck.stderr.starts_with("error: creation-"), "{what}: {}", stuck.stderr);
        recover(&bench);
        assert_eq!(bench.sync().code, 0, "{what}");
        bench.assert_mirrored(what);
        wait_until("the mirrors that were left behind to die", || {
            let mirrors = mirrors(&bench);
            if mirrors.is_empty() { Ok(()) } else { Err(mirrors) }
        });
    }
}

#[test]
fn a_script_on_a_share_that_hangs_is_waited_for_no_longer_than_asked_and_not_used_up() {
    for ops in [Ops::ALL, Ops::READ, Ops::OPEN, Ops::GETATTR] {
        assert_within(&format!("{ops:?}"), Duration::from_secs(1 + 1 + 1), || {
            let bench = Bench::with(faultfs::Options {
                cache: Duration::ZERO,
                direct_io: true,
                ..faultfs::Options::like_smb()
            });
            bench.stored("echo ran", "20s");
            bench.share.hang(ops);
            let (ran, took) = bench.run(&["--share-wait", "1s", "--flush-wait", "1s"]);
            assert_eq!(ran.code, 125, "{ops:?}: {}", ran.stderr);
            assert!(ran.stderr.contains("did not answer within 1s\nhint: "), "{ops:?}: {}", ran.stderr);
            assert_eq!(bench.outcome()["error"]["code"], "share-not-answering", "{ops:?}");
            bench.share.heal();
            assert_eq!(bench.run(&[]).0.stdout, "ran\n", "{ops:?}");
            assert_eq!(bench.sync().code, 0);
            bench.assert_mirrored("afterwards");
            took
        });
    }
}

#[test]
fn a_stop_is_answered_while_the_share_hangs_under_the_reader_of_the_script() {
    let bench = Bench::new();
    bench.stored("echo ran", "20s");
    bench.share.hang(Ops::ALL);
    let agent = bench.agent(&["--share-wait", "60s", "--flush-wait", "0"]).spawn();
    bench.share.wait_hung(Ops::ALL, 1);
    agent.signal(Signal::SIGTERM);
    let ran = agent.wait();
    assert!(ran.stderr.contains("stopped by SIGTERM before the script had started"), "{}: {}", ran.code, ran.stderr);
    bench.share.heal();
}

#[test]
fn a_stop_after_the_script_s_end_only_ends_the_wait_for_the_share() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let bench = Bench::new();
        bench.inline("cd /; (sleep 1000 > /dev/null 2>&1 &); echo begun; exit 3", "60s");
        bench.share.rule(Rule::new(Fault::Hang, Ops::WRITE));
        let agent = bench.agent(&["--flush-wait", "1000s"]).spawn();
        wait_until("the script's end", || {
            let state = bench.room.bash(&format!("cat {STATE}/runs/*/outcome.json")).stdout;
            if state.contains("\"state\": \"failed\"") { Ok(()) } else { Err((state, agent.stderr())) }
        });
        agent.signal(signal);
        assert_eq!(agent.wait().code, 3);
        assert_eq!((bench.outcome()["state"].as_str(), bench.mirror_state().as_str()), (Some("failed"), "behind"));
        assert_eq!(bench.room.bash("pgrep -fc '^sleep 1000'").stdout, "1\n", "what was left lives on");
        bench.share.heal();
        bench.wait_until_nobody_records();
        assert_eq!(bench.sync().code, 0);
        bench.assert_mirrored("stopped after the end");
    }
}

#[test]
fn a_mirror_that_hangs_is_left_behind_by_an_agent_that_is_gone() {
    let bench = Bench::new();
    bench.inline("cd /; echo one; until [ -e /run/gate ]; do sleep 0.01; done", "60s");
    let agent = bench.agent(&["--flush-wait", "0.5s"]).spawn();
    wait_until("output", || if agent.stdout() == "one\n" { Ok(()) } else { Err(agent.stderr()) });
    bench.share.hang(Ops::ALL);
    bench.room.write("/run/gate", "", 0o600);
    assert_eq!(agent.wait().code, 0);
    bench.wait_until_nobody_records();
    assert!(mirrors(&bench).len() <= 1, "{:?}", mirrors(&bench));
    bench.share.abort();
    wait_until("the mirror to die", || {
        let mirrors = mirrors(&bench);
        if mirrors.is_empty() { Ok(()) } else { Err(mirrors) }
    });
}

fn mirrors(bench: &Bench) -> Vec<Process> {
    let mut found = bench.room.processes();
    found.retain(|process| {
        let name = fs::read_to_string(format!("/proc/{}/comm", process.pid)).unwrap_or_default();
        name == "ci-setup:mirror\n"
    });
    found
}

#[test]
fn the_copy_is_not_recorded_as_complete_before_the_share_has_what_tells_of_the_end() {
    let bench = Bench::new();
    bench.share.rule(Rule::new(Fault::Hang, Ops::RENAME).under(format!("Logs/{NAME}/index.html")));
    bench.inline("cd /; echo text", "60s");
    let agent = bench.agent(&["--flush-wait", "1000s"]).spawn();
    wait_until("the script's end", || {
        let state = bench.room.bash(&format!("cat {STATE}/runs/*/outcome.json")).stdout;
        if state.contains("\"state\": \"succeeded\"") { Ok(()) } else { Err((state, agent.stderr())) }
    });
    assert_eq!(bench.mirror_state(), "behind", "the machine may go down now");
    bench.share.heal();
    assert_eq!(agent.wait().code, 0);
    bench.assert_mirrored("all of it is there");
}
