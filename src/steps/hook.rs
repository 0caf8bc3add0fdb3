//! The hook inside bash: the second source of steps, where nothing can be watched from outside.
//!
//! bash reads a file of ours before a script (`BASH_ENV`); it sets a DEBUG trap, which appends a line of
//! numbers to a file before each simple command. No text and no value of a variable is among them.
//! What can be read there is the script's word: it is bounded, and believed only as far as it fits the text.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io::{self, ErrorKind, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use nix::{
    fcntl::{Flock, FlockArg},
    sys::inotify::{AddWatchFlags, InitFlags, Inotify},
};

use super::{
    entry::{LONGEST, Line},
    event::{Event, What},
};

/// What bash reads.
const TEXT: &str = include_str!("hook.bash");

/// Most lines that one bash writes; then its trap removes itself, and a loop runs at its own speed.
pub const MOST_LINES: u32 = 3000;

/// Most bytes that are taken from all that one user's shells write.
const MOST_BYTES: u64 = 4 << 20;

/// Most bytes read in one go, so that a flood cannot hold the caller up.
const MOST_AT_ONCE: usize = 1 << 20;

/// How the folders of runs begin: `FOLDERS` and the run's token, which is also in `CI_SETUP_RUN`. Where nobody but root
/// can make one: sudo leads shells there that have no token, or that of a run which is over.
const FOLDERS: &str = "/var/lib/ci-setup-agent-steps.";

/// How the rules for sudo begin that make its shells find the hook; the run's token follows, without dots,
/// which sudo passes over. They are there as long as the run is.
const RULES: &str = "/etc/sudoers.d/zzz-ci-setup-agent-steps-";

/// Where those rules send sudo.
const BLOCK_ENVIRONMENT: &str = "environment";

/// Held with a lock as long as somebody reads.
const OWNER: &str = "owner";
const OWNER_TO_BE: &str = "owner.new";

/// The file for the script's own bash, and the one for those that sudo starts.
const SCRIPT: &str = "script";
const BLOCK: &str = "block";

/// Added to the path in `BASH_ENV`, which bash expands: under `-a` and `-v` the hook would be seen, and so
/// there is none.
const UNLESS_SEEN: &str = "${-//[!av]/}";

/// A folder with the hook, one file for each user to write to, and how far they have been read.
#[derive(Debug)]
pub struct Hook {
    folder: PathBuf,
    files: Vec<Written>,
    bell: Inotify,
    rules: Option<PathBuf>,
    _owner: Flock<File>,
}

/// What one user's shells write.
#[derive(Debug)]
struct Written {
    path: PathBuf,
    file: File,
    user: u32,
    read: u64,
    /// The beginning of a line whose end is not there yet.
    rest: Vec<u8>,
}

/// Whether there may be more to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Took {
    /// Everything was read.
    All,
    /// A flood: there is more.
    Part,
}

