//! The state directory: root's own, one folder for each run.
//!
//! ```text
//! version               shape of this directory, `1`
//! lock                  held by the one `run` that executes
//! request.json          the accepted request, for later boots
//! index.html            the list of all runs
//! instance.json         and for whom it was accepted
//! history/KEY/*.jsonl   what has run once (see `history`)
//! runs/RUN/outcome.json, output.log, output.tail.log (output.tail.part while it grows), script.sh, details.html
//! ```

use std::{
    fs::{self, File},
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    Outcome,
    names::{DETAILS, INDEX},
    outcome::ScriptKind,
    steps::{STEPS, StepList},
};
use crate::{
    error::{Code, Error, Result},
    sys::aside::{self, Answer},
};

const VERSION: u32 = 1;

/// An opened state directory.
#[derive(Clone, Debug)]
pub struct StateDir {
    root: PathBuf,
}

/// The right to execute scripts from this state directory. Every process that inherits the descriptor
/// holds it; it is free again when the last of them is gone, however it went.
#[derive(Debug)]
pub struct RunLock(#[expect(dead_code, reason = "held, not used")] File);

/// How safely a document must lie on the disk before the writer goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Durability {
    /// A crash of the machine may lose this version; never more than that.
    Relaxed,
    /// Survives a crash of the machine from now on.
    Synced,
}

