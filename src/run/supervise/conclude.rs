//! After the script: its record, its copy on the share, and what is left to do when nobody waits any more.

use super::{Supervisor, turn::OUTCOME_EVERY};
use std::{
    fs::File,
    time::{Duration, Instant, SystemTime},
};

use tracing::{info, warn};

use crate::run::{ending::Ending, job::Notice};
use crate::{
    error::reason,
    record::{
        Outcome,
        history::{self},
        outcome::{Mirror, State},
        state::{self, Durability},
        words::silent_failures,
    },
    request::Warning,
    show::progress::Phase,
    sys::descriptors,
};

/// How long the end of the script is kept back from the outcome, to be told together with the end of its copy.
const MOMENT: Duration = Duration::from_millis(50);

/// What the copy on the share gets of the flush wait after a stop that was asked for twice.
const HURRY: Duration = Duration::from_secs(1);

impl Supervisor {
    /// The end, as the local disk records it.
    pub(super) fn conclude(&mut self, ending: &Ending) {
        let over = *self.over.get_or_insert_with(Instant::now);
        self.tell_phase(Phase::Copying);
        self.pump_out();
        self.pipe_end = None;
        if self.job.spool.is_losing() {
            // On a full disk there is room for the mark now.
            self.job.run.release_reserve();
        }
        self.job.spool.mark_end();
        // The mirror looks at its copy while the end is written down here.
        self.finish_mirror();
        // And for the history and the outcome.
        self.job.run.release_reserve();
        let outcome = &mut self.job.outcome;
        outcome.elapsed_seconds.get_or_insert(self.begun.elapsed().as_secs_f64());
        outcome.ended_at = Some(state::timestamp(SystemTime::now()));
        self.job.recording.finish(outcome, ending.own_status());
        ending.write_to(outcome);
        if outcome.state == State::Succeeded {
            outcome.warnings.extend(silent_failures(outcome));
        }
        self.note_losses();
        self.log_end();
        if let Some(history) = &self.job.history
            && ending.has_begun()
        {
            let outcome = &self.job.outcome;
            let ended = history::Ended {
                run_id: outcome.run_id.clone(),
                boot_id: outcome.boot_id.clone(),
                state: outcome.state,
                exit_code: outcome.exit_code.unwrap_or(125),
                error: outcome.error.clone(),
                at: outcome.ended_at.clone().unwrap_or_default(),
            };
            if let Err(error) = history.ended(&ended) {
                self.warn(Warning::new(
                    "end-not-recorded",
                    error.chain(),
                    "the next start may report this run as interrupted",
                ));
            }
        }
        let tail = self.hand_over_tail();
        self.tell(&Notice::Concluded(over.elapsed()), tail.as_ref());
        if let Some(leaf) = self.tree.leaf() {
            leaf.remove();
        }
        self.note_changed_script();
    }

    fn log_end(&self) {
        let Outcome { run_id, state, exit_code, error, steps, failed_command_count, .. } = &self.job.outcome;
        let seconds = self.job.outcome.elapsed_seconds.map(|seconds| (seconds * 1000.0).round() / 1000.0);
        let code = error.as_ref().map(|error| tracing::field::display(error.code));
        let (kept, dropped) = (self.job.spool.kept(), self.job.spool.dropped());
        macro_rules! say {
            ($level:ident) => {
                $level!(
                    run = run_id,
                    state = state.word(),
                    exit_code,
                    code,
                    seconds,
                    output_bytes = kept,
                    dropped_bytes = dropped,
                    steps = steps.count,
                    steps_unavailable = steps.unavailable.as_deref(),
                    failed_commands = failed_command_count,
                    "run ended"
                )
            };
        }
        match state {
            State::Succeeded => say!(info),
            State::Pending
            | State::Running
            | State::Failed
            | State::TimedOut
            | State::Interrupted
            | State::Rejected => {
                say!(warn);
            }
        }
    }

    /// How the copy on the share stands, when somebody may wait for it and when nobody works on it any more.
    pub(super) fn log_mirror(&self) {
        let (run, bytes, kept) = (self.job.run.id(), self.job.mirror.bytes, self.job.spool.kept());
        if self.is_mirrored {
            info!(run, bytes, "mirror complete");
        } else if self.job.mirror.is_alive() {
            warn!(run, bytes, of = kept, "mirror behind");
        } else {
            warn!(run, bytes, of = kept, "mirror given up, sync goes on");
        }
    }

    pub(super) fn note_losses(&mut self) {
        if let Some(why) = self.job.spool.why_lost().map(str::to_owned) {
            let lost = self.job.spool.dropped();
            self.warn(Warning::new(
                "output-lost",
                format!("{lost} bytes of the output could not be kept on the local disk: {why}"),
                "free space below the state directory",
            ));
        }
    }

    /// Says if the file on the share is not what ran any more. Bounded: the share may be dead by now.
    pub(super) fn note_changed_script(&mut self) {
        let Some((share, path)) = &self.job.original else { return };
        let patience = self.job.flush_wait.min(Duration::from_secs(1));
        let now = share.hash_now(path, patience);
        let before = self.job.outcome.source.as_ref().and_then(|source| source.sha256.clone());
        if let (Some(now), Some(before)) = (now, before)
            && now != before
        {
            self.warn(Warning::new(
                "script-changed",
                format!("script `{path}` was changed on the share while it ran"),
                "bash reads a script as it goes: what ran may be a mixture of both",
            ));
        }
    }

