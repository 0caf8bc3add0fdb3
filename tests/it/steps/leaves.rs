//! What a recording leaves in tracefs (nothing), and what runs at the same time do to each other (nothing).

use std::process::Command;
use std::time::{Duration, Instant};

use ci_setup_agent::steps::{Starting, Watch, sweep_stale};

use super::{all_told, record, record_with};

/// Runs a command of the shell's in a tracefs of its own, which is the kernel's one and only.
fn in_tracefs(command: &str) -> String {
    let script =
        format!("d=$(mktemp -d); mount -t tracefs t $d && cd $d && {{ {command}; }}; cd /; umount $d; rmdir $d");
    let output = Command::new("unshare").args(["-m", "dash", "-c", &script]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn nothing_is_left_after_the_end() {
    let watch = Watch { run_id: "leaves-nothing", interpreter: "/bin/bash".as_ref(), script: b":\n" };
    let recorder = Starting::new(watch).unwrap().finish(Instant::now() + Duration::from_secs(10)).unwrap();
    let names = || in_tracefs("ls instances; cat uprobe_events");
    assert!(names().contains("ci_setup_agent_leaves_nothing"));
    recorder.finish(None);
    let deadline = Instant::now() + Duration::from_secs(20);
    while names().contains("ci_setup_agent_leaves_nothing") {
        assert!(Instant::now() < deadline, "{}", names());
        std::thread::yield_now();
    }
}

#[test]
fn the_next_start_removes_what_a_dead_run_left_and_nothing_of_a_living_one() {
    in_tracefs(
        "mkdir instances/ci_setup_agent_dead_1_0; echo 'p:ci_setup_agent_dead_1_0_t0/top_1_0 /bin/true:0x2000' >> uprobe_events; \
         echo 'p:ci_setup_agent_dead_1_1_t0/top_1_1 /bin/true:0x2000' >> uprobe_events; echo 'p:not_ours/top /bin/true:0x2000' >> uprobe_events",
    );
    assert!(in_tracefs("ls instances").contains("ci_setup_agent_dead_1_0"));
    let mut swept = false;
    let recorded = record_with("sleep 0.3\nfalse\n", |_, _| {
        if !swept {
            sweep_stale();
            swept = true;
        }
    });
    assert_eq!(all_told(&recorded.summary.steps), ["1 sleep 0.3 -> 0", "2 false -> 1"]);
    let left = in_tracefs("ls instances; cat uprobe_events; echo -:not_ours/top >> uprobe_events");
    assert!(!left.contains("ci_setup_agent_dead"), "{left}");
    assert!(left.contains("not_ours"), "{left}");
}

#[test]
fn two_recordings_at_a_time_see_their_own_scripts_only() {
    let threads =
        [("echo one\nsleep 0.2\nfalse\n", 3), ("echo two\nsleep 0.2\ntrue\nfalse\n", 4)].map(|(script, count)| {
            std::thread::spawn(move || {
                let summary = record(script).summary;
                assert_eq!((summary.count, summary.failed_count), (count, 1), "{summary:?}");
            })
        });
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn a_script_that_traces_finds_tracing_as_it_was() {
    let script = "d=$(mktemp -d)\nmount -t tracefs t $d\ncd $d\necho 1 > events/sched/sched_process_fork/enable\n/bin/true\n\
                  grep -c sched_process_fork trace > /dev/null\necho 0 > events/sched/sched_process_fork/enable\necho > trace\n\
                  echo 'p:mine/x /bin/true:0x2000' >> uprobe_events\necho -:mine/x >> uprobe_events\ncat tracing_on current_tracer\ncd /\numount $d\nrmdir $d\n";
    let recorded = record(script);
    assert_eq!(all_told(&recorded.summary.failed), Vec::<String>::new(), "{}", recorded.output);
    assert_eq!(recorded.output, "1\nnop\n");
    assert_eq!(recorded.summary.count, 14);
}

#[test]
fn what_is_not_bash_is_refused_with_the_reason() {
    let watch = |interpreter: &'static str| Watch { run_id: "x", interpreter: interpreter.as_ref(), script: b"" };
    let reason = |interpreter| Starting::new(watch(interpreter)).err().unwrap().0;
    assert!(
        reason("/bin/dash").starts_with("`/bin/dash` cannot be watched: it has no symbol read_command"),
        "{}",
        reason("/bin/dash")
    );
    assert_eq!(
        reason("/nonexistent/bash"),
        "`/nonexistent/bash` cannot be watched: No such file or directory (os error 2)"
    );
    assert_eq!(reason("/etc/passwd"), "`/etc/passwd` cannot be watched: not a 64-bit ELF binary");
}

#[test]
fn runs_that_begin_while_others_sweep_are_not_swept_away() {
    let threads = [0; 3].map(|_| {
        std::thread::spawn(|| {
            for _ in 0..4 {
                let summary = record("false\n").summary;
                assert_eq!((summary.count, summary.failed_count), (1, 1), "{summary:?}");
            }
        })
    });
    let until = Instant::now() + Duration::from_secs(20);
    while !threads.iter().all(std::thread::JoinHandle::is_finished) && Instant::now() < until {
        sweep_stale();
    }
    for thread in threads {
        thread.join().unwrap();
    }
}
