//! What the hook inside bash sees, and that it is as good as the view from outside where it can be.

use super::{Recorded, Source, all_told, record, record_by, told};

fn hooked(script: &str) -> Recorded {
    record_by(Source::Hook, script, |_, _| {})
}

/// Scripts of which both sources say the same, to the last step.
const ALIKE: [&str; 12] = [
    "#!/bin/bash\n# nothing\n\necho a\nfalse\nif true; then\n  /bin/true\nfi\n[ -f /nope ] && echo\nnosuch \\\n  x\n",
    "false || exit 3\n",
    "exit 4\n",
    "if true; then exit 6; fi\n",
    "set -e\n/bin/false\necho\n",
    "set -u\necho $nope\necho\n",
    "exec nosuch\n",
    "f() { false\ntrue; }\nf\nfalse\ng() { :; }\nh() { :; }\necho \"$(false; true)\"\neval 'false\ntrue\nfalse\ntrue'\ntrue | false\nfor i in 1 2 3; do\n false\ndone\n",
    "grep -q a /dev/null && echo\n((n++))\nfalse\nrc=$?\n! true\necho; false; true\ncat <<A\nfalse\nA\n",
    "printf 'false\\nfalse\\n' > child.sh\nbash child.sh || true\n. ./child.sh || true\nrm child.sh\n",
    "f() { return 7; }\nf\ng() { :; }\necho\n",
    "case a in a) false;; esac\nwhile false; do :; done\n{ echo\nfalse; }\nsleep 0 &\nwait\ntime true\n[[ a = b ]]\n",
];

#[test]
fn of_most_scripts_the_hook_tells_what_is_seen_from_outside() {
    for script in ALIKE {
        let (seen, told) = (record(script), hooked(script));
        assert_eq!(all_told(&told.summary.steps), all_told(&seen.summary.steps), "{script}{:?}", told.summary);
        assert_eq!(all_told(&told.summary.failed), all_told(&seen.summary.failed), "{script}");
        assert_eq!((told.summary.count, &told.summary.unfinished), (seen.summary.count, &None), "{script}");
        assert_eq!(told.status, seen.status, "{script}");
    }
}

#[test]
fn what_the_hook_cannot_see_is_counted() {
    let recorded = hooked("false\n(exit 4)\n(exit 5)\necho\n");
    assert_eq!(all_told(&recorded.summary.steps), ["3 (exit 5) -> 5", "4 echo -> 0"]);
    assert_eq!(recorded.summary.count, 4);
    let notes =
        ["2 commands are counted but were not seen: the hook inside bash does not see them, or not how they ended"];
    assert_eq!(recorded.summary.notes, notes);
}

#[test]
fn a_command_that_would_show_the_hook_finds_none_and_the_rest_is_not_recorded() {
    for shows in
        ["trap", "trap -p", "x=$(trap -p DEBUG)", "trap 'echo D' DEBUG", "set -v", "ulimit -n 20", "trap - DEBUG"]
    {
        let script = format!("false\n{shows}\nfalse\n");
        let recorded = hooked(&script);
        assert!(!recorded.output.contains("__ci"), "{shows}: {}", recorded.output);
        assert_eq!(all_told(&recorded.summary.failed), ["1 false -> 1"], "{shows}");
        assert_eq!((recorded.summary.count, &recorded.summary.unfinished), (2, &None), "{shows}");
        assert!(
            recorded.summary.notes[0].starts_with("the hook inside bash ended at line 2"),
            "{:?}",
            recorded.summary
        );
    }
    let keeps = "trap 'echo end' EXIT\ntrap - EXIT INT\nulimit -n 1024\nset -euo pipefail\nfalse\n";
    assert_eq!(all_told(&hooked(keeps).summary.failed), ["5 false -> 1"]);
}

#[test]
fn a_loop_ends_the_hook_and_not_the_script() {
    let recorded = hooked("false\nfor ((i = 0; i < 20000; i++)); do :; done\necho $i\n");
    assert_eq!(recorded.output, "20000\n");
    assert_eq!(all_told(&recorded.summary.failed), ["1 false -> 1"]);
    assert!(recorded.summary.notes[0].starts_with("the hook inside bash ended at line 2"), "{:?}", recorded.summary);
}

#[test]
fn the_running_command_is_known_by_the_hook_as_well() {
    let mut seen = Vec::new();
    let script = "mkfifo $0.fifo\nfor i in 1 2; do\n  :\n  cat $0.fifo\ndone\n";
    let recorded = record_by(Source::Hook, script, |recorder, child| {
        if let Some(step) = recorder.current()
            && step.command == "cat $0.fifo"
        {
            seen.push(told(&step));
            child.kill().unwrap();
        }
    });
    assert_eq!(seen.first().map(String::as_str), Some("4 cat $0.fifo -> running"));
    assert_eq!(recorded.summary.unfinished.map(|step| step.line), Some(4));
}

#[test]
fn a_script_that_writes_into_its_own_record_spoils_its_steps_and_nothing_else() {
    let script = "d=$(dirname $0)/steps\necho \"C $$ 1.000000 4000000000 4000000000 0 0 1 0 o\" >> $d/0\n\
                  head -c 100000 /dev/urandom >> $d/0\necho \"H $$ 1.000000 script\" >> $d/0\n: > $d/0\ntrue\n";
    let recorded = hooked(script);
    assert!(recorded.status.success());
    assert!(recorded.summary.steps.len() <= 10 && recorded.summary.failed.is_empty(), "{:?}", recorded.summary);
}

#[test]
fn a_shell_that_reads_no_hook_is_told_of_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let hook = ci_setup_agent::steps::hook::Hook::new(&folder.path().join("steps"), &[0]).unwrap();
    let summary = ci_setup_agent::steps::Recorder::of_hook(hook, b"true\n").finish(Some(0));
    assert_eq!(summary.unavailable.as_deref(), Some("the script's bash did not read the hook"));
}
