//! The steps themselves, bounded in number, with exact counts beside.

use std::collections::VecDeque;

/// Most steps kept: the first half of them from the start, the rest the latest.
const MOST_STEPS: usize = 1000;

/// Most failed steps kept.
const MOST_FAILED: usize = 100;

/// A time on the buffer's clock, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

/// Inside which block a step ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The user whose shell it is.
    pub user: String,
    /// The line within the block, counted from 1.
    pub line: u32,
}

/// A command that ran or is running.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    /// Its first line in the script.
    pub line: u32,
    /// Its last line in the script.
    pub end_line: u32,
    /// The block, if it was in one.
    pub block: Option<Block>,
    /// Its text before expansion.
    pub command: String,
    /// When it began.
    pub began: Moment,
}

/// A command that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The command.
    pub ran: Ran,
    /// When it ended.
    pub ended: Moment,
    /// With what status.
    pub exit_code: i32,
    /// Whether that is a failure which the script did not deal with.
    pub has_failed: bool,
}

/// What has been recorded so far.
#[derive(Debug, Default)]
pub struct Record {
    /// How many steps have ended.
    pub count: u64,
    /// How many of them are known by their number only.
    pub unseen: u64,
    /// How many failed.
    pub failed_count: u64,
    /// The first of those that failed.
    pub failed: Vec<Done>,
    /// The script's own shell was seen.
    pub seen: bool,
    /// What a reader has to know.
    pub notes: Vec<String>,
    first: Vec<Done>,
    latest: VecDeque<Done>,
}

impl Record {
    /// Adds a step.
    pub fn add(&mut self, ran: Ran, ended: Moment, exit_code: i32, failed: bool) {
        let done = Done { ran, ended, exit_code, has_failed: failed };
        self.count += 1;
        if failed {
            self.failed_count += 1;
            if self.failed.len() < MOST_FAILED {
                self.failed.push(done.clone());
            }
        }
        if self.first.len() < MOST_STEPS / 2 {
            self.first.push(done);
            return;
        }
        if self.latest.len() >= MOST_STEPS - MOST_STEPS / 2 {
            self.latest.pop_front();
        }
        self.latest.push_back(done);
    }

    /// Counts steps whose ends were lost.
    pub fn missed(&mut self, steps: u32) {
        self.count += u64::from(steps);
        self.unseen += u64::from(steps);
    }

    /// Says something once.
    pub fn note(&mut self, text: &str) {
        if !self.notes.iter().any(|note| note == text) {
            self.notes.push(text.to_owned());
        }
    }

    /// The steps that were kept.
    pub fn steps(&self) -> impl Iterator<Item = &Done> {
        self.first.iter().chain(&self.latest)
    }
}
