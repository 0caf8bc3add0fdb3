//! What the share may see of a run (CONTRACT 6.1).

use std::borrow::Cow;

use super::{
    outcome::Outcome,
    steps::StepList,
    words::{place_and_name, silent_failures},
};

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
