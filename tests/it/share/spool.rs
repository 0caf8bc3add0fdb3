//! The copy of truth on a local disk that fills up, fails, or is given strange things to keep.

use std::fs;

use faultfs::{Errno, Fault, Ops, Options, Rule, Share};

use super::bench::{Bench, STATE};
use crate::support::Place;

/// A file system of that size in place of the state directory.
fn small_state(bench: &Bench, size: &str) {
    bench.room.bash(&format!("mkdir -p {STATE}; mount -t tmpfs -o mode=0700,size={size} none {STATE}")).ok();
}

fn lines_of_the_agent(log: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(log);
    text.lines().filter(|line| line.starts_with("[ci-setup-agent] ")).map(str::to_owned).collect()
}

#[test]
fn a_disk_that_fills_up_does_not_stop_the_script_and_what_is_lost_is_told() {
    let bench = Bench::new();
    small_state(&bench, "4M");
    bench.inline("head -c 9000000 /dev/zero | tr '\\0' x; echo; echo last; exit 5", "60s");
    let ran = bench.agent(&["--quiet"]).run();
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    let (outcome, log) = (bench.outcome(), bench.spool());
    assert_eq!(outcome["state"], "failed", "{outcome:#}");
    let lost = outcome["output"]["droppedBytes"].as_u64().expect("a number");
    let marks = lines_of_the_agent(&log);
    assert_eq!(marks.len(), 1, "{marks:?}");
    assert!(marks[0].starts_with(&format!("[ci-setup-agent] {lost} bytes lost here: ")), "{lost}: {marks:?}");
    let mark_bytes = marks[0].len() as u64 + 2;
    assert_eq!(log.len() as u64 - mark_bytes + lost, 9_000_000 + 1 + 5, "{outcome:#}");
    assert!(outcome["warnings"].to_string().contains("output-lost"), "{outcome:#}");
    bench.wait_until_nobody_records();
    assert_eq!(bench.sync().code, 0);
    bench.assert_mirrored("a full disk");
}

#[test]
fn a_script_that_fills_the_disk_in_no_time_has_an_outcome() {
    let bench = Bench::new();
    small_state(&bench, "4M");
    bench.inline(&format!("printf %9000000s > {STATE}/filler; exit 7"), "60s");
    assert_eq!(bench.agent(&["--quiet"]).run().code, 7);
    let outcome = bench.outcome();
    assert_eq!((&outcome["state"], &outcome["exitCode"]), (&"failed".into(), &7.into()), "{outcome:#}");
}

#[test]
fn a_disk_and_a_share_that_are_full_at_the_same_time_cost_what_the_disk_could_not_keep() {
    let bench = Bench::new();
    small_state(&bench, "4M");
    let script = "cd /; echo one; until [ -e /run/gate ]; do sleep 0.01; done
        head -c 9000000 /dev/zero | tr '\\0' x; echo; echo last; exit 5";
    bench.inline(script, "60s");
    let agent = bench.agent(&["--flush-wait", "1s"]).spawn();
    crate::support::wait_until(
        "the first line",
        || {
            if agent.stdout() == "one\n" { Ok(()) } else { Err(agent.stderr()) }
        },
    );
    bench.share.rule(Rule::new(Fault::Error(Errno::ENOSPC), Ops::WRITE));
    bench.room.write("/run/gate", "", 0o600);
    assert_eq!(agent.wait().code, 5);
    let (outcome, log) = (bench.outcome(), bench.spool());
    let lost = outcome["output"]["droppedBytes"].as_u64().expect("a number");
    let marks = lines_of_the_agent(&log);
    assert_eq!(marks.len(), 1, "{marks:?}");
    assert_eq!(log.len() as u64 - marks[0].len() as u64 - 2 + lost, 4 + 9_000_000 + 6, "{outcome:#}");
    assert_eq!(bench.mirror_state(), "behind");
    bench.share.heal();
    bench.wait_until_nobody_records();
    assert_eq!(bench.sync().code, 0);
    bench.assert_mirrored("both were full");
}

