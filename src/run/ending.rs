//! How a run ended, and what the outcome says of it.

use std::io;

use nix::sys::{signal::Signal, wait::WaitStatus};

use crate::{
    error::{Code, Error, one_line, reason},
    record::{
        outcome::{self, ErrorReport, Outcome, ScriptExit, State},
        words::{human, place_and_name},
    },
    sys::signals::code_of_signal,
};

/// Who wants the run to end before its time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stop {
    /// A signal to the agent.
    Signal(Signal),
    /// The front was killed: nobody waits for the result any more.
    FrontGone,
}

impl Stop {
    /// What `run` exits with: 128 + the signal's number, as a shell would see it.
    fn exit_code(self) -> u8 {
        match self {
            Self::Signal(signal) => code_of_signal(signal),
            Self::FrontGone => Code::Interrupted.exit_code(),
        }
    }
}

/// How it ended.
#[derive(Debug)]
pub enum Ending {
    /// The script ended by itself.
    Exited(WaitStatus),
    /// Time was up.
    TimedOut(Option<WaitStatus>),
    /// A stop was asked for while the script ran.
    Stopped(Stop, Option<WaitStatus>),
    /// A stop was asked for before the script had started.
    StoppedBefore(Stop),
    /// The script could not be started: what could not be done, and why.
    CannotStart(&'static str, io::Error),
    /// It could not be written down that the script was about to start.
    Refused(Error),
}

impl Ending {
    /// Whether the history says that the script started.
    pub fn has_begun(&self) -> bool {
        match self {
            Self::Exited(_) | Self::TimedOut(_) | Self::Stopped(..) | Self::CannotStart(..) => true,
            Self::StoppedBefore(_) | Self::Refused(_) => false,
        }
    }

    /// The code that the script exited with by itself.
    pub fn own_status(&self) -> Option<i32> {
        match self {
            Self::Exited(WaitStatus::Exited(_, code)) => Some(*code),
            Self::Exited(_)
            | Self::TimedOut(_)
            | Self::Stopped(..)
            | Self::StoppedBefore(_)
            | Self::CannotStart(..)
            | Self::Refused(_) => None,
        }
    }

    /// Writes it into the outcome: state, exit code, the script's exit, and the error.
    pub fn write_to(&self, outcome: &mut Outcome) {
        let took = took(outcome);
        let (state, exit_code, status) = match self {
            Self::Exited(WaitStatus::Exited(_, 0)) => (State::Succeeded, 0, None),
            Self::Exited(status) => (State::Failed, code_of(*status), Some(*status)),
            Self::TimedOut(status) => (State::TimedOut, Code::TimedOut.exit_code(), *status),
            Self::Stopped(stop, status) => (State::Interrupted, stop.exit_code(), *status),
            Self::StoppedBefore(stop) => (State::Interrupted, stop.exit_code(), None),
            Self::CannotStart(..) => (State::Rejected, Code::CannotStart.exit_code(), None),
            Self::Refused(error) => (State::Rejected, error.exit_code(), None),
        };
        outcome.state = state;
        outcome.exit_code = Some(exit_code);
        let status = match self {
            Self::Exited(status) => Some(*status),
            _ => status,
        };
        outcome.script_exit = status.map(script_exit);
        outcome.error = self.error(outcome, &took);
    }

