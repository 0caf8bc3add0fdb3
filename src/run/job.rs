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
        state::{RunDir, is_run_id},
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

/// Whether that is the name of a run's leaf, of any state directory. Others may call a unit or a cgroup of theirs
/// `ci-setup-something`.
pub fn is_leaf_name(name: &str) -> bool {
    let token = name.strip_prefix(LEAF_PREFIX).and_then(|token| token.split_once('.'));
    token.is_some_and(|(run, word)| {
        is_run_id(run) && word.len() == 8 && word.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

const LEAF_PREFIX: &str = "ci-setup-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_leaf_of_a_run_is_taken_for_one() {
        let token = "creation-20261121T205957Z.0a1b2c3d".to_owned();
        let (run_id, boot_id, at) = Default::default();
        assert!(is_leaf_name(&leaf_name(&history::Started { run_id, boot_id, token, at })));
        for name in ["ci-setup-startup-20261121T205957Z.01234567", "ci-setup-creation-20261121T205957Z-12.89abcdef"] {
            assert!(is_leaf_name(name), "{name}");
        }
        for name in [
            "ci-setup-",
            "ci-setup-foo",
            "ci-setup-agent-tests",
            "ci-setup-agent.service",
            "ci-setup-foo.01234567",
            "ci-setup-creation.01234567",
            "ci-setup-creation-20261121T205957Z",
            "ci-setup-creation-20261121T205957Z.",
            "ci-setup-creation-20261121T205957Z.scope",
            "ci-setup-creation-20261121T205957Z.0123456",
            "ci-setup-creation-20261121T205957Z.0123456g",
            "ci-setup-creation-20261121T205957Z.0123456A",
            "ci-setup-creation-20261121T205957Z.01234567.scope",
            "my-ci-setup-creation-20261121T205957Z.01234567",
        ] {
            assert!(!is_leaf_name(name), "{name}");
        }
    }
}
