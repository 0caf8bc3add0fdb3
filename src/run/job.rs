//! One run, ready to start, and what its front and its supervisor tell each other.

use std::{
    fs::File,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::run::{
    board::Board,
    recording::Recording,
    start::{Invocation, OomScore},
};
use crate::{
    output::{mirror::Mirror, spool::Spool},
    record::{
        history::{self, History},
        outcome::Outcome,
        redaction::Redaction,
        state::RunDir,
    },
    request::SharePath,
    script::share::Share,
    settings::Leftovers,
    sys::bell::Bell,
};

/// What the front tells the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// End the run; a second one skips the grace. Holds the signal's number.
    Stop(i32),
}

/// What the supervisor tells the front.
#[derive(Debug, Serialize, Deserialize)]
pub enum Notice {
    /// The first process is there.
    Begun,
    /// The script's part has been over for this time, and this is all of its output; the descriptor that comes
    /// along is the tail of an output that was too long.
    Concluded(Duration),
    /// The run has ended; the descriptor that comes along holds the outcome.
    Ended,
}

/// One run, ready to start.
#[derive(Debug)]
pub struct Job {
    /// Its folder.
    pub run: RunDir,
    /// The right to write there, until all of it is on the share.
    pub claim: Option<File>,
    /// Its outcome so far.
    pub outcome: Outcome,
    /// Where it is written down as having run; `None` for a rehearsal.
    pub history: Option<History>,
    /// What is written down.
    pub started: history::Started,
    /// What to start.
    pub invocation: Invocation,
    /// How long the script may run; `None` means no limit.
    pub limit: Option<Duration>,
    /// When the limit began to count, where that was before the start.
    pub clock: Option<Instant>,
    /// From SIGTERM to SIGKILL.
    pub grace: Duration,
    /// How long the end waits for the mirror.
    pub flush_wait: Duration,
    /// What becomes of processes that the script leaves behind.
    pub leftovers: Leftovers,
    /// The most bytes that all runs together may take on the local disk; 0 means any number.
    pub state_limit: u64,
    /// The spool.
    pub spool: Spool,
    /// The recording of its steps.
    pub recording: Recording,
    /// The mirror.
    pub mirror: Mirror,
    /// Rung when the spool has grown.
    pub bells: Vec<Bell>,
    /// Where the run shows how far it is, where somebody looks.
    pub board: Option<Board>,
    /// What the share may see.
    pub redaction: Redaction,
    /// The script on the share, to see whether it changed under way.
    pub original: Option<(Share, SharePath)>,
    /// The text that runs.
    pub text: Vec<u8>,
    /// What the caller's memory protection was.
    pub oom_score: OomScore,
    /// Whether this is root's, with a scope where systemd runs.
    pub is_root: bool,
}

/// The name of a run's scope and cgroup leaf: with the token, since two state directories may make the same
/// run id.
pub fn leaf_name(started: &history::Started) -> String {
    format!("{LEAF_PREFIX}{}", started.token)
}

/// How the names of all our cgroups begin.
pub const LEAF_PREFIX: &str = "ci-setup-";
