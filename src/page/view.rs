//! What a page shows of a run, by who may read it.

use std::{
    borrow::Cow,
    fs,
    time::{Duration, SystemTime},
};

use crate::{
    output::excerpt::Excerpts,
    record::{
        outcome::{Outcome, State},
        redaction::Redaction,
        state::RunDir,
        steps::{RecordedStep, StepList},
    },
};

/// For whom a page is made.
#[derive(Clone, Copy, Debug)]
pub enum Audience {
    /// Root, who reads it in the state directory.
    Root,
    /// Whoever can read the share.
    Share(Redaction),
}

/// A run, as its page shows it.
#[derive(Debug)]
pub struct View<'a> {
    pub(super) outcome: Cow<'a, Outcome>,
    pub(super) steps: Cow<'a, StepList>,
    /// The script as it ran, where it may be seen.
    pub(super) script: Option<Cow<'a, [u8]>>,
    pub(super) excerpts: Excerpts,
    pub(super) audience: Audience,
    pub(super) now: SystemTime,
    /// Whether an index lists this run.
    pub(super) has_index: bool,
}

impl<'a> View<'a> {
    /// What `audience` may see of a run that is at work.
    pub fn new(run: &RunDir, outcome: &'a Outcome, steps: &'a StepList, script: &'a [u8], audience: Audience) -> Self {
        let script = Some(Cow::Borrowed(script)).filter(|script| !script.is_empty());
        Self::of(Some(run), outcome, Cow::Borrowed(steps), script, audience)
    }

    /// What `audience` may see of a run, read from its folder, where it has one.
    pub fn from_folder(run: Option<&RunDir>, outcome: &'a Outcome, audience: Audience) -> Self {
        let steps = run.and_then(|run| StepList::read(run.path())).unwrap_or_default();
        let script = run.and_then(|run| fs::read(run.file("script.sh")).ok()).filter(|script| !script.is_empty());
        Self::of(run, outcome, Cow::Owned(steps), script.map(Cow::Owned), audience)
    }

    fn of(
        run: Option<&RunDir>,
        outcome: &'a Outcome,
        steps: Cow<'a, StepList>,
        script: Option<Cow<'a, [u8]>>,
        audience: Audience,
    ) -> Self {
        let excerpts = run.map(|run| Excerpts::open(run.path())).unwrap_or_default();
        let now = SystemTime::now();
        let (outcome, steps, script) = match audience {
            Audience::Root => (Cow::Borrowed(outcome), steps, script),
            Audience::Share(redaction) => (
                Cow::Owned(redaction.of(outcome)),
                redaction.of_steps(steps),
                script.filter(|_| redaction.shows_script),
            ),
        };
        let has_index = outcome.instance.is_some();
        Self { outcome, steps, script, excerpts, audience, now, has_index }
    }

    /// When the script began.
    pub(super) fn start(&self) -> SystemTime {
        humantime::parse_rfc3339_weak(&self.outcome.started_at).unwrap_or(self.now)
    }

    /// How long it has run, or ran, in seconds.
    pub(super) fn elapsed(&self) -> f64 {
        self.outcome.elapsed_seconds.unwrap_or_else(|| match self.outcome.state {
            State::Pending | State::Rejected => 0.0,
            State::Running | State::Succeeded | State::Failed | State::TimedOut | State::Interrupted => {
                self.now.duration_since(self.start()).map_or(0.0, |since| since.as_secs_f64())
            }
        })
    }

    /// The steps that failed, without those that failed only because one within them did: a `sudo` block's
    /// command is no news beside the command of the block.
    pub(super) fn failures(&self) -> Vec<&RecordedStep> {
        let failed: Vec<&RecordedStep> = self.steps.steps.iter().filter(|step| step.has_failed).collect();
        let is_told_by = |outer: &RecordedStep, inner: &RecordedStep| {
            inner.block.is_some() && (outer.line..=outer.end_line).contains(&inner.line)
        };
        let mut told: Vec<&RecordedStep> = Vec::new();
        for step in failed {
            let is_outer = step.block.is_none() && told.last().is_some_and(|inner| is_told_by(step, inner));
            if !is_outer {
                told.push(step);
            }
        }
        told
    }

    /// The step that explains how the run ended, or what it is doing.
    pub(super) fn culprit(&self) -> Option<RecordedStep> {
        match self.outcome.state {
            State::Failed => self.failures().last().map(|step| (*step).clone()),
            State::Running | State::TimedOut | State::Interrupted => self.steps.running.clone(),
            State::Pending | State::Succeeded | State::Rejected => None,
        }
    }

    /// What came while a step ran, its last bytes.
    pub(super) fn output_of(&self, step: &RecordedStep, most: u64) -> Option<crate::output::excerpt::Piece> {
        let from = humantime::parse_rfc3339_weak(&step.started_at).ok()?;
        let to = from.checked_add(Duration::try_from_secs_f64(step.seconds.max(0.0)).ok()?)?;
        self.excerpts.between(from, to, most)
    }
}
