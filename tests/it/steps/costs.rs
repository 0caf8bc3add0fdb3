//! What recording costs, side by side in one run (`cargo test --release steps::costs -- --ignored --nocapture`).

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use super::{record, recorder};

/// Processor time of the children that have ended. Hits are paid for in it, and on a machine where others are
/// at work it says more than the clock.
fn children_processor_time() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    [usage.user_time(), usage.system_time()].map(|time| time.num_microseconds() as f64 / 1e6).iter().sum()
}

/// Seconds that bash needs for a script from a file, as often as it takes to be fair.
fn seconds(path: &std::path::Path, set_root: impl FnOnce(u32)) -> f64 {
    let began = children_processor_time();
    let mut child = Command::new("/bin/bash")
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    set_root(child.id());
    child.wait().unwrap();
    children_processor_time() - began
}

/// The same under a recorder that is pumped as a supervisor would.
fn seconds_recorded(path: &std::path::Path, script: &str) -> (f64, ci_setup_agent::steps::Summary) {
    let mut recorder = recorder("/bin/bash", script);
    let began = children_processor_time();
    let mut child = Command::new("/bin/bash")
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    recorder.set_root(child.id());
    let end = loop {
        if child.try_wait().unwrap().is_some() {
            break children_processor_time() - began;
        }
        super::wait_for_events(&recorder);
        let due = recorder.next_wakeup().is_none_or(|next| next <= Instant::now());
        if due {
            recorder.pump();
        }
    };
    (end, recorder.finish(None))
}

#[test]
#[ignore = "a measurement"]
fn a_b_a_b() {
    let scripts = [
        ("1,000 × /bin/true, straight", "/bin/true\n".repeat(1000), 6),
        ("1,000 × /bin/true, loop", "for i in {1..1000}; do /bin/true; done\n".to_owned(), 6),
        ("1,000,000 rounds", "for ((i=0;i<1000000;i++)); do :; done\n".to_owned(), 4),
        ("300,000 evals", "for ((i=0;i<300000;i++)); do eval :; done\n".to_owned(), 4),
        ("300,000 evals, with -c", "bash -c :\nfor ((i=0;i<300000;i++)); do eval :; done\n".to_owned(), 4),
        ("1,000,000 evals, with -c", "bash -c :\nfor ((i=0;i<1000000;i++)); do eval :; done\n".to_owned(), 2),
        ("100,000 lines of builtins", ":\n".repeat(100_000), 6),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (name, script, rounds) in scripts {
        let path = folder.path().join("s.sh");
        std::fs::write(&path, &script).unwrap();
        let (mut without, mut with, mut summary) = (Vec::new(), Vec::new(), None);
        for _ in 0..rounds {
            without.push(seconds(&path, |_| {}));
            let (time, seen) = seconds_recorded(&path, &script);
            with.push(time);
            summary = Some(seen);
        }
        without.sort_by(f64::total_cmp);
        with.sort_by(f64::total_cmp);
        let (median, least) = (with[rounds / 2] / without[rounds / 2], with[0] / without[0]);
        let summary = summary.unwrap();
        println!(
            "{name:28} {:.3} s: median {median:.3}, least {least:.3}; {} steps, {} lost, {:?}",
            without[rounds / 2],
            summary.count,
            summary.lost_events,
            summary.notes
        );
    }
}

#[test]
#[ignore = "a measurement"]
fn beginning_and_end() {
    for _ in 0..5 {
        let began = Instant::now();
        let watch = ci_setup_agent::steps::Watch { run_id: "t", interpreter: "/bin/bash".as_ref(), script: b":\n" };
        let starting = ci_setup_agent::steps::Starting::new(watch).unwrap();
        let started = began.elapsed();
        let mut recorder = starting.finish(Instant::now() + Duration::from_secs(1)).unwrap();
        let ready = began.elapsed();
        let pump = Instant::now();
        recorder.pump();
        let pump = pump.elapsed();
        let end = Instant::now();
        drop(recorder.finish(None));
        println!("new {started:?}, ready after {ready:?}, a pump {pump:?}, finish {:?}", end.elapsed());
        // The next is to begin with a kernel at rest.
        std::thread::sleep(Duration::from_millis(500));
    }
    drop(record(":\n"));
}
