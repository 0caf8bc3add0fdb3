//! Ten thousand processes (CONTRACT 10), and kernels without `cgroup.kill`.

use std::time::{Duration, Instant};

use super::{in_time, outcome, prepare, run_with};
use crate::support::call::Ran;
use crate::support::{Cgroups, Machine, Place, Room, pids_with_marker};

const MANY: usize = 10_000;

/// Children of one process, each in a session of its own, deaf to SIGTERM; then it says so and waits.
fn crowd(mark: &str) -> String {
    format!(
        "perl -MPOSIX=setsid -e '$SIG{{TERM}} = q(IGNORE); $0 = q({mark}); $| = 1; \
         for (1 .. {MANY}) {{ my $pid = fork; die qq(fork: $!) unless defined $pid; \
         if (!$pid) {{ setsid; sleep 10000; exit }} }} print qq(all are there\\n); sleep 10000'\n"
    )
}

/// Runs that until the deadline, which must come when all are there, and returns how long the end took
/// after deadline and grace.
fn end_crowd(place: &impl Place, script: &str, mark: &str) -> Duration {
    // As on an instance; a container may start with less.
    place.bash("echo 4000000 > /proc/sys/kernel/pid_max; ulimit -u unlimited");
    let (limit, took, outcome) = in_time(place, ["15s", "80s"], |timeout| {
        prepare(place, script, timeout);
        let began = Instant::now();
        let Ran { code, stderr, .. } = place.run(run_with(&[]));
        let took = began.elapsed();
        assert_eq!(code, 124, "{stderr}");
        assert_eq!(pids_with_marker(mark), [0; 0]);
        let outcome = outcome(place);
        let count = outcome["processes"]["atDeadlineCount"].as_u64().expect("a count");
        let limit: f64 = timeout.trim_end_matches('s').parse().expect("seconds");
        (count >= MANY as u64).then_some((limit, took, outcome))
    });
    let took = took.saturating_sub(Duration::from_secs_f64(limit + 1.0));
    assert_eq!(outcome["processes"]["atDeadline"].as_array().expect("a list").len(), 100);
    let ended = outcome["elapsedSeconds"].as_f64().expect("seconds") - limit - 1.0;
    println!("{MANY} processes of {mark} ended {ended:.2} s after the grace, and `run` {took:?}");
    took
}

#[test]
fn ten_thousand_processes_in_sessions_of_their_own_are_ended() {
    let took = end_crowd(&Machine::booted("bookworm"), &crowd("crowd-leaf"), "crowd-leaf");
    // The bound of section 10 is scripts/bench's to show, on a machine that does nothing else;
    // here it is the time that the kernel takes for so many ends, beside other tests.
    assert!(took < Duration::from_secs(30), "{took:?}");
}

#[test]
fn ten_thousand_processes_in_a_session_scope_of_logind_are_ended() {
    let machine = Machine::booted("bookworm");
    // logind lets a user have fewer.
    machine.write("/etc/systemd/system/user-.slice.d/90-tasks.conf", "[Slice]\nTasksMax=infinity\n", 0o644);
    machine.run(["systemctl", "daemon-reload"]).ok();
    let script = format!("su - azureuser <<'END'\n{}END\n", crowd("crowd-session"));
    let took = end_crowd(&machine, &script, "crowd-session");
    assert!(took < Duration::from_secs(30), "{took:?}");
}

#[test]
fn ten_thousand_processes_are_ended_without_cgroups() {
    let took = end_crowd(&Room::with_cgroups("bookworm", Cgroups::None), &crowd("crowd-room"), "crowd-room");
    assert!(took < Duration::from_secs(30), "{took:?}");
}
