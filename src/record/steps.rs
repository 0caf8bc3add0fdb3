//! `steps.json`: the top-level commands of a run that were recorded, in the order in which they ended.
//!
//! It stays on the local disk. The outcome holds what is worth knowing of it.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

use super::outcome::Block;

/// The name of the file in the run's folder.
pub const STEPS: &str = "steps.json";

/// What was recorded of a run, so far or in all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepList {
    /// How many have ended. Of more than 1,000 only the first and the latest are listed.
    pub count: u64,
    /// Those that are listed.
    pub steps: Vec<RecordedStep>,
    /// The one that runs, or that ran when the script was ended.
    pub running: Option<RecordedStep>,
}

/// A top-level command that was recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedStep {
    /// Its first line in the script.
    pub line: u32,
    /// Its last line there, heredocs included.
    pub end_line: u32,
    /// The sudo block it stands in.
    pub block: Option<Block>,
    /// Its text before expansion.
    pub command: String,
    /// When it began, RFC 3339 in UTC with microseconds.
    pub started_at: String,
    /// How long it took, or has taken so far.
    pub seconds: f64,
    /// Its exit status; `null` while it runs.
    pub exit_code: Option<i32>,
    /// Whether it failed and the script did not deal with that.
    pub has_failed: bool,
}

impl StepList {
    /// Reads it from a run's folder; `None` where nothing was recorded.
    pub fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(folder.join(STEPS)).ok()?).ok()
    }
}