#[test]
fn a_disk_that_is_full_before_the_first_byte_and_free_again_later_keeps_the_rest() {
    let bench = Bench::new();
    small_state(&bench, "4M");
    // By then the agent has written down that the script runs, and takes no space and gives none back for a while.
    let script = format!(
        "sleep 0.5; rest=$(df --output=avail -B1 {STATE} | tail -1); fallocate -l $rest {STATE}/filler || head -c $rest /dev/zero > {STATE}/filler
         echo lost; sleep 0.5; rm {STATE}/filler; sleep 0.5; echo kept; exit 6"
    );
    bench.inline(&script, "60s");
    assert_eq!(bench.agent(&["--quiet"]).run().code, 6);
    let (outcome, log) = (bench.outcome(), String::from_utf8(bench.spool()).expect("text"));
    assert_eq!(outcome["output"]["droppedBytes"], 5, "{outcome:#}\n{log}");
    assert!(log.starts_with("[ci-setup-agent] 5 bytes lost here: ") && log.ends_with("\nkept\n"), "{log}");
    assert_eq!(bench.sync().code, 0);
    bench.assert_mirrored("free again");
}

#[test]
fn a_disk_that_becomes_read_only_or_fails_does_not_stop_the_script() {
    for errno in [Errno::EROFS, Errno::EIO, Errno::ENOSPC, Errno::EDQUOT] {
        let bench = Bench::new();
        // A disk that fails on command: a second faulting file system, below the state directory.
        let (backing, disk) = (bench.room.disk().beside("disk"), bench.room.share().join("disk"));
        fs::create_dir(&backing).and_then(|()| fs::create_dir(&disk)).expect("folders");
        let disk = Share::mount(backing, disk, Options::default());
        bench.room.bash("ls /mnt/batch/tasks/shared/LS_root/mounts/clusters/ci-2/disk").ok();
        let state = "/mnt/batch/tasks/shared/LS_root/mounts/clusters/ci-2/disk/state";
        bench.inline("echo one; until [ -e /run/gate ]; do sleep 0.01; done; seq 1 100000; exit 4", "60s");
        let agent = bench.agent(&["--state", state]).spawn();
        crate::support::wait_until("the first line", || {
            if agent.stdout() == "one\n" { Ok(()) } else { Err(agent.stderr()) }
        });
        disk.rule(Rule::new(Fault::Error(errno), Ops::WRITE | Ops::CREATE | Ops::RENAME | Ops::SETATTR | Ops::FSYNC));
        bench.room.write("/run/gate", "", 0o600);
        let ran = agent.wait();
        assert_eq!(ran.code, 4, "{errno}: {}", ran.stderr);
        assert!(ran.stderr.contains("bytes of the output could not be kept"), "{errno}: {}", ran.stderr);
    }
}

#[test]
fn bytes_are_kept_as_they_are_whatever_they_are() {
    let scripts = [
        ("one line of 30 MiB without an end", "head -c 30M /dev/zero | tr '\\0' y"),
        ("NULs", "head -c 5000000 /dev/zero"),
        ("no UTF-8", "printf '\\xff\\xfe\\xc3(\\r\\n\\x1b[2J\\x00\\x80'; printf '%0.s\\xf0' {1..5000}"),
        ("a progress bar", "for i in {1..2000}; do printf '\\r%d %%' $i; done"),
        ("both streams", "for i in {1..3000}; do echo out $i; echo err $i >&2; done"),
    ];
    for (what, script) in scripts {
        let bench = Bench::new();
        bench.inline(script, "60s");
        let ran = bench.agent(&[]).run();
        let expected = bench.room.bash(&format!("exec 2>&1; {script}"));
        assert_eq!(ran.code, 0, "{what}: {}", ran.stderr);
        assert!(ran.bytes == expected.bytes, "{what}: passed through {} of {}", ran.bytes.len(), expected.bytes.len());
        assert!(bench.spool() == expected.bytes, "{what}: the log");
        bench.assert_mirrored(what);
    }
}

#[test]
fn five_million_writes_of_one_byte_are_all_kept() {
    let bench = Bench::new();
    bench.inline("dd if=/dev/zero bs=1 count=5000000 2>/dev/null; echo", "100s");
    let ran = bench.agent(&["--quiet"]).run();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(bench.outcome()["output"]["bytes"], 5_000_001);
    bench.assert_mirrored("tiny writes");
}

#[test]
fn bursts_that_fill_the_pipe_do_not_wait_for_a_look_at_it() {
    let bench = Bench::new();
    // A second, where each burst is read as it comes. A word of it that is missed costs some 0.1 s: until something else
    // wakes the reader.
    bench.inline("for i in {1..600}; do head -c 3000000 /dev/zero; done", "100s");
    let ran = bench.agent(&["--quiet", "--output-limit", "8M"]).run();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(bench.outcome()["output"]["droppedBytes"], 600 * 3_000_000 - (8 << 20));
}
