//! Power fails: the agent is gone between any two of its steps (CONTRACT 9).

use std::collections::BTreeMap;

use super::{outcomes, prepare, run_with};
use crate::support::{Place, Room};

/// Runs in the room, for each point: a fresh state, the agent killed at its Nth system call of some kind,
/// as many of its processes as there are, and then called again until it has a result.
///
/// Prints `POINT EXECUTIONS CODE STATE`, or what was wrong.
const LOOP: &str = include_str!("power.sh");

fn points(syscalls: &str, from: usize, step: usize, count: usize) -> BTreeMap<String, usize> {
    let room = Room::new("bookworm");
    prepare(&room, "echo executed >> /root/executions; echo output", "60s");
    room.write("/root/power.sh", LOOP, 0o755);
    let numbers = [from, step, count].map(|number| number.to_string());
    let call = ["bash", "/root/power.sh", syscalls]
        .map(str::to_owned)
        .into_iter()
        .chain(numbers)
        .chain(run_with(&["--steps", "off"]));
    let said = room.run(call).ok();
    let mut summary = BTreeMap::new();
    for line in said.lines() {
        let [point, executions, code, state] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}\n{said}");
        };
        // Once at most, and once exactly where it says so. `failed`: it was the script's own process that made
        // so many system calls first, and was killed.
        let fits =
            matches!((executions, code, state), ("1", "0", "succeeded") | ("0" | "1", "137", "interrupted" | "failed"));
        assert!(fits, "{syscalls} {point}: {line}\n{:#?}", outcomes(&room));
        *summary.entry(format!("{executions} {code} {state}")).or_default() += 1;
    }
    println!("{syscalls}: {summary:?}");
    assert_eq!(summary.values().sum::<usize>(), count);
    summary
}

#[test]
fn killed_at_any_write_rename_or_sync_it_runs_at_most_once_and_its_state_can_be_read() {
    points("write,rename,fsync,fdatasync,ftruncate,mkdir,unlink,openat", 1, 5, 60);
}

#[test]
fn killed_at_any_fork_message_or_wait_it_runs_at_most_once_and_its_state_can_be_read() {
    points("clone,fork,vfork,sendmsg,recvmsg,ppoll,wait4,execve,setsid", 1, 2, 40);
}

/// `scripts/soak-power` runs this.
#[test]
#[ignore = "takes minutes: scripts/soak-power"]
fn soak() {
    let wanted: usize = std::env::var("SOAK_POINTS").ok().and_then(|text| text.parse().ok()).unwrap_or(2000);
    // Files, then processes and messages, then moments: none of them lines up with the others.
    let files = wanted / 4;
    points("write,rename,fsync,fdatasync,ftruncate,fallocate,mkdir,unlink,openat", 1, 1, files);
    points("clone,sendmsg,recvmsg,ppoll,poll,wait4,execve,setsid,dup2,pipe2,socketpair", 1, 1, wanted / 8);
    points("moment", 0, 1, wanted - files - wanted / 8);
}

#[test]
fn killed_at_random_moments_it_runs_at_most_once_and_its_state_can_be_read() {
    points("moment", 0, 1, 150);
}
