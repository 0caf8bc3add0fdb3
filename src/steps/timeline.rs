//! Events in order of time turned into steps.

mod hooked;

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use super::event::{Event, Hit, Input, What};
use super::probes::Probe;
use super::record::{Moment, Ran, Record};
use super::script::{Means, Script};
use super::shell::{Block, Mark, Shell, user_name};
use super::verdict::is_handled;

/// Most processes whose ancestry is remembered; the oldest go first. A bash is started by its sudo within
/// moments, so what matters is always young.
const MOST_ORIGINS: usize = 16_384;

/// Most shells that are followed at a time.
const MOST_SHELLS: usize = 256;

/// Where a process comes from.
#[derive(Clone, Copy, Debug)]
enum Origin {
    /// From the agent: it may be the script's first process.
    Agent,
    /// From a step of a shell that is recorded.
    Step {
        shell: u64,
        /// Lines read when the step began: its name within the shell.
        after_line: u32,
        /// The line being executed.
        line: u32,
    },
    /// From a bash that is not recorded: a child script.
    Unrecorded,
}

/// All that is known of a run's steps.
#[derive(Debug)]
pub struct Timeline {
    script: Rc<Script>,
    /// The script's first process, in our pid namespace.
    root: Option<u32>,
    /// Our own pid in the initial namespace.
    own: Option<u32>,
    origins: HashMap<u32, Origin>,
    ages: VecDeque<u32>,
    shells: Vec<Shell>,
    next_id: u64,
    /// What has been found.
    pub record: Record,
}

impl Timeline {
    /// For the script with this text.
    pub fn new(text: &[u8]) -> Self {
        Self {
            script: Rc::new(Script::new(text)),
            root: None,
            own: None,
            origins: HashMap::new(),
            ages: VecDeque::new(),
            shells: Vec::new(),
            next_id: 0,
            record: Record::default(),
        }
    }

    /// Names the script's first process, by its pid as we see it.
    pub fn set_root(&mut self, pid: u32) {
        self.root = Some(pid);
    }

    /// Takes the next event; they come in the order of their times.
    pub fn take(&mut self, event: Event) {
        match event.what {
            What::Marker => self.own = Some(event.pid),
            What::Forked { child } => self.forked(event.pid, child),
            What::Hit(hit) => self.hit(event.pid, event.time, &hit),
            What::Hooked { entry, user } => self.hooked(event.pid, event.time, entry, user),
        }
    }

    fn forked(&mut self, parent: u32, child: u32) {
        let origin = match self.shells.iter().find(|shell| shell.pid == parent) {
            Some(shell) => shell.mark.map(|mark| Origin::Step {
                shell: shell.id,
                after_line: mark.line,
                line: shell.fork.map_or(0, |fork| fork.0),
            }),
            None if self.own == Some(parent) => Some(Origin::Agent),
            None => self.origins.get(&parent).copied(),
        };
        // The number may have been another process's before.
        self.shells.retain(|shell| shell.pid != child);
        match origin {
            Some(origin) => self.remember(child, origin),
            None => {
                self.origins.remove(&child);
            }
        }
    }

    fn remember(&mut self, pid: u32, origin: Origin) {
        if self.origins.insert(pid, origin).is_none() {
            self.ages.push_back(pid);
        }
        while self.ages.len() > MOST_ORIGINS {
            if let Some(oldest) = self.ages.pop_front() {
                self.origins.remove(&oldest);
            }
        }
    }