impl Hook {
    /// Makes the folder, which must not be there, with a file for each of these users.
    ///
    /// # Errors
    /// Those of the disk. Nothing is left then.
    pub fn new(folder: &Path, users: &[u32]) -> io::Result<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+,".contains(&byte);
        if !folder.as_os_str().as_encoded_bytes().iter().all(|byte| plain(*byte)) {
            return Err(io::Error::new(ErrorKind::InvalidInput, "its path would mean something to a shell"));
        }
        DirBuilder::new().mode(0o711).create(folder)?;
        // Whatever the umask is: other users' shells come by here.
        fs::set_permissions(folder, Permissions::from_mode(0o711))?;
        Self::furnish(folder, users).inspect_err(|_| remove(folder))
    }

    fn furnish(folder: &Path, users: &[u32]) -> io::Result<Self> {
        let create = |name: &str, mode: u32| {
            let path = folder.join(name);
            let file = File::options().read(true).write(true).create_new(true).mode(mode).open(&path)?;
            file.set_permissions(Permissions::from_mode(mode))?;
            Ok::<_, io::Error>((path, file))
        };
        // It gets its name when it is locked: another run would take one that is not for a dead run's.
        let (path, file) = create(OWNER_TO_BE, 0o600)?;
        let owner = Flock::lock(file, FlockArg::LockExclusiveNonblock);
        let owner = owner.map_err(|(_, errno)| io::Error::from(errno))?;
        fs::rename(path, folder.join(OWNER))?;
        let text = TEXT.replace("@LIMIT@", &MOST_LINES.to_string());
        for name in [SCRIPT, BLOCK] {
            create(name, 0o644)?.1.write_all(text.as_bytes())?;
        }
        let bell = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let mut files: Vec<Written> = Vec::new();
        for user in users {
            if files.iter().any(|file| file.user == *user) {
                continue;
            }
            let (path, file) = create(&user.to_string(), 0o600)?;
            if nix::unistd::geteuid().is_root() {
                fchown(&file, Some(*user), None)?;
            }
            bell.add_watch(&path, AddWatchFlags::IN_MODIFY)?;
            files.push(Written { path, file, user: *user, read: 0, rest: Vec::new() });
        }
        Ok(Self { folder: folder.to_owned(), files, bell, rules: None, _owner: owner })
    }

    /// The hook of a run as root, in a folder named after the token that its processes carry.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn of_run(token: &str, users: &[u32]) -> io::Result<Self> {
        Self::new(format!("{FOLDERS}{token}").as_ref(), users)
    }

    /// Has sudo hand the hook to the shells that it starts. It goes by `CI_SETUP_RUN`, so that it makes no
    /// difference whose rules come last where two runs are under way.
    ///
    /// # Errors
    /// Those of the disk, and where this sudo does not understand such rules.
    pub fn reach_blocks(&mut self) -> io::Result<()> {
        let variables = self.folder.join(BLOCK_ENVIRONMENT);
        fs::write(&variables, format!("BASH_ENV={FOLDERS}${{CI_SETUP_RUN-}}/{BLOCK}{UNLESS_SEEN}\n"))?;
        fs::set_permissions(&variables, Permissions::from_mode(0o644))?;
        let rules = rules_of(&self.folder);
        let text = format!("Defaults!/bin/bash,/usr/bin/bash env_file={}\n", variables.display());
        let draft = draft_of(&rules);
        self.rules = Some(rules.clone());
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o440).open(&draft)?;
        let written = file.write_all(text.as_bytes()).and_then(|()| accepted_by_sudo(&draft));
        written.and_then(|()| fs::rename(&draft, rules)).inspect_err(|_| drop(fs::remove_file(&draft)))
    }

    /// The value of `BASH_ENV` by which the script's own bash finds the hook.
    pub fn variable(&self) -> String {
        format!("{}{UNLESS_SEEN}", self.folder.join(SCRIPT).display())
    }

    /// Readable when somebody has written.
    pub fn poll_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Moves what is there to the end of `events`.
    pub fn read(&mut self, events: &mut Vec<Event>) -> Took {
        while self.bell.read_events().is_ok_and(|rung| !rung.is_empty()) {}
        let mut took = Took::All;
        for file in &mut self.files {
            if file.take(events) == Took::Part {
                took = Took::Part;
            }
        }
        took
    }

    /// Whether somebody wrote more than is taken.
    pub fn is_full(&self) -> bool {
        self.files.iter().any(|file| file.read >= MOST_BYTES)
    }

    /// Takes everything away. Shells that are left then find nothing to write to, and their traps go.
    pub fn remove(self) {
        if let Some(rules) = &self.rules {
            let _ = fs::remove_file(rules);
        }
        remove(&self.folder);
    }
}

impl Written {
    fn take(&mut self, events: &mut Vec<Event>) -> Took {
        let mut chunk = vec![0; 64 << 10];
        let mut taken = 0;
        while self.read < MOST_BYTES {
            if taken >= MOST_AT_ONCE {
                return Took::Part;
            }
            let length = match self.file.read_at(&mut chunk, self.read) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            self.read += length as u64;
            taken += length;
            self.lines(&chunk[..length], events);
        }
        if self.read >= MOST_BYTES && self.path.is_file() {
            // A folder cannot be written to, not even by root: the traps see it and go.
            let _ = fs::remove_file(&self.path);
            let _ = DirBuilder::new().mode(0o700).create(&self.path);
        }
        Took::All
    }

    fn lines(&mut self, bytes: &[u8], events: &mut Vec<Event>) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            // Of a line that is too long already, more would change nothing.
            if self.rest.len() <= LONGEST {
                self.rest.extend_from_slice(&piece[..piece.len().min(LONGEST + 1)]);
            }
            if !piece.ends_with(b"\n") {
                continue;
            }
            if let Some(line) = self.rest.strip_suffix(b"\n").and_then(Line::parse) {
                let time = line.time.unwrap_or_else(now);
                let what = What::Hooked { entry: line.entry, user: self.user };
                events.push(Event { time, pid: line.pid, what });
            }
            self.rest.clear();
        }
    }
}