impl StateDir {
    /// Opens the state directory and makes it where it is missing, mode 0700.
    ///
    /// # Errors
    /// `state-not-writable`, `writable-by-others`, and `state-newer` where a newer agent made it.
    pub fn open(root: &Path) -> Result<Self> {
        let cannot = |error| not_writable(root, error);
        if root.exists() {
            nix::unistd::access(root, nix::unistd::AccessFlags::W_OK).map_err(|errno| cannot(errno.into()))?;
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(cannot)?;
        keep_to_ourselves(root).map_err(cannot)??;
        let version = root.join("version");
        match fs::read_to_string(&version) {
            Ok(text) => Self::check_version(root, &text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match replace(&version, format!("{VERSION}\n").as_bytes(), Durability::Relaxed) {
                    // Another first caller has renamed the file that both had written to.
                    Err(error) if error.kind() == io::ErrorKind::NotFound && version.exists() => {}
                    result => result.map_err(cannot)?,
                }
            }
            Err(error) => return Err(cannot(error)),
        }
        make_folder(&root.join("runs")).map_err(cannot)?;
        Ok(Self { root: root.to_owned() })
    }

    /// Opens a state directory to read from it.
    ///
    /// # Errors
    /// Where it does not exist or this user may not read it.
    pub fn look_at(root: &Path) -> io::Result<Self> {
        fs::read_dir(root.join("runs"))?;
        Ok(Self { root: root.to_owned() })
    }

    fn check_version(root: &Path, text: &str) -> Result<()> {
        match text.trim().parse::<u32>() {
            Ok(version) if version <= VERSION => Ok(()),
            Ok(version) => Err(Error::new(
                Code::StateNewer,
                format!("state directory `{}` has version {version}, and this agent knows {VERSION}", root.display()),
                "install the newer version of ci-setup-agent again, or choose another directory with `--state`",
            )),
            // Torn by a power cut: everything else in the directory stands on its own.
            Err(_) => Ok(()),
        }
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Becomes the one `run` that executes; a wait for that ends when `stop` is readable. If another one does at the moment, `on_wait` is called once and
    /// may refuse to wait for it.
    ///
    /// # Errors
    /// `state-not-writable`; `stopped` where a signal ended the wait; those of `on_wait`.
    pub fn lock(&self, stop: BorrowedFd<'_>, on_wait: impl FnOnce() -> Result<()>) -> Result<RunLock> {
        let path = self.root.join("lock");
        let cannot = |error| not_writable(&path, error);
        let file = private(&path).create(true).truncate(false).open(&path).map_err(cannot)?;
        match file.try_lock() {
            Ok(()) => return Ok(RunLock(file)),
            Err(fs::TryLockError::WouldBlock) => on_wait()?,
            Err(fs::TryLockError::Error(error)) => return Err(cannot(error)),
        }
        // flock(2) belongs to the open file: what another process gets through the same one is ours too. So
        // that one waits, and no signal can come between a look for it and the wait.
        let wait = || (file.lock().map_err(|error| error.raw_os_error().unwrap_or_default()), None);
        match aside::ask_with(c"ci-setup:lock", None, Some(stop), &[file.as_fd()], wait).map_err(cannot)? {
            Answer::Done(Ok(()), _) => Ok(RunLock(file)),
            Answer::Done(Err(number), _) => Err(cannot(io::Error::from_raw_os_error(number))),
            Answer::StopAsked => Err(Error::new(
                Code::Stopped,
                "stopped while waiting for another `run`",
                "nothing was run by this call; the other one goes on",
            )),
            Answer::TooLate | Answer::Died => {
                Err(cannot(io::Error::other("the process that waited for the lock died")))
            }
        }
    }

    /// Makes the folder of a new run: `WORD-STAMP`, with `-2`, `-3` … where that is taken. A number is not used
    /// again when retention has removed its run: others may still know it by that name.
    ///
    /// # Errors
    /// `state-not-writable`.
    pub fn create_run(&self, word: &str, now: SystemTime) -> Result<RunDir> {
        let base = format!("{word}-{}", stamp(now));
        for attempt in self.last_attempt(&base) + 1.. {
            let id = if attempt == 1 { base.clone() } else { format!("{base}-{attempt}") };
            let run = RunDir { path: self.root.join("runs").join(&id), id };
            match fs::DirBuilder::new().mode(0o700).create(&run.path) {
                Ok(()) => return Ok(run),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(not_writable(&run.path, error)),
            }
        }
        unreachable!("the loop above has no end")
    }

    /// The highest number that a run of this second has; 0 where there is none.
    fn last_attempt(&self, base: &str) -> u32 {
        let entries = fs::read_dir(self.root.join("runs")).into_iter().flatten().flatten();
        let attempts = entries.filter_map(|entry| match entry.file_name().to_str()?.strip_prefix(base)? {
            "" => Some(1),
            rest => rest.strip_prefix('-')?.parse().ok(),
        });
        attempts.max().unwrap_or(0)
    }

    /// The run with this id, whether or not it exists.
    pub fn run(&self, id: &str) -> RunDir {
        RunDir { path: self.root.join("runs").join(id), id: id.to_owned() }
    }

    /// All runs, oldest first.
    pub fn runs(&self) -> Vec<RunDir> {
        let entries = fs::read_dir(self.root.join("runs")).into_iter().flatten().flatten();
        let mut runs: Vec<RunDir> = entries
            .filter_map(|entry| Some(RunDir { path: entry.path(), id: entry.file_name().into_string().ok()? }))
            .filter(|run| run.stamp().is_some())
            .collect();
        runs.sort_by(|a, b| order_of(&a.id).cmp(&order_of(&b.id)));
        runs
    }

    /// The state directory that a run's folder is in.
    pub fn of_run(run: &RunDir) -> Option<Self> {
        Some(Self { root: run.path.parent()?.parent()?.to_owned() })
    }

    /// Replaces the list of runs. A full disk costs the list and nothing else.
    pub fn write_list(&self, page: &[u8]) {
        let _ = replace(&self.root.join(INDEX), page, Durability::Relaxed);
    }

    /// Reads one of the documents kept beside the runs.
    pub fn document<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&fs::read(self.root.join(name)).ok()?).ok()
    }

    /// Keeps documents beside the runs, each under its name. Writes nothing where they are there already.
    ///
    /// # Errors
    /// `state-not-writable`.
    pub fn keep(&self, documents: &[(&str, &[u8])]) -> Result<()> {
        let mut is_changed = false;
        for (name, content) in documents {
            let path = self.root.join(name);
            if fs::read(&path).is_ok_and(|old| old == *content) {
                continue;
            }
            write_new(&path, content, Durability::Synced).map_err(|error| not_writable(&path, error))?;
            is_changed = true;
        }
        // One wait for the names of all.
        let result = if is_changed { sync_folder(&self.root) } else { Ok(()) };
        result.map_err(|error| not_writable(&self.root, error))
    }
}

