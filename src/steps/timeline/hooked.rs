//! Lines of the hook turned into what probes would have seen.
//!
//! The trap speaks before simple commands only: not before `( … )`, not at the definition of a function, and
//! not when a shell ends. What is between two lines follows from bash's own count of commands and from the
//! script's text, or it is counted as not seen.

use std::rc::Rc;

use super::Timeline;
use crate::steps::{
    entry::{Before, Entry, What},
    event::{Builtin, Hit, Input},
    hook::MOST_LINES,
    probes::Probe,
    script::{Means, Script, Unit},
    shell::{Block, Hooked, Mark, Shell, user_name},
};

impl Timeline {
    /// Takes what a bash wrote by the hook.
    pub(super) fn hooked(&mut self, pid: u32, time: u64, entry: Entry, user: u32) {
        match entry {
            Entry::Began(Input::File) => {
                if self.root == Some(pid) && self.shells.is_empty() {
                    self.record.seen = true;
                    let script = Rc::clone(&self.script);
                    self.add_hooked(pid, time, Input::File, script, None);
                }
            }
            Entry::Began(input @ (Input::Stdin | Input::CommandString)) => self.begin_block(pid, time, input, user),
            Entry::Before(before) => {
                if let Some(index) = self.shells.iter().position(|shell| shell.pid == pid) {
                    self.before(index, time, &before);
                }
            }
        }
    }

    fn add_hooked(&mut self, pid: u32, began: u64, input: Input, script: Rc<Script>, block: Option<Block>) {
        self.next_id += 1;
        let hooked = Hooked { began, lines: 0, last: Builtin::None, is_blind: false };
        self.shells.push(Shell { hooked: Some(hooked), ..Shell::new(self.next_id, pid, input, script, block) });
    }

    /// A shell that sudo has started: for the innermost command that runs and has a text for it.
    fn begin_block(&mut self, pid: u32, time: u64, input: Input, user: u32) {
        let means = if input == Input::Stdin { Means::Heredoc } else { Means::Argument };
        self.shells.retain(|shell| shell.pid != pid);
        if self.shells.len() >= super::MOST_SHELLS {
            return;
        }
        let parent = (0..self.shells.len()).rev().find_map(|index| {
            let shell = &mut self.shells[index];
            let (after_line, line) = (shell.mark?.line, shell.fork.map_or(0, |fork| fork.0));
            let script = shell.block_text(after_line, line, means).or_else(|| shell.only_text_in_functions(means))?;
            Some((shell.id, after_line, script))
        });
        let Some((parent, after_line, script)) = parent else { return };
        // One after the other in the same command: the one before has ended, and nobody knows how.
        self.drop_blocks(parent, after_line);
        let block = Block { user: user_name(user), parent, after_line };
        self.add_hooked(pid, time, input, Rc::new(script), Some(block));
    }

    /// A bash is about to execute a simple command.
    fn before(&mut self, index: usize, time: u64, before: &Before) {
        let shell = &mut self.shells[index];
        let at_top = u32::from(shell.input == Input::File);
        let Some(hooked) = &mut shell.hooked else { return };
        hooked.lines += 1;
        // Functions and sourced files under `set -T`, subshells, and the hook's own last command.
        let is_inside = before.sources != at_top || before.subshell != 0;
        let is_early = before.number == 0 && shell.input != Input::CommandString;
        if is_inside || is_early || hooked.is_blind {
            return;
        }
        let last = hooked.last;
        let lines = hooked.lines;
        let begins = match (shell.input, shell.mark) {
            (Input::CommandString, Some(mark)) => {
                shell.script.unit_at(before.line).is_some_and(|unit| unit.first_line > mark.line + 1)
            }
            (Input::File | Input::Stdin, Some(mark)) => before.number > mark.number,
            (_, None) => true,
        };
        if begins {
            self.close_blocks(index, time, before.status);
            self.pass_unseen(index, time, before);
            let shell = &self.shells[index];
            let line = shell.script.unit_at(before.line).map_or(before.line, |unit| unit.first_line);
            let probe = if shell.input == Input::CommandString { Probe::Unit } else { Probe::Top };
            let hit = hit(probe, line.saturating_sub(1), before.number, before.status, last);
            self.follow(index, time, &hit);
        }
        let shell = &mut self.shells[index];
        shell.fork = Some((before.line, 0));
        let is_last = match before.what {
            What::Command(builtin) => {
                if let Some(hooked) = &mut shell.hooked {
                    hooked.last = builtin;
                }
                lines >= MOST_LINES
            }
            What::Last => true,
        };
        if is_last {
            self.go_blind(index, before.line);
        }
    }

