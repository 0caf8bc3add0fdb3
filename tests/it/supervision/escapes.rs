//! Every way to escape that we know of, and who is left: of ours, and of `timeout -k 1`.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{outcome, prepare, run_with};
use crate::support::call::Spawned;
use crate::support::{Cgroups, Machine, Place, Room, pids_with_marker, wait_until};

/// How one of them escapes.
struct Escape {
    name: &'static str,
    /// `MARK` stands for the mark of the process that escapes, `CHAIN` for a program that forks and exits for
    /// ever, and leaves a byte in `/tmp/MARK` each time.
    how: &'static str,
    /// Whether `timeout -k 1` leaves somebody alive.
    survives_timeout: bool,
    needs_systemd: bool,
}

const fn anywhere(name: &'static str, how: &'static str) -> Escape {
    Escape { name, how, survives_timeout: true, needs_systemd: false }
}

const fn with_systemd(name: &'static str, how: &'static str) -> Escape {
    Escape { name, how, survives_timeout: true, needs_systemd: true }
}

const CHAIN: &str = "perl -e '$SIG{TERM} = q(IGNORE); for (2 .. $ARGV[1]) { fork or last } \
    while (1) { fork and exit; open F, qq(>>/tmp/$ARGV[0]); print F q(.); close F }' MARK";

const ESCAPES: [Escape; 20] = [
    Escape { survives_timeout: false, ..anywhere("a plain background child", "hold MARK &") },
    anywhere("a process group of its own", "(set -m; hold MARK &)"),
    anywhere("a session of its own", "setsid hold MARK &"),
    anywhere("a daemon, forked twice, with closed stdio", "(setsid hold MARK <&- >&- 2>&- &)"),
    anywhere("nohup", "setsid nohup hold MARK > /dev/null 2>&1 &"),
    anywhere("SIGTERM ignored", "setsid bash -c 'trap \"\" TERM; exec hold MARK' &"),
    anywhere("stopped by SIGSTOP", "setsid hold MARK & sleep 0.3; kill -STOP $!"),
    anywhere("the environment taken off", "(setsid env -i /usr/local/bin/hold MARK &)"),
    anywhere("sudo -u azureuser", "sudo -u azureuser bash -c 'setsid hold MARK > /dev/null 2>&1 &'"),
    anywhere("sudo -u azureuser -i", "sudo -u azureuser -i bash -c 'setsid hold MARK > /dev/null 2>&1 &'"),
    anywhere(
        "a block of sudo -u azureuser -i",
        "sudo -u azureuser -i <<'END'\n(setsid hold MARK > ~/hold.log 2>&1 &)\nEND",
    ),
    anywhere(
        "a name like the end of /proc/PID/stat",
        "cp /bin/sleep $'/tmp/) Z 1 (\\n) R 1'; OWN=MARK setsid --fork $'/tmp/) Z 1 (\\n) R 1' 10000",
    ),
    anywhere("a pid namespace of its own", "setsid unshare -pf --mount-proc hold MARK &"),
    anywhere(
        "below a subreaper of its own",
        "setsid perl -e 'syscall(157, 36, 1, 0, 0, 0); fork or fork or exec qw(hold MARK); sleep 10000' &",
    ),
    with_systemd("su - azureuser, a session scope", "su - azureuser -c 'setsid hold MARK' &"),
    with_systemd("systemd-run --scope", "systemd-run --quiet --scope setsid hold MARK &"),
    with_systemd(
        "in a cgroup of somebody else",
        "setsid bash -c 'echo $$ > /sys/fs/cgroup/system.slice/cron.service/cgroup.procs; exec hold MARK' &",
    ),
    anywhere("a chain that forks and exits", "(setsid CHAIN 1 &)"),
    anywhere("four chains that fork and exit", "(setsid CHAIN 4 &)"),
    with_systemd("two chains in a session scope", "su - azureuser <<'END' &\nsetsid CHAIN 2\nEND"),
];

fn escapes(has_systemd: bool) -> impl Iterator<Item = (String, &'static Escape)> {
    let possible = ESCAPES.iter().enumerate().filter(move |(_, escape)| has_systemd || !escape.needs_systemd);
    possible.map(|(number, escape)| (format!("escape-{number}."), escape))
}

