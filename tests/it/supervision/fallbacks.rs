//! What the supervisor does where the kernel does not help: no `cgroup.kill`, processes that cannot die.

use std::time::Duration;

use faultfs::{Fault, Ops, Rule};
use serde_json::Value;

use super::{holding, outcome, prepare, run_with, wait_for_none};
use crate::share::bench::{Bench, SHARE};
use crate::support::{Place, Room, wait_until};

#[test]
fn nobody_is_left_where_a_write_to_cgroup_kill_fails() {
    let room = Room::new("bookworm");
    // As if the kernel were older than 5.14: the kill of the leaf is refused.
    let script = "leaf=/sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup)\n\
        mount --bind /dev/full $leaf/cgroup.kill && echo $leaf\n\
        if echo 1 > $leaf/cgroup.kill; then exit 9; fi\n\
        hold victim-1 & (setsid bash -c 'trap \"\" TERM; exec hold victim-2' &)\n\
        (setsid perl -e '$0 = q(victim-3); $SIG{TERM} = q(IGNORE); fork; while (1) { fork and exit }' &)\n\
        sleep 10000\n";
    prepare(&room, script, "2s");
    let ran = room.run(run_with(&[]));
    assert_eq!(ran.code, 124, "{ran:?}");
    assert!(ran.stdout.contains("/ci-setup"), "the script was in a leaf: {ran:?}");
    assert!(holding(&room, "victim").is_empty());
    wait_for_none(&room, "victim");
    let outcome = outcome(&room);
    assert_eq!(outcome["processes"]["unkillable"], serde_json::json!([]), "{outcome:#}");
    let leaf = ran.stdout.lines().find(|line| line.contains("/ci-setup")).expect("the leaf");
    assert!(room.bash(&format!("test ! -e {leaf} || grep 'populated 0' {leaf}/cgroup.events")).code == 0, "{leaf}");
}

