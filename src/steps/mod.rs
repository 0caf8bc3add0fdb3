//! The top-level commands of a bash script, recorded from outside as they run (CONTRACT section 7).
//!
//! ```text
//! elf ─► probes ─► keeper ══► kernel ══► ring ─► event ─► timeline ─► record
//! (where) (what)   (on, off)  (uprobes)  (bytes)  (facts)  (shells,    (steps,
//!                                                           script)     failures)
//! ```
//!
//! Nothing of ours is in the script's sight: no variable, descriptor, trap or file. Nothing here can stop or
//! delay a run: what fails becomes a reason, what is lost is counted.

mod budget;
mod buffers;
mod clock;
mod elf;
mod entry;
mod event;
pub mod hook;
mod keeper;
mod lexer;
mod locked;
mod probes;
mod reader;
mod record;
mod recorder;
mod ring;
mod script;
mod shell;
mod source;
mod starting;
mod timeline;
mod tracefs;
mod verdict;

use std::path::Path;
use std::time::SystemTime;

pub use self::record::Block;
pub use self::recorder::Recorder;
pub use self::starting::Starting;

/// What is to be recorded.
#[derive(Clone, Copy, Debug)]
pub struct Watch<'a> {
    /// The run's id.
    pub run_id: &'a str,
    /// The bash that will run the script.
    pub interpreter: &'a Path,
    /// The script's text.
    pub script: &'a [u8],
}

/// Why there are no steps, in words for the outcome's `steps.unavailable`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable(pub String);

/// One top-level command.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its first line in the script; in a block, the line of the script where the command stands.
    pub line: u32,
    /// Its last line, heredocs included.
    pub end_line: u32,
    /// The user and the line within the block, for a command inside `sudo … bash` and the like.
    pub block: Option<Block>,
    /// Its text before any expansion, without heredocs, at most 500 bytes.
    pub command: String,
    /// When it began.
    pub began: SystemTime,
    /// How long it took, or has taken so far.
    pub seconds: f64,
    /// Its status; `None` while it runs.
    pub exit_code: Option<i32>,
    /// Whether it failed and the script did not deal with that.
    pub has_failed: bool,
}

/// All that was recorded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Why nothing was, if nothing was.
    pub unavailable: Option<String>,
    /// How many top-level commands have ended.
    pub count: u64,
    /// The first and the latest of them, 1,000 at most.
    pub steps: Vec<Step>,
    /// Those that failed and that the script did not deal with, the first 100.
    pub failed: Vec<Step>,
    /// How many failed.
    pub failed_count: u64,
    /// What was running when the recording ended: after a timeout, what timed out.
    pub unfinished: Option<Step>,
    /// Events that the kernel had no room for.
    pub lost_events: u64,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

/// Removes what runs that died without doing so have left in tracefs. Other living runs are not touched.
pub fn sweep_stale() {
    if let Ok(tracefs) = tracefs::Tracefs::find() {
        keeper::sweep_stale(&tracefs);
    }
}