    fn hit(&mut self, pid: u32, time: u64, hit: &Hit) {
        if let Some(index) = self.shells.iter().position(|shell| shell.pid == pid) {
            if self.shells[index].address_agrees(hit) {
                return self.follow(index, time, hit);
            }
            // Another bash was executed in its place. It is a script of its own.
            self.shells.remove(index);
            self.remember(pid, Origin::Unrecorded);
            self.record.note("the script went on in another bash, whose commands are not recorded");
            return;
        }
        if hit.probe == Probe::Fork {
            return;
        }
        match self.adopt(pid, hit) {
            Some(shell) => {
                if self.shells.len() >= MOST_SHELLS {
                    self.shells.remove(1);
                }
                self.shells.push(shell);
                self.follow(self.shells.len() - 1, time, hit);
            }
            // `sudo -i bash` runs a login shell with `-c bash`, which no text of the script's is for. What it
            // starts is what the step is about.
            None if hit.input == Input::CommandString => {}
            None => self.remember_unrecorded(pid),
        }
    }

    /// What descends from a child script is the child script's.
    fn remember_unrecorded(&mut self, pid: u32) {
        if self.origins.contains_key(&pid) {
            self.remember(pid, Origin::Unrecorded);
        }
    }

    /// Decides whether a bash seen for the first time is recorded.
    fn adopt(&mut self, pid: u32, hit: &Hit) -> Option<Shell> {
        let origin = self.origins.get(&pid).copied();
        let is_root = if self.own == Some(std::process::id()) {
            self.root == Some(pid)
        } else {
            // In a pid namespace events bear numbers that mean nothing here; `$$` is from here.
            self.root == Some(hit.shell) && matches!(origin, Some(Origin::Agent))
        };
        if is_root && self.shells.is_empty() && hit.input == Input::File {
            self.record.seen = true;
            return Some(self.shell(pid, hit, Rc::clone(&self.script), None));
        }
        let Some(Origin::Step { shell, after_line, line }) = origin else {
            return None;
        };
        let means = match hit.input {
            Input::File => return None,
            Input::Stdin => Means::Heredoc,
            Input::CommandString => Means::Argument,
        };
        let parent = self.shells.iter_mut().find(|parent| parent.id == shell)?;
        let script = Rc::new(parent.block_text(after_line, line, means)?);
        let block = Block { user: user_name(hit.uid), parent: shell, after_line };
        Some(self.shell(pid, hit, script, Some(block)))
    }

    fn shell(&mut self, pid: u32, hit: &Hit, script: Rc<Script>, block: Option<Block>) -> Shell {
        self.next_id += 1;
        Shell { load_address: hit.load_address, ..Shell::new(self.next_id, pid, hit.input, script, block) }
    }

    fn follow(&mut self, index: usize, time: u64, hit: &Hit) {
        let shell = &mut self.shells[index];
        match hit.probe {
            Probe::Fork => {
                // A line of another file means nothing here.
                if hit.sourced == 0 && !hit.in_trap {
                    shell.fork = Some((hit.line, hit.depth));
                }
            }
            Probe::Unit if shell.input != Input::CommandString => {}
            Probe::Top if shell.input == Input::CommandString => {}
            Probe::Top | Probe::Unit => {
                let mark = Mark { time, line: hit.line, number: hit.number, status: hit.status };
                if let Some(before) = shell.mark {
                    self.ended(index, before, time, hit, hit.status, false);
                }
                let shell = &mut self.shells[index];
                shell.mark = Some(mark);
                shell.fork = None;
                shell.inner_failed_with = None;
                shell.given.clear();
            }
            Probe::Exit => {
                if let Some(before) = shell.mark {
                    let by_intent = hit.builtin == super::event::Builtin::Exit && !hit.in_trap;
                    self.ended(index, before, time, hit, hit.code, by_intent);
                }
                let shell = self.shells.remove(index);
                // The block's status becomes that of its `sudo`, which then says nothing new.
                if let Some(block) = shell.block
                    && shell.failed_with == Some(hit.code)
                    && let Some(parent) = self.shells.iter_mut().find(|parent| parent.id == block.parent)
                    && parent.mark.is_some_and(|mark| mark.line == block.after_line)
                {
                    parent.inner_failed_with = shell.failed_with;
                }
            }
        }
    }

