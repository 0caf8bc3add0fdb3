//! One run, ready to start, and what its front and its supervisor tell each other.

use std::{
    borrow::Cow,
    fs::File,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::run::{
    board::Board,
    recording::{Recording, place_and_name, silent_failures},
    start::{Invocation, OomScore},
};
use crate::{
    output::{mirror::Mirror, spool::Spool},
    record::{
        history::{self, History},
        outcome::Outcome,
        state::RunDir,
        steps::StepList,
    },
    request::SharePath,
    script::share::Share,
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

/// What becomes of processes that a script leaves behind.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Leftovers {
    /// They live on, and what they write is recorded.
    Keep,
    /// They are ended as at a timeout, but with at most 0.3 s of grace.
    Kill,
}

impl Leftovers {
    /// As people write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Kill => "kill",
        }
    }
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

/// What the configuration keeps off the share.
#[derive(Clone, Copy, Debug)]
pub struct Redaction {
    /// Whether the share gets the script as it ran.
    pub shows_script: bool,
    /// Whether the share gets the arguments.
    pub shows_arguments: bool,
}

impl Redaction {
    /// The outcome as the share gets it: of processes only the names, and of commands too where the script is
    /// kept back.
    pub fn of(self, outcome: &Outcome) -> Outcome {
        let mut public = outcome.clone();
        if !self.shows_arguments {
            public.arguments = None;
        }
        if !self.shows_script {
            let failed = public.failed_commands.iter_mut().map(|failed| &mut failed.command);
            let current = public.steps.current.iter_mut().map(|step| &mut step.command);
            for command in failed.chain(current) {
                let shown = program(command);
                if let Some(error) = &mut public.error {
                    let name = |command: &str| place_and_name(0, None, command).1;
                    error.message = error.message.replace(&name(command), &name(&shown));
                }
                *command = shown;
            }
            if let Some(warning) = silent_failures(&public) {
                public
                    .warnings
                    .iter_mut()
                    .filter(|old| old.code == warning.code)
                    .for_each(|old| *old = warning.clone());
            }
        }
        let lists = &mut public.processes;
        for process in lists.at_deadline.iter_mut().chain(&mut lists.left).chain(&mut lists.unkillable) {
            let program = process.command.split(' ').next().unwrap_or_default();
            process.command = program.rsplit('/').next().unwrap_or_default().to_owned();
        }
        public
    }

    /// The steps as the share gets them.
    pub fn of_steps(self, steps: Cow<'_, StepList>) -> Cow<'_, StepList> {
        if self.shows_script {
            return steps;
        }
        let mut public = steps.into_owned();
        public.steps.iter_mut().chain(&mut public.running).for_each(|step| step.command = program(&step.command));
        Cow::Owned(public)
    }
}

/// The name of a command's program; what does not look like one may be a part of anything.
fn program(command: &str) -> String {
    let word = command.split_whitespace().next().unwrap_or_default();
    let name = word.rsplit('/').next().unwrap_or_default();
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+');
    if !name.is_empty() && name.chars().all(is_name) { name.to_owned() } else { "\u{2026}".into() }
}

/// The name of a run's scope and cgroup leaf: with the token, since two state directories may make the same
/// run id.
pub fn leaf_name(started: &history::Started) -> String {
    format!("{LEAF_PREFIX}{}", started.token)
}

/// How the names of all our cgroups begin.
pub const LEAF_PREFIX: &str = "ci-setup-";