/// The folder of one run.
#[derive(Clone, Debug)]
pub struct RunDir {
    path: PathBuf,
    id: String,
}

impl RunDir {
    /// The run's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The part of the id behind the script's word, `20261121T205957Z`: the folder's name on the share.
    pub fn stamp(&self) -> Option<&str> {
        self.id.split_once('-').map(|(_, stamp)| stamp).filter(|stamp| stamp.starts_with(|c: char| c.is_ascii_digit()))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The outcome, where it is there and whole.
    pub fn outcome(&self) -> Option<Outcome> {
        serde_json::from_slice(&fs::read(self.file("outcome.json")).ok()?).ok()
    }

    /// Replaces the outcome atomically.
    ///
    /// # Errors
    /// Those of the local disk. A small reserve, made before the script starts, is given up for the end of the run
    /// where the disk is full.
    pub fn write_outcome(&self, outcome: &Outcome, durability: Durability) -> io::Result<()> {
        let text = to_json(outcome);
        let path = self.file("outcome.json");
        match replace(&path, &text, durability) {
            Err(error) if is_full(&error) && outcome.state.is_final() => {
                fs::remove_file(self.file(RESERVE))?;
                replace(&path, &text, durability)
            }
            result => result,
        }
    }

    /// Replaces the list of recorded steps atomically. A full disk costs the list and nothing else.
    pub fn write_steps(&self, steps: &StepList) {
        let text = serde_json::to_vec(steps).unwrap_or_default();
        let _ = replace(&self.file(STEPS), &text, Durability::Relaxed);
    }

    /// Replaces the page that shows the run. A full disk costs the page and nothing else.
    pub fn write_page(&self, page: &[u8]) {
        let _ = replace(&self.file(DETAILS), page, Durability::Relaxed);
    }

    /// Holds a little space back for the outcome, in case the script fills the disk.
    pub fn reserve(&self) {
        const BYTES: i64 = 512 * 1024;
        let Ok(file) = private(&self.file(RESERVE)).create_new(true).open(self.file(RESERVE)) else { return };
        let _ = nix::fcntl::fallocate(&file, nix::fcntl::FallocateFlags::empty(), 0, BYTES);
    }

    /// Gives the reserve back.
    pub fn release_reserve(&self) {
        let _ = fs::remove_file(self.file(RESERVE));
    }

    /// Bytes that the run's files take on the disk.
    fn disk_usage(&self) -> u64 {
        let files = fs::read_dir(&self.path).into_iter().flatten().flatten();
        files.filter_map(|file| file.metadata().ok()).map(|file| file.blocks() * 512).sum()
    }

    /// Claims the run's files for this process and those it forks; `None` where another process still
    /// records the run or copies it to the share.
    pub fn claim(&self) -> Option<File> {
        let folder = File::open(&self.path).ok()?;
        folder.try_lock().ok()?;
        Some(folder)
    }
}

const RESERVE: &str = "reserve";

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A document as it is written: indented, with a last line end.
pub fn to_json(document: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(document).unwrap_or_default();
    text.push(b'\n');
    text
}

/// Whether that is the id of a creation or a startup script's run, as [`StateDir::create_run`] makes them.
pub fn is_run_id(text: &str) -> bool {
    let (word, stamp, attempt) = parts(text);
    let is_stamp = stamp.len() == 16
        && stamp.bytes().enumerate().all(|(at, byte)| match at {
            8 => byte == b'T',
            15 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        });
    let is_attempt = |text: &str| text.parse::<u32>().is_ok_and(|number| number > 1 && number.to_string() == text);
    [ScriptKind::CreationScript, ScriptKind::StartupScript].iter().any(|kind| kind.word() == word)
        && is_stamp
        && attempt.is_none_or(is_attempt)
}

/// `20261121T205957Z`.
pub fn stamp(time: SystemTime) -> String {
    let text = humantime::format_rfc3339_seconds(time).to_string();
    text.chars().filter(char::is_ascii_alphanumeric).collect()
}

/// RFC 3339 in UTC with milliseconds, `2026-11-21T20:59:57.147Z`.
pub fn timestamp(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

/// The same with microseconds.
pub fn timestamp_micros(time: SystemTime) -> String {
    humantime::format_rfc3339_micros(time).to_string()
}

/// A run's id taken apart: the script's word, the stamp, and the attempt's number where it is not the first.
fn parts(id: &str) -> (&str, &str, Option<&str>) {
    let (word, rest) = id.split_once('-').unwrap_or(("", id));
    let (stamp, attempt) = rest.split_once('-').map_or((rest, None), |(stamp, attempt)| (stamp, Some(attempt)));
    (word, stamp, attempt)
}

/// Sorts `creation-20261121T205957Z-10` behind `startup-20261121T205957Z-9`.
fn order_of(id: &str) -> (&str, u32, &str) {
    let (word, stamp, attempt) = parts(id);
    (stamp, attempt.map_or(1, |attempt| attempt.parse().unwrap_or(u32::MAX)), word)
}

/// Options of a file that only root reads: created with mode 0600, never through a link.
pub fn private(_path: &Path) -> fs::OpenOptions {
    let mut options = File::options();
    options.read(true).write(true).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_CLOEXEC);
    options
}

/// Makes a folder with mode 0700 unless it is there.
pub fn make_folder(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

/// As root, sees to it that a state directory is root's alone: who may write there decides what runs as root.
fn keep_to_ourselves(root: &Path) -> io::Result<Result<()>> {
    let found = fs::metadata(root)?;
    if !nix::unistd::geteuid().is_root() {
        return Ok(Ok(()));
    }
    if found.uid() != 0 || found.mode() & 0o022 != 0 {
        return Ok(Err(Error::new(
            Code::WritableByOthers,
            format!("state directory `{}` may be written by others than root", root.display()),
            format!("`chown root {0} && chmod 0700 {0}`, or choose another one with `--state`", root.display()),
        )));
    }
    // A folder that holds other things as well is somebody's choice.
    let is_ours = || Ok::<_, io::Error>(root.join("version").exists() || fs::read_dir(root)?.next().is_none());
    if found.mode() & 0o077 != 0 && is_ours()? {
        fs::set_permissions(root, fs::Permissions::from_mode(0o700))?;
    }
    Ok(Ok(()))
}

/// Replaces a file atomically: whoever reads it finds the old content or the new one.
///
/// # Errors
/// Those of the local disk; the old content is then still there.
pub fn replace(path: &Path, content: &[u8], durability: Durability) -> io::Result<()> {
    write_new(path, content, durability)?;
    match (durability, path.parent()) {
        (Durability::Synced, Some(folder)) => sync_folder(folder),
        (Durability::Synced, None) | (Durability::Relaxed, _) => Ok(()),
    }
}

/// As [`replace`], but the name may not be on the disk yet.
fn write_new(path: &Path, content: &[u8], durability: Durability) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let write = || {
        let mut file = private(&temporary).create(true).truncate(true).open(&temporary)?;
        file.write_all(content)?;
        if durability == Durability::Synced {
            file.sync_data()?;
        }
        fs::rename(&temporary, path)
    };
    write().inspect_err(|_| drop(fs::remove_file(&temporary)))
}

/// Has the disk take note of the names in a folder.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn not_writable(path: &Path, error: io::Error) -> Error {
    Error::new(
        Code::StateNotWritable,
        format!("cannot write state directory `{}`", path.display()),
        "make it writable for root, or choose another one with `--state`",
    )
    .because(error)
}

