//! The recording of steps as a run uses it: begun in time, never in the way (CONTRACT 7).

use std::{
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use super::environment::{self, Environment};
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
    steps::{self, Recorder, Starting, Step, Summary, Unavailable, Watch, hook::Hook},
};

/// How long a start waits for the kernel to put the probes in; it usually takes some 15 ms, and more while a machine
/// that is being provisioned is busy with itself.
const PATIENCE: Duration = Duration::from_secs(1);

/// The variable by which bash finds a file to read before a script.
const BASH_ENV: &str = "BASH_ENV";

/// Where a script runs, as far as the hook inside bash is concerned.
#[derive(Clone, Debug)]
pub enum Ground<'a> {
    /// On the instance.
    Machine {
        /// What the run's processes carry.
        token: &'a str,
        /// Whose shells may write: root, and who is named in the script.
        users: Vec<u32>,
    },
    /// In a rehearsal's room, in this folder of it, which is not there yet.
    Room(PathBuf),
}

/// A recording in each of its conditions.
#[derive(Debug)]
pub enum Recording {
    /// There is none, and this is why.
    Off(String),
    /// The kernel is putting the probes in.
    Starting(Box<Starting>),
    /// It runs.
    On(Box<Running>),
    /// It has ended, with these.
    Ended(StepList),
}

/// A recording that runs.
#[derive(Debug)]
pub struct Running {
    recorder: Recorder,
    /// What ran when time was up or a stop was asked for. What the script did in its grace says nothing of that.
    at_deadline: Option<Step>,
}

impl Recording {
    fn on(recorder: Recorder) -> Self {
        Self::On(Box::new(Running { recorder, at_deadline: None }))
    }

    /// Has the probes put in, in the background, or the hook laid out. Whatever is in the way becomes a reason.
    pub fn prepare(mode: StepsMode, script: &Script, run_id: &str, ground: &Ground<'_>) -> Self {
        let off = |reason: &str| Self::Off(reason.to_owned());
        match ground {
            Ground::Machine { .. } => steps::hook::sweep(),
            Ground::Room(_) => {}
        }
        if mode == StepsMode::Off {
            return off("`--steps off`");
        }
        let Some(bash) = bash_of(&script.interpreter) else {
            return off("only bash scripts are recorded");
        };
        let why = match mode {
            StepsMode::Hook | StepsMode::Off => None,
            StepsMode::Auto if !nix::unistd::geteuid().is_root() => {
                Some("recording from outside takes root".to_owned())
            }
            StepsMode::Auto => match Starting::new(Watch { run_id, interpreter: &bash, script: &script.text }) {
                Ok(starting) => return Self::Starting(Box::new(starting)),
                Err(Unavailable(why)) => Some(reason(&why)),
            },
        };
        let hook = match (ground, why) {
            (Ground::Machine { .. }, Some(why)) => return Self::Off(why),
            (Ground::Machine { token, users }, None) => Hook::of_run(token, users),
            (Ground::Room(folder), _) => Hook::new(folder, &[nix::unistd::geteuid().as_raw()]),
        };
        match hook {
            Ok(hook) => Self::on(Recorder::of_hook(hook, &script.text)),
            Err(error) => Self::Off(format!("the hook inside bash cannot be laid out: {}", reason(&error))),
        }
    }

    /// Lets the script's bash, and those that sudo starts, find the hook. What does not work is a warning.
    pub fn adapt(&mut self, environment: &mut Environment, ground: &Ground<'_>) -> Option<Warning> {
        let Self::On(running) = self else { return None };
        let hook = running.recorder.hook()?;
        if environment.get(BASH_ENV).is_some() {
            let old = std::mem::replace(self, Self::Off(format!("`{BASH_ENV}` is set on this machine")));
            if let Self::On(running) = old {
                running.recorder.finish(None);
            }
            return None;
        }
        environment.set(BASH_ENV, hook.variable());
        let reached = match ground {
            Ground::Machine { .. } => hook.reach_blocks(),
            // The stand-in for sudo does it.
            Ground::Room(_) => Ok(()),
        };
        reached.err().map(|error| {
            Warning::new(
                "steps-incomplete",
                format!("the commands inside sudo blocks cannot be recorded: {}", reason(&error)),
                "leave out `--steps hook` where recording from outside is possible",
            )
        })
    }

    /// Waits a bounded time until the probes are in: what runs before that is not seen.
    pub fn begin(&mut self) {
        let old = std::mem::replace(self, Self::Off(String::new()));
        *self = match old {
            Self::Starting(starting) => match starting.finish(Instant::now() + PATIENCE) {
                Ok(recorder) => Self::on(recorder),
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
        if let Self::On(running) = self {
            running.recorder.set_root(pid.cast_unsigned());
        }
    }

    /// What to poll.
    pub fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::On(running) => running.recorder.poll_fd(),
            Self::Off(_) | Self::Starting(_) | Self::Ended(_) => None,
        }
    }

