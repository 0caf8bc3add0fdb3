//! The notebook file share: where it is, and finding a script on it.
//!
//! The share may be late, slow, or hang in the kernel. All looks at it are taken by a process that can
//! be left behind ([`aside`]), and are bounded.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    errno::Errno,
    libc,
    poll::{PollFd, PollFlags, poll},
};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Code, Error, Result},
    request::SharePath,
    sys::{
        aside::{self, Answer},
        descriptors::memory_file,
    },
};

/// How much longer than its time the process that looks may take to say so.
const HANG: Duration = Duration::from_millis(500);

/// The largest script that is taken from the share, bytes.
const LARGEST_SCRIPT: u64 = 16 << 20;

/// The share of one instance.
#[derive(Clone, Debug)]
pub struct Share {
    /// Where it is mounted.
    pub root: PathBuf,
    /// The other spelling of the same tree, `/home/<user>/cloudfiles/code`.
    pub user_view: PathBuf,
    /// Whether the caller named the folder: then it counts as the share even while it is empty.
    pub is_given: bool,
}

/// What a folder must be to count as the share. While the share is not mounted its place is an ordinary
/// folder, and a copy there would be on the local disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ground {
    /// Any folder: somebody named it.
    Any,
    /// One that holds something, or a mount.
    NotBare,
    /// A mount: it was one before.
    Mount,
}

/// A place on the share.
#[derive(Clone, Debug)]
pub struct Place {
    /// The folder, in the spelling that the documentation promises.
    pub folder: PathBuf,
    /// The text of the script, where one was looked for.
    pub text: Vec<u8>,
}

/// Why the share gave nothing.
#[derive(Debug)]
pub enum NotFound {
    /// A refusal of the request, for good.
    Refused(Error),
    /// It took longer than it may.
    NotAnswering,
    /// A stop was asked for meanwhile.
    StopAsked,
}

/// What the process that looks reports.
#[derive(Debug, Serialize, Deserialize)]
enum Report {
    Found { in_user_view: bool, folder_is_there: bool },
    Refused { code: Code, message: String, hint: String },
}

impl Share {
    /// The share of the instance `name`, at `given` or where the service mounts it.
    pub fn of(name: &str, user: &str, given: Option<&Path>) -> Self {
        let usual = || format!("/mnt/batch/tasks/shared/LS_root/mounts/clusters/{name}/code").into();
        Self {
            root: given.map_or_else(usual, Path::to_owned),
            user_view: format!("/home/{user}/cloudfiles/code").into(),
            is_given: given.is_some(),
        }
    }

    /// What may be taken for the share when it is written to.
    pub fn ground(&self) -> Ground {
        if self.is_given { Ground::Any } else { Ground::NotBare }
    }

    /// Finds a script, reads it, and says in which folder it starts. Waits for a share that is not mounted
    /// yet or fails for the moment, at most `patience`.
    ///
    /// # Errors
    /// Refusals: `share-not-mounted`, `script-not-found` (naming near matches), `is-a-folder`,
    /// `not-a-regular-file`, `outside-share`, `unreadable`, `too-large`.
    pub fn find_script(
        &self,
        path: &SharePath,
        patience: Duration,
        stop: Option<BorrowedFd<'_>>,
    ) -> Result<Place, NotFound> {
        let look = || self.look_for_script(path);
        let (report, file) = self.wait_for(patience, HANG, stop, look)?;
        let relative = Path::new(path.as_str()).parent().unwrap_or(Path::new(""));
        let mut text = Vec::new();
        if let Some(mut file) = file {
            file.read_to_end(&mut text).map_err(|error| NotFound::Refused(unreadable(path, error)))?;
        }
        Ok(Place { folder: self.spelled(&report).join(relative), text })
    }

    /// The folder in which an inline script starts: `Users` on the share, or the share itself where there
    /// is no such folder.
    ///
    /// `hang` bounds how long a share that is mounted may take to answer at all.
    ///
    /// # Errors
    /// As for [`Share::find_script`].
    pub fn inline_folder(
        &self,
        patience: Duration,
        hang: Duration,
        stop: Option<BorrowedFd<'_>>,
    ) -> Result<Place, NotFound> {
        let look = || {
            if !self.is_given && !self.is_ready() {
                return Err(Look::NotReady);
            }
            let folder_is_there = fs::metadata(self.root.join("Users")).map(|found| found.is_dir());
            match folder_is_there {
                Ok(folder_is_there) => Ok((Report::Found { in_user_view: false, folder_is_there }, None)),
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.root.is_dir() => {
                    Ok((Report::Found { in_user_view: false, folder_is_there: false }, None))
                }
                Err(error) => Err(Look::from(error)),
            }
        };
        // A quick look first: a share that is late says so at once, and one that hangs says nothing.
        let (report, _) = match self.wait_for(Duration::ZERO, hang, stop, look) {
            Err(NotFound::Refused(error)) if error.code == Code::ShareNotMounted && !patience.is_zero() => {
                self.wait_for(patience, HANG, stop, look)?
            }
            result => result?,
        };
        let users = matches!(report, Report::Found { folder_is_there: true, .. });
        let folder = if users { self.root.join("Users") } else { self.root.clone() };
        Ok(Place { folder, text: Vec::new() })
    }

