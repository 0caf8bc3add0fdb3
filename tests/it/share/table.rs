//! Every fault at every phase: the script does not notice, `run` ends in time, and afterwards the copy is
//! made complete.

use std::time::Duration;

use faultfs::{Errno, Fault, Loss, Ops, Options, Rule};

use super::bench::Bench;
use crate::support::{Place, assert_within, wait_until};

/// What goes wrong with the share.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    Op(Fault),
    /// Away, and the empty mount point is there.
    Unmounted,
    /// Back at once, without what was not flushed.
    Crash(Loss),
}

/// When it begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    BeforeTheScriptIsRead,
    AtTheFolder,
    MidStream,
    AtTheFlush,
    AtTheRename,
}

const PHASES: [Phase; 5] =
    [Phase::BeforeTheScriptIsRead, Phase::AtTheFolder, Phase::MidStream, Phase::AtTheFlush, Phase::AtTheRename];

const SLOW: Duration = Duration::from_millis(300);

/// Prints, waits for the test, prints, waits again, and exits with 7. `gate` files are made by the test.
/// Leaves the share first: bash looks at its working directory each time it looks for a program.
const SCRIPT: &str = "cd /; echo one\nwait_for() { until [ -e /run/gate-$1 ]; do sleep 0.01; done; }
wait_for 1\nseq 1 20000\nwait_for 2\necho last\nexit 7\n";

/// How long the end may wait for the share.
const FLUSH: Duration = Duration::from_secs(2);

impl Trouble {
    fn begin(self, bench: &Bench, phase: Phase) {
        let share = &bench.share;
        match self {
            Self::Op(fault) => {
                let ops = match phase {
                    Phase::AtTheFolder => Ops::CREATE,
                    Phase::AtTheRename => Ops::RENAME,
                    Phase::BeforeTheScriptIsRead | Phase::MidStream | Phase::AtTheFlush => Ops::ALL,
                };
                let ops = if matches!(fault, Fault::Short(_)) { Ops::WRITE } else { ops };
                share.rule(Rule::new(fault, ops));
            }
            Self::Unmounted => share.unmount(),
            Self::Crash(loss) => drop(share.crash(loss)),
        }
    }

    fn end(self, bench: &Bench) {
        bench.share.heal();
        if matches!(self, Self::Unmounted) {
            bench.share.mount_again();
        }
    }
}

/// One row of the table: this trouble at every phase.
fn row(trouble: Trouble) {
    for phase in PHASES {
        // The second is the contract's; the rest is for a machine that six people share.
        let before = Duration::from_secs(if phase == Phase::BeforeTheScriptIsRead { 4 } else { 0 });
        let bound = before + FLUSH + Duration::from_secs(1) + Duration::from_secs(2);
        assert_within(&format!("{trouble:?} {phase:?}"), bound, || cell(trouble, phase));
    }
}

/// Returns how long the end took, or the whole run where the trouble came before the script.
fn cell(trouble: Trouble, phase: Phase) -> Duration {
    let what = format!("{trouble:?} {phase:?}");
    let kept = if matches!(trouble, Trouble::Crash(_)) { faultfs::Kept::AtFsync } else { faultfs::Kept::AtOnce };
    let bench = Bench::with(Options { kept, ..Options::like_smb() });
    let open = |gate: u32| bench.room.write(format!("/run/gate-{gate}"), "", 0o600);
    bench.inline(SCRIPT, "60s");
    if phase == Phase::BeforeTheScriptIsRead {
        return before_the_script(&bench, trouble, &what);
    }
    if phase == Phase::AtTheFolder {
        trouble.begin(&bench, phase);
        if matches!(trouble, Trouble::Unmounted) {
            // Then nothing may run: that is `BeforeTheScriptIsRead`.
            return Duration::ZERO;
        }
    }
    let agent = bench.agent(&["--flush-wait", "2s"]).spawn();
    wait_until("the script to run", || {
        if agent.stdout().contains("one") { Ok(()) } else { Err((agent.stdout(), agent.stderr())) }
    });
    if phase != Phase::AtTheFolder {
        wait_until("its first line on the share", || {
            let found = find(bench.share.backing());
            if found.contains("one") { Ok(()) } else { Err(found) }
        });
    }
    if phase == Phase::MidStream {
        trouble.begin(&bench, phase);
    }
    open(1);
    wait_until("its output", || if agent.stdout().contains("\n20000\n") { Ok(()) } else { Err(agent.stderr()) });
    if matches!(phase, Phase::AtTheFlush | Phase::AtTheRename) {
        trouble.begin(&bench, phase);
    }
    let ending = std::time::Instant::now();
    open(2);
    let ran = agent.wait();
    let took = ending.elapsed();
    assert_eq!(ran.code, 7, "{what}: {}", ran.stderr);
    let expected: String = "one\n".to_owned() + &(1..=20000).map(|n| format!("{n}\n")).collect::<String>() + "last\n";
    assert!(bench.spool() == expected.as_bytes(), "{what}: the local log");
    assert_eq!(ran.stdout, expected, "{what}: passed through");
    if bench.mirror_state() == "current" {
        let copy = bench.mirrored("output.log");
        assert!(copy.as_deref() == Some(expected.as_bytes()), "{what}: said to be current");
    }
    if matches!(trouble, Trouble::Unmounted) {
        nothing_is_written_where_the_share_is_not(&bench, &what);
    }
    trouble.end(&bench);
    bench.wait_until_nobody_records();
    let synced = bench.sync();
    assert_eq!(synced.code, 0, "{what}: {}\n{:#}", synced.stderr, bench.outcome());
    bench.assert_mirrored(&what);
    took
}

