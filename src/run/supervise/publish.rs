//! The outcome, told here and on the share.

use super::Supervisor;
use std::{fs::File, os::fd::AsFd, time::Instant};

use crate::run::job::Notice;
use crate::{
    record::{
        outcome::{self},
        state::{self, Durability},
    },
    request::Warning,
    sys::descriptors,
};

impl Supervisor {
    /// Writes the outcome, here and for the share.
    pub(super) fn publish(&mut self, durability: Durability) {
        self.job.outcome.output = self.output();
        self.job.recording.write_to(&mut self.job.outcome);
        for warning in std::mem::take(&mut self.job.mirror.warnings) {
            self.warn(warning);
        }
        // The share first: it takes its time while this disk does.
        let public = self.job.redaction.of(&self.job.outcome);
        if let Ok(file) = descriptors::memory_file(c"outcome", &state::to_json(&public)) {
            self.job.mirror.document("outcome.json", file);
        }
        // A full disk: the front still gets the outcome through its channel.
        let _ = self.job.run.write_outcome(&self.job.outcome, durability);
        self.written = Instant::now();
        self.is_changed = false;
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
