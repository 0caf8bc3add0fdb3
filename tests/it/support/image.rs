//! The Debian root file systems below all rooms and machines. `scripts/image` holds the recipe.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// bullseye, bookworm and trixie stand for Ubuntu 20.04, 22.04 and 24.04: sudo 1.9.5, 1.9.13 and 1.9.16,
/// systemd 247, 252 and 257.
pub const SUITES: [&str; 3] = ["bullseye", "bookworm", "trixie"];

/// The folder with that Debian release, to be read only. Made (in about a minute) if it is not there yet.
pub fn image(suite: &str) -> PathBuf {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/image");
    let output = Command::new(script).arg(suite).stderr(Stdio::inherit()).output();
    let output = output.unwrap_or_else(|error| panic!("cannot start {script}: {error}"));
    assert!(output.status.success(), "no {suite} image to test in, see above");
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end())
}