/// Removes the oldest runs until all together take at most `limit` bytes of the disk; 0 means any number.
/// Never `current`, never a run that somebody still records, and none of another instance, whose disk was captured.
/// Nothing on the share is touched. Returns how many were removed.
pub fn forget_oldest(current: &RunDir, limit: u64) -> usize {
    let Some(state) = StateDir::of_run(current) else { return 0 };
    let mut removed = 0;
    if limit == 0 {
        return removed;
    }
    let runs = state.runs();
    let sized = |run: RunDir| {
        let size = run.disk_usage();
        (run, size)
    };
    let mut runs: Vec<(RunDir, u64)> = runs.into_iter().map(sized).collect();
    let sum = |runs: &[(RunDir, u64)]| -> u64 { runs.iter().map(|(_, size)| size).sum() };
    if sum(&runs) <= limit {
        return removed;
    }
    let identity = |run: &RunDir| run.outcome()?.instance.map(|instance| instance.identity);
    let own = identity(current);
    runs.retain(|(run, _)| identity(run).is_none_or(|identity| own.as_ref().is_none_or(|own| *own == identity)));
    let mut total = sum(&runs);
    for (run, size) in &runs {
        if total <= limit {
            break;
        }
        if run.id != current.id && run.claim().is_some() && fs::remove_dir_all(&run.path).is_ok() {
            tracing::info!(run = run.id, bytes = size, "run removed, to keep to state-limit");
            total -= size;
            removed += 1;
        }
    }
    removed
}