    /// Gives the mirror the tail of an output that was too long; returns it.
    pub(super) fn hand_over_tail(&mut self) -> Option<File> {
        match self.job.spool.finish_tail() {
            Ok(Some(tail)) => {
                let copy = tail.try_clone().ok();
                self.job.mirror.stream(crate::output::spool::TAIL, tail);
                self.asked = self.job.spool.taken();
                copy
            }
            Ok(None) => None,
            Err(error) => {
                self.warn(Warning::new(
                    "tail-not-kept",
                    format!("cannot write the end of the output: {}", reason(&error)),
                    "free space below the state directory",
                ));
                None
            }
        }
    }

    /// Waits for the mirror, at most `flush_wait`; then everything there is true.
    pub(super) fn flush(&mut self) {
        // Counted from the script's end: what has been waited for since then is part of it.
        let until = self.over.unwrap_or_else(Instant::now) + self.job.flush_wait;
        self.is_ending = true;
        // A share that is well has the output in a moment. Then one outcome tells both ends, the script's and the
        // copy's; otherwise the script's does not wait.
        if self.job.spool.has_tail() {
            self.finish_mirror();
        }
        self.written = Instant::now();
        self.wait_for_mirror(until.min(Instant::now() + MOMENT));
        if !self.is_looked_at() {
            self.publish_with_page(Durability::Relaxed);
            self.finish_mirror();
            self.list();
            self.wait_for_mirror(until);
        }
        self.is_mirrored = self.is_looked_at();
        self.publish_end();
        if !self.is_mirrored {
            return;
        }
        self.wait_for_mirror(until);
        if self.is_looked_at() {
            self.confirm();
        } else {
            // The output is there, and the outcome that says so is not.
            self.is_mirrored = false;
            self.publish_with_page(Durability::Synced);
        }
    }

    pub(super) fn wait_for_mirror(&mut self, until: Instant) {
        let mut is_over = false;
        while !self.job.mirror.is_complete() && self.job.mirror.is_alive() && !is_over {
            // A second stop skips the grace (systemd, which ends all at once, sends one to many of us); what a share that
            // is well still has to take it takes all the same, or it would say for ever that the script runs.
            if std::mem::take(&mut self.is_urgent) {
                self.hurries_until.get_or_insert(Instant::now() + HURRY);
            }
            let until = self.hurries_until.map_or(until, |hurry| hurry.min(until));
            is_over = Instant::now() >= until;
            self.turn(Some(until), None);
        }
    }

    /// Asks the mirror for all that was kept so far. Of a tail it has what it was given.
    pub(super) fn finish_mirror(&mut self) {
        if !self.job.spool.has_tail() {
            self.asked = self.job.spool.taken();
        }
        self.asked_at = Instant::now();
        self.job.mirror.finish();
    }

    /// Whether all that was kept is on the share and was looked at there: leftovers may write on meanwhile.
    pub(super) fn is_looked_at(&self) -> bool {
        self.job.mirror.is_complete() && self.asked == self.job.spool.taken()
    }

    /// Tells the front, and lets the next `run` have its turn.
    pub(super) fn report(&mut self, lock: Option<state::RunLock>) {
        drop(lock);
        let text = state::to_json(&self.job.outcome);
        let outcome = descriptors::memory_file(c"outcome", &text).ok();
        self.tell(&Notice::Ended, outcome.as_ref());
        self.front = None;
    }

    /// What is left to do when nobody waits any more: the output of leftovers, a mirror that is late.
    pub(super) fn stay(&mut self) {
        let before = self.job.spool.taken();
        self.job.spool.sync();
        if state::forget_oldest(&self.job.run, self.job.state_limit) > 0 {
            self.list_again();
        }
        while self.pipe.is_some() && !self.is_urgent && self.stop.is_none() {
            let until = (!self.is_mirrored && self.job.mirror.is_alive()).then(|| Instant::now() + OUTCOME_EVERY);
            self.turn(until, None);
            self.look_again();
        }
        if self.job.spool.taken() != before {
            self.is_mirrored = false;
            self.hand_over_tail();
            self.pages.hurry();
            self.publish_with_page(Durability::Relaxed);
            self.finish_mirror();
        }
        self.let_mirror_finish();
    }

    /// While leftovers write now and then, the outcome follows: it is behind until what they wrote is there.
    pub(super) fn look_again(&mut self) {
        if self.is_mirrored {
            return;
        }
        if self.job.outcome.output.mirror == Mirror::Current {
            // True until a moment ago; whoever reads it now is told.
            self.publish_with_page(Durability::Relaxed);
        }
        if self.job.spool.has_tail() {
            return;
        }
        if self.is_looked_at() {
            self.is_mirrored = true;
            self.publish_with_page(Durability::Relaxed);
            self.finish_mirror();
        } else if self.asked != self.job.spool.taken() && self.asked_at.elapsed() >= OUTCOME_EVERY {
            self.publish_with_page(Durability::Relaxed);
            self.finish_mirror();
        }
    }

    /// Goes on with a mirror that is late, as long as it makes progress. Then `sync` has its turn.
    pub(super) fn let_mirror_finish(&mut self) {
        let patience = self.job.flush_wait.max(Duration::from_secs(1));
        let since = Instant::now();
        let was_mirrored = self.is_mirrored;
        loop {
            let moved = self.job.mirror.moved.max(since);
            if !self.job.mirror.is_alive() || self.stop.is_some() || moved.elapsed() >= patience {
                break;
            }
            if self.job.mirror.is_complete() {
                if self.is_mirrored {
                    if !was_mirrored {
                        self.confirm();
                    }
                    return;
                }
                if !self.is_looked_at() {
                    // A tail that could not be written here.
                    break;
                }
                self.is_mirrored = true;
                self.publish_end();
            }
            self.turn(Some(moved + patience), None);
        }
        self.is_mirrored = self.is_mirrored && self.job.mirror.is_complete();
        self.job.mirror.abandon();
        self.publish_with_page(Durability::Synced);
    }
}