#[test]
fn a_process_that_cannot_die_is_listed_and_no_longer_waited_for() {
    let hang = format!("printf x >> {SHARE}/Users/stuck");
    // Beside the script, and the script's own first process.
    for script in [
        format!("cd /; echo begun; bash -c 'exec -a victim bash -c \"{hang}; true\"' & wait"),
        format!("cd /; echo begun; exec -a victim bash -c '{hang}; true'"),
    ] {
        let bench = Bench::new();
        std::fs::write(bench.share.backing().join("Users/stuck"), "").expect("a file");
        bench.inline(&script, "2s");
        bench.share.rule(Rule::new(Fault::Hang, Ops::WRITE).under("Users/stuck"));
        let (ran, took) = bench.run(&["--grace", "1s", "--flush-wait", "1s"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (124, "begun\n"), "{script}: {}", ran.stderr);
        // Time, grace, 5 s after the kill; flush wait and one second. Who waits for it waits for ever.
        let (least, most) = (Duration::from_millis(7900), Duration::from_secs(8 + 1 + 1 + 20));
        assert!(least <= took && took < most, "{script}: {took:?}");
        let stuck = holding(&bench.room, "victim");
        let [stuck] = &stuck[..] else { panic!("{script}: one process, not {stuck:?}") };
        let state = std::fs::read_to_string(format!("/proc/{}/stat", stuck.pid)).expect("a process");
        assert!(state.contains(") D "), "{script}: {state}");
        let outcome = bench.outcome();
        assert_eq!(outcome["state"], "timedOut", "{script}: {outcome:#}");
        let processes = &outcome["processes"];
        assert_eq!(processes["unkillableCount"], 1, "{script}: {processes:#}");
        let listed: &Vec<Value> = processes["unkillable"].as_array().expect("a list");
        assert_eq!(listed.len(), 1, "{script}: {processes:#}");
        assert_eq!(listed[0]["pid"], stuck.pid_inside, "{script}: {processes:#}");
        assert_eq!(listed[0]["user"], "root", "{script}: {processes:#}");
        assert_eq!(listed[0]["command"], stuck.command, "{script}: {processes:#}");
        assert_eq!(bench.spool(), b"begun\n", "{script}");
        bench.share.heal();
        wait_until("the end of who could not die", || match &holding(&bench.room, "victim")[..] {
            [] => Ok(()),
            some => Err(some.to_vec()),
        });
        bench.wait_until_nobody_records();
        assert_eq!(bench.sync().code, 0, "{script}");
        bench.assert_mirrored(&script);
    }
}

/// Maps a file of the share, changes it, waits for the gate, and unmaps it, which makes the kernel write it back
/// with the lock on the memory held.
const UNMAPS: &str = "open F, '+<', $ARGV[0]; open R, '/dev/urandom'; $| = 1;
    $at = syscall(9, 0, 1 << 20, 3, 1, fileno F, 0); syscall(0, fileno R, $at, 4096); print qq(mapped\\n);
    select undef, undef, undef, 0.01 until -e '/run/gate'; syscall(11, $at, 1 << 20);";

#[test]
fn a_process_whose_memory_is_locked_by_a_share_that_hangs_moves_no_deadline_and_no_recovery() {
    let bench = Bench::new();
    std::fs::write(bench.share.backing().join("Users/mapped"), vec![0; 1 << 20]).expect("a file");
    bench.room.write("/root/unmaps.pl", UNMAPS, 0o644);
    let script = format!("cd /; hold victim & exec perl /root/unmaps.pl {SHARE}/Users/mapped");
    bench.room.write("/usr/local/bin/hold", super::HOLD, 0o755);
    let is_locked = |pid: i32| {
        let reader = std::process::Command::new("timeout")
            .args(["-s", "KILL", "0.5", "cat", &format!("/proc/{pid}/cmdline")])
            .output();
        if reader.expect("timeout").status.success() { Err("it can be read") } else { Ok(()) }
    };
    let lock = |agent: &crate::support::call::Spawned| {
        wait_until("the map", || if agent.stdout() == "mapped\n" { Ok(()) } else { Err(agent.stderr()) });
        let pid = holding(&bench.room, "perl").first().expect("perl").pid;
        bench.share.hang(Ops::ALL);
        bench.room.write("/run/gate", "", 0o600);
        wait_until("the hang", || {
            let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
            if state.contains(") D ") { Ok(()) } else { Err(state) }
        });
        // As another thread would that maps something: it waits for the lock, and everybody else waits behind it.
        let mut waiting = std::process::Command::new("setpriv");
        waiting.args(["--pdeathsig", "KILL", "sh", "-c", "echo 5 > /proc/$0/clear_refs", &pid.to_string()]);
        let waiting = waiting.spawn().expect("a shell");
        wait_until("the lock on its memory", || is_locked(pid));
        waiting
    };
    bench.inline(&script, "6s");
    let agent = bench.agent(&["--grace", "1s", "--flush-wait", "1s"]).spawn();
    let mut waiting = lock(&agent);
    let ran = agent.wait();
    assert_eq!(ran.code, 124, "{}", ran.stderr);
    let processes = bench.outcome()["processes"].clone();
    assert_eq!(processes["atDeadlineCount"], 2, "{processes:#}");
    let commands: Vec<_> =
        processes["atDeadline"].as_array().expect("a list").iter().map(|it| &it["command"]).collect();
    assert_eq!(commands, ["[perl]", "victim 10000"]);
    // It is met as well by those who look for what a crash has left.
    bench.share.heal();
    waiting.wait().expect("wait");
    assert!(holding(&bench.room, "victim").is_empty());
    bench.wait_until_nobody_records();
    bench.room.bash("rm /run/gate").ok();
    let agent = bench.agent(&["--rerun", "--flush-wait", "1s"]).spawn();
    let mut waiting = lock(&agent);
    // Not by pgrep, which reads command lines.
    bench.room.bash("all=$(grep -l ^ci-setup /proc/[0-9]*/comm | cut -d/ -f3); kill -STOP $all; kill -9 $all").ok();
    agent.wait();
    assert_eq!(bench.agent(&["--flush-wait", "1s"]).run().code, 137);
    bench.share.heal();
    waiting.wait().expect("wait");
    assert!(holding(&bench.room, "victim").is_empty());
}