/// The id of this boot, or an empty text where the kernel does not tell.
pub fn boot_id() -> String {
    static ID: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    let read = || fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
    ID.get_or_init(read).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_listed_in_the_order_in_which_they_were_made() {
        let mut ids = ["startup-20261121T205957Z-10", "creation-20261121T205957Z", "startup-20261121T205957Z-2"];
        ids.sort_by(|a, b| order_of(a).cmp(&order_of(b)));
        assert_eq!(ids, ["creation-20261121T205957Z", "startup-20261121T205957Z-2", "startup-20261121T205957Z-10"]);
    }

    #[test]
    fn a_stamp_is_utc_without_punctuation() {
        assert_eq!(stamp(SystemTime::UNIX_EPOCH), "19700101T000000Z");
    }

    #[test]
    fn two_runs_of_one_second_get_different_folders() {
        let state = tempfile::tempdir().unwrap();
        let state = StateDir::open(state.path()).unwrap();
        let ids: Vec<String> =
            (0..3).map(|_| state.create_run("creation", SystemTime::UNIX_EPOCH).unwrap().id).collect();
        assert_eq!(ids, ["creation-19700101T000000Z", "creation-19700101T000000Z-2", "creation-19700101T000000Z-3"]);
        assert!(ids.iter().all(|id| is_run_id(id)), "{ids:?}");
    }

    #[test]
    fn what_only_begins_like_the_id_of_a_run_is_none() {
        for text in [
            "",
            "creation",
            "creation-",
            "creation-2026",
            "agent-20261121T205957Z",
            "creation-20261121T205957",
            "creation-20261121T205957Zx",
            "creation-2026112\u{661}T205957Z",
            "creation-20261121T205957Z-",
            "creation-20261121T205957Z-1",
            "creation-20261121T205957Z-02",
            "creation-20261121T205957Z-+2",
            "creation-20261121T205957Z-2-3",
        ] {
            assert!(!is_run_id(text), "{text}");
        }
    }

    #[test]
    fn the_name_of_a_run_that_was_removed_is_not_given_to_another() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        let [first, second] = [(); 2].map(|()| state.create_run("creation", SystemTime::UNIX_EPOCH).unwrap());
        fs::remove_dir_all(first.path()).unwrap();
        let third = state.create_run("creation", SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!((second.id(), third.id()), ("creation-19700101T000000Z-2", "creation-19700101T000000Z-3"));
    }

    #[test]
    fn a_directory_of_a_newer_agent_is_refused() {
        let state = tempfile::tempdir().unwrap();
        fs::write(state.path().join("version"), "2\n").unwrap();
        assert_eq!(StateDir::open(state.path()).unwrap_err().code, Code::StateNewer);
    }
}
