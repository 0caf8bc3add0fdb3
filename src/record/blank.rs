//! The outcome of a run as it begins.

use std::time::SystemTime;

use super::{
    outcome::{Instance, Outcome, Output, Processes, SCHEMA_VERSION, ScriptKind, State, Steps},
    state::{boot_id, timestamp},
};

impl Outcome {
    /// An outcome of which only the beginning is known.
    pub fn blank(run_id: &str, script: Option<ScriptKind>, instance: Option<Instance>) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            agent_version: env!("CARGO_PKG_VERSION").into(),
            boot_id: boot_id(),
            run_id: run_id.into(),
            script,
            state: State::Pending,
            exit_code: None,
            instance,
            source: None,
            arguments: None,
            timeout: None,
            started_at: timestamp(SystemTime::now()),
            ended_at: None,
            elapsed_seconds: None,
            script_exit: None,
            error: None,
            steps: Steps::default(),
            failed_commands: Vec::new(),
            failed_command_count: 0,
            processes: Processes::default(),
            output: Output::default(),
            warnings: Vec::new(),
        }
    }
}
