//! A process that has bash mapped, and whose memory a share that hangs keeps locked. The kernel waits for it with
//! every probe, and while it does, nobody on the machine can fork.

use std::sync::mpsc;
use std::time::Duration;

use faultfs::{Fault, Ops, Rule};
use serde_json::json;

use crate::share::bench::{Bench, SHARE};
use crate::support::call::Call;
use crate::support::setup::outcomes;
use crate::support::{Place, wait_until};

/// Maps bash, and a file of the share, which it changes; at the gate it unmaps the file, and the kernel writes it
/// back with the lock on the memory held.
const LOCKS: &str = "open B, '<', '/bin/bash'; syscall(9, 0, 1 << 21, 1, 2, fileno B, 0);
    open F, '+<', $ARGV[0]; open R, '/dev/urandom'; $| = 1;
    $at = syscall(9, 0, 1 << 20, 3, 1, fileno F, 0); syscall(0, fileno R, $at, 4096); print qq(mapped\\n);
    select undef, undef, undef, 0.01 until -e '/run/gate'; syscall(11, $at, 1 << 20);";

/// When the share answers again in any case: where this test fails the machine stands still until then.
const HEALED_AFTER: Duration = Duration::from_secs(60);

fn recorded(bench: &Bench, script: &str, timeout: &str, more: &[&str]) -> Call {
    bench.inline(script, timeout);
    let words = ["ci-setup-agent", "run", "/root/request.json", "--resource-group", "rg", "--workspace", "wks"];
    let options = ["--name", "ci-2", "--json", "--grace", "1s", "--flush-wait", "90s"];
    bench.room.call([&words[..], &options, more].concat().into_iter().map(str::to_owned))
}

#[test]
fn a_process_whose_memory_is_locked_disturbs_no_recording_and_one_that_begins_then_gives_way() {
    let bench = Bench::new();
    std::fs::write(bench.share.backing().join("Users/mapped"), vec![0; 1 << 20]).expect("a file");
    bench.room.write("/root/locks.pl", LOCKS, 0o644);
    bench.share.rule(Rule::new(Fault::Hang, Ops::WRITE).under("Users/mapped"));
    let locks = ["perl", "/root/locks.pl", &format!("{SHARE}/Users/mapped")].map(str::to_owned);
    let locks = bench.room.call(locks).spawn();
    wait_until("the map", || if locks.stdout() == "mapped\n" { Ok(()) } else { Err(locks.stderr()) });

    let script = "(true)\nfalse\ntouch /run/begun\nuntil [ -e /run/go ]; do sleep 0.05; done\n(exit 3)\ntrue\n";
    let first = wait_until("a run that is recorded", || {
        bench.room.bash("rm -f /run/begun").ok();
        let first = recorded(&bench, script, "5m", &["--rerun"]).spawn();
        wait_until("the script", || match bench.room.read("/run/begun") {
            Some(_) => Ok(()),
            None => Err(first.stderr()),
        });
        if bench.outcome()["steps"]["unavailable"].is_null() {
            return Ok(first);
        }
        // The kernel took too long to put the probes in.
        bench.room.write("/run/go", "", 0o600);
        let ran = first.wait();
        bench.room.bash("rm /run/go").ok();
        Err(ran)
    });
    let (done, is_done) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let share = &bench.share;
        let healer = scope.spawn(move || {
            let is_late = is_done.recv_timeout(HEALED_AFTER) == Err(mpsc::RecvTimeoutError::Timeout);
            share.heal();
            is_late
        });
        bench.room.write("/run/gate", "", 0o600);
        share.wait_hung(Ops::WRITE, 1);

        // The recording goes on, and comes to its end.
        bench.room.write("/run/go", "", 0o600);
        let ran = first.wait();
        let outcome = outcomes(&ran).remove(0);
        assert_eq!((ran.code, &outcome["steps"]["unavailable"]), (0, &json!(null)), "{outcome:#}");
        assert_eq!(outcome["failedCommandCount"], 2, "{outcome:#}");

        // Another one does without, and keeps its deadline.
        let ran = recorded(&bench, "(true)\nsleep 1000\n", "2s", &["--rerun"]).run();
        let outcome = outcomes(&ran).remove(0);
        assert_eq!(ran.code, 124, "{outcome:#}");
        let why = outcome["steps"]["unavailable"].as_str().expect("a reason");
        assert!(why.starts_with("the memory of process ") && why.contains("(`perl`) is locked"), "{why}");

        drop(done);
        assert!(!healer.join().expect("a thread"), "the share had to answer before a run went on");
    });
    locks.wait();
    wait_until("the probes to be taken out", || {
        match bench.room.bash("ls /sys/kernel/tracing/instances | grep ^ci_setup_agent_creation").stdout {
            none if none.is_empty() => Ok(()),
            some => Err(some),
        }
    });
}
