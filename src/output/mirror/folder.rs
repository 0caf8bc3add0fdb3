//! The run's folder on the share, and opening things in it without being led astray (CONTRACT 6.1).
//!
//! Others may write to the share. So everything is opened below a descriptor of the folder before it, no
//! link is followed, new names are made exclusively, and only regular files with one name are written.

use std::{
    ffi::CString,
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::PathBuf,
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, openat, renameat},
    sys::stat::{Mode, mkdirat},
    unistd::{UnlinkatFlags, unlinkat},
};

use crate::{
    record::names::GENERATOR,
    script::share::Ground,
    sys::users::{self, User},
};

/// Where a run's copy goes.
#[derive(Clone, Debug)]
pub struct Target {
    /// The share.
    pub share: PathBuf,
    /// The instance's name.
    pub name: String,
    /// `creation`, `startup` or `request`.
    pub word: String,
    /// The run's stamp.
    pub stamp: String,
    /// The folder below the share that an earlier mirror of this run has made.
    pub resume: Option<String>,
    /// With whose rights; `None` keeps the caller's.
    pub user: Option<User>,
    /// What counts as the share.
    pub ground: Ground,
}

/// An open folder of the run on the share.
#[derive(Debug)]
pub(super) struct Folder {
    fd: OwnedFd,
    /// The instance's folder, `Logs/<name>`, which other runs and maybe other instances write to as well.
    instance: OwnedFd,
    /// Its path below the share.
    pub(super) path: String,
    /// Whether the share is a mount of its own.
    pub(super) is_on_mount: bool,
}

/// With whose rights the share is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Rights {
    /// Those of the instance's ordinary user, who suffices nearly always.
    Users,
    /// Root's, where those do not.
    Roots,
}

/// How many names to try for a run's folder when others are in the way.
const MOST_NAMES: u32 = 20;

