//! What bash itself says of a text: `bash -n` reads and does not execute. Where there is no bash, the grammar's
//! word counts, as a warning: it does not know all of bash.

use std::collections::HashMap;
use std::io::Write;
use std::process::{Command, Stdio};

use super::model::{Means, Shell};
use super::rules::Notes;
use crate::check::finding::Severity;

/// Refuses what no shell can read.
pub fn check(script: &Shell, notes: &mut Notes<'_>) {
    for (shell, _) in script.all() {
        match bash(&shell.text.text) {
            Some(complaint) => {
                let hint = match &shell.block {
                    Some(block) if block.means == Means::Heredoc => {
                        "the block's shell stops there: correct it; `bash -n` on the block's lines shows the same"
                    }
                    Some(_) => "the block's shell runs nothing of it: correct it",
                    None => "nothing after it runs: correct it; `bash -n FILE` shows the same",
                };
                complain(shell, &complaint, hint, notes);
            }
            None if !is_bash_there() => {
                if let Some(at) = shell.errors.first().filter(|_| shell.block.as_ref().is_none_or(|block| block.quoted))
                {
                    let message = "this does not read like bash";
                    let hint = "there is no bash here to ask: see what `bash -n FILE` says elsewhere";
                    notes.add(Severity::Warning, "syntax-error", shell.text.place(*at), message, hint);
                }
            }
            None => {}
        }
    }
}

fn complain(shell: &Shell, complaint: &Complaint, hint: &str, notes: &mut Notes<'_>) {
    let starts: Vec<usize> =
        std::iter::once(0).chain(shell.text.text.match_indices('\n').map(|(at, _)| at + 1)).collect();
    let line_start = |line: usize| starts[line.saturating_sub(1).min(starts.len() - 1)];
    if let Some((begins, word)) = &complaint.open_heredoc {
        let message = format!("the heredoc that begins here has no end: no line is exactly `{word}`");
        let hint = format!("end it with a line that holds `{word}` alone, without blanks before or behind");
        notes.add(Severity::Error, "unterminated-heredoc", shell.text.place(line_start(*begins)), message, hint);
        return;
    }
    let start = line_start(complaint.line);
    let end = starts.get(complaint.line).copied().unwrap_or(shell.text.text.len());
    let exact = shell.errors.iter().find(|at| (start..end).contains(at)).copied();
    let blank = shell.text.text[start..end].len() - shell.text.text[start..end].trim_start().len();
    let at = shell.text.place(exact.unwrap_or(start + blank));
    notes.add(Severity::Error, "syntax-error", at, complaint.message.clone(), hint);
}

/// What bash complains of first.
#[derive(Debug)]
struct Complaint {
    line: usize,
    message: String,
    /// The line where a heredoc begins that does not end, and the word that is missing.
    open_heredoc: Option<(usize, String)>,
}

const BASH: &str = "/bin/bash";

fn is_bash_there() -> bool {
    std::path::Path::new(BASH).exists()
}

fn bash(text: &str) -> Option<Complaint> {
    let mut command = Command::new(BASH);
    command.args(["--norc", "--noprofile", "-n"]);
    // It executes no `shopt`, so a script that has patterns of this kind is told as one that has not.
    if text.contains("extglob") {
        command.args(["-O", "extglob"]);
    }
    command.env_clear().env("LC_ALL", "C.UTF-8");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().ok()?;
    if let Some(mut input) = child.stdin.take() {
        // It may stop reading at the first error.
        let _ = input.write_all(text.as_bytes());
    }
    let output = child.wait_with_output().ok()?;
    complaint(&String::from_utf8_lossy(&output.stderr))
}

fn complaint(stderr: &str) -> Option<Complaint> {
    let mut seen: HashMap<usize, String> = HashMap::new();
    let mut first = None;
    for line in stderr.lines() {
        let Some((number, message)) = line.split_once(": line ").and_then(|(_, rest)| rest.split_once(": ")) else {
            continue;
        };
        let Ok(number) = number.parse::<usize>() else { continue };
        if let Some(rest) = message.strip_prefix("warning: here-document at line ") {
            let (begins, word) = rest.split_once(" delimited by end-of-file (wanted `")?;
            let open_heredoc = Some((begins.parse().ok()?, word.trim_end_matches("')").to_owned()));
            return Some(Complaint { line: number, message: message.to_owned(), open_heredoc });
        }
        if seen.insert(number, message.to_owned()).is_none() && first.is_none() {
            first = Some(Complaint { line: number, message: message.replace(['`', '\''], "`"), open_heredoc: None });
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use crate::check::script::tests::{found, rules_in};

    #[test]
    fn an_error_is_told_with_its_line() {
        let found = found("echo a\nif true; then\n  echo b\ndone\n");
        assert_eq!((found[0].rule.as_ref(), found[0].line), ("syntax-error", 4));
        assert!(found[0].message.contains("`done`"), "{}", found[0].message);
    }

    #[test]
    fn an_error_inside_a_quoted_block_has_its_line_in_the_script() {
        let found = found("#!/bin/bash\nsudo -u azureuser -i <<'EOF'\nset -e\nfi\nEOF\n");
        assert_eq!((found[0].rule.as_ref(), found[0].line, found[0].column), ("syntax-error", 4, 1));
    }

    #[test]
    fn a_heredoc_without_end_is_told_where_it_begins() {
        let found = found("#!/bin/bash\nsudo -u azureuser -i bash <<'EOF'\nset -e\ntouch x\n EOF\n");
        assert_eq!((found[0].rule.as_ref(), found[0].line), ("unterminated-heredoc", 2));
    }

    #[test]
    fn what_only_the_grammar_does_not_know_is_no_error() {
        for text in [
            "shopt -s extglob\nrm -f !(a|b)\n",
            "case $1 in a) echo ;; (b) echo ;; esac\n",
            "echo ${x@Q} ${!y*} $((1+2))\n",
            "coproc cat\n",
            "cat <<'EOF'\n${{ not bash }}\nif\nEOF\n",
            "[[ $x =~ ^a(b|c)$ ]] && echo\n",
            "sudo -u azureuser bash <<EOF\nif [ -n \"$X\" ]; then echo $(date); fi\nEOF\n",
        ] {
            assert!(rules_in(text).is_empty(), "{text}: {:?}", found(text));
        }
    }
}
