//! The recording of steps as a run uses it: begun in time, never in the way (CONTRACT 7).

use std::{
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use super::environment;
use crate::{
    error::reason,
    record::{
        outcome::{self, FailedCommand, Outcome},
        state::timestamp_micros,
        steps::{RecordedStep, StepList},
    },
    request::Warning,
    script::{Script, interpreter::Interpreter},
    settings::StepsMode,
    steps::{Recorder, Starting, Step, Summary, Unavailable, Watch},
};

/// How long a start waits for the kernel to put the probes in; it usually takes some 15 ms.
const PATIENCE: Duration = Duration::from_millis(500);

/// A recording in each of its conditions.
#[derive(Debug)]
pub enum Recording {
    /// There is none, and this is why.
    Off(String),
    /// The kernel is putting the probes in.
    Starting(Box<Starting>),
    /// It runs.
    On(Box<Recorder>),
    /// It has ended, with these.
    Ended(StepList),
}

impl Recording {
    /// Has the probes put in, in the background. Whatever is in the way becomes a reason.
    pub fn prepare(mode: StepsMode, script: &Script, run_id: &str) -> Self {
        let off = |reason: &str| Self::Off(reason.to_owned());
        match mode {
            StepsMode::Off => return off("`--steps off`"),
            StepsMode::Hook => return off("the hook inside bash is not part of this version"),
            StepsMode::Auto => {}
        }
        if !nix::unistd::geteuid().is_root() {
            return off("recording from outside takes root");
        }
        let Some(bash) = bash_of(&script.interpreter) else {
            return off("only bash scripts are recorded");
        };
        let text = script.text.as_slice();
        match Starting::new(Watch { run_id, interpreter: &bash, script: text }) {
            Ok(starting) => Self::Starting(Box::new(starting)),
            Err(Unavailable(why)) => Self::Off(reason(&why)),
        }
    }

    /// Waits a bounded time until the probes are in: what runs before that is not seen.
    pub fn begin(&mut self) {
        let old = std::mem::replace(self, Self::Off(String::new()));
        *self = match old {
            Self::Starting(starting) => match starting.finish(Instant::now() + PATIENCE) {
                Ok(recorder) => Self::On(Box::new(recorder)),
                Err(Unavailable(why)) => Self::Off(reason(&why)),
            },
            other => other,
        };
    }

    /// `on`, or why there is none.
    pub fn standing(&self) -> &str {
        match self {
            Self::Off(reason) => reason,
            Self::Starting(_) => "not begun",
            Self::On(_) => "on",
            Self::Ended(_) => "ended",
        }
    }

    /// Names the script's first process.
    pub fn follow(&mut self, pid: i32) {
        if let Self::On(recorder) = self {
            recorder.set_root(pid.cast_unsigned());
        }
    }

    /// What to poll.
    pub fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::On(recorder) => recorder.poll_fd(),
            Self::Off(_) | Self::Starting(_) | Self::Ended(_) => None,
        }
    }

    /// When to look without being woken.
    pub fn next_wakeup(&self) -> Option<Instant> {
        match self {
            Self::On(recorder) => recorder.next_wakeup(),
            Self::Off(_) | Self::Starting(_) | Self::Ended(_) => None,
        }
    }

    /// Takes in what was seen.
    pub fn pump(&mut self) {
        if let Self::On(recorder) = self {
            recorder.pump();
        }
    }

    /// Writes what is known so far.
    pub fn write_to(&self, outcome: &mut Outcome) {
        match self {
            Self::Off(reason) => outcome.steps.unavailable = Some(reason.clone()),
            Self::Starting(_) | Self::Ended(_) => {}
            Self::On(recorder) => {
                outcome.steps.unavailable = None;
                outcome.steps.count = recorder.count();
                outcome.steps.current = recorder.current().map(|step| current(&step));
                outcome.failed_commands = recorder.failed().iter().map(failed).collect();
                outcome.failed_command_count = outcome.failed_commands.len() as u64;
            }
        }
    }

    /// The command that runs, and when it began.
    pub fn running(&self) -> Option<(outcome::Step, SystemTime)> {
        match self {
            Self::On(recorder) => recorder.current().map(|step| (current(&step), step.began)),
            Self::Off(_) | Self::Starting(_) | Self::Ended(_) => None,
        }
    }

    /// The steps so far, for the run's folder.
    pub fn list(&self) -> StepList {
        match self {
            Self::Off(_) | Self::Starting(_) => StepList::default(),
            Self::On(recorder) => listed(recorder.count(), &recorder.steps(), recorder.current().as_ref()),
            Self::Ended(list) => list.clone(),
        }
    }

    /// Ends the recording and writes all of it. A script that succeeded in spite of a failed command gets a
    /// warning for each of the first of them.
    pub fn finish(&mut self, outcome: &mut Outcome) {
        self.write_to(outcome);
        let Self::On(recorder) = std::mem::replace(self, Self::Ended(StepList::default())) else { return };
        let Summary { unavailable, count, steps, failed: failures, failed_count, unfinished, lost_events, notes } =
            recorder.finish();
        *self = Self::Ended(listed(count, &steps, unfinished.as_ref()));
        outcome.steps.unavailable = unavailable;
        outcome.steps.count = count;
        outcome.steps.current = unfinished.map(|step| current(&step));
        outcome.failed_commands = failures.iter().map(failed).collect();
        outcome.failed_command_count = failed_count;
        let mut note = |message: String| {
            outcome.warnings.push(Warning::new(
                "steps-incomplete",
                message,
                "the steps that are listed are right; some are missing",
            ));
        };
        notes.into_iter().for_each(&mut note);
        if lost_events > 0 {
            note(format!("{lost_events} events of the recording were lost"));
        }
    }
}

