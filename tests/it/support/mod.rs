//! What the tests stand on: throw-away places to run the real program in, and helpers.
//!
//! - [`Room`]: namespaces and an overlay on a Debian image. Starts in some 50 ms, has no init system.
//! - [`Machine`]: the same, booted: systemd, logind, cron. Takes half a second; can be stopped, reset, captured.
//! - [`setup`]: requests, a call of the agent with one, and what it left.
//! - [`Place`]: what the two have in common: run programs, read and write files, look at processes.
//!
//! Both vanish with everything in them when dropped, and also when the test is killed.
//! A test that cannot run here fails and says why; none passes by skipping.

pub mod browser;
pub mod call;
mod cgroup;
mod disk;
mod image;
mod machine;
mod place;
mod process;
mod room;
pub mod setup;
mod terminal;

use std::fmt::Debug;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use disk::Disk;
pub use image::{SUITES, image};
pub use machine::Machine;
pub use place::{Place, SHARE};
pub use process::{Process, pids_with_marker};
pub use room::{Cgroups, Room};
pub use terminal::Terminal;

/// Far beyond what anything here takes on a slow and busy machine: reaching it is a failure, not a nuisance.
const LIMIT: Duration = Duration::from_secs(100);

/// Looks again and again until `look` says `Ok`, and returns what it found. `what` reads on from "waited for".
///
/// What `look` says instead is the last state, and part of the failure's message.
pub fn wait_until<T, State: Debug>(what: &str, mut look: impl FnMut() -> Result<T, State>) -> T {
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        match look() {
            Ok(found) => return found,
            Err(state) if start.elapsed() > LIMIT => {
                panic!("waited for {what} in vain for {:?}; last state: {state:#?}", start.elapsed())
            }
            Err(_) => std::thread::sleep(pause),
        }
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Asserts that what `attempt` measures is less than `bound`, once in a few times: a busy machine misses a bound
/// now and then, and what does not keep it misses it always. `attempt` asserts everything else each time.
#[track_caller]
pub fn assert_within(what: &str, bound: Duration, mut attempt: impl FnMut() -> Duration) {
    const TRIES: usize = 5;
    let mut took = Vec::new();
    while took.last().is_none_or(|last| *last >= bound) {
        assert!(took.len() < TRIES, "{what}: not within {bound:?} but {took:?}");
        took.push(attempt());
    }
}

/// The program under test: the one cargo has just built, or `$SETUP_TESTS_BINARY` (the release build).
pub fn binary_under_test() -> PathBuf {
    let chosen = std::env::var_os("SETUP_TESTS_BINARY").map(PathBuf::from);
    let binary = chosen.unwrap_or_else(|| env!("CARGO_BIN_EXE_ci-setup-agent").into());
    assert!(binary.is_file(), "SETUP_TESTS_BINARY: there is no {}", binary.display());
    binary
}