    /// When to look without being woken.
    pub fn next_wakeup(&self) -> Option<Instant> {
        match self {
            Self::On(running) => running.recorder.next_wakeup(),
            Self::Off(_) | Self::Starting(_) | Self::Ended(_) => None,
        }
    }

    /// Takes in what was seen.
    pub fn pump(&mut self) {
        if let Self::On(running) = self {
            running.recorder.pump();
        }
    }

    /// The script is about to be ended: keeps what it is doing.
    pub fn note_deadline(&mut self) {
        self.pump();
        if let Self::On(running) = self {
            running.at_deadline = running.recorder.current();
        }
    }

    /// Writes what is known so far.
    pub fn write_to(&self, outcome: &mut Outcome) {
        match self {
            Self::Off(reason) => outcome.steps.unavailable = Some(reason.clone()),
            Self::Starting(_) | Self::Ended(_) => {}
            Self::On(running) => {
                let recorder = &running.recorder;
                outcome.steps.unavailable = None;
                outcome.steps.count = recorder.count();
                outcome.steps.current = running.current().map(|step| current(&step));
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

    /// Brings the list of steps up to date, and says whether anything in it is new. As long as no further step has
    /// ended, only the one that runs is told anew: a chatty script has this asked for all the time.
    pub fn update(&self, list: &mut StepList) -> bool {
        match self {
            Self::Off(_) | Self::Starting(_) => false,
            Self::On(running) if running.recorder.count() != list.count => {
                *list = listed(running.recorder.count(), &running.recorder.steps(), running.current().as_ref());
                true
            }
            Self::On(running) => {
                let current = running.current().as_ref().map(recorded);
                let is_new = list.running != current;
                list.running = current;
                is_new
            }
            Self::Ended(all) => {
                let is_new = list != all;
                if is_new {
                    list.clone_from(all);
                }
                is_new
            }
        }
    }

    /// Ends the recording and writes all of it. A script that succeeded in spite of a failed command gets a
    /// warning for each of the first of them.
    /// `status` is the script's own exit code, where it ended by itself.
    pub fn finish(&mut self, outcome: &mut Outcome, status: Option<i32>) {
        self.write_to(outcome);
        let Self::On(running) = std::mem::replace(self, Self::Ended(StepList::default())) else { return };
        let Running { recorder, at_deadline } = *running;
        let Summary { unavailable, count, steps, failed: failures, failed_count, unfinished, lost_events, notes } =
            recorder.finish(status);
        let unfinished = at_deadline.or(unfinished);
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

impl Running {
    fn current(&self) -> Option<Step> {
        self.at_deadline.clone().or_else(|| self.recorder.current())
    }
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

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use super::*;

    #[test]
    fn a_list_of_steps_is_brought_up_to_date_while_they_run_and_at_their_end() {
        let folder = tempfile::tempdir().unwrap();
        let (script, text) = (folder.path().join("script.sh"), "true\nread -r line\nread -r line\n");
        fs::write(&script, text).unwrap();
        let hook = Hook::new(&folder.path().join("steps"), &[nix::unistd::geteuid().as_raw()]).unwrap();
        let mut bash = Command::new("bash");
        bash.arg(&script).env(BASH_ENV, hook.variable()).stdin(std::process::Stdio::piped());
        let mut recording = Recording::on(Recorder::of_hook(hook, text.as_bytes()));
        let mut bash = bash.spawn().unwrap();
        recording.follow(bash.id().cast_signed());

        let mut list = StepList::default();
        let mut follow_to = |recording: &mut Recording, count: u64, line: u32| {
            let until = Instant::now() + Duration::from_secs(20);
            loop {
                recording.pump();
                let is_new = recording.update(&mut list);
                let runs = list.running.as_ref().map(|step| step.line);
                if (list.count, runs) == (count, Some(line)) {
                    assert!(is_new);
                    return list.clone();
                }
                assert!(Instant::now() < until, "{list:?}");
                std::thread::sleep(Duration::from_millis(10));
            }
        };
        let before = follow_to(&mut recording, 1, 2);
        let mut later = before.clone();
        assert!(recording.update(&mut later));
        assert_eq!(later.steps, before.steps);
        let seconds = |list: &StepList| list.running.as_ref().map(|step| step.seconds);
        assert!(seconds(&later) > seconds(&before), "what runs goes on");
        std::io::Write::write_all(&mut bash.stdin.as_ref().unwrap(), b"one\n").unwrap();
        let mut list = follow_to(&mut recording, 2, 3);
        assert_eq!(list.steps.iter().map(|step| step.line).collect::<Vec<_>>(), [1, 2]);

        drop(bash.stdin.take());
        bash.wait().unwrap();
        recording.finish(&mut Outcome::blank("r", None, None), Some(1));
        assert!(recording.update(&mut list));
        assert_eq!((list.count, list.steps.len(), &list.running), (3, 3, &None));
        assert!(!recording.update(&mut list), "nothing more happens");
    }
}