/// One warning that names the commands a successful script passed over.
pub fn silent_failures(outcome: &Outcome) -> Option<Warning> {
    let first = outcome.failed_commands.first()?;
    let place = match &first.block {
        Some(block) => format!("line {} of the script, line {} of the {} block", first.line, block.line, block.user),
        None => format!("line {} of the script", first.line),
    };
    let more = match outcome.failed_command_count {
        0 | 1 => String::new(),
        count => format!(", and {} more", count - 1),
    };
    Some(Warning::new(
        "failed-commands",
        format!("the script succeeded although `{}` failed with {} in {place}{more}", first.command, first.exit_code),
        "put `set -e` at the top of the script and of the block, or handle the failure with `||`",
    ))
}

fn listed(count: u64, steps: &[Step], running: Option<&Step>) -> StepList {
    StepList { count, steps: steps.iter().map(recorded).collect(), running: running.map(recorded) }
}

fn recorded(step: &Step) -> RecordedStep {
    RecordedStep {
        line: step.line,
        end_line: step.end_line,
        block: block(step),
        command: step.command.clone(),
        started_at: timestamp_micros(step.began),
        seconds: step.seconds,
        exit_code: step.exit_code,
        has_failed: step.has_failed,
    }
}

fn block(step: &Step) -> Option<outcome::Block> {
    step.block.as_ref().map(|block| outcome::Block { user: block.user.clone(), line: block.line })
}

fn current(step: &Step) -> outcome::Step {
    outcome::Step { line: step.line, block: block(step), command: step.command.clone(), seconds: step.seconds }
}

fn failed(step: &Step) -> FailedCommand {
    FailedCommand {
        line: step.line,
        block: block(step),
        command: step.command.clone(),
        exit_code: step.exit_code.unwrap_or_default(),
    }
}

/// The bash that will run the script, also where `#!/usr/bin/env bash` looks it up.
fn bash_of(interpreter: &Interpreter) -> Option<PathBuf> {
    if !interpreter.is_bash() {
        return None;
    }
    if !interpreter.program.ends_with("env") {
        return Some(interpreter.program.clone());
    }
    environment::PATH.split(':').map(|folder| Path::new(folder).join("bash")).find(|path| path.exists())
}
