//! The rules, each a function over one shell of the script. A rule's name is stable: scripts name it to be
//! spared (`# ci-setup: ignore RULE`).

mod appends;
mod background;
mod blocks;
mod conda;
mod paths;
mod questions;
mod root;
pub mod secrets;
mod stdin;

use std::borrow::Cow;

use super::Role;
use super::model::{Block, Shell};
use crate::check::finding::{Findings, Severity};
use crate::request::Position;

/// What a rule looks at.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The shell.
    pub shell: &'a Shell,
    /// The one that starts it.
    pub parent: Option<&'a Shell>,
    /// Its commands run as root.
    pub is_root: bool,
    /// When the script runs.
    pub role: Role,
}

impl<'a> View<'a> {
    /// How the shell is started, and by which, where it is a block.
    fn block(&self) -> Option<(&'a Block, &'a Shell)> {
        Some((self.shell.block.as_ref()?, self.parent?))
    }
}

type Rule = fn(&View<'_>, &mut Notes<'_>);

const RULES: [Rule; 14] = [
    blocks::arguments,
    blocks::variables,
    blocks::expansions,
    blocks::lost_failures,
    paths::relative_in_login_block,
    conda::before_profile,
    questions::asked,
    stdin::read_without_input,
    stdin::heredoc_eaten,
    root::needless_sudo,
    root::reboot,
    background::holds_log,
    secrets::in_script,
    appends::again_at_every_start,
];

/// Applies all rules to all shells.
pub fn check(script: &Shell, role: Role, notes: &mut Notes<'_>) {
    let mut open = vec![View { shell: script, parent: None, is_root: true, role }];
    while let Some(view) = open.pop() {
        for rule in RULES {
            rule(&view, notes);
        }
        for shell in view.shell.blocks.iter().rev() {
            let is_root = view.is_root && !shell.is_other_users();
            open.push(View { shell, parent: Some(view.shell), is_root, role });
        }
    }
}

/// Takes findings at byte places of the script.
pub struct Notes<'a> {
    text: &'a str,
    starts: Vec<usize>,
    findings: &'a mut Findings,
}

impl<'a> Notes<'a> {
    /// For one script.
    pub fn new(text: &'a str, findings: &'a mut Findings) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts, findings }
    }

    /// Notes a finding.
    pub fn add(
        &mut self,
        severity: Severity,
        rule: impl Into<Cow<'static, str>>,
        place: usize,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let line = self.starts.partition_point(|start| *start <= place).max(1);
        let before = self.text.get(self.starts[line - 1]..place).unwrap_or_default();
        let position = Position { line, column: before.chars().count() + 1 };
        self.findings.add(severity, rule, position, message, hint);
    }

    /// Notes a warning.
    pub fn warn(&mut self, rule: &'static str, place: usize, message: impl Into<String>, hint: impl Into<String>) {
        self.add(Severity::Warning, rule, place, message, hint);
    }

    /// Whether the script says a word anywhere: for settings that switch a whole rule off.
    pub fn says(&self, word: &str) -> bool {
        self.text.contains(word)
    }
}