    /// The hash of a script as it is on the share now; `None` where that cannot be said.
    pub fn hash_now(&self, path: &SharePath, patience: Duration) -> Option<String> {
        let look = || {
            let text = self.read_script(path).ok();
            (text.map(|text| super::sha256(&text)), None)
        };
        match aside::ask(c"ci-setup:share", Some(patience), None, look) {
            Ok(Answer::Done(hash, _)) => hash,
            _ => None,
        }
    }

    fn spelled(&self, report: &Report) -> &Path {
        match report {
            Report::Found { in_user_view: true, .. } => &self.user_view,
            Report::Found { .. } | Report::Refused { .. } => &self.root,
        }
    }

    /// Looks again and again, in a process of its own, until there is an answer.
    fn wait_for(
        &self,
        patience: Duration,
        hang: Duration,
        stop: Option<BorrowedFd<'_>>,
        look: impl Fn() -> std::result::Result<(Report, Option<File>), Look>,
    ) -> Result<(Report, Option<File>), NotFound> {
        let internal = |error| {
            let message = "cannot start a process to look at the share";
            NotFound::Refused(
                Error::new(Code::Internal, message, "see whether the machine is out of memory or processes")
                    .because(error),
            )
        };
        // The process itself knows why it waits, and says so when its time is up; only where it hangs in
        // the kernel does its parent have to give up on it.
        let own_end = std::time::Instant::now() + patience;
        let job = || loop {
            match look() {
                Ok(found) => return found,
                Err(Look::Refused(error)) => return (refused(&error), None),
                Err(reason @ (Look::NotReady | Look::Failing(_))) => {
                    let left = own_end.saturating_duration_since(std::time::Instant::now());
                    if left.is_zero() {
                        return (refused(&self.not_mounted(reason, patience)), None);
                    }
                    wait_for_mounts(left.min(Duration::from_secs(1)));
                }
            }
        };
        match aside::ask(c"ci-setup:share", Some(patience + hang), stop, job).map_err(internal)? {
            Answer::Done(Report::Refused { code, message, hint }, _) => {
                Err(NotFound::Refused(Error::new(code, message, hint)))
            }
            Answer::Done(report, file) => Ok((report, file.map(File::from))),
            Answer::StopAsked => Err(NotFound::StopAsked),
            Answer::TooLate => Err(NotFound::NotAnswering),
            Answer::Died => Err(internal(io::Error::other("the process died"))),
        }
    }

    fn look_for_script(&self, path: &SharePath) -> std::result::Result<(Report, Option<File>), Look> {
        let text = match self.read_script(path) {
            Err(Look::NotReady) if self.is_ready() => return Err(Look::Refused(self.no_such_script(path))),
            result => result?,
        };
        let relative = Path::new(path.as_str()).parent().unwrap_or(Path::new(""));
        let file = memory_file(c"script", &text)?;
        let in_user_view = same_place(&self.root.join(relative), &self.user_view.join(relative));
        Ok((Report::Found { in_user_view, folder_is_there: true }, Some(file)))
    }

