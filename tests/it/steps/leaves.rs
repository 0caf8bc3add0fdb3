//! What a recording leaves in tracefs (nothing), and what runs at the same time do to each other (nothing).

use std::process::Command;
use std::time::{Duration, Instant};

use ci_setup_agent::steps::{Starting, Watch, sweep_stale};

use super::{all_told, record};
use crate::support::wait_until;

/// Runs a command of the shell's in a tracefs of its own, which is the kernel's one and only.
fn in_tracefs(command: &str) -> String {
    let script =
        format!("d=$(mktemp -d); mount -t tracefs t $d && cd $d && {{ {command}; }}; cd /; umount $d; rmdir $d");
    let output = Command::new("unshare").args(["-m", "dash", "-c", &script]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn gone(names: &str, name: &str) -> Result<(), String> {
    if names.contains(name) { Err(names.to_owned()) } else { Ok(()) }
}

#[test]
fn nothing_is_left_after_the_end() {
    let watch = Watch { run_id: "leaves-nothing", interpreter: "/bin/bash".as_ref(), script: b":\n" };
    let recorder = Starting::new(watch).unwrap().finish(Instant::now() + Duration::from_secs(10)).unwrap();
    let names = || in_tracefs("ls instances; cat uprobe_events");
    assert!(names().contains("ci_setup_agent_leaves_nothing"));
    recorder.finish(None);
    wait_until("all of it to be removed", || gone(&names(), "ci_setup_agent_leaves_nothing"));
}

#[test]
fn the_next_start_removes_what_a_dead_run_left_and_nothing_of_a_living_one() {
    in_tracefs(
        "mkdir instances/ci_setup_agent_dead_1_0; echo 'p:ci_setup_agent_dead_1_0_t0/top_1_0 /bin/true:0x2000' >> uprobe_events; \
         echo 'p:ci_setup_agent_dead_1_1_t0/top_1_1 /bin/true:0x2000' >> uprobe_events; echo 'p:not_ours/top /bin/true:0x2000' >> uprobe_events",
    );
    // Any start does it, another test's included, and after it has begun.
    let recorded = record("sleep 0.3\nfalse\n");
    assert_eq!(all_told(&recorded.summary.steps), ["1 sleep 0.3 -> 0", "2 false -> 1"]);
    let names = || in_tracefs("ls instances; cat uprobe_events");
    wait_until("what was dead to be removed", || gone(&names(), "ci_setup_agent_dead"));
    let left = in_tracefs("cat uprobe_events; echo -:not_ours/top >> uprobe_events");
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
fn a_bash_whose_functions_are_never_called_is_found_out_by_the_self_test() {
    let folder = tempfile::tempdir().unwrap();
    let (source, bash) = (folder.path().join("bash.c"), folder.path().join("bash"));
    let variables = [
        "line_number",
        "last_command_exit_value",
        "variable_context",
        "sourcelevel",
        "subshell_environment",
        "running_trap",
        "current_user",
        "current_command_number",
        "parse_and_execute_level",
        "dollar_dollar_pid",
        "exit_immediately_on_error",
        "shell_script_filename",
        "command_execution_string",
        "this_shell_builtin",
    ];
    let functions = ["read_command", "exit_shell", "parse_command"];
    let declared = variables.map(|name| format!("long {name};\n")).concat();
    let defined = functions.map(|name| format!("int {name}(int n) {{ return n + {}; }}\n", name.len())).concat();
    // It forks, and does nothing else of what bash does.
    let rest = "int make_child(int n) { return fork(); }\nint main() { make_child(0); return 0; }\n";
    std::fs::write(&source, format!("#include <unistd.h>\n{declared}{defined}{rest}")).unwrap();
    let compiled = Command::new("gcc").args(["-O0", "-rdynamic", "-o"]).args([&bash, &source]).status().unwrap();
    assert!(compiled.success());
    let watch = Watch { run_id: "self-test", interpreter: &bash, script: b":\n" };
    let mut notes = Vec::new();
    // The self-test goes on beside the run: a script this short may end before it.
    for time in 1..20 {
        let recorder = Starting::new(watch).unwrap().finish(Instant::now() + Duration::from_secs(10)).unwrap();
        std::thread::sleep(Duration::from_millis(100 * time));
        notes = recorder.finish(None).notes;
        if !notes.is_empty() {
            break;
        }
    }
    let told = "this bash never comes by read_command, exit_shell, so not all of its commands are recorded";
    assert_eq!(notes, [told]);
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
