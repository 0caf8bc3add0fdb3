//! What has run once, so that it does not run twice (CONTRACT 9).
//!
//! For each instance and script one file of JSON lines, only ever appended to, each line on the disk
//! before the next thing happens. `started` is written before the script starts, `ended` when its result
//! is known. A line torn by a power cut is no line: without `started` the script has not begun, without
//! `ended` it was interrupted.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use super::{
    outcome::{ErrorReport, ScriptKind, State},
    state::{StateDir, make_folder, private, sync_folder},
};
use crate::{
    error::{Code, Error, Result},
    request::Identity,
};

/// What is known of the last time a script was due.
#[derive(Clone, Debug)]
pub enum Past {
    /// It has never begun.
    Never,
    /// It began, and nobody has written down its end.
    Unfinished(Started),
    /// It ended.
    Ended(Ended),
}

/// A script is about to start.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Started {
    /// The run's id.
    pub run_id: String,
    /// The boot in which it started.
    pub boot_id: String,
    /// The value of `CI_SETUP_RUN` in the script's environment.
    pub token: String,
    /// RFC 3339.
    pub at: String,
}

/// A script has ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    /// The run's id.
    pub run_id: String,
    /// The boot in which it started.
    pub boot_id: String,
    /// How it ended.
    pub state: State,
    /// What `run` exits with.
    pub exit_code: u8,
    /// Why it did not succeed.
    pub error: Option<ErrorReport>,
    /// RFC 3339.
    pub at: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase")]
enum Line {
    Started(Started),
    Ended(Ended),
}

/// The history of one script of one instance.
#[derive(Clone, Debug)]
pub struct History {
    path: PathBuf,
}

impl History {
    /// The history of `script` of `instance`.
    pub fn of(state: &StateDir, instance: &Identity, script: ScriptKind) -> Self {
        let folder = state.path().join("history").join(instance.key());
        Self { path: folder.join(format!("{}.jsonl", script.word())) }
    }

    /// What happened last. Reads a bounded piece of the file's end, however long its history.
    ///
    /// # Errors
    /// `state-not-writable` where the file is there and cannot be read: not to know is no licence to run.
    pub fn last(&self) -> Result<Past> {
        let text = match self.read_end() {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Past::Never),
            Err(error) => return Err(self.cannot("read", error)),
        };
        let mut past = Past::Never;
        for line in text.split(|byte| *byte == b'\n') {
            match serde_json::from_slice(line) {
                Ok(Line::Started(started)) => past = Past::Unfinished(started),
                Ok(Line::Ended(ended)) => past = Past::Ended(ended),
                Err(_) => {}
            }
        }
        Ok(past)
    }

    fn read_end(&self) -> io::Result<Vec<u8>> {
        /// Room for the last few lines, bytes.
        const PIECE: u64 = 64 * 1024;
        let mut file = File::open(&self.path)?;
        let length = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(length.saturating_sub(PIECE)))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        Ok(text)
    }

    /// Writes down that the script is about to start. When this returns, the line is on the disk.
    ///
    /// # Errors
    /// `state-not-writable`; the script must not be started then.
    pub fn started(&self, started: &Started) -> Result<()> {
        self.append(&Line::Started(started.clone()))
    }

    /// Writes down how the script ended. When this returns, the line is on the disk.
    ///
    /// # Errors
    /// `state-not-writable`.
    pub fn ended(&self, ended: &Ended) -> Result<()> {
        self.append(&Line::Ended(ended.clone()))
    }

    fn append(&self, line: &Line) -> Result<()> {
        self.try_append(line).map_err(|error| self.cannot("write", error))
    }

    fn try_append(&self, line: &Line) -> io::Result<()> {
        let is_new = !self.path.exists();
        if is_new && let Some(folder) = self.path.parent() {
            for folder in folder.parent().into_iter().chain([folder]) {
                make_folder(folder)?;
            }
        }
        let mut file = private(&self.path).create(true).append(true).open(&self.path)?;
        // A line end first: what a power cut may have torn before must not swallow this line.
        let mut text = b"\n".to_vec();
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
        file.write_all(&text)?;
        file.sync_data()?;
        if is_new {
            // The names too, up to the state directory itself.
            for folder in self.path.ancestors().skip(1).take(3) {
                sync_folder(folder)?;
            }
        }
        Ok(())
    }

    fn cannot(&self, verb: &str, error: io::Error) -> Error {
        Error::new(
            Code::StateNotWritable,
            format!("cannot {verb} `{}`", self.path.display()),
            "free space on the disk or make the state directory writable, then call `run` again",
        )
        .because(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> (tempfile::TempDir, History) {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        let identity = Identity::new("rg", "wks", "ci-1").unwrap();
        (folder, History::of(&state, &identity, ScriptKind::CreationScript))
    }

    fn started(run: &str) -> Started {
        Started { run_id: run.into(), boot_id: "b".into(), token: "t".into(), at: "now".into() }
    }

    fn ended(run: &str) -> Ended {
        Ended {
            run_id: run.into(),
            boot_id: "b".into(),
            state: State::Succeeded,
            exit_code: 0,
            error: None,
            at: "now".into(),
        }
    }

    #[test]
    fn what_started_and_did_not_end_is_unfinished() {
        let (_folder, history) = history();
        assert!(matches!(history.last().unwrap(), Past::Never));
        history.started(&started("one")).unwrap();
        assert!(matches!(history.last().unwrap(), Past::Unfinished(Started { run_id, .. }) if run_id == "one"));
        history.ended(&ended("one")).unwrap();
        assert!(matches!(history.last().unwrap(), Past::Ended(Ended { run_id, .. }) if run_id == "one"));
    }

    #[test]
    fn a_torn_line_at_any_length_is_no_line_and_spoils_no_later_one() {
        let (_folder, history) = history();
        history.started(&started("one")).unwrap();
        let whole = std::fs::read(&history.path).unwrap();
        history.ended(&ended("one")).unwrap();
        let both = std::fs::read(&history.path).unwrap();
        for length in whole.len()..both.len() - 2 {
            std::fs::write(&history.path, &both[..length]).unwrap();
            assert!(matches!(history.last().unwrap(), Past::Unfinished(Started { run_id, .. }) if run_id == "one"));
            history.started(&started("two")).unwrap();
            assert!(matches!(history.last().unwrap(), Past::Unfinished(Started { run_id, .. }) if run_id == "two"));
        }
    }
}
