//! The outcome of one run: what a person or a program reads to learn how it went (CONTRACT 8).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    error::{Code, Error},
    request::{Identity, Warning},
};

/// The version of this document's shape.
pub const SCHEMA_VERSION: u32 = 1;

/// The most entries that a list of the outcome holds; exact counts stand beside the lists.
pub const LONGEST_LIST: usize = 100;

/// How one run of one script went.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Always 1 for this shape.
    pub schema_version: u32,
    /// The agent that wrote it.
    pub agent_version: String,
    /// `/proc/sys/kernel/random/boot_id` of the boot in which it ran.
    pub boot_id: String,
    /// Names the run, as the folder in the state directory does.
    pub run_id: String,
    /// Which script; `null` where a request was refused as a whole.
    pub script: Option<ScriptKind>,
    /// How far it is, or how it ended.
    pub state: State,
    /// What `run` exits with for this run; `null` until it has ended.
    pub exit_code: Option<u8>,
    /// The instance, as far as it is known.
    pub instance: Option<Instance>,
    /// What was to be run.
    pub source: Option<Source>,
    /// The script's arguments; `null` where the configuration keeps them off the share.
    pub arguments: Option<Vec<String>>,
    /// The time limit.
    pub timeout: Option<Timeout>,
    /// When the run began, RFC 3339 in UTC.
    pub started_at: String,
    /// When it ended.
    pub ended_at: Option<String>,
    /// From the script's start to its end, monotonic, in seconds.
    pub elapsed_seconds: Option<f64>,
    /// How the script's first process ended; `null` while it runs or where none was started.
    pub script_exit: Option<ScriptExit>,
    /// Why the run did not succeed.
    pub error: Option<ErrorReport>,
    /// The recording of top-level commands, in short.
    pub steps: Steps,
    /// Top-level commands that failed, whether or not that ended the script: the first 100.
    pub failed_commands: Vec<FailedCommand>,
    /// How many failed.
    pub failed_command_count: u64,
    /// Processes worth knowing of.
    pub processes: Processes,
    /// The script's output.
    pub output: Output,
    /// What the reader ought to know although nothing failed.
    pub warnings: Vec<Warning>,
}

/// Which of the two scripts.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ScriptKind {
    /// Runs once in the life of the instance.
    CreationScript,
    /// Runs at every start.
    StartupScript,
}

impl ScriptKind {
    /// `creation` or `startup`: in run ids, in folder names, and for `--only`.
    pub fn word(self) -> &'static str {
        match self {
            Self::CreationScript => "creation",
            Self::StartupScript => "startup",
        }
    }
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// Accepted, not yet started.
    Pending,
    /// The script runs.
    Running,
    /// It exited with 0.
    Succeeded,
    /// It exited with another code or died by a signal.
    Failed,
    /// It was still running at its deadline.
    TimedOut,
    /// It was stopped, or the agent or the machine went away under it.
    Interrupted,
    /// Bad input: nothing ran.
    Rejected,
}

impl State {
    /// Whether nothing more will happen.
    pub fn is_final(self) -> bool {
        match self {
            Self::Pending | Self::Running => false,
            Self::Succeeded | Self::Failed | Self::TimedOut | Self::Interrupted | Self::Rejected => true,
        }
    }

    /// As a sentence about a run that is over goes on.
    pub fn past(self) -> &'static str {
        match self {
            Self::Pending => "has not begun",
            Self::Running => "is running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed out",
            Self::Interrupted => "was interrupted",
            Self::Rejected => "was rejected",
        }
    }

    /// As in the JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timedOut",
            Self::Interrupted => "interrupted",
            Self::Rejected => "rejected",
        }
    }
}

/// The instance and the user that scripts serve.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// Resource group, workspace and name.
    #[serde(flatten)]
    pub identity: Identity,
    /// The instance's ordinary user.
    pub user: String,
}

/// Where the script came from.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SourceKind {
    /// A file on the share.
    WorkspaceStorage,
    /// In the request itself.
    Inline,
}

/// The script that ran.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Where it came from.
    pub kind: SourceKind,
    /// Its path on the share; `null` for an inline script.
    pub path: Option<String>,
    /// SHA-256 of its bytes, hexadecimal; `null` where they could not be read.
    pub sha256: Option<String>,
    /// Its size.
    pub bytes: Option<u64>,
}

/// The time limit, as given and in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Timeout {
    /// As the request had it; `null` where it had none.
    pub given: Option<String>,
    /// In seconds; `null` means no limit.
    pub seconds: Option<f64>,
}

/// How the script's first process ended: one of the two is set.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScriptExit {
    /// Its exit code.
    pub code: Option<i32>,
    /// The signal it died by, such as `SIGTERM`.
    pub signal: Option<String>,
}

/// Why a run did not succeed, and the way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorReport {
    /// Never changes its meaning.
    pub code: Code,
    /// What went wrong, one line.
    pub message: String,
    /// What to do, one line.
    pub hint: String,
}

impl From<&Error> for ErrorReport {
    fn from(error: &Error) -> Self {
        Self { code: error.code, message: error.chain(), hint: error.hint().to_owned() }
    }
}

/// The recording of top-level commands, in short.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Steps {
    /// How many were seen.
    pub count: u64,
    /// The one that runs, or that ran at the deadline.
    pub current: Option<Step>,
    /// Why there is no recording.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unavailable: Option<String>,
}

/// A top-level command that runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Line in the script.
    pub line: u32,
    /// The sudo block it stands in.
    pub block: Option<Block>,
    /// Its text before expansion.
    pub command: String,
    /// How long it has been running.
    pub seconds: f64,
}

/// A `sudo -u USER` block of the script.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Block {
    /// Whose block.
    pub user: String,
    /// Line within the block.
    pub line: u32,
}

/// A top-level command that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailedCommand {
    /// Line in the script.
    pub line: u32,
    /// The sudo block it stands in.
    pub block: Option<Block>,
    /// Its text before expansion.
    pub command: String,
    /// Its exit status.
    pub exit_code: i32,
}

/// Processes at the deadline, left behind, and those that cannot die: the first 100 of each.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Processes {
    /// What ran when time was up or the stop was asked for.
    pub at_deadline: Vec<Process>,
    /// How many those were.
    pub at_deadline_count: u64,
    /// What the script left running at its end.
    pub left: Vec<Process>,
    /// How many those were.
    pub left_count: u64,
    /// What was in an uninterruptible wait 5 s after SIGKILL, and is no longer waited for.
    pub unkillable: Vec<Process>,
    /// How many those were.
    pub unkillable_count: u64,
}

/// One process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Process id.
    pub pid: i32,
    /// Login name, or the number where it has none.
    pub user: String,
    /// Age.
    pub seconds: f64,
    /// Command line; on the share only the program's name.
    pub command: String,
}

/// What became of the script's output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// Bytes kept on the local disk.
    pub bytes: u64,
    /// Bytes that could not be kept, or were left out by `--output-limit`.
    pub dropped_bytes: u64,
    /// Bytes known to be on the share.
    pub mirrored_bytes: u64,
    /// How the share's copy stands.
    pub mirror: Mirror,
    /// The folder of the share's copy, below the share; `null` until there is one.
    #[serde(default)]
    pub mirror_path: Option<String>,
}

/// How the share's copy stands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Mirror {
    /// Nothing of the run is known to be on the share.
    #[default]
    None,
    /// Something is missing there.
    Behind,
    /// All output so far is there, and has been looked at there.
    Current,
}