    /// Counts the top-level commands that ran since the last one that was seen, and brings the shell's mark
    /// up to the one before the next.
    fn pass_unseen(&mut self, index: usize, time: u64, before: &Before) {
        let shell = &mut self.shells[index];
        if shell.input == Input::CommandString {
            return;
        }
        let script = Rc::clone(&shell.script);
        let Some(next) = script.units.iter().position(|unit| unit.is_at(before.line)) else { return };
        let began = shell.hooked.as_ref().map_or(time, |hooked| hooked.began);
        let mark = match (shell.mark, script.units.first()) {
            (Some(mark), _) => mark,
            (None, Some(first)) if before.number > 1 => {
                let mark = Mark { time: began, line: first.first_line.saturating_sub(1), number: 1, status: 0 };
                shell.mark = Some(mark);
                mark
            }
            (None, _) => return,
        };
        let gap = before.number.saturating_sub(mark.number);
        let Some(at) = script.units.iter().position(|unit| unit.first_line > mark.line) else { return };
        if gap < 2 || usize::try_from(gap).ok() != next.checked_sub(at) {
            return;
        }
        let (seen, unseen) = (&script.units[at], &script.units[at + 1..next]);
        let knows = script.is_plain(seen) && before.pipe_status.is_some() || script.defines_function(seen);
        if knows && unseen.iter().all(|unit| script.defines_function(unit)) {
            let mut status = if script.defines_function(seen) { 0 } else { before.pipe_status.unwrap_or(0) };
            let last = self.shells[index].hooked.as_ref().map_or(Builtin::None, |hooked| hooked.last);
            for (unit, number) in unseen.iter().zip(mark.number + 1..) {
                self.follow(index, time, &hit(Probe::Top, unit.first_line - 1, number, status, last));
                status = 0;
            }
            return;
        }
        self.record.missed(gap - 1);
        if let Some(unit) = unseen.last() {
            let line = unit.first_line - 1;
            self.shells[index].mark = Some(Mark { time, line, number: before.number - 1, status: 0 });
        }
    }

    /// The current command of a shell has ended, and so have the blocks in it.
    fn close_blocks(&mut self, parent: usize, time: u64, status: i32) {
        let shell = &self.shells[parent];
        let (id, Some(mark)) = (shell.id, shell.mark) else { return };
        let Some(unit) = shell.script.unit(mark.line + 1, u32::MAX) else { return };
        if shell.script.is_in_background(unit) {
            return;
        }
        if !shell.script.is_plain(unit) {
            self.drop_blocks(id, mark.line);
            return;
        }
        while let Some(child) = self.shells.iter().position(|shell| shell.is_block_of(id, mark.line)) {
            self.close_blocks(child, time, status);
            // What was in it was before it or after it in the list.
            let Some(child) = self.shells.iter().position(|shell| shell.is_block_of(id, mark.line)) else { return };
            self.end_hooked(child, time, status);
        }
    }

    /// The last command of a shell has ended, and the shell with it.
    fn end_hooked(&mut self, index: usize, time: u64, status: i32) {
        let shell = &self.shells[index];
        let (Some(mark), Some(hooked)) = (shell.mark, &shell.hooked) else {
            self.shells.remove(index);
            return;
        };
        let end = Hit { code: status, ..hit(Probe::Exit, mark.line, mark.number + 1, mark.status, hooked.last) };
        self.follow(index, time, &end);
    }

    /// Blocks whose last status nobody has seen.
    fn drop_blocks(&mut self, parent: u64, after_line: u32) {
        while let Some(child) = self.shells.iter().position(|shell| shell.is_block_of(parent, after_line)) {
            let shell = self.shells.remove(child);
            if let Some(mark) = shell.mark {
                self.record.missed(1);
                self.drop_blocks(shell.id, mark.line);
            }
        }
    }

    /// The hook has gone from a shell: what the shell does from now on is not known.
    fn go_blind(&mut self, index: usize, line: u32) {
        let shell = &mut self.shells[index];
        let line = shell.script.line_in_script(line);
        shell.mark = None;
        if let Some(hooked) = &mut shell.hooked {
            hooked.is_blind = true;
        }
        self.record.missed(1);
        self.record
            .note(&format!("the hook inside bash ended at line {line}: later commands of that shell are not recorded"));
    }

    /// The script's own shell has ended by itself, with this status.
    pub fn script_ended(&mut self, time: u64, status: i32) {
        let Some(index) = self.shells.iter().position(|shell| shell.block.is_none() && shell.hooked.is_some()) else {
            return;
        };
        let Some(mark) = self.shells[index].mark else { return };
        self.close_blocks(index, time, status);
        let Some(index) = self.shells.iter().position(|shell| shell.block.is_none()) else { return };
        let shell = &self.shells[index];
        let script = Rc::clone(&shell.script);
        let at = script.units.iter().position(|unit| unit.first_line > mark.line);
        let rest = at.and_then(|at| script.units.get(at + 1..)).unwrap_or_default();
        let is_unseen = |unit: &Unit| script.defines_function(unit) || script.is_subshell(unit);
        let exited = shell.hooked.as_ref().is_some_and(|hooked| hooked.last == Builtin::Exit);
        // After it there were only such commands as the trap does not see: it was not the last.
        if let Some(last) = rest.last()
            && status == 0
            && !exited
            && rest.iter().all(is_unseen)
        {
            let missed = u32::try_from(rest.len()).unwrap_or(u32::MAX);
            self.record.missed(missed);
            let number = mark.number.saturating_add(missed);
            self.shells[index].mark = Some(Mark { time, line: last.first_line - 1, number, status });
        }
        self.end_hooked(index, time, status);
    }
}

fn hit(probe: Probe, line: u32, number: u32, status: i32, builtin: Builtin) -> Hit {
    Hit {
        probe,
        load_address: 0,
        line,
        status,
        number,
        uid: 0,
        shell: 0,
        depth: 0,
        sourced: 0,
        in_trap: false,
        input: Input::File,
        builtin,
        code: 0,
    }
}

impl Shell {
    fn is_block_of(&self, parent: u64, after_line: u32) -> bool {
        self.hooked.is_some()
            && self.block.as_ref().is_some_and(|block| block.parent == parent && block.after_line == after_line)
    }
}