    fn error(&self, outcome: &Outcome, took: &str) -> Option<ErrorReport> {
        let report = |code, message: String, hint: String| Some(ErrorReport { code, message, hint });
        let see = "look at the end of the output for what went wrong".to_owned();
        match self {
            Self::Exited(WaitStatus::Exited(_, 0)) => None,
            Self::Exited(WaitStatus::Signaled(_, signal, _)) => report(
                Code::ScriptKilled,
                format!("the script was ended by {signal} after {took}"),
                match signal {
                    Signal::SIGKILL => "see whether the machine ran out of memory: `journalctl -k`".into(),
                    _ => see,
                },
            ),
            Self::Exited(status) => report(
                Code::ScriptFailed,
                format!(
                    "the script exited with code {} after {took}{}",
                    code_of(*status),
                    failed_last(outcome, code_of(*status))
                ),
                see,
            ),
            Self::TimedOut(_) => {
                let limit = outcome.timeout.as_ref().and_then(|timeout| timeout.seconds).unwrap_or_default();
                let (limit, running) = (human(limit), running_at_end(outcome));
                report(
                    Code::TimedOut,
                    match &outcome.steps.current {
                        Some(step) => format!("timed out in {}; the script's timeout is {limit}{running}", told(step)),
                        None => format!("the script was still running after its timeout of {limit}{running}"),
                    },
                    "give it a longer `timeout`, or let it do less".into(),
                )
            }
            Self::Stopped(Stop::Signal(signal), _) => report(
                Code::Stopped,
                match &outcome.steps.current {
                    Some(step) => format!("the run was stopped by {signal} after {took}, in {}", told(step)),
                    None => format!("the run was stopped by {signal} after {took}{}", running_at_end(outcome)),
                },
                "call `run --rerun` to run the script again".into(),
            ),
            Self::Stopped(Stop::FrontGone, _) | Self::StoppedBefore(Stop::FrontGone) => report(
                Code::Interrupted,
                format!("the agent was killed while the script was running, after {took}"),
                "call `run --rerun` to run the script again".into(),
            ),
            Self::StoppedBefore(Stop::Signal(signal)) => report(
                Code::Stopped,
                format!("the run was stopped by {signal} before the script had started"),
                "nothing was run; call `run` again".into(),
            ),
            Self::CannotStart(what, error) => report(
                Code::CannotStart,
                format!("cannot {what} the script: {}", one_line(&reason(error))),
                "see whether the folder and the interpreter are there; nothing was run, call `run` again".into(),
            ),
            Self::Refused(error) => Some(error.into()),
        }
    }
}

/// `: `conda …` failed in line 7 of the script`, where the last command that failed did so with the script's own code:
/// then it most likely ended the script.
fn failed_last(outcome: &Outcome, code: u8) -> String {
    let are_all_listed = outcome.failed_command_count == outcome.failed_commands.len() as u64;
    match outcome.failed_commands.last().filter(|last| are_all_listed && last.exit_code == i32::from(code)) {
        Some(last) => {
            let (place, name) = place_and_name(last.line, last.block.as_ref(), &last.command);
            format!(": {name} failed in {place}")
        }
        None => String::new(),
    }
}

/// `line 42 of the script, line 7 of the azureuser block: `pip install torch`, after 11m 32s`
fn told(step: &outcome::Step) -> String {
    let (place, name) = place_and_name(step.line, step.block.as_ref(), &step.command);
    format!("{place}: {name}, after {}", human(step.seconds))
}

/// `, while `pip` (pid 4711, azureuser) ran`: only names, since the share may show this.
fn running_at_end(outcome: &Outcome) -> String {
    let Some(process) = outcome.processes.at_deadline.last() else { return String::new() };
    let program = process.command.split(' ').next().unwrap_or_default();
    let name = program.rsplit('/').next().unwrap_or_default();
    format!("; `{name}` (pid {}, {}) ran last", process.pid, process.user)
}

fn took(outcome: &Outcome) -> String {
    human(outcome.elapsed_seconds.unwrap_or_default())
}

fn script_exit(status: WaitStatus) -> ScriptExit {
    match status {
        WaitStatus::Exited(_, code) => ScriptExit { code: Some(code), signal: None },
        WaitStatus::Signaled(_, signal, _) => ScriptExit { code: None, signal: Some(signal.as_str().to_owned()) },
        _ => ScriptExit::default(),
    }
}

/// As a shell sees it: the code, or 128 + the signal's number.
fn code_of(status: WaitStatus) -> u8 {
    match status {
        WaitStatus::Exited(_, code) => u8::try_from(code & 0xff).unwrap_or(u8::MAX),
        WaitStatus::Signaled(_, signal, _) => code_of_signal(signal),
        _ => Code::Internal.exit_code(),
    }
}