/// Nanoseconds of the wall clock, which is the one that bash knows.
pub fn now() -> u64 {
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The rules of the run that has this folder.
fn rules_of(folder: &Path) -> PathBuf {
    let token = folder.to_string_lossy().replace(FOLDERS, "").replace('.', "-");
    format!("{RULES}{token}").into()
}

/// Where rules are until they are whole and understood: sudo passes over names with a dot.
fn draft_of(rules: &Path) -> PathBuf {
    rules.with_extension("new")
}

/// Whether sudo understands these rules: those that it does not would keep everybody from using it.
fn accepted_by_sudo(rules: &Path) -> io::Result<()> {
    let mut visudo = Command::new("/usr/sbin/visudo");
    visudo.args(["-c", "-q", "-f"]).arg(rules).env_clear();
    match visudo.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(io::Error::other("sudo does not understand `env_file` for a command")),
        // No sudo yet: the script may install it, and then it is Debian's.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// `BASH_ENV` for shells that the stand-in for sudo starts, if there is a hook in that folder.
pub fn variable_in(folder: &Path) -> Option<String> {
    let block = folder.join(BLOCK);
    block.is_file().then(|| format!("{}{UNLESS_SEEN}", block.display()))
}

/// Removes what dead runs left: their rules for sudo and their folders.
pub fn sweep() {
    /// A folder without its lock is being made.
    const YOUTH: Duration = Duration::from_secs(60);
    let (parent, prefix) = FOLDERS.rsplit_once('/').unwrap_or_default();
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        // Somebody else's of such a name is none of ours.
        let folder = entry.path();
        if !entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes()) || !belongs_to_us(&folder) {
            continue;
        }
        let is_dead = match File::open(folder.join(OWNER)) {
            Ok(owner) => Flock::lock(owner, FlockArg::LockExclusiveNonblock).is_ok(),
            Err(_) => folder
                .metadata()
                .and_then(|meta| meta.modified())
                .is_ok_and(|made| made.elapsed().is_ok_and(|age| age > YOUTH)),
        };
        if is_dead {
            let rules = rules_of(&folder);
            let _ = fs::remove_file(draft_of(&rules));
            let _ = fs::remove_file(rules);
            remove(&folder);
        }
    }
}

fn belongs_to_us(folder: &Path) -> bool {
    let owner = folder.symlink_metadata().ok().filter(fs::Metadata::is_dir).map(|meta| meta.uid());
    owner == Some(nix::unistd::geteuid().as_raw())
}

fn remove(folder: &Path) {
    let _ = fs::remove_dir_all(folder);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_whole_and_junk_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let mut hook = Hook::new(&folder.path().join("hook"), &[0, 0]).unwrap();
        assert_eq!(hook.files.len(), 1);
        let mut file = File::options().append(true).open(&hook.files[0].path).unwrap();
        let mut events = Vec::new();
        file.write_all(b"H 12 1.000000 script\nC 12 1.000001 1 1 0 0").unwrap();
        assert_eq!((hook.read(&mut events), events.len()), (Took::All, 1));
        file.write_all(b" 1 0 o\n\0\xff\n").unwrap();
        file.write_all(&[b'x'; 5000]).unwrap();
        file.write_all(b"\nC 12 1.000002 2 2 0 0 1 0 o\n").unwrap();
        hook.read(&mut events);
        assert_eq!(
            events.iter().map(|event| event.time).collect::<Vec<_>>(),
            [1_000_000_000, 1_000_001_000, 1_000_002_000]
        );
        hook.remove();
        assert!(!folder.path().join("hook").exists());
    }

    #[test]
    fn at_no_time_does_the_hook_of_a_living_run_look_like_a_dead_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hook");
        let is_over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    if let Ok(owner) = File::open(path.join(OWNER)) {
                        // A lock that is had here is that of a folder which was removed in between.
                        let taken = Flock::lock(owner, FlockArg::LockExclusiveNonblock);
                        assert!(taken.is_err() || taken.is_ok_and(|owner| owner.metadata().unwrap().nlink() == 0));
                    }
                }
            });
            for _ in 0..100 {
                let hook = Hook::new(&path, &[0]);
                is_over.fetch_or(hook.is_err(), std::sync::atomic::Ordering::Relaxed);
                hook.unwrap().remove();
            }
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }

    #[test]
    fn what_one_user_writes_is_bounded_and_then_cannot_be_written_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let mut hook = Hook::new(&folder.path().join("hook"), &[0]).unwrap();
        let path = hook.files[0].path.clone();
        fs::write(&path, vec![b'x'; usize::try_from(MOST_BYTES).unwrap() + 10]).unwrap();
        let mut events = Vec::new();
        while hook.read(&mut events) == Took::Part {}
        assert!(hook.is_full() && events.is_empty() && path.is_dir());
    }

    #[test]
    fn a_folder_whose_path_bash_would_expand_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Hook::new(&folder.path().join("a$(id)"), &[0]).is_err());
    }
}