fn script(who: &str, has_systemd: bool) -> String {
    let lines = escapes(has_systemd).map(|(mark, escape)| {
        let how = escape.how.replace("CHAIN", CHAIN).replace("MARK", &format!("{who}-{mark}"));
        // The chains leave the others little time: let them come last.
        if escape.how.contains("CHAIN") { format!("sleep 0.3\n{how}\n") } else { how + "\n" }
    });
    lines.collect::<String>() + "echo all are out\nsleep 10000\n"
}

/// Whether there is a process with that mark, or what forks on and on still does.
fn is_alive(place: &impl Place, mark: &str) -> bool {
    let length = || place.read(format!("/tmp/{mark}")).map(|bytes| bytes.len());
    let before = length();
    if before.is_some() {
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(300) {
            if length() != before {
                return true;
            }
        }
    }
    !pids_with_marker(mark).is_empty()
}

/// Runs them all under the agent and under timeout, and compares who is left.
fn compare(place: &impl Place, suite: &str, has_systemd: bool) {
    let ours = format!("ours-{suite}");
    let theirs = format!("timeout-{suite}");
    prepare(place, &script(&ours, has_systemd), "10s");
    let mut running = place.spawn(run_with(&[]));
    wait_for_all(place, &ours, has_systemd, &mut running);
    let ran = running.wait();
    assert_eq!(ran.code, 124, "{ran:?}");
    let outcome = outcome(place);
    assert_eq!(outcome["state"], "timedOut", "{outcome:#}");
    assert_eq!(outcome["processes"]["unkillable"], serde_json::json!([]));
    let left: Vec<bool> = escapes(has_systemd).map(|(mark, _)| is_alive(place, &format!("{ours}-{mark}"))).collect();

    place.write("/root/theirs.sh", script(&theirs, has_systemd), 0o644);
    let mut timeout = place.spawn(["timeout", "-k", "1", "1000", "bash", "/root/theirs.sh"]);
    wait_for_all(place, &theirs, has_systemd, &mut timeout);
    // For timeout this is as if time were up.
    timeout.signal(Signal::SIGTERM);
    timeout.wait();
    let mut table = format!("{suite:45} {:>7} {:>7}\n", "ours", "timeout");
    let mut surprises = Vec::new();
    for ((mark, escape), left) in escapes(has_systemd).zip(left) {
        let theirs = is_alive(place, &format!("{theirs}-{mark}"));
        table += &format!("{:45} {:7} {:7}\n", escape.name, u8::from(left), u8::from(theirs));
        if left || theirs != escape.survives_timeout {
            surprises.push(escape.name);
        }
    }
    println!("{table}");
    assert_eq!(surprises, [""; 0], "\n{table}");
}

fn wait_for_all(place: &impl Place, who: &str, has_systemd: bool, running: &mut Spawned) {
    let mut missing: Vec<String> = escapes(has_systemd).map(|(mark, _)| format!("{who}-{mark}")).collect();
    wait_until("all to be out", || {
        let ended = !running.is_running();
        missing.retain(|mark| pids_with_marker(mark).is_empty() && place.read(format!("/tmp/{mark}")).is_none());
        assert!(!ended || missing.is_empty(), "missing {missing:?}; {} {}", running.stdout(), running.stderr());
        if missing.is_empty() { Ok(()) } else { Err(missing.clone()) }
    });
}

#[test]
fn nobody_escapes_on_bullseye() {
    compare(&Machine::booted("bullseye"), "bullseye", true);
}

#[test]
fn nobody_escapes_on_bookworm() {
    compare(&Machine::booted("bookworm"), "bookworm", true);
}

#[test]
fn nobody_escapes_on_trixie() {
    compare(&Machine::booted("trixie"), "trixie", true);
}

#[test]
fn nobody_escapes_without_a_cgroup_of_version_2() {
    compare(&Room::with_cgroups("bookworm", Cgroups::None), "none", false);
}

#[test]
fn nobody_escapes_where_cgroups_are_read_only() {
    compare(&Room::with_cgroups("bookworm", Cgroups::ReadOnly), "read-only", false);
}

#[test]
fn nobody_escapes_where_cgroups_are_hybrid() {
    compare(&Room::with_cgroups("bookworm", Cgroups::Hybrid), "hybrid", false);
}
