//! What the supervisor shows of the run to the process that tells progress.
//!
//! A piece of memory and no messages: the one writes without waiting, and the other, which may be stuck with
//! a reader that stopped, looks when it can. A look in the middle of a change gives nothing or something
//! odd for a second.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::FileExt,
    },
    time::{Duration, Instant},
};

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::{
    record::outcome::Step,
    show::progress::{Course, CurrentStep, Phase},
    sys::descriptors::memory_file,
};

/// Room for a command of 500 bytes, escaped, and the rest.
const ROOM: usize = 8 * 1024;

/// The board.
#[derive(Debug)]
pub struct Board(File);

/// Times are CLOCK_MONOTONIC, which all processes share.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    phase: Phase,
    began: Duration,
    limit: Option<Duration>,
    step: Option<(Step, Duration)>,
}

impl Board {
    /// An empty one.
    ///
    /// # Errors
    /// Those of `memfd_create(2)`.
    pub fn new() -> io::Result<Self> {
        memory_file(c"progress", b"").map(Self)
    }

    /// The same board, for another process.
    ///
    /// # Errors
    /// Those of `dup(2)`.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Shows this from now on. `began` is when the script's time began.
    pub fn show(&self, phase: Phase, began: Instant, limit: Option<Duration>, step: Option<Step>) {
        let now = monotonic();
        let step = step.map(|step| {
            let began = now.saturating_sub(Duration::try_from_secs_f64(step.seconds).unwrap_or_default());
            (step, began)
        });
        let entry = Entry { phase, began: now.saturating_sub(began.elapsed()), limit, step };
        let mut text = serde_json::to_vec(&entry).unwrap_or_default();
        text.resize(ROOM, b' ');
        let _ = self.0.write_all_at(&text, 0);
    }

    /// What it shows; `None` where nothing is there yet.
    pub fn look(&self) -> Option<Course> {
        let mut text = vec![0; ROOM];
        self.0.read_exact_at(&mut text, 0).ok()?;
        let Entry { phase, began, limit, step } = serde_json::from_slice(&text).ok()?;
        let now = monotonic();
        let step = step.map(|(step, began)| CurrentStep {
            line: step.line,
            block: step.block,
            command: step.command,
            elapsed: now.saturating_sub(began),
        });
        Some(Course { phase, elapsed: now.saturating_sub(began), limit, step })
    }
}

impl AsFd for Board {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn monotonic() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_seen_through_the_other_end() {
        let board = Board::new().unwrap();
        let other = board.try_clone().unwrap();
        assert_eq!(other.look(), None);
        let step = Step { line: 3, block: None, command: "\u{1}".repeat(500), seconds: 2.0 };
        board.show(Phase::Running, Instant::now() - Duration::from_secs(5), None, Some(step.clone()));
        let course = other.look().unwrap();
        assert!(course.elapsed >= Duration::from_secs(5));
        let seen = course.step.unwrap();
        assert_eq!((seen.line, seen.command), (3, step.command));
        assert!(seen.elapsed >= Duration::from_secs(2));
        board.show(Phase::Copying, Instant::now(), None, None);
        assert_eq!(other.look().unwrap().phase, Phase::Copying);
    }
}
