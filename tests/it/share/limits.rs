//! How much is kept: of one output, and of all runs.

use std::fs;

use super::bench::{Bench, STATE};
use crate::support::Place;

#[test]
fn beyond_the_output_limit_both_ends_are_kept_and_are_on_the_share() {
    let bench = Bench::new();
    bench.inline("seq 1 1000000", "60s");
    let ran = bench.agent(&["--output-limit", "1M"]).run();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let all: Vec<u8> = (1..=1_000_000).flat_map(|n| format!("{n}\n").into_bytes()).collect();
    let half = 512 * 1024;
    let missing = all.len() - 2 * half;
    let line = format!("[ci-setup-agent] {missing} bytes left out here: the output is longer than --output-limit\n");
    let tail = [line.as_bytes(), &all[all.len() - half..]].concat();
    assert!(bench.spool() == all[..half], "the head");
    assert!(fs::read(bench.folder().join("output.tail.log")).expect("a tail") == tail, "the tail");
    let outcome = bench.outcome();
    assert_eq!(outcome["output"]["droppedBytes"], missing, "{outcome:#}");
    assert_eq!(outcome["output"]["bytes"], half + tail.len(), "{outcome:#}");
    assert!(bench.mirrored("output.tail.log") == Some(tail.clone()), "the tail on the share");
    bench.assert_mirrored("head and tail");
    // Whoever watches sees the head as it comes, and the tail at the end.
    assert!(ran.bytes == [&all[..half], &tail].concat(), "passed through: {}", ran.bytes.len());
    assert_eq!(fs::read_dir(bench.folder()).expect("it").count(), 6, "nothing else is left");
}

#[test]
fn an_output_as_long_as_the_limit_loses_nothing() {
    let bench = Bench::new();
    bench.inline("head -c 1048576 /dev/zero", "60s");
    assert_eq!(bench.agent(&["--output-limit", "1M", "--quiet"]).run().code, 0);
    assert_eq!(bench.outcome()["output"]["droppedBytes"], 0);
    assert_eq!(fs::read(bench.folder().join("output.tail.log")).expect("a tail").len(), 512 * 1024);
    bench.assert_mirrored("exactly");
}

#[test]
fn no_limit_keeps_all() {
    let bench = Bench::new();
    bench.inline("seq 1 1000000", "60s");
    assert_eq!(bench.agent(&["--output-limit", "0", "--quiet"]).run().code, 0);
    assert_eq!(bench.outcome()["output"]["droppedBytes"], 0);
    bench.assert_mirrored("all");
}

#[test]
fn a_tail_whose_recorder_was_killed_reaches_the_share_without_the_gap() {
    let bench = Bench::new();
    bench.inline("seq 1 1000000; touch /run/over; sleep 100", "200s");
    let agent = bench.agent(&["--output-limit", "1M", "--quiet"]).spawn();
    crate::support::wait_until("all output", || bench.room.read("/run/over").ok_or("not yet"));
    bench.room.bash("pkill -KILL -x ci-setup:run").ok();
    assert_eq!(agent.wait().code, 137);
    bench.wait_until_nobody_records();
    assert_eq!(bench.sync().code, 0, "{:#}", bench.outcome());
    let tail = bench.mirrored("output.tail.log").expect("a tail");
    let end = tail.splitn(2, |byte| *byte == b'\n').nth(1).expect("a line").to_owned();
    assert!(tail.starts_with(b"[ci-setup-agent] ") && end.ends_with(b"\n999999\n1000000\n"), "{}", tail.len());
    assert_eq!(end.len(), 512 * 1024);
    bench.assert_mirrored("killed");
}

#[test]
fn the_state_limit_removes_the_oldest_runs_here_and_nothing_on_the_share() {
    let bench = Bench::new();
    bench.room.write("/etc/ci-setup-agent/config.toml", "state-limit = \"3M\"\n", 0o644);
    bench.inline("head -c 1000000 /dev/urandom; exit 3", "60s");
    let mut ids = Vec::new();
    for round in 0..6 {
        assert_eq!(bench.agent(&["--rerun", "--quiet"]).run().code, 3);
        ids.push(bench.outcome()["runId"].as_str().expect("an id").to_owned());
        bench.wait_until_nobody_records();
        if round == 0 {
            // What a captured disk brings along: older than all others, and of another instance.
            let captured =
                "cd \"$0\" && cp -r * creation-20200101T000000Z && sed -i s/ci-2/ci-9/ creation-2020*/outcome.json";
            bench.room.run(["bash", "-c", captured, &format!("{STATE}/runs")]).ok();
        }
    }
    let mut kept: Vec<String> = fs::read_dir(bench.room.path(format!("{STATE}/runs")))
        .expect("runs")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    kept.sort();
    assert_eq!(kept.remove(0), "creation-20200101T000000Z", "not ours to remove");
    assert!((2..=3).contains(&kept.len()), "{kept:?}");
    assert_eq!(kept, ids[ids.len() - kept.len()..], "the newest ones");
    let there = fs::read_dir(bench.share.backing().join("Logs/ci-2/creation")).expect("it").count();
    assert_eq!(there, 6);
    // What is known of once is not forgotten with the last of them.
    bench.room.bash(&format!("rm -r {STATE}/runs/*")).ok();
    let (again, _) = bench.run(&[]);
    assert_eq!(again.code, 3, "{}", again.stderr);
    assert!(again.stderr.contains("has run already"), "{}", again.stderr);
}
