//! The kernel's tracing folder, reached by a descriptor.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use nix::dir::Dir;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::sys::statfs::{FsType, fstatfs};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::sys::detached_mount;

/// `TRACEFS_MAGIC` of `linux/magic.h`.
const TRACEFS_MAGIC: FsType = FsType(0x7472_6163);

/// Where distributions mount it; the second is older kernels' place inside debugfs.
const USUAL_PLACES: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// tracefs, or a folder in it.
#[derive(Debug)]
pub struct Tracefs(OwnedFd);

impl Tracefs {
    /// The mount that is there, else one of our own that nobody can see.
    pub fn find() -> io::Result<Self> {
        for place in USUAL_PLACES {
            let folder = open(place, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty());
            if let Ok(folder) = folder
                && fstatfs(&folder).is_ok_and(|status| status.filesystem_type() == TRACEFS_MAGIC)
            {
                return Ok(Self(folder));
            }
        }
        detached_mount::open(c"tracefs").map(Self)
    }

    /// A folder below this one.
    pub fn folder(&self, path: &str) -> io::Result<Self> {
        Ok(Self(openat(&self.0, path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?))
    }

    /// Opens a file with `flags`. Writers use `O_APPEND`: tracefs takes its control files' text as a whole,
    /// and `O_TRUNC` on `uprobe_events` would remove everybody's probes.
    pub fn open(&self, path: &str, flags: OFlag) -> io::Result<File> {
        Ok(openat(&self.0, path, flags | OFlag::O_CLOEXEC, Mode::empty())?.into())
    }

    /// Writes one control text.
    pub fn write(&self, path: &str, text: &str) -> io::Result<()> {
        self.open(path, OFlag::O_WRONLY | OFlag::O_APPEND)?.write_all(text.as_bytes())
    }

    /// Reads a whole control file.
    pub fn read(&self, path: &str) -> io::Result<String> {
        let mut text = String::new();
        self.open(path, OFlag::O_RDONLY)?.read_to_string(&mut text)?;
        Ok(text)
    }

    /// Makes a folder; under `instances` that is a new set of buffers.
    pub fn make_folder(&self, path: &str) -> io::Result<()> {
        Ok(mkdirat(&self.0, path, Mode::S_IRWXU)?)
    }

    /// Removes such a folder. Fails with EBUSY while anybody holds its pipe open.
    pub fn remove_folder(&self, path: &str) -> io::Result<()> {
        Ok(unlinkat(&self.0, path, UnlinkatFlags::RemoveDir)?)
    }

    /// The names in a folder that start with `prefix`.
    pub fn names(&self, path: &str, prefix: &str) -> io::Result<Vec<String>> {
        let mut folder =
            Dir::openat(&self.0, path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        let mut names = Vec::new();
        for entry in folder.iter() {
            let name = OsString::from_vec(entry?.file_name().to_bytes().to_vec());
            if let Ok(name) = name.into_string()
                && name.starts_with(prefix)
            {
                names.push(name);
            }
        }
        Ok(names)
    }
}

impl AsFd for Tracefs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