/// The empty mount point is a folder of the local disk: a copy there would look complete.
fn nothing_is_written_where_the_share_is_not(bench: &Bench, what: &str) {
    bench.wait_until_nobody_records();
    let synced = bench.room.run(["ci-setup-agent", "sync", "--flush-wait", "1s"]);
    assert_eq!(synced.code, 1, "{what}: {}", synced.stderr);
    assert!(synced.stderr.contains("the share is not mounted"), "{what}: {}", synced.stderr);
    assert_eq!(std::fs::read_dir(bench.share.path()).expect("the mount point").count(), 0, "{what}");
}

/// The share is already ill when the run begins: an inline script may be refused, but then within its
/// bound and without using its turn up.
fn before_the_script(bench: &Bench, trouble: Trouble, what: &str) -> Duration {
    bench.stored("seq 1 1000; exit 7", "30s");
    trouble.begin(bench, Phase::BeforeTheScriptIsRead);
    let (ran, took) = bench.run(&["--share-wait", "1s", "--flush-wait", "2s"]);
    let outcome = bench.outcome();
    if outcome["state"] == "rejected" {
        let error: Vec<&str> = ran.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        // 126 where the script is there and cannot be read.
        assert!(matches!(ran.code, 125 | 126), "{what}: {}: {}", ran.code, ran.stderr);
        assert_eq!(error.len(), 1, "{what}: {}", ran.stderr);
        assert!(ran.stderr.contains("hint: "), "{what}: {}", ran.stderr);
        trouble.end(bench);
        bench.wait_until_nobody_records();
        // Nothing was used up.
        let (again, _) = bench.run(&[]);
        assert_eq!(again.code, 7, "{what}: {}", again.stderr);
    } else {
        assert_eq!(ran.code, 7, "{what}: {}", ran.stderr);
        trouble.end(bench);
    }
    bench.wait_until_nobody_records();
    assert_eq!(bench.sync().code, 0, "{what}");
    bench.assert_mirrored(what);
    took
}

/// All text of all logs on the share.
pub fn find(backing: &std::path::Path) -> String {
    let runs = std::fs::read_dir(backing.join("Logs/ci-2/creation")).into_iter().flatten().flatten();
    runs.filter_map(|run| std::fs::read_to_string(run.path().join("output.log")).ok()).collect()
}

macro_rules! rows {
    ($($name:ident: $trouble:expr;)*) => {$(
        #[test]
        fn $name() {
            row($trouble);
        }
    )*};
}

rows! {
    an_input_output_error_at_any_time: Trouble::Op(Fault::Error(Errno::EIO));
    a_full_share_at_any_time: Trouble::Op(Fault::Error(Errno::ENOSPC));
    a_stale_share_at_any_time: Trouble::Op(Fault::Error(Errno::ESTALE));
    a_read_only_share_at_any_time: Trouble::Op(Fault::Error(Errno::EROFS));
    a_share_that_denies_access_at_any_time: Trouble::Op(Fault::Error(Errno::EACCES));
    an_answer_that_was_lost_at_any_time: Trouble::Op(Fault::ErrorAfter(Errno::EIO));
    a_share_that_writes_a_part_at_any_time: Trouble::Op(Fault::Short(1000));
    a_slow_share_at_any_time: Trouble::Op(Fault::Delay(SLOW));
    a_share_that_hangs_at_any_time: Trouble::Op(Fault::Hang);
    a_share_that_hangs_after_the_deed_at_any_time: Trouble::Op(Fault::HangAfter);
    a_share_that_is_unmounted_at_any_time: Trouble::Unmounted;
    a_share_that_comes_back_without_the_last_writes_at_any_time: Trouble::Crash(Loss::Last(3));
    a_share_that_comes_back_with_nothing_unflushed_at_any_time: Trouble::Crash(Loss::Everything);
    a_share_that_comes_back_with_holes_at_any_time: Trouble::Crash(Loss::OutOfOrder);
}
