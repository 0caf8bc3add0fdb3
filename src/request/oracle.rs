//! Other people's programs that know the right answer (tests only).

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// What a Python program prints.
pub(super) fn python(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut all = vec!["-c", program];
    all.extend(arguments);
    let output = run("/usr/bin/python3", &all, input);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Runs a program to its end. A machine without it fails the test: it never passes by skipping.
pub(super) fn run(program: &str, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C.UTF-8")
        .env_remove("BASH_ENV")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("this test needs {program}: {error}"));
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    std::thread::scope(|scope| {
        // A program that ends without reading is no failure of ours.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().expect("the program can be waited for")
    })
}
