//! `check`, as people and workflows call it. It needs no machine: the program runs as it was built.

mod formats;
mod rules;
mod samples;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::binary_under_test;

/// How a call ended.
pub struct Checked {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Calls `check` in the folder of samples.
pub fn check(arguments: &[&str], stdin: &str) -> Checked {
    let mut command = Command::new(binary_under_test());
    command.arg("check").args(arguments).current_dir(samples());
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program");
    // A call that is refused does not read.
    let _ = child.stdin.take().expect("a pipe").write_all(stdin.as_bytes());
    let output = child.wait_with_output().expect("an end");
    Checked {
        code: output.status.code().expect("an exit code"),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}

pub fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/check/samples")
}
