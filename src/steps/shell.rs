//! One bash whose top-level commands are recorded: the script's own, or a block's.

use std::rc::Rc;

use super::event::{Builtin, Hit, Input};
use super::record::{self, Moment, Ran};
use super::script::{BlockText, Means, Script};

/// A bash whose top-level commands are recorded.
#[derive(Debug)]
pub struct Shell {
    pub id: u64,
    pub pid: u32,
    pub load_address: u64,
    pub input: Input,
    pub script: Rc<Script>,
    pub block: Option<Block>,
    pub mark: Option<Mark>,
    /// The line that forked last in the current step, and whether within a function.
    pub fork: Option<(u32, u32)>,
    /// The status of the command just ended, if it was reported as failed.
    pub failed_with: Option<i32>,
    /// The same of a block that ended within the current step.
    pub inner_failed_with: Option<i32>,
    /// How often each block of the current step has been given to a shell.
    pub given: Vec<usize>,
    /// What is known of it by the hook, if it is.
    pub hooked: Option<Hooked>,
}

/// A shell as the hook tells of it.
#[derive(Debug)]
pub struct Hooked {
    /// When it read the hook.
    pub began: u64,
    /// How many lines it has written.
    pub lines: u32,
    /// What its last simple command was.
    pub last: Builtin,
    /// The hook has gone from it.
    pub is_blind: bool,
}

#[derive(Debug)]
pub struct Block {
    pub user: String,
    pub parent: u64,
    pub after_line: u32,
}

/// The last time the shell was about to read a command.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    pub time: u64,
    pub line: u32,
    pub number: u32,
    pub status: i32,
}

impl Shell {
    /// One of which nothing has been seen yet.
    pub fn new(id: u64, pid: u32, input: Input, script: Rc<Script>, block: Option<Block>) -> Self {
        Self {
            id,
            pid,
            load_address: 0,
            input,
            script,
            block,
            mark: None,
            fork: None,
            failed_with: None,
            inner_failed_with: None,
            given: Vec::new(),
            hooked: None,
        }
    }

    pub fn address_agrees(&self, hit: &Hit) -> bool {
        let counts_on = match self.input {
            Input::CommandString => true,
            Input::File | Input::Stdin => self.mark.is_none_or(|mark| hit.number >= mark.number),
        };
        self.load_address == hit.load_address && self.input == hit.input && counts_on
    }

    /// What the step that begins after `before` is.
    pub fn describe(&self, before: Mark, end: u32) -> Ran {
        let mut ran = Ran { began: Moment(before.time), ..Ran::default() };
        match self.script.unit(before.line + 1, end) {
            Some(unit) => {
                self.place(&mut ran, unit.first_line, unit.last_line);
                ran.command = self.script.text(unit);
            }
            None => {
                let last = if end == u32::MAX { before.line + 1 } else { end };
                self.place(&mut ran, before.line + 1, last);
                ran.command = self.script.text_of_line(before.line + 1).unwrap_or_default();
            }
        }
        ran
    }

    pub fn place(&self, ran: &mut Ran, first: u32, last: u32) {
        ran.line = self.script.line_in_script(first);
        ran.end_line = self.script.line_in_script(last);
        ran.block = self.block.as_ref().map(|block| record::Block {
            user: block.user.clone(),
            line: (ran.line + 1).saturating_sub(self.script.first_line()),
        });
    }

    /// The text that a shell started in the step after `after_line`, by the command in `line`, is reading.
    pub fn block_text(&mut self, after_line: u32, line: u32, means: Means) -> Option<Script> {
        let unit = self.script.unit(after_line + 1, u32::MAX)?;
        let mut blocks = self.script.blocks(unit.first_line..unit.last_line + 1, means);
        if blocks.is_empty() {
            // In a function, then: only where the line in execution names it.
            blocks = self.script.blocks(line..line + 1, means);
        }
        let at_line = blocks.iter().filter(|block| self.script.commands[block.command].line == line).count();
        if at_line > 0 {
            blocks.retain(|block| self.script.commands[block.command].line == line);
        }
        let uses = |block: &BlockText| self.given.iter().filter(|given| **given == block.command).count();
        let block = blocks.iter().min_by_key(|block| uses(block))?;
        self.given.push(block.command);
        Some(self.script.inner(block))
    }

    /// The text for a shell started somewhere in a function, if there is but one.
    pub fn only_text_in_functions(&self, means: Means) -> Option<Script> {
        let blocks = self.script.blocks(0..u32::MAX, means);
        let mut inside = blocks.iter().filter(|block| {
            let line = self.script.commands[block.command].line;
            self.script.unit_at(line).is_some_and(|unit| self.script.defines_function(unit))
        });
        let only = inside.next().filter(|_| inside.next().is_none())?;
        Some(self.script.inner(only))
    }
}

/// A user's name, from the file itself: a static program has no name service to ask.
pub fn user_name(uid: u32) -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| uid.to_string())
}