    /// The command that was read after `before` has ended.
    fn ended(&mut self, index: usize, before: Mark, time: u64, hit: &Hit, status: i32, by_intent: bool) {
        let shell = &self.shells[index];
        let executed = match shell.input {
            Input::CommandString => u32::from(shell.script.unit(before.line + 1, u32::MAX).is_some()),
            // bash counts them: comments and blank lines are none, and what the buffer lost shows.
            Input::File | Input::Stdin => hit.number.saturating_sub(before.number),
        };
        let at_exit = hit.probe == Probe::Exit;
        let syntax_error = executed == 0 && at_exit && status != before.status && status != 0 && !by_intent;
        if executed > 1 {
            self.record.missed(executed);
            return;
        }
        if executed == 0 && !syntax_error {
            return;
        }
        let end = if at_exit { u32::MAX } else { hit.line };
        let end = if shell.input == Input::CommandString && !at_exit { end.max(before.line + 1) } else { end };
        let mut inner = shell.inner_failed_with;
        if let Some(passed_on) = self.executed_last(index, before, status, time) {
            inner = inner.or(passed_on);
        }
        let shell = &self.shells[index];
        let ran = shell.describe(before, end);
        let unit = shell.script.unit(before.line + 1, end);
        let failed = status != 0
            && !by_intent
            && inner != Some(status)
            && !unit.is_some_and(|unit| is_handled(&shell.script, unit, status, hit.builtin));
        self.record.add(ran, Moment(time), status, failed);
        self.shells[index].failed_with = (failed || (inner == Some(status) && status != 0)).then_some(status);
    }

    /// `bash -c` replaces itself by the last command of its string, and so is never seen to end. When the
    /// step that started it has ended, it has; its status is the step's if the step is nothing but that.
    fn executed_last(&mut self, parent: usize, before: Mark, status: i32, time: u64) -> Option<Option<i32>> {
        let parent_id = self.shells[parent].id;
        let child = self.shells.iter().position(|shell| {
            shell.input == Input::CommandString
                && shell
                    .block
                    .as_ref()
                    .is_some_and(|block| block.parent == parent_id && block.after_line == before.line)
        })?;
        if child < parent {
            return None;
        }
        let shell = self.shells.remove(child);
        let unit = self.shells[parent].script.unit(before.line + 1, u32::MAX)?;
        let alone = unit.lists.len() == 1 && unit.lists[0].pipelines.len() == 1 && !unit.lists[0].pipelines[0].piped;
        if !alone {
            return None;
        }
        let mark = shell.mark?;
        shell.script.unit(mark.line + 1, u32::MAX)?;
        self.record.add(shell.describe(mark, u32::MAX), Moment(time), status, status != 0);
        Some((status != 0).then_some(status))
    }

    /// The innermost command that is running.
    pub fn current(&self) -> Option<Ran> {
        let mut shell = self.shells.iter().find(|shell| shell.block.is_none())?;
        while let Some(inner) = self.shells.iter().rev().find(|inner| {
            inner.block.as_ref().is_some_and(|block| {
                block.parent == shell.id
                    && shell.mark.is_some_and(|mark| mark.line == block.after_line)
                    && inner.mark.is_some()
            })
        }) {
            shell = inner;
        }
        let mark = shell.mark?;
        let unit = shell.script.unit(mark.line + 1, u32::MAX)?;
        let mut ran = shell.describe(mark, u32::MAX);
        if let Some((line, depth)) = shell.fork {
            let within = (unit.first_line..=unit.last_line).contains(&line) && unit.first_line != unit.last_line;
            let in_function = depth > 0 && !shell.script.runs("source") && !shell.script.runs(".");
            if (within || in_function)
                && shell.script.commands.iter().any(|command| command.line == line)
                && let Some(text) = shell.script.text_of_line(line)
            {
                shell.place(&mut ran, line, line);
                ran.command = text;
            }
        }
        Some(ran)
    }
}
