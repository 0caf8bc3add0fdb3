//! The agent's own log: one line for each change of state, with ids in fields, for whoever has to find out at
//! night what happened. In a file that is rotated, and in the journal where there is one.
//!
//! It holds names, numbers, hashes and error codes; no value of a variable, no argument, no text of a script or of
//! its output, and of processes only how many.
//!
//! Nothing is kept open: each line opens what it needs and lets go of it. So the processes that the agent forks may
//! all write, whatever descriptors they close, a script inherits nothing, and who rotates need not tell anybody.
//! Nobody waits and nothing fails because a line cannot be written.

mod file;
mod journal;

use std::{
    fmt, fs,
    fs::Metadata,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::{error::one_line, record::state::timestamp, settings::STATE};

/// Where the log of the instance's own state directory is.
const FOLDER: &str = "/var/log/ci-setup-agent";

/// The longest value of a field, in characters: a message of the kernel or of systemd fits.
const LONGEST: usize = 300;

/// From now on this process and those that it forks write the log that belongs to the state directory `state`. The
/// first call counts, and only root's: what others do is of no consequence to the machine.
///
/// Any other state directory than the instance's own is a trial or a test: its log stays in it, in `log`, and the
/// journal hears nothing. One that others may write is going to be refused, and nothing is put there.
pub fn start(state: &Path) {
    let is_others = |found: Metadata| found.uid() != 0 || found.mode() & 0o022 != 0;
    if !nix::unistd::geteuid().is_root() || state.metadata().is_ok_and(is_others) {
        return;
    }
    let log = if state == Path::new(STATE) {
        Log { folder: FOLDER.into(), is_journaled: true }
    } else if is_somebody_elses(state) {
        return;
    } else {
        Log { folder: state.join("log"), is_journaled: false }
    };
    let _ = tracing::subscriber::set_global_default(log);
}

/// Whether others than root may write there: then it is refused, and nothing is made in it.
fn is_somebody_elses(state: &Path) -> bool {
    fs::metadata(state).is_ok_and(|found| found.uid() != 0 || found.mode() & 0o022 != 0)
}

/// Seconds as they are logged: to the millisecond.
pub fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

/// Writes what the agent's own code says, and nothing that a crate below it might.
struct Log {
    folder: PathBuf,
    is_journaled: bool,
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.is_event()
            && *metadata.level() <= Level::INFO
            && metadata.target().starts_with(env!("CARGO_CRATE_NAME"))
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line { level: *event.metadata().level(), message: String::new(), fields: Vec::new() };
        event.record(&mut line);
        // A full or read-only disk, a journal that does not keep up: the run is what matters.
        let _ = file::append(&self.folder, line.to_file().as_bytes());
        if self.is_journaled {
            let _ = journal::send(&line);
        }
    }

    // There are no spans: a run is a field, and more than one process works for it.
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// One line of the log.
struct Line {
    level: Level,
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Line {
    fn put(&mut self, field: &Field, value: &str) {
        let value: String = one_line(value).chars().take(LONGEST).collect();
        if field.name() == "message" {
            self.message = value;
        } else {
            self.fields.push((field.name(), value));
        }
    }

    /// `script started run=creation-20261121T205957Z pid=4711`.
    fn text(&self) -> String {
        let mut text = self.message.clone();
        for (name, value) in &self.fields {
            let is_plain = !value.is_empty() && !value.contains([' ', '"', '=']);
            let value = if is_plain { value.clone() } else { format!("{value:?}") };
            text.push_str(&format!(" {name}={value}"));
        }
        text
    }

    /// With its time, its level, and the process that writes it.
    fn to_file(&self) -> String {
        let (time, pid) = (timestamp(SystemTime::now()), std::process::id());
        format!("{time} {:<5} [{pid}] {}\n", self.level, self.text())
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_line_whatever_it_is_told() {
        let fields = vec![("why", one_line("no\nspace")), ("path", "a b".into()), ("run", "r-1".into())];
        let line = Line { level: Level::WARN, message: "mirror failing".into(), fields };
        let text = line.to_file();
        assert_eq!(text.matches('\n').count(), 1, "{text:?}");
        assert!(text.contains(" WARN  ["), "{text}");
        assert!(text.ends_with("] mirror failing why=no\\nspace path=\"a b\" run=r-1\n"), "{text}");
    }
}