    /// Reads a script that must lie on the share and be a regular file. `NotReady` where it is not there.
    fn read_script(&self, path: &SharePath) -> std::result::Result<Vec<u8>, Look> {
        let full = self.root.join(path.as_str());
        // O_PATH first: opening a FIFO or a device that someone planted would block or have effects.
        let handle = match File::options().read(true).custom_flags(libc::O_PATH | libc::O_CLOEXEC).open(&full) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(Look::Refused(unreadable(path, error)));
            }
            result => result?,
        };
        let through = PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd()));
        let real = fs::read_link(&through)?;
        let inside = |root: &Path| fs::canonicalize(root).is_ok_and(|root| real.starts_with(root));
        let is_inside = inside(&self.root) || same_place(&self.root, &self.user_view) && inside(&self.user_view);
        if !is_inside {
            return Err(Look::Refused(Error::new(
                Code::OutsideShare,
                format!("script `{path}` is a link that leads out of the share, to `{}`", real.display()),
                "put the script itself on the share",
            )));
        }
        let found = handle.metadata()?;
        if found.is_dir() {
            return Err(Look::Refused(Error::new(
                Code::IsAFolder,
                format!("script `{path}` is a folder"),
                "name the script file in it",
            )));
        }
        if !found.is_file() {
            return Err(Look::Refused(Error::new(
                Code::NotARegularFile,
                format!("script `{path}` is neither a file nor a folder"),
                "put an ordinary file there",
            )));
        }
        if found.len() > LARGEST_SCRIPT {
            return Err(Look::Refused(Error::new(
                Code::TooLarge,
                format!("script `{path}` has {} bytes, and at most {LARGEST_SCRIPT} are taken", found.len()),
                "let the script fetch what is large from elsewhere on the share",
            )));
        }
        let open = File::options().read(true).open(&through);
        let mut text = Vec::new();
        match open.and_then(|file| file.take(LARGEST_SCRIPT).read_to_end(&mut text)) {
            Ok(_) => Ok(text),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Err(Look::Refused(unreadable(path, error)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether this is a share and not the empty place where one will be mounted.
    fn is_ready(&self) -> bool {
        let is_mount = || {
            let parent = self.root.parent().and_then(|parent| fs::metadata(parent).ok());
            fs::metadata(&self.root).is_ok_and(|here| parent.is_some_and(|parent| parent.dev() != here.dev()))
        };
        fs::read_dir(&self.root).is_ok_and(|mut entries| entries.next().is_some()) || is_mount()
    }

    fn no_such_script(&self, path: &SharePath) -> Error {
        let relative = Path::new(path.as_str());
        let folder = relative.parent().unwrap_or(Path::new(""));
        let wanted = relative.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let names = match fs::read_dir(self.root.join(folder)) {
            Ok(entries) => entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect(),
            Err(_) => Vec::new(),
        };
        let link = fs::read_link(self.root.join(relative)).ok();
        let hint = match near(&wanted, names).as_slice() {
            _ if let Some(target) = link => format!("it is a link to `{}`, where no file is", target.display()),
            [] if !self.root.join(folder).is_dir() => {
                format!("there is no folder `{}` on the share `{}`", folder.display(), self.root.display())
            }
            [] => format!("look at the folder `{}`", self.root.join(folder).display()),
            names => {
                let names: Vec<String> =
                    names.iter().map(|name| format!("`{}`", folder.join(name).display())).collect();
                format!("did you mean {}?", names.join(" or "))
            }
        };
        Error::new(Code::ScriptNotFound, format!("script `{path}` is not on the share"), hint)
    }

    fn not_mounted(&self, reason: Look, patience: Duration) -> Error {
        let root = self.root.display();
        let patience = humantime::format_duration(patience);
        let hint = "see whether it is mounted, wait longer with `--share-wait`, or name another folder with `--share`";
        match reason {
            Look::Failing(error) => {
                let error = io::Error::from_raw_os_error(error);
                Error::new(Code::ShareNotMounted, format!("share `{root}` still failed after {patience}"), hint)
                    .because(error)
            }
            Look::NotReady | Look::Refused(_) => {
                Error::new(Code::ShareNotMounted, format!("share `{root}` was not mounted within {patience}"), hint)
            }
        }
    }

    /// The refusal where the share took a request and never answered.
    pub fn not_answering(&self, patience: Duration) -> Error {
        Error::new(
            Code::ShareNotAnswering,
            format!("share `{}` did not answer within {}", self.root.display(), humantime::format_duration(patience)),
            "see whether its server can be reached; nothing was run, call `run` again when it can",
        )
    }
}

/// Why a look found nothing.
#[derive(Debug)]
enum Look {
    /// It is not there, and maybe only not yet.
    NotReady,
    /// The share answers with an error that may pass: its errno.
    Failing(i32),
    /// It never will be.
    Refused(Error),
}

impl From<io::Error> for Look {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error().map(Errno::from_raw) {
            // The last two: a link that leads to itself, a name that no file system has. Looking again is no use.
            Some(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::ENAMETOOLONG) | None => Self::NotReady,
            Some(errno) => Self::Failing(errno as i32),
        }
    }
}

fn refused(error: &Error) -> Report {
    Report::Refused { code: error.code, message: error.chain(), hint: error.hint().to_owned() }
}

fn unreadable(path: &SharePath, error: io::Error) -> Error {
    Error::new(Code::Unreadable, format!("cannot read script `{path}`"), "give root the right to read it")
        .because(error)
}

/// Whether two paths name one folder: same device, same inode.
fn same_place(a: &Path, b: &Path) -> bool {
    match (fs::metadata(a), fs::metadata(b)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

/// Names that a person may have meant, nearest first.
fn near(wanted: &str, names: Vec<String>) -> Vec<String> {
    let score = |name: &str| {
        let (name, wanted) = (name.to_lowercase(), wanted.to_lowercase());
        strsim::jaro_winkler(&name, &wanted)
    };
    let mut near: Vec<(f64, String)> = names
        .into_iter()
        .map(|name| (score(&name), name))
        .filter(|(score, name)| *score > 0.85 && name.ends_with(".sh"))
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    near.into_iter().take(2).map(|(_, name)| name).collect()
}

/// Returns when the table of mounts has changed, or after `longest`.
fn wait_for_mounts(longest: Duration) {
    let Ok(table) = File::open("/proc/self/mountinfo") else { return std::thread::sleep(longest) };
    // The kernel reports a change as POLLPRI, relative to what this descriptor has read.
    let mut polls = [PollFd::new(table.as_fd(), PollFlags::POLLPRI)];
    let _ = poll(&mut polls, u16::try_from(longest.as_millis()).unwrap_or(1000));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share() -> (tempfile::TempDir, Share) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("Users/admin")).unwrap();
        fs::write(folder.path().join("Users/admin/set-up.sh"), "echo hi\n").unwrap();
        let share = Share::of("ci-1", "azureuser", Some(folder.path()));
        (folder, share)
    }

    fn find(share: &Share, path: &str) -> Result<Place, NotFound> {
        share.find_script(&SharePath::parse(path, None).unwrap(), Duration::from_millis(50), None)
    }

    fn refusal(result: Result<Place, NotFound>) -> Error {
        match result.unwrap_err() {
            NotFound::Refused(error) => error,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_script_is_found_with_its_folder() {
        let (folder, share) = share();
        let place = find(&share, "Users/admin/set-up.sh").unwrap();
        assert_eq!((place.text.as_slice(), place.folder), (&b"echo hi\n"[..], folder.path().join("Users/admin")));
    }

    #[test]
    fn a_missing_script_names_its_neighbour() {
        let error = refusal(find(&share().1, "Users/admin/setup.sh"));
        assert_eq!(error.code, Code::ScriptNotFound);
        assert_eq!(error.hint(), "did you mean `Users/admin/set-up.sh`?");
    }

    #[test]
    fn links_may_point_about_the_share_but_not_out_of_it() {
        let (folder, share) = share();
        let at = |name: &str| folder.path().join("Users/admin").join(name);
        std::os::unix::fs::symlink("set-up.sh", at("in.sh")).unwrap();
        std::os::unix::fs::symlink(at("set-up.sh"), at("absolute.sh")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", at("out.sh")).unwrap();
        assert!(find(&share, "Users/admin/in.sh").is_ok());
        assert!(find(&share, "Users/admin/absolute.sh").is_ok());
        assert_eq!(refusal(find(&share, "Users/admin/out.sh")).code, Code::OutsideShare);
    }

    #[test]
    fn a_link_that_leads_nowhere_and_a_name_that_cannot_be_are_not_waited_for() {
        let (folder, share) = share();
        let at = |name: &str| folder.path().join("Users/admin").join(name);
        std::os::unix::fs::symlink("gone.sh", at("dangling.sh")).unwrap();
        std::os::unix::fs::symlink("loop.sh", at("loop.sh")).unwrap();
        fs::create_dir(at("longe")).unwrap();
        let long = format!("Users/admin/{}.sh", "long".repeat(100));
        for (path, hint) in [
            ("Users/admin/dangling.sh", "it is a link to `gone.sh`, where no file is"),
            ("Users/admin/loop.sh", "it is a link to `loop.sh`, where no file is"),
            (long.as_str(), "look at the folder"),
            ("Users/admin/long.sh", "look at the folder"),
        ] {
            let path = SharePath::parse(path, None).unwrap();
            let began = std::time::Instant::now();
            let error = refusal(share.find_script(&path, Duration::from_secs(600), None));
            assert_eq!(error.code, Code::ScriptNotFound, "{path}");
            assert!(error.hint().starts_with(hint), "{path}: {}", error.hint());
            assert!(began.elapsed() < Duration::from_secs(300), "{path}");
        }
    }

    #[test]
    fn folders_and_fifos_are_refused_without_opening_them() {
        let (folder, share) = share();
        fs::create_dir(folder.path().join("a.sh")).unwrap();
        nix::unistd::mkfifo(&folder.path().join("b.sh"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(refusal(find(&share, "a.sh")).code, Code::IsAFolder);
        assert_eq!(refusal(find(&share, "b.sh")).code, Code::NotARegularFile);
    }

    #[test]
    fn an_empty_mount_point_is_not_mounted_yet() {
        let folder = tempfile::tempdir().unwrap();
        let share = Share::of("ci-1", "azureuser", Some(folder.path()));
        assert_eq!(refusal(find(&share, "Users/x.sh")).code, Code::ShareNotMounted);
    }
}
