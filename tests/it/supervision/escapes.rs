//! Every way to escape that we know of, and who is left: of ours, and of `timeout -k 1`.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::{in_time, outcome, prepare, run_with};
use crate::support::call::Spawned;
use crate::support::{Cgroups, Machine, Place, Process, Room, wait_until};

/// How one of them escapes.
struct Escape {
    name: &'static str,
    /// `MARK` stands for the mark of the process that escapes: what its command line begins with. `CHAIN` stands
    /// for a program that forks and exits for ever, and leaves a byte in `/tmp/MARK` each time.
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
        "f=$'/tmp/) Z 1 (\\n) R 1'; cp /bin/sleep \"$f\"; setsid bash -c 'exec -a MARK \"$0\" 10000' \"$f\" &",
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
    // The first of the chains, and the others wait for it: with them, who opens the session has no processor.
    with_systemd(
        "two chains in a session scope",
        "su - azureuser <<'END' &\nsetsid CHAIN 2\nEND\nuntil test -s /tmp/MARK; do sleep 0.1; done",
    ),
    anywhere("a chain that forks and exits", "(setsid CHAIN 1 &)"),
    anywhere("four chains that fork and exit", "(setsid CHAIN 4 &)"),
];

impl Escape {
    fn forks_for_ever(&self) -> bool {
        self.how.contains("CHAIN")
    }
}

/// The possible ones, with the mark of each.
fn escapes(who: &str, has_systemd: bool) -> Vec<(String, &'static Escape)> {
    let possible = ESCAPES.iter().enumerate().filter(|(_, escape)| has_systemd || !escape.needs_systemd);
    possible.map(|(number, escape)| (format!("{who}-escape-{number}."), escape)).collect()
}

/// All of them. The chains, which leave the others little time, wait for the file `/tmp/WHO`.
fn script(who: &str, escapes: &[(String, &Escape)]) -> String {
    let (chains, others): (Vec<_>, Vec<_>) = escapes.iter().partition(|(_, escape)| escape.forks_for_ever());
    let line = |(mark, escape): &(String, &Escape)| escape.how.replace("CHAIN", CHAIN).replace("MARK", mark) + "\n";
    let lines = |some: Vec<_>| some.into_iter().map(line).collect::<String>();
    format!("{}until test -e /tmp/{who}; do sleep 0.1; done\n{}sleep 10000\n", lines(others), lines(chains))
}

/// For each of them whether there is a process with its mark, or what forks on and on still does.
fn alive(place: &impl Place, escapes: &[(String, &Escape)]) -> Vec<bool> {
    let lengths = || -> Vec<Option<usize>> {
        escapes.iter().map(|(mark, _)| place.read(format!("/tmp/{mark}")).map(|bytes| bytes.len())).collect()
    };
    let before = lengths();
    std::thread::sleep(Duration::from_millis(300));
    let all = Process::all();
    let is_there = |mark: &str| all.iter().any(|process| process.command.contains(mark));
    let forks = before.iter().zip(lengths()).map(|(before, now)| *before != now);
    forks.zip(escapes).map(|(forks, (mark, _))| forks || is_there(mark)).collect()
}

/// Runs them all under the agent and under timeout, and compares who is left.
fn compare(place: &impl Place, suite: &str, has_systemd: bool) {
    let left = left_by_us(place, suite, has_systemd);
    let theirs = format!("timeout-{suite}");
    let escapes = escapes(&theirs, has_systemd);
    place.write("/root/theirs.sh", script(&theirs, &escapes), 0o644);
    let mut timeout = place.spawn(["timeout", "-k", "1", "1000", "bash", "/root/theirs.sh"]);
    let missing = wait_for_all(place, &theirs, &escapes, &mut timeout);
    assert!(missing.is_empty(), "missing {missing:?}; {} {}", timeout.stdout(), timeout.stderr());
    // For timeout this is as if time were up.
    timeout.signal(Signal::SIGTERM);
    timeout.wait();
    // A chain need not come far in one look: what is expected to live is looked for until it is seen to.
    let survivors: Vec<bool> = escapes.iter().map(|(_, escape)| escape.survives_timeout).collect();
    let table = wait_until("the survivors of timeout", || {
        let alive = alive(place, &escapes);
        let row = |((left, theirs), escape): ((&bool, &bool), &str)| {
            format!("{escape:45} {:7} {:7}\n", u8::from(*left), u8::from(*theirs))
        };
        let names = escapes.iter().map(|(_, escape)| escape.name);
        let rows: String = left.iter().zip(&alive).zip(names).map(row).collect();
        let table = format!("{suite:45} {:>7} {:>7}\n{rows}", "ours", "timeout");
        if alive == survivors { Ok(table) } else { Err(table) }
    });
    println!("{table}");
    assert!(!left.contains(&true), "\n{table}");
}

/// Runs them under the agent until time is up.
fn left_by_us(place: &impl Place, suite: &str, has_systemd: bool) -> Vec<bool> {
    in_time(place, ["10s", "60s"], |timeout| {
        let ours = format!("ours-{suite}-{timeout}");
        let escapes = escapes(&ours, has_systemd);
        prepare(place, &script(&ours, &escapes), timeout);
        let mut running = place.spawn(run_with(&[]));
        let missing = wait_for_all(place, &ours, &escapes, &mut running);
        let ran = running.wait();
        assert_eq!(ran.code, 124, "{ran:?}");
        let outcome = outcome(place);
        assert_eq!(outcome["state"], "timedOut", "{outcome:#}");
        assert_eq!(outcome["processes"]["unkillable"], serde_json::json!([]));
        missing.is_empty().then(|| alive(place, &escapes))
    })
}

/// Waits until all were seen, or the script has ended. Returns the marks of those that were not.
fn wait_for_all(place: &impl Place, who: &str, escapes: &[(String, &Escape)], running: &mut Spawned) -> Vec<String> {
    let mut missing: Vec<_> = escapes.iter().collect();
    wait_until("all to be out", || {
        let ended = !running.is_running();
        let all = Process::all();
        let is_there = |mark: &str| all.iter().any(|process| process.command.starts_with(mark));
        missing.retain(|(mark, _)| !is_there(mark) && place.read(format!("/tmp/{mark}")).is_none());
        if missing.iter().all(|(_, escape)| escape.forks_for_ever()) {
            place.write(format!("/tmp/{who}"), "", 0o644);
        }
        let names: Vec<String> = missing.iter().map(|(mark, _)| mark.clone()).collect();
        if names.is_empty() || ended { Ok(names) } else { Err(names) }
    })
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
