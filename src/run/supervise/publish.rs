//! The outcome, told here and on the share.

use super::{Supervisor, Told};
use std::{
    fs::File,
    os::fd::AsFd,
    time::{Instant, SystemTime},
};

use tracing::warn;

use crate::run::job::Notice;
use crate::{
    record::{
        outcome::{self},
        state::{self, Durability},
    },
    request::Warning,
    show::progress::Phase,
    sys::descriptors,
};

impl Supervisor {
    /// Writes the outcome, here and for the share.
    pub(super) fn publish(&mut self, durability: Durability) {
        self.renew();
        self.tell_share();
        self.write_down(durability);
    }

    /// The same, and the page that shows it. The share first: it takes its time while this disk does.
    pub(super) fn publish_with_page(&mut self, durability: Durability) {
        self.renew();
        self.tell_share();
        self.show_on_share();
        self.write_down(durability);
        self.show();
    }

    /// The same at the end, with the list of runs. Where the share has all of the output, it is asked to have all of
    /// this as well.
    pub(super) fn publish_end(&mut self) {
        self.renew();
        self.tell_share();
        self.show_on_share();
        self.list_on_share();
        if self.is_mirrored {
            self.finish_mirror();
        }
        // Until the share has this as well `sync` has something to do: this machine may go down before.
        let standing = self.job.outcome.output.mirror;
        if standing == outcome::Mirror::Current {
            self.job.outcome.output.mirror = outcome::Mirror::Behind;
        }
        self.write_down(Durability::Synced);
        self.job.outcome.output.mirror = standing;
        self.show();
        self.list();
    }

    /// Writes down that the share has all of it, the outcome that says so included.
    pub(super) fn confirm(&mut self) {
        self.write_down(Durability::Relaxed);
    }

    /// Brings the outcome up to what is known.
    fn renew(&mut self) {
        self.job.outcome.output = self.output();
        self.job.recording.write_to(&mut self.job.outcome);
        for warning in std::mem::take(&mut self.job.mirror.warnings) {
            self.warn(warning);
        }
        self.has_new_steps |= self.job.recording.update(&mut self.listed);
    }

    fn tell_share(&mut self) {
        let public = self.job.redaction.of(&self.job.outcome);
        if let Ok(file) = descriptors::memory_file(c"outcome", &state::to_json(&public)) {
            self.job.mirror.document("outcome.json", file);
        }
    }

    fn write_down(&mut self, durability: Durability) {
        // A full disk: the front still gets the outcome through its channel.
        let _ = self.job.run.write_outcome(&self.job.outcome, durability);
        if std::mem::take(&mut self.has_new_steps) {
            self.job.run.write_steps(&self.listed);
        }
        self.written = Instant::now();
        self.is_changed = false;
    }

    /// Tells what the run is at to whoever shows progress.
    pub(super) fn tell_phase(&mut self, phase: Phase) {
        let (step, began) = self.job.recording.running().unzip();
        // Its times come from another clock, and are as good as that is read.
        let tenths =
            began.and_then(|began| began.duration_since(SystemTime::UNIX_EPOCH).ok()).map(|at| at.as_millis() / 100);
        let told = Told { phase, line: step.as_ref().map(|step| step.line), tenths };
        if self.told.as_ref() == Some(&told) {
            return;
        }
        if let Some(board) = &self.job.board {
            board.show(phase, self.begun, self.job.limit, step);
        }
        self.told = Some(told);
    }

    /// The same, when all that may have changed is the command.
    pub(super) fn tell_step(&mut self) {
        if let Some(told) = &self.told {
            self.tell_phase(told.phase);
        }
    }

    pub(super) fn output(&self) -> outcome::Output {
        let (spool, mirror) = (&self.job.spool, &self.job.mirror);
        let standing = match &mirror.folder {
            None => outcome::Mirror::None,
            Some(_) if self.is_mirrored => outcome::Mirror::Current,
            Some(_) if self.job.outcome.state.is_final() => outcome::Mirror::Behind,
            Some(_) if mirror.bytes == spool.kept() && mirror.failing.is_none() => outcome::Mirror::Current,
            Some(_) => outcome::Mirror::Behind,
        };
        outcome::Output {
            bytes: spool.kept(),
            dropped_bytes: spool.dropped(),
            mirrored_bytes: mirror.bytes,
            mirror: standing,
            mirror_path: mirror.folder.clone(),
        }
    }

    pub(super) fn warn(&mut self, warning: Warning) {
        warn!(run = self.job.run.id(), code = warning.code, "warning");
        if self.job.outcome.warnings.len() < outcome::LONGEST_LIST {
            self.job.outcome.warnings.push(warning);
        }
    }

    pub(super) fn tell(&mut self, notice: &Notice, file: Option<&File>) {
        if let Some(front) = &self.front {
            let _ = front.send(notice, file.map(AsFd::as_fd));
        }
    }
}