impl Folder {
    /// Opens the run's folder, and makes it where it is missing. `known` is the folder that this run has
    /// already; `avoid` names folders that turned out to be unusable. All that is done in the folder
    /// afterwards is done with `rights`.
    ///
    /// # Errors
    /// Those of the share.
    pub(super) fn open(target: &Target, rights: Rights, known: Option<&str>, avoid: &[String]) -> io::Result<Self> {
        match (&target.user, rights) {
            (Some(user), Rights::Users) => users::act_as(user)?,
            (Some(_), Rights::Roots) => users::resume_root()?,
            (None, _) => {}
        }
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let share = nix::fcntl::open(&target.share, flags, Mode::empty())?;
        let is_on_mount = is_mount(&share);
        let is_share = match target.ground {
            Ground::Any => true,
            Ground::NotBare => is_on_mount || !is_empty(&share)?,
            Ground::Mount => is_on_mount,
        };
        if !is_share {
            return Err(io::Error::other("the share is not mounted"));
        }
        let logs = enter(&share, "Logs")?;
        let instance = enter(&logs, &target.name)?;
        let kind = enter(&instance, &target.word)?;
        let above = format!("Logs/{}/{}", target.name, target.word);
        if let Some(path) = known
            && let Some(name) = path.strip_prefix(&above).and_then(|rest| rest.strip_prefix('/'))
            && !avoid.iter().any(|avoided| avoided == path)
        {
            match mkdirat(&kind, name, FOLDER) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            return Ok(Self { fd: below(&kind, name)?, instance, path: path.to_owned(), is_on_mount });
        }
        for attempt in 1..=MOST_NAMES {
            let name = match attempt {
                1 => target.stamp.clone(),
                _ => format!("{}-{attempt}", target.stamp),
            };
            let path = format!("{above}/{name}");
            if avoid.contains(&path) {
                continue;
            }
            match mkdirat(&kind, name.as_str(), FOLDER) {
                Ok(()) => return Ok(Self { fd: below(&kind, &name)?, instance, path, is_on_mount }),
                // Ours if the share made it and lost the answer: then it is empty and we own it.
                Err(Errno::EEXIST) => {
                    if let Ok(fd) = below(&kind, &name)
                        && is_empty_and_ours(&fd, &kind).unwrap_or(false)
                    {
                        return Ok(Self { fd, instance, path, is_on_mount });
                    }
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(io::Error::other(format!("`{above}/{}` and {MOST_NAMES} names like it are taken", target.stamp)))
    }

    /// Opens a regular file for reading and writing, and makes it where it is missing. Returns whether it
    /// is new.
    ///
    /// # Errors
    /// Those of the share; [`is_blocked`] where something else bears the name.
    pub(super) fn file(&self, name: &str) -> io::Result<(File, bool)> {
        file_in(&self.fd, name)
    }

    /// Replaces a small file: through a temporary name where the share allows that, else in place.
    ///
    /// # Errors
    /// Those of the share.
    pub(super) fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let temporary = format!(".{name}.new");
        let _ = unlinkat(&self.fd, temporary.as_str(), UnlinkatFlags::NoRemoveDir);
        let written = self.file(&temporary).and_then(|(file, _)| write_whole(&file, content));
        match written {
            Ok(()) => match renameat(&self.fd, temporary.as_str(), &self.fd, name) {
                Ok(()) => return Ok(()),
                // An SMB server refuses to replace a file that somebody has open.
                Err(Errno::EACCES | Errno::EPERM | Errno::EBUSY | Errno::EEXIST | Errno::ETXTBSY) => {}
                Err(errno) => return Err(errno.into()),
            },
            Err(error) if is_blocked(&error) => {}
            Err(error) => return Err(error),
        }
        let _ = unlinkat(&self.fd, temporary.as_str(), UnlinkatFlags::NoRemoveDir);
        let (file, _) = self.file(name)?;
        write_whole(&file, content)
    }

    /// Replaces a page in the instance's folder, which is not this run's alone: through a temporary name in the
    /// run's own folder, so that nobody else's is in the way. Only a page that an agent has written is replaced.
    ///
    /// # Errors
    /// Those of the share; [`is_blocked`] where something else bears the name.
    pub(super) fn replace_above(&self, name: &str, content: &[u8]) -> io::Result<Above> {
        if !self.may_replace_above(name)? {
            return Ok(Above::NotOurs);
        }
        let temporary = format!(".{name}.new");
        let _ = unlinkat(&self.fd, temporary.as_str(), UnlinkatFlags::NoRemoveDir);
        let (file, _) = self.file(&temporary)?;
        write_whole(&file, content)?;
        drop(file);
        let Err(errno) = renameat(&self.fd, temporary.as_str(), &self.instance, name) else {
            return Ok(Above::Written);
        };
        let _ = unlinkat(&self.fd, temporary.as_str(), UnlinkatFlags::NoRemoveDir);
        match errno {
            Errno::EACCES | Errno::EPERM | Errno::EBUSY | Errno::EEXIST | Errno::ETXTBSY | Errno::EXDEV => {
                let (file, _) = file_in(&self.instance, name)?;
                write_whole(&file, content)?;
                Ok(Above::Written)
            }
            errno => Err(errno.into()),
        }
    }

    /// Whether nothing bears the name, or a page that an agent has written, or was about to.
    fn may_replace_above(&self, name: &str) -> io::Result<bool> {
        use std::os::unix::fs::FileExt;
        let flags = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_RDONLY;
        let file = match openat(&self.instance, name, flags, Mode::empty()) {
            Ok(fd) => regular(fd)?,
            Err(Errno::ENOENT) => return Ok(true),
            Err(errno) => return Err(errno.into()),
        };
        let mut start = [0; 256];
        let length = file.read_at(&mut start, 0)?;
        let generator = GENERATOR.as_bytes();
        Ok(length == 0 || start[..length].windows(generator.len()).any(|found| found == generator))
    }

    /// Whether a file is there with this content and nothing else.
    ///
    /// # Errors
    /// Those of the share; a file that is not there is none.
    pub(super) fn holds(&self, name: &str, content: &[u8]) -> io::Result<bool> {
        use std::os::unix::fs::FileExt;
        let flags = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_RDONLY;
        let file = match openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => regular(fd)?,
            Err(Errno::ENOENT) => return Ok(false),
            Err(errno) => return Err(errno.into()),
        };
        let mut found = vec![0; content.len()];
        match file.read_exact_at(&mut found, 0) {
            Ok(()) => Ok(found == content && file.metadata()?.len() == content.len() as u64),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// What became of a page in the instance's folder.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Above {
    /// It is there.
    Written,
    /// Somebody else's file bears its name, and is left alone.
    NotOurs,
}

const FOLDER: Mode = Mode::from_bits_truncate(0o755);

/// Opens a regular file for reading and writing, and makes it where it is missing. Returns whether it is new.
fn file_in(folder: &OwnedFd, name: &str) -> io::Result<(File, bool)> {
    let common = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let create = common | OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL;
    match openat(folder, name, create, Mode::from_bits_truncate(0o644)) {
        Ok(fd) => Ok((regular(fd)?, true)),
        Err(Errno::EEXIST) => {
            let fd = openat(folder, name, common | OFlag::O_RDWR, Mode::empty())?;
            Ok((regular(fd)?, false))
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Writes from the beginning, leaves nothing behind, and has the share take note.
fn write_whole(file: &File, content: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    file.write_all_at(content, 0)?;
    if file.metadata()?.len() != content.len() as u64 {
        file.set_len(content.len() as u64)?;
    }
    sync(file)
}

/// Has the share take note of what was written. Shares that cannot say so are believed.
pub(super) fn sync(file: &File) -> io::Result<()> {
    match nix::unistd::fdatasync(file.as_fd()) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Enters a folder below `parent`, made where it is missing. A link is not a folder.
fn enter(parent: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    match below(parent, name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => return result,
    }
    match mkdirat(parent, name, FOLDER) {
        Ok(()) | Err(Errno::EEXIST) => below(parent, name),
        Err(errno) => Err(errno.into()),
    }
}

fn below(parent: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let name = CString::new(std::ffi::OsStr::new(name).as_bytes())?;
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(parent, name.as_c_str(), flags, Mode::empty())?)
}

/// A folder belongs to us like the one above it: on a share where everything has one owner that says
/// nothing, and then it is as good as any other.
fn is_empty_and_ours(folder: &OwnedFd, above: &OwnedFd) -> io::Result<bool> {
    let owner = |fd: &OwnedFd| nix::sys::stat::fstat(fd).map(|found| found.st_uid);
    let owned = owner(folder)?;
    Ok((owned == nix::unistd::geteuid().as_raw() || owned == owner(above)?) && is_empty(folder)?)
}

fn is_empty(folder: &OwnedFd) -> io::Result<bool> {
    // A listing of its own: that of a duplicate would go on where the last one ended.
    let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut listing = nix::dir::Dir::openat(folder, ".", flags, Mode::empty())?;
    for entry in listing.iter() {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether what is mounted on the folder above is something else.
fn is_mount(folder: &OwnedFd) -> bool {
    let above = nix::sys::stat::fstatat(folder, "..", nix::fcntl::AtFlags::empty());
    matches!((nix::sys::stat::fstat(folder), above), (Ok(here), Ok(above)) if here.st_dev != above.st_dev)
}

/// Only a regular file with one name is written: a second name could lie anywhere.
fn regular(fd: OwnedFd) -> io::Result<File> {
    let file = File::from(fd);
    let found = file.metadata()?;
    if !found.is_file() || found.nlink() > 1 {
        return Err(Errno::ELOOP.into());
    }
    Ok(file)
}

/// Whether a name is borne by something that will never be written: a link, folder, FIFO or device.
pub(super) fn is_blocked(error: &io::Error) -> bool {
    let blocked = [Errno::ELOOP, Errno::EISDIR, Errno::ENXIO, Errno::ENODEV, Errno::ENOTDIR];
    error.raw_os_error().is_some_and(|number| blocked.contains(&Errno::from_raw(number)))
}

/// The copy of a run of the tests, on any folder.
#[cfg(test)]
pub(super) fn target(share: &std::path::Path) -> Target {
    Target {
        share: share.to_owned(),
        name: "ci-1".into(),
        word: "creation".into(),
        stamp: "S".into(),
        resume: None,
        user: None,
        ground: Ground::Any,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn a_folder_of_somebody_else_is_left_alone() {
        let share = tempfile::tempdir().unwrap();
        let taken = share.path().join("Logs/ci-1/creation/S");
        fs::create_dir_all(&taken).unwrap();
        fs::write(taken.join("theirs"), "x").unwrap();
        let folder = Folder::open(&target(share.path()), Rights::Users, None, &[]).unwrap();
        assert_eq!(folder.path, "Logs/ci-1/creation/S-2");
    }

    #[test]
    fn a_link_in_place_of_any_folder_is_not_followed() {
        for planted in ["Logs", "Logs/ci-1", "Logs/ci-1/creation"] {
            let (share, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let planted = share.path().join(planted);
            fs::create_dir_all(planted.parent().unwrap()).unwrap();
            symlink(elsewhere.path(), &planted).unwrap();
            let error = Folder::open(&target(share.path()), Rights::Users, None, &[]).unwrap_err();
            assert!(is_blocked(&error), "{error}");
            assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn links_fifos_folders_and_second_names_are_not_written() {
        let share = tempfile::tempdir().unwrap();
        let folder = Folder::open(&target(share.path()), Rights::Users, None, &[]).unwrap();
        let at = |name: &str| share.path().join(&folder.path).join(name);
        fs::write(share.path().join("victim"), "v").unwrap();
        symlink(share.path().join("victim"), at("link")).unwrap();
        nix::unistd::mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
        fs::create_dir(at("folder")).unwrap();
        fs::hard_link(share.path().join("victim"), at("second")).unwrap();
        for name in ["link", "fifo", "folder", "second"] {
            let error = folder.file(name).unwrap_err();
            assert!(is_blocked(&error), "{name}: {error}");
        }
        assert_eq!(fs::read_to_string(share.path().join("victim")).unwrap(), "v");
    }

    #[test]
    fn the_list_of_runs_replaces_nothing_but_a_list_of_runs() {
        let share = tempfile::tempdir().unwrap();
        let folder = Folder::open(&target(share.path()), Rights::Users, None, &[]).unwrap();
        let page = |text: &str| format!("<!DOCTYPE html>\n{GENERATOR}\n{text}");
        let index = share.path().join("Logs/ci-1/index.html");
        for text in ["first", "second"] {
            assert_eq!(folder.replace_above("index.html", page(text).as_bytes()).unwrap(), Above::Written);
            assert_eq!(fs::read_to_string(&index).unwrap(), page(text));
        }
        let victim = share.path().join("victim");
        fs::write(&victim, "v").unwrap();
        let plants: [&dyn Fn(); 5] = [
            &|| symlink(&victim, &index).unwrap(),
            &|| fs::hard_link(&victim, &index).unwrap(),
            &|| nix::unistd::mkfifo(&index, Mode::S_IRWXU).unwrap(),
            &|| fs::create_dir(&index).unwrap(),
            &|| fs::write(&index, "<html>somebody's own page").unwrap(),
        ];
        for plant in plants {
            let _ = fs::remove_file(&index);
            let _ = fs::remove_dir(&index);
            plant();
            let kind = fs::symlink_metadata(&index).unwrap().file_type();
            match folder.replace_above("index.html", page("third").as_bytes()) {
                Ok(above) => assert_eq!(above, Above::NotOurs),
                Err(error) => assert!(is_blocked(&error), "{error}"),
            }
            assert_eq!(fs::symlink_metadata(&index).unwrap().file_type(), kind);
            assert_eq!(fs::read_to_string(&victim).unwrap(), "v");
        }
        assert_eq!(fs::read_dir(share.path().join(&folder.path)).unwrap().count(), 0, "no temporary file is left");
    }

    #[test]
    fn replacing_leaves_one_whole_file_and_no_temporary_one() {
        let share = tempfile::tempdir().unwrap();
        let folder = Folder::open(&target(share.path()), Rights::Users, None, &[]).unwrap();
        folder.replace("outcome.json", b"a long first version").unwrap();
        folder.replace("outcome.json", b"second").unwrap();
        let path = share.path().join(&folder.path);
        assert_eq!(fs::read_to_string(path.join("outcome.json")).unwrap(), "second");
        assert_eq!(fs::read_dir(path).unwrap().count(), 1);
    }
}
