//! Why a run did not succeed: the commands that failed, and what was printed while they ran.

use std::{
    ops::Range,
    time::{Duration, SystemTime},
};

use super::{kept::Kept, progress::place, records::Entry};
use crate::{
    error::one_line,
    record::{
        outcome::State,
        steps::{RecordedStep, StepList},
        words::human,
    },
};

/// The commands of a run that failed, and the one that was ended with it, in the order in which they ended.
/// `None` where no commands were recorded, or only elsewhere.
pub fn failing(entry: &Entry) -> Option<Vec<RecordedStep>> {
    let StepList { steps, running, .. } = StepList::read(&entry.folder)?;
    if entry.outcome.steps.unavailable.is_some() {
        return None;
    }
    let mut failed: Vec<RecordedStep> = steps.into_iter().filter(|step| step.has_failed).collect();
    match entry.outcome.state {
        State::TimedOut | State::Interrupted => failed.extend(running),
        State::Pending | State::Running | State::Succeeded | State::Failed | State::Rejected => {}
    }
    Some(failed)
}

/// `line 14 (azureuser 3): `conda create -n x` failed with 127 after 0.2s`.
pub fn described(step: &RecordedStep) -> String {
    let how = match step.exit_code {
        Some(code) => format!("failed with {code} after {}", human(step.seconds)),
        None => format!("was ended after {}", human(step.seconds)),
    };
    format!("{}: `{}` {how}", place(step.line, step.block.as_ref()), one_line(&step.command))
}

/// Where in the output stands what was printed while a command ran.
pub fn printed_by(step: &RecordedStep, kept: &Kept) -> Range<u64> {
    let began = humantime::parse_rfc3339(&step.started_at).unwrap_or(SystemTime::UNIX_EPOCH);
    let seconds = Duration::try_from_secs_f64(step.seconds).unwrap_or_default();
    kept.between(began, began + seconds)
}
