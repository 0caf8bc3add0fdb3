//! Where the records of runs are read: in the state directory as root, on the share as anybody else.

use std::{
    fs,
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    poll::{PollFd, PollFlags, poll},
    sys::inotify::{AddWatchFlags, InitFlags, Inotify},
};

use crate::{
    error::{Code, Error, Result},
    output::spool::{LOG, TAIL},
    record::{Outcome, outcome::Instance, state::StateDir},
    request::Identity,
    script::share::Share,
    settings::Settings,
};

/// All runs that can be read.
#[derive(Debug)]
pub struct Records {
    folders: Vec<PathBuf>,
    /// Whose runs; a captured disk also holds those of the instance it was made from.
    own: Option<Identity>,
}

/// One run.
#[derive(Debug)]
pub struct Entry {
    /// Its folder.
    pub folder: PathBuf,
    /// Its outcome.
    pub outcome: Outcome,
}

impl Entry {
    /// The files of its output, in order.
    pub fn logs(&self) -> [PathBuf; 2] {
        [self.folder.join(LOG), self.folder.join(TAIL)]
    }
}

impl Records {
    /// Finds the records.
    ///
    /// # Errors
    /// `missing-identity` where neither the state directory nor the instance's logs can be found.
    pub fn open(settings: &Settings) -> Result<Self> {
        // Root has the truth even where there is none yet.
        if nix::unistd::geteuid().is_root() || StateDir::look_at(&settings.state).is_ok() {
            let kept =
                StateDir::look_at(&settings.state).ok().and_then(|state| state.document::<Instance>("instance.json"));
            let own = kept.map(|kept| kept.identity);
            return Ok(Self { folders: vec![settings.state.join("runs")], own });
        }
        let name = settings.identity.name.clone().or_else(|| settings.configured_identity.name.clone());
        let logs = match name {
            Some(name) => Some(Share::of(&name, "azureuser", settings.share.as_deref()).root.join("Logs").join(name)),
            None => only_instance(settings.share.as_deref()),
        };
        let logs = logs.ok_or_else(|| {
            Error::new(
                Code::MissingIdentity,
                format!(
                    "cannot read the state directory `{}`, and which instance's logs to read is not known",
                    settings.state.display()
                ),
                "call it with sudo, or name the instance with --name",
            )
        })?;
        Ok(Self { folders: ["creation", "startup", "request"].map(|word| logs.join(word)).into(), own: None })
    }

    /// All runs of this instance, oldest first.
    pub fn all(&self) -> Vec<Entry> {
        let mut entries = self.every();
        let is_own = |entry: &Entry| match (&self.own, &entry.outcome.instance) {
            (Some(own), Some(instance)) => *own == instance.identity,
            (None, _) | (_, None) => true,
        };
        entries.retain(is_own);
        entries
    }

    /// All runs, whosever they were.
    fn every(&self) -> Vec<Entry> {
        let folders = self.folders.iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
        let mut entries: Vec<Entry> = folders.filter_map(|entry| read(&entry.path())).collect();
        entries.sort_by(|a, b| {
            (&a.outcome.started_at, &a.outcome.run_id).cmp(&(&b.outcome.started_at, &b.outcome.run_id))
        });
        entries
    }

    /// The run with this id, whosever it was, or the newest of this instance.
    ///
    /// # Errors
    /// `no-such-run`.
    pub fn one(&self, run: Option<&str>) -> Result<Entry> {
        let mut entries = if run.is_some() { self.every() } else { self.all() };
        let found = match run {
            Some(id) => entries.iter().position(|entry| entry.outcome.run_id == id),
            None => entries.len().checked_sub(1),
        };
        let newest = entries.last().map(|entry| entry.outcome.run_id.clone());
        found.map(|index| entries.swap_remove(index)).ok_or_else(|| {
            let message = run.map_or_else(
                || "there is no run yet".to_owned(),
                |run| format!("there is no run `{}`", crate::error::one_line(run)),
            );
            let hint = newest.map_or_else(
                || "`ci-setup-agent run` makes one".to_owned(),
                |newest| format!("the newest one is `{newest}`; `ci-setup-agent status` lists all"),
            );
            Error::new(Code::NoSuchRun, message, hint)
        })
    }

    /// Returns when something has changed in one of the folders, after `longest`, or when `stop` is readable.
    pub fn wait_for_change(&self, longest: Duration, stop: Option<BorrowedFd<'_>>) {
        let newest = self.all().pop().map(|entry| entry.folder);
        wait_for_change(self.folders.iter().chain(&newest).map(PathBuf::as_path), longest, stop);
    }

    /// The folder of the run with this id, or of any, that is being made and has no outcome yet: its script is
    /// being looked for. Only the state directory knows such.
    pub fn begun(&self, run: Option<&str>) -> Option<PathBuf> {
        let [runs] = &self.folders[..] else { return None };
        let folders = fs::read_dir(runs).ok()?.flatten();
        let wanted = folders.filter(|folder| run.is_none_or(|run| folder.file_name() == run));
        let mut fresh = wanted.map(|folder| folder.path()).filter(|folder| !folder.join("outcome.json").exists());
        fresh.find(|folder| is_claimed(folder))
    }
}

/// Returns when something has changed in one of `folders`, when `stop` is readable, or after `longest`: on the
/// share, what another machine writes gives no notice.
pub fn wait_for_change<'a>(folders: impl Iterator<Item = &'a Path>, longest: Duration, stop: Option<BorrowedFd<'_>>) {
    let flags = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CREATE;
    let milliseconds = u16::try_from(longest.as_millis()).unwrap_or(u16::MAX);
    let Ok(watch) = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK) else {
        return std::thread::sleep(longest);
    };
    for folder in folders {
        let _ = watch.add_watch(folder, flags);
    }
    let mut polls = vec![PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
    polls.extend(stop.map(|stop| PollFd::new(stop, PollFlags::POLLIN)));
    let _ = poll(&mut polls, milliseconds);
}

/// Whether somebody records that run; one that was left behind by a crash is nobody's. Taking the lock to see
/// whether it is free would keep others from it.
fn is_claimed(folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let Ok(inode) = fs::metadata(folder).map(|meta| format!(":{}", meta.ino())) else { return false };
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    locks.lines().any(|line| line.split_ascii_whitespace().any(|word| word.ends_with(&inode)))
}

fn read(folder: &Path) -> Option<Entry> {
    let text = fs::read(folder.join("outcome.json")).ok()?;
    Some(Entry { folder: folder.to_owned(), outcome: serde_json::from_slice(&text).ok()? })
}

/// The logs of the only instance whose share is mounted here.
fn only_instance(share: Option<&Path>) -> Option<PathBuf> {
    let only = |folder: &Path| {
        let mut entries = fs::read_dir(folder).ok()?.flatten();
        let first = entries.next()?;
        entries.next().is_none().then(|| first.path())
    };
    match share {
        Some(share) => only(&share.join("Logs")),
        None => {
            let mount = only(Path::new("/mnt/batch/tasks/shared/LS_root/mounts/clusters"))?;
            Some(mount.join("code/Logs").join(mount.file_name()?))
        }
    }
}
