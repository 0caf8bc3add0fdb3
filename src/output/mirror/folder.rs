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

use crate::sys::users::{self, User};

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
}

/// An open folder of the run on the share.
#[derive(Debug)]
pub(super) struct Folder {
    fd: OwnedFd,
    /// Its path below the share.
    pub(super) path: String,
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
        let logs = enter(share, "Logs")?;
        let instance = enter(logs, &target.name)?;
        let kind = enter(instance, &target.word)?;
        let above = format!("Logs/{}/{}", target.name, target.word);
        if let Some(path) = known
            && let Some(name) = path.strip_prefix(&above).and_then(|rest| rest.strip_prefix('/'))
            && !avoid.iter().any(|avoided| avoided == path)
        {
            match mkdirat(&kind, name, FOLDER) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            return Ok(Self { fd: below(&kind, name)?, path: path.to_owned() });
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
                Ok(()) => return Ok(Self { fd: below(&kind, &name)?, path }),
                // Ours if the share made it and lost the answer: then it is empty and we own it.
                Err(Errno::EEXIST) => {
                    if let Ok(fd) = below(&kind, &name)
                        && is_empty_and_ours(&fd).unwrap_or(false)
                    {
                        return Ok(Self { fd, path });
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
        let common = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let create = common | OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL;
        match openat(&self.fd, name, create, Mode::from_bits_truncate(0o644)) {
            Ok(fd) => Ok((regular(fd)?, true)),
            Err(Errno::EEXIST) => {
                let fd = openat(&self.fd, name, common | OFlag::O_RDWR, Mode::empty())?;
                Ok((regular(fd)?, false))
            }
            Err(errno) => Err(errno.into()),
        }
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
        write_whole(&file, content)?;
        file.set_len(content.len() as u64)
    }
}

const FOLDER: Mode = Mode::from_bits_truncate(0o755);

/// Writes from the beginning, and has the share take note.
fn write_whole(file: &File, content: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    file.write_all_at(content, 0)?;
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
fn enter(parent: OwnedFd, name: &str) -> io::Result<OwnedFd> {
    match below(&parent, name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => return result,
    }
    match mkdirat(&parent, name, FOLDER) {
        Ok(()) | Err(Errno::EEXIST) => below(&parent, name),
        Err(errno) => Err(errno.into()),
    }
}

fn below(parent: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let name = CString::new(std::ffi::OsStr::new(name).as_bytes())?;
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(parent, name.as_c_str(), flags, Mode::empty())?)
}

fn is_empty_and_ours(folder: &OwnedFd) -> io::Result<bool> {
    let owner = File::from(folder.try_clone()?).metadata()?.uid();
    let mut listing = nix::dir::Dir::from_fd(folder.try_clone()?)?;
    let names =
        listing.iter().filter_map(Result::ok).filter(|entry| !matches!(entry.file_name().to_bytes(), b"." | b".."));
    Ok(names.count() == 0 && owner == nix::unistd::geteuid().as_raw())
}

/// Only a regular file with one name is written: a second name could lie anywhere.
fn regular(fd: OwnedFd) -> io::Result<File> {
    let file = File::from(fd);
    let found = file.metadata()?;
    if !found.is_file() || found.nlink() != 1 {
        return Err(Errno::ELOOP.into());
    }
    Ok(file)
}

/// Whether a name is borne by something that will never be written: a link, folder, FIFO or device.
pub(super) fn is_blocked(error: &io::Error) -> bool {
    let blocked = [Errno::ELOOP, Errno::EISDIR, Errno::ENXIO, Errno::ENODEV, Errno::ENOTDIR];
    error.raw_os_error().is_some_and(|number| blocked.contains(&Errno::from_raw(number)))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::Path};

    use super::*;

    fn target(share: &Path) -> Target {
        Target {
            share: share.to_owned(),
            name: "ci-1".into(),
            word: "creation".into(),
            stamp: "S".into(),
            resume: None,
            user: None,
        }
    }

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
