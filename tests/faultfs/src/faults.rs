//! Rules, counts, and the operations that hang.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use rustix::time::{ClockId, clock_gettime};

use crate::protocol::{Counts, Fault, Hung, Ops, Record, Rule};

/// So many operations are kept one by one; the counts go on.
const MOST_RECORDS: usize = 1_000_000;

/// How an operation that hung goes on.
#[derive(Clone, Copy)]
pub(crate) enum GoOn {
    Do,
    Fail(Errno),
}

struct Parked {
    what: Hung,
    go_on: Box<dyn FnOnce(GoOn) + Send>,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    parked: Vec<Parked>,
    records: Vec<Record>,
    /// By class and path: operations; by path: bytes. Exact where `records` is full.
    operations: HashMap<(Ops, Arc<Path>), u64>,
    written: HashMap<PathBuf, u64>,
    struck: HashMap<PathBuf, u64>,
}

/// Shared by the file system and the control socket, and outlives a mount.
#[derive(Default)]
pub(crate) struct Faults {
    state: Mutex<State>,
    changed: Condvar,
}

impl Faults {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic under this lock")
    }

    /// Counts an operation and says what shall go wrong with it.
    pub(crate) fn judge(&self, op: Ops, paths: &[PathBuf], offset: u64, bytes: u64) -> Option<Fault> {
        let mut state = self.state();
        let path = paths.first().cloned().unwrap_or_default();
        *state.operations.entry((op, Arc::from(path.as_path()))).or_default() += 1;
        if state.records.len() < MOST_RECORDS {
            state.records.push(Record { at: now(), op, path: path.clone(), offset, bytes });
        }
        let mut verdict = None;
        for rule in state.rules.iter_mut().rev() {
            if !rule.ops.meets(op) || !paths.iter().any(|path| path.starts_with(&rule.under)) {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            match &mut rule.times {
                Some(0) => continue,
                Some(times) => *times -= 1,
                None => {}
            }
            verdict = Some(rule.fault);
            break;
        }
        if verdict.is_some() {
            *state.struck.entry(path).or_default() += 1;
        }
        self.changed.notify_all();
        verdict
    }

    pub(crate) fn wrote(&self, path: &Path, bytes: u64) {
        *self.state().written.entry(path.to_owned()).or_default() += bytes;
    }

    pub(crate) fn park(&self, what: Hung, go_on: Box<dyn FnOnce(GoOn) + Send>) {
        self.state().parked.push(Parked { what, go_on });
        self.changed.notify_all();
    }

    pub(crate) fn add(&self, rule: Rule) {
        self.state().rules.push(rule);
    }

    pub(crate) fn clear_rules(&self) {
        self.state().rules.clear();
    }

    /// Lets what hangs go on, in the order in which it came.
    pub(crate) fn release(&self, how: GoOn) {
        let parked = std::mem::take(&mut self.state().parked);
        for one in parked {
            (one.go_on)(how);
        }
    }

    /// For a connection that is gone: nobody waits for these any more, and nothing is done.
    pub(crate) fn drop_parked(&self) {
        let parked = std::mem::take(&mut self.state().parked);
        drop(parked);
    }

    pub(crate) fn hung(&self) -> Vec<Hung> {
        self.state().parked.iter().map(|parked| parked.what.clone()).collect()
    }

    pub(crate) fn await_hung(&self, ops: Ops, count: usize, patience: Duration) -> Result<Vec<Hung>, String> {
        let there = |state: &State| state.parked.iter().filter(|parked| parked.what.op.meets(ops)).count() >= count;
        self.wait(patience, there).map_err(|state| {
            let hung: Vec<_> = state.parked.iter().map(|parked| &parked.what).collect();
            format!("{count} of {ops:?} should hang after {patience:?}, but these do: {hung:?}")
        })?;
        Ok(self.hung())
    }

    pub(crate) fn await_count(&self, ops: Ops, under: &Path, count: u64, patience: Duration) -> Result<(), String> {
        let counted = |state: &State| count_of(state, ops, under);
        self.wait(patience, |state| counted(state) >= count).map_err(|state| {
            format!("{count} of {ops:?} should have come after {patience:?}, but {} have", counted(&state))
        })
    }

    fn wait(&self, patience: Duration, there: impl Fn(&State) -> bool) -> Result<(), MutexGuard<'_, State>> {
        let deadline = Instant::now() + patience;
        let mut state = self.state();
        while !there(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(state);
            }
            state = self.changed.wait_timeout(state, left).expect("no panic under this lock").0;
        }
        Ok(())
    }

    pub(crate) fn counts(&self, under: &Path) -> Counts {
        let state = self.state();
        let mut counts = Counts::default();
        for ((op, path), number) in &state.operations {
            if path.starts_with(under) {
                for name in op.names() {
                    *counts.operations.entry(name.to_owned()).or_default() += number;
                }
            }
        }
        let sum =
            |of: &HashMap<PathBuf, u64>| of.iter().filter(|(path, _)| path.starts_with(under)).map(|(_, n)| n).sum();
        counts.bytes_written = sum(&state.written);
        counts.faults = sum(&state.struck);
        counts
    }

    pub(crate) fn records(&self, ops: Ops, under: &Path) -> Vec<Record> {
        let state = self.state();
        state.records.iter().filter(|record| record.op.meets(ops) && record.path.starts_with(under)).cloned().collect()
    }

    pub(crate) fn reset(&self) {
        let mut state = self.state();
        state.records.clear();
        state.operations.clear();
        state.written.clear();
        state.struck.clear();
    }
}

fn count_of(state: &State, ops: Ops, under: &Path) -> u64 {
    let fits = |(op, path): &(Ops, Arc<Path>)| op.meets(ops) && path.starts_with(under);
    state.operations.iter().filter(|(key, _)| fits(key)).map(|(_, number)| number).sum()
}

fn now() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}
