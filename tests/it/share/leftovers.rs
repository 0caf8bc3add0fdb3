//! What processes write that a script left behind, after `run` has returned.

use std::time::Duration;

use faultfs::{Errno, Fault, Ops};
use serde_json::Value;

use super::bench::Bench;
use crate::support::{Place, assert_within, wait_until};

/// Ends at once and leaves somebody who prints until `/run/gate` is there.
const SCRIPT: &str =
    "cd /; echo script; (n=0; until [ -e /run/gate ]; do echo left $((n++)); sleep 0.05; done; echo end) & exit 2";

fn wait_until_mirrored(bench: &Bench, what: &str) {
    wait_until(what, || {
        let outcome = bench.outcome();
        if outcome["output"]["mirror"] == "current" { Ok(()) } else { Err(outcome["output"].clone()) }
    });
}

#[test]
fn what_leftovers_write_reaches_the_share_after_the_end_and_is_not_called_complete_before() {
    let bench = Bench::new();
    bench.inline(SCRIPT, "60s");
    assert_within("`run`", Duration::from_secs(3 + 1), || {
        let (ran, took) = bench.run(&["--flush-wait", "3s", "--rerun"]);
        assert_eq!(ran.code, 2);
        took
    });
    for _ in 0..40 {
        let (outcome, copy) = (bench.outcome(), bench.mirrored("output.log"));
        // The log only grows: a copy taken later that holds less than the outcome knew of makes it a liar.
        let known = outcome["output"]["bytes"].as_u64().expect("a number");
        if outcome["output"]["mirror"] == "current" {
            assert!(copy.map_or(0, |copy| copy.len() as u64) >= known, "{outcome:#}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bench.room.write("/run/gate", "", 0o600);
    bench.wait_until_nobody_records();
    assert!(bench.spool().ends_with(b"\nend\n"));
    bench.assert_mirrored("at the end");
}

#[test]
fn leftovers_that_write_without_end_hold_nobody_up() {
    assert_within("the end", Duration::from_secs(1), || {
        let bench = Bench::new();
        bench.inline("cd /; for i in {1..20}; do yes & done; exit 4", "60s");
        let (ran, took) = bench.run(&["--flush-wait", "0", "--output-limit", "200000", "--quiet"]);
        assert_eq!(ran.code, 4, "{}", ran.stderr);
        let outcome = bench.outcome();
        assert_eq!((&outcome["state"], &outcome["processes"]["leftCount"]), (&"failed".into(), &20.into()));
        took.saturating_sub(Duration::from_secs_f64(outcome["elapsedSeconds"].as_f64().expect("seconds")))
    });
}

#[test]
fn what_leftovers_write_while_the_share_fails_is_there_later() {
    for fault in [Fault::Error(Errno::EIO), Fault::Hang] {
        let bench = Bench::new();
        bench.inline(SCRIPT, "60s");
        assert_eq!(bench.run(&["--flush-wait", "5s"]).0.code, 2);
        bench.share.fault(fault, Ops::ALL);
        let before = bench.spool().len();
        wait_until("more output", || if bench.spool().len() > before + 200 { Ok(()) } else { Err(()) });
        bench.room.write("/run/gate", "", 0o600);
        wait_until("the last of it", || if bench.spool().ends_with(b"\nend\n") { Ok(()) } else { Err(()) });
        assert_ne!(bench.mirror_state(), "current", "{fault:?}");
        bench.share.heal();
        wait_until_mirrored(&bench, "the mirror to catch up by itself");
        bench.wait_until_nobody_records();
        bench.assert_mirrored(&format!("{fault:?}"));
    }
}

#[test]
fn a_leftover_that_falls_silent_leaves_a_complete_copy() {
    let bench = Bench::new();
    bench.inline("(sleep 1.5; echo late; exec sleep 1000) & echo script; exit 0", "60s");
    assert_eq!(bench.run(&[]).0.code, 0);
    wait_until("its line", || if bench.spool() == b"script\nlate\n" { Ok(()) } else { Err(bench.spool()) });
    wait_until_mirrored(&bench, "the copy to be complete while somebody might still write");
    wait_until("the outcome there to say so", || {
        let text = bench.mirrored("outcome.json").unwrap_or_default();
        let there: Value = serde_json::from_slice(&text).unwrap_or_default();
        if there["output"]["mirror"] == "current" && there["output"]["bytes"] == 12 { Ok(()) } else { Err(there) }
    });
    bench.assert_mirrored("silent");
}

#[test]
fn a_leftover_that_writes_now_and_then_leaves_a_copy_that_is_complete_in_between() {
    let bench = Bench::new();
    bench.inline("(while sleep 1; do echo beat; done) & exit 0", "60s");
    assert_eq!(bench.run(&[]).0.code, 0);
    wait_until("a beat", || if bench.mirror_state() == "behind" { Ok(()) } else { Err(bench.spool()) });
    wait_until_mirrored(&bench, "the copy to be complete");
}

#[test]
fn a_tail_that_leftovers_make_longer_is_sent_once_more() {
    let bench = Bench::new();
    let script = "seq 1 100000; (until [ -e /run/gate ]; do sleep 0.01; done; seq 100001 200000) & exit 0";
    bench.inline(script, "60s");
    assert_eq!(bench.run(&["--output-limit", "200000", "--quiet"]).0.code, 0);
    let first = bench.mirrored("output.tail.log").expect("a tail");
    assert!(first.ends_with(b"\n100000\n"));
    bench.room.write("/run/gate", "", 0o600);
    bench.wait_until_nobody_records();
    let tail = bench.mirrored("output.tail.log").expect("a tail");
    assert!(tail.ends_with(b"\n200000\n") && tail.starts_with(b"[ci-setup-agent] "));
    assert_eq!(std::fs::read(bench.folder().join("output.tail.log")).expect("a tail"), tail);
    bench.assert_mirrored("another tail");
}

#[test]
fn sync_leaves_a_run_alone_that_is_under_way() {
    let bench = Bench::new();
    bench.inline("cd /; echo one; until [ -e /run/gate ]; do sleep 0.01; done; echo two", "60s");
    let agent = bench.agent(&[]).spawn();
    wait_until("output", || if agent.stdout() == "one\n" { Ok(()) } else { Err(agent.stderr()) });
    let synced = bench.sync();
    assert_eq!((synced.code, synced.stderr.as_str()), (0, ""));
    assert_eq!(bench.outcome()["state"], "running");
    bench.room.write("/run/gate", "", 0o600);
    assert_eq!(agent.wait().code, 0);
    bench.assert_mirrored("left alone");
}

#[test]
fn a_run_that_was_interrupted_is_brought_to_the_share_by_sync() {
    let bench = Bench::new();
    bench.inline("cd /; seq 1 1000; sleep 1000", "2000s");
    let agent = bench.agent(&[]).spawn();
    wait_until("output", || if agent.stdout().ends_with("\n1000\n") { Ok(()) } else { Err(agent.stderr()) });
    bench.share.hang(Ops::ALL);
    bench.room.bash("pkill -KILL -x ci-setup:run").ok();
    assert_eq!(agent.wait().code, 137);
    bench.share.heal();
    assert_eq!(bench.sync().code, 0);
    assert_eq!(bench.outcome()["state"], "interrupted");
    bench.assert_mirrored("interrupted");
}
