//! What shellcheck finds, on the script and on its quoted blocks (`--shellcheck`). Its notes on style are left out.

use std::io::Write;
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::model::Shell;
use super::rules::Notes;
use crate::check::finding::Severity;
use crate::error::{Code, Error, Result};

#[derive(Deserialize)]
struct Report {
    comments: Vec<Comment>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Comment {
    line: usize,
    column: usize,
    level: String,
    code: u32,
    message: String,
}

/// SC2154: a variable is used and not assigned.
const NOT_ASSIGNED: u32 = 2154;

/// Whether it is installed.
pub fn is_installed() -> bool {
    let call = Command::new("shellcheck").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    call.is_ok_and(|status| status.success())
}

/// Adds its errors and warnings.
///
/// # Errors
/// `internal` where it cannot be called or does not answer as it should.
pub fn check(script: &Shell, notes: &mut Notes<'_>) -> Result<()> {
    for (shell, _) in script.all() {
        if shell.block.as_ref().is_some_and(|block| !block.quoted) {
            continue;
        }
        for comment in ask(&shell.text.text)? {
            // A block may have its variables from outside; `block-variable` knows.
            if shell.block.is_some() && comment.code == NOT_ASSIGNED {
                continue;
            }
            let start =
                shell.text.text.split_inclusive('\n').take(comment.line.saturating_sub(1)).map(str::len).sum::<usize>();
            let line = shell.text.text.get(start..).unwrap_or_default();
            let column = line.char_indices().nth(comment.column.saturating_sub(1)).map_or(0, |(at, _)| at);
            let severity = if comment.level == "error" { Severity::Error } else { Severity::Warning };
            let hint = format!("see https://www.shellcheck.net/wiki/SC{}", comment.code);
            notes.add(severity, format!("SC{}", comment.code), shell.text.place(start + column), comment.message, hint);
        }
    }
    Ok(())
}

fn ask(text: &str) -> Result<Vec<Comment>> {
    let failed = || Error::new(Code::Internal, "cannot call shellcheck", "call `check` without `--shellcheck`");
    let mut command = Command::new("shellcheck");
    command.args(["--norc", "--format=json1", "--severity=warning", "--shell=bash", "-"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| failed().because(error))?;
    if let Some(mut input) = child.stdin.take() {
        // It reads all before it writes anything.
        input.write_all(text.as_bytes()).map_err(|error| failed().because(error))?;
    }
    let output = child.wait_with_output().map_err(|error| failed().because(error))?;
    let report: Report = serde_json::from_slice(&output.stdout).map_err(|error| failed().because(error))?;
    Ok(report.comments)
}
