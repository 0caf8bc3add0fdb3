//! Signals to the agent, before, during and after (CONTRACT 5, 8).

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{holding, in_time, outcome, outcomes, prepare, run_with, start};
use crate::support::{Place, Room, SHARE, wait_until};

const SCRIPT: &str = "echo executed >> /root/executions; setsid hold victim-session & exec -a victim sleep 10000";

/// Writes down when SIGTERM comes, and stays.
const DEAF: &str = "trap 'echo term >> /root/signals' TERM; hold victim & while :; do sleep 0.1; done";

#[test]
fn term_and_int_end_the_run_with_128_and_their_number() {
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        let room = Room::new("bookworm");
        prepare(&room, SCRIPT, "1000s");
        let running = start(&room, &[]);
        running.signal(signal);
        let ran = running.wait();
        assert_eq!(ran.code, code, "{ran:?}");
        assert!(holding(&room, "victim").is_empty());
        let outcome = outcome(&room);
        assert_eq!((&outcome["state"], &outcome["exitCode"]), (&"interrupted".into(), &code.into()), "{outcome:#}");
        assert_eq!(room.run(run_with(&[])).code, code, "it has run once");
        assert_eq!(room.read("/root/executions").as_deref(), Some("executed\n"));
    }
}

#[test]
fn the_first_signal_gives_a_grace_and_the_second_takes_it_back() {
    let room = Room::new("bookworm");
    prepare(&room, DEAF, "1000s");
    let running = start(&room, &["--grace", "1000s"]);
    running.signal(Signal::SIGTERM);
    wait_until("the script to hear of it", || room.read("/root/signals").ok_or("no signal"));
    super::wait_for_none(&room, "victim");
    let again = Instant::now();
    running.signal(Signal::SIGINT);
    assert_eq!(running.wait().code, 143);
    assert!(again.elapsed() < Duration::from_secs(20), "{:?}", again.elapsed());
    // The copy on the share is not what was in a hurry.
    assert_eq!(outcome(&room)["output"]["mirror"], "current");
}

#[test]
fn a_signal_during_the_grace_after_the_deadline_skips_the_rest_and_it_stays_a_timeout() {
    let room = Room::new("bookworm");
    in_time(&room, ["2s", "30s"], |timeout| {
        prepare(&room, DEAF, timeout);
        let mut running = room.spawn(run_with(&["--grace", "1000s"]));
        // Where time is up before it has become deaf, it ends.
        wait_until("the deadline", || match room.read("/root/signals") {
            Some(_) => Ok(()),
            None if running.is_running() => Err(running.stderr()),
            None => Ok(()),
        });
        room.read("/root/signals")?;
        running.signal(Signal::SIGTERM);
        assert_eq!(running.wait().code, 124);
        Some(())
    });
    assert_eq!(outcome(&room)["state"], "timedOut");
}

#[test]
fn a_dropped_session_does_not_end_the_run() {
    let room = Room::new("bookworm");
    prepare(&room, "hold victim & until test -e /root/go; do sleep 0.1; done; echo end; kill %1", "1000s");
    let running = start(&room, &[]);
    running.signal(Signal::SIGHUP);
    running.signal(Signal::SIGHUP);
    room.write("/root/go", "", 0o644);
    assert_eq!(running.wait().ok(), "end\n");
}

#[test]
fn a_stop_while_the_share_is_waited_for_uses_nothing_up_and_a_hangup_is_none() {
    let room = Room::new("bookworm");
    prepare(&room, SCRIPT, "1000s");
    let share = ["--share", "/mnt/later/code", "--share-wait", "1000s", "--flush-wait", "1s"];
    let mut running = room.spawn(run_with(&share));
    wait_until("the wait for the share", || {
        let names = room.bash("cat /proc/[0-9]*/comm").stdout;
        if names.contains("ci-setup:share") { Ok(()) } else { Err(names) }
    });
    running.signal(Signal::SIGHUP);
    std::thread::sleep(Duration::from_millis(300));
    assert!(running.is_running(), "a hangup is no stop");
    running.signal(Signal::SIGTERM);
    let ran = running.wait();
    assert_eq!(ran.code, 143, "{ran:?}");
    assert_eq!(outcome(&room)["error"]["code"], "stopped");
    room.bash(&format!("mkdir /mnt/later && cp -r {SHARE} /mnt/later/code")).ok();
    let running = start(&room, &share);
    running.signal(Signal::SIGTERM);
    running.wait();
    assert_eq!(room.read("/root/executions").as_deref(), Some("executed\n"));
}

#[test]
fn a_stop_while_another_run_is_waited_for_ends_the_waiting_one_alone() {
    let room = Room::new("bookworm");
    prepare(&room, SCRIPT, "1000s");
    let mut first = start(&room, &[]);
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        let second = room.spawn(run_with(&[]));
        wait_until("the second to wait", || {
            if second.stderr().contains("waiting") { Ok(()) } else { Err(second.stderr()) }
        });
        second.signal(signal);
        let ran = second.wait();
        assert_eq!(ran.code, code, "{ran:?}");
    }
    assert!(first.is_running());
    assert_eq!(holding(&room, "victim").len(), 2);
    assert_eq!(outcomes(&room).iter().filter(|outcome| outcome["state"] == "running").count(), 1);
}

#[test]
fn what_the_caller_ignores_or_blocks_reaches_the_script_as_usual() {
    let room = Room::new("bookworm");
    prepare(&room, "sed -n '/^Sig[BI]/p' /proc/self/status", "1000s");
    let caller = "import os, signal, sys\n\
                  for number in set(signal.valid_signals()) - {9, 19}:\n    signal.signal(number, signal.SIG_IGN)\n\
                  signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\n\
                  os.execvp(sys.argv[1], sys.argv[1:])\n";
    let call = ["python3", "-c", caller].map(str::to_owned).into_iter().chain(run_with(&[]));
    let status = room.run(call).ok();
    let zero = "0000000000000000";
    assert_eq!(status, format!("SigBlk:\t{zero}\nSigIgn:\t{zero}\n"));
}

#[test]
fn control_c_on_a_terminal_counts_once() {
    let room = Room::new("bookworm");
    prepare(&room, DEAF, "1000s");
    // A terminal with the agent in its foreground group; what is read from standard input is typed.
    let typed = "until test -e /root/type; do sleep 0.1; done; printf '\\003'; sleep 1000";
    let call = run_with(&["--grace", "3s"]).join(" ");
    let mut running = room.spawn(["bash", "-c", &format!("({typed}) | script -qec '{call}' /dev/null")]);
    super::wait_for(&room, "victim", &mut running);
    let began = Instant::now();
    room.write("/root/type", "", 0o644);
    let code = wait_until("the end", || outcome(&room)["exitCode"].as_i64().ok_or(running.stdout()));
    assert_eq!(code, 130);
    assert_eq!(room.read("/root/signals").as_deref(), Some("term\n"));
    assert!(began.elapsed() > Duration::from_secs(3), "the grace was not skipped: {:?}", began.elapsed());
}
