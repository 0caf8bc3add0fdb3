//! Whether a status other than 0 is a failure that the script did not deal with.

use super::event::Builtin;
use super::script::{Pipeline, Script, Unit};

/// Commands that ask a question; their 1 (or 2) is an answer, if something hangs on it.
const QUESTIONS: [&str; 26] = [
    "[",
    "test",
    "[[",
    "grep",
    "egrep",
    "fgrep",
    "zgrep",
    "command",
    "which",
    "type",
    "hash",
    "id",
    "getent",
    "pgrep",
    "pidof",
    "dpkg",
    "dpkg-query",
    "rpm",
    "diff",
    "cmp",
    "mountpoint",
    "systemctl",
    "expr",
    "declare",
    "ls",
    "lsmod",
];

/// Whether the script itself deals with the status of this command.
///
/// It does where the status comes from `!`, from a question on the left of `&&` (`[ -f x ] && …`), from
/// arithmetic, or where the very next command looks at `$?`. `set -e` would excuse any command on the left of
/// `&&`; but `apt-get update && apt-get install …` is written by people who want to know.
pub fn is_handled(script: &Script, unit: &Unit, status: i32, last: Builtin) -> bool {
    let Some(list) = unit.lists.last() else {
        return false;
    };
    let Some((end, before)) = list.pipelines.split_last() else {
        return false;
    };
    if end.negated || is_looked_at(script, unit) {
        return true;
    }
    if before.is_empty() {
        return is_calculation(script, end);
    }
    // After `||` the last pipeline has run, and failed. What is not there (127) is never an answer.
    if list.joined_by_and.last() != Some(&true) || status >= 3 {
        return false;
    }
    if before.iter().all(|pipeline| is_test(script, pipeline)) && !is_test(script, end) && !is_calculation(script, end)
    {
        // `[` leaves its mark in bash: it is known which side the status is from.
        return last == Builtin::Test;
    }
    before.iter().any(|pipeline| is_question(script, pipeline) || is_calculation(script, pipeline))
}

fn is_looked_at(script: &Script, unit: &Unit) -> bool {
    let Some(next) = script.unit_after(unit) else {
        return false;
    };
    let text = script.text(next);
    let line = text.lines().next().unwrap_or_default();
    let first = line.split_whitespace().next().unwrap_or_default();
    let decides = matches!(first, "if" | "case" | "while" | "until" | "[" | "test" | "[[")
        || first.starts_with("((")
        || first.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        });
    decides && ["$?", "${?", "PIPESTATUS"].iter().any(|status| line.contains(status))
}

fn is_test(script: &Script, pipeline: &Pipeline) -> bool {
    !pipeline.piped && !pipeline.negated && matches!(&*script.word(&pipeline.word), "[" | "test")
}

fn is_question(script: &Script, pipeline: &Pipeline) -> bool {
    let word = script.word(&pipeline.word);
    pipeline.negated || pipeline.piped || QUESTIONS.contains(&word.rsplit('/').next().unwrap_or(&word))
}

/// `((n++))` and `let` have status 1 for the number 0, `read -d ''` at the end of its input.
fn is_calculation(script: &Script, pipeline: &Pipeline) -> bool {
    let word = script.word(&pipeline.word);
    !pipeline.piped && (word.starts_with("((") || matches!(&*word, "let" | "read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handled(text: &str, status: i32, last: Builtin) -> bool {
        let script = Script::new(text.as_bytes());
        is_handled(&script, &script.units[0], status, last)
    }

    #[test]
    fn what_the_script_deals_with_is_no_failure() {
        for text in [
            "! true",
            "grep -q a b && echo",
            "((n++))",
            "false\nif [ $? -ne 0 ]; then :; fi",
            "false\nrc=$?",
            "id x | grep y && z",
            "[[ a ]] && b",
        ] {
            assert!(handled(text, 1, Builtin::None), "{text}");
        }
    }

    #[test]
    fn what_it_does_not_deal_with_is_one() {
        for text in [
            "false",
            "a && b",
            "a || b",
            "true; false",
            "false\necho $?",
            "( exit 1 )",
            "apt-get update && apt-get install -y x",
            "if true; then false; fi",
        ] {
            assert!(!handled(text, 1, Builtin::None), "{text}");
        }
        assert!(!handled("grep -q a b && nosuch", 127, Builtin::None));
    }

    #[test]
    fn after_a_test_bash_itself_tells_which_side_failed() {
        assert!(handled("[ -f x ] && make", 1, Builtin::Test));
        assert!(!handled("[ -f x ] && make", 1, Builtin::None));
    }
}
