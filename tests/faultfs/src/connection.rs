//! A mount and its connection to the kernel: made, aborted, taken away. Never looks into the mount.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use fuser::{Config, INodeNo, Notifier, Session, SessionACL};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use crate::filesystem::FaultFs;
use crate::protocol::Options;

pub(crate) struct Connection {
    mountpoint: PathBuf,
    number: String,
    notifier: Notifier,
    serving: JoinHandle<io::Result<()>>,
}

impl Connection {
    /// Mounts, shakes hands, and serves in a thread.
    pub(crate) fn open(mountpoint: &Path, options: &Options, file_system: FaultFs) -> io::Result<Self> {
        let device = File::options().read(true).write(true).open("/dev/fuse")?;
        let mode = fs::metadata(mountpoint)?.permissions().mode();
        let mut data = format!("fd={},rootmode={mode:o},user_id=0,group_id=0", device.as_raw_fd());
        if options.allow_other {
            data += ",allow_other";
        }
        if options.default_permissions {
            data += ",default_permissions";
        }
        let kind = format!("fuse.{}", options.subtype);
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some(options.source.as_str()), mountpoint, Some(kind.as_str()), flags, Some(data.as_str()))?;
        let session = mount_number(mountpoint).and_then(|number| {
            let device = OwnedFd::from(device);
            // The kernel checks who may look; a second check in the server would only refuse more.
            Session::from_fd(file_system, device, SessionACL::All, Config::default()).map(|session| (number, session))
        });
        let (number, session) = session.inspect_err(|_| unmount(mountpoint))?;
        let notifier = session.notifier();
        let serving = thread::Builder::new().name("faultfs".into()).spawn(move || session.run())?;
        Ok(Connection { mountpoint: mountpoint.to_owned(), number, notifier, serving })
    }

    /// Frees whoever waits for an answer; from now on everything gets ENOTCONN. The dead mount stays.
    pub(crate) fn abort(self) -> io::Result<()> {
        abort_number(&self.number)?;
        match self.serving.join() {
            Ok(served) => served,
            Err(_) => Err(io::Error::other("the serving thread panicked")),
        }
    }

    /// Aborts, and takes the mount away.
    pub(crate) fn close(self) -> io::Result<()> {
        let mountpoint = self.mountpoint.clone();
        let aborted = self.abort();
        unmount(&mountpoint);
        aborted
    }

    /// Makes the kernel ask again about these files. From a thread, because this waits for pages
    /// that a hung read holds.
    pub(crate) fn invalidate(&self, inodes: Vec<u64>) {
        let notifier = self.notifier.clone();
        thread::spawn(move || {
            for inode in inodes {
                // ENOENT: the kernel does not know the file, so there is nothing to forget.
                let _ = notifier.inval_inode(INodeNo(inode), 0, 0);
            }
        });
    }
}

/// Takes every mount off the folder, also one that is dead or in use.
pub(crate) fn unmount(mountpoint: &Path) {
    while umount2(mountpoint, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW).is_ok() {}
}

/// The connection's number is the minor device number of the mount. From mountinfo, because a
/// `stat` would be a request to ourselves.
fn mount_number(mountpoint: &Path) -> io::Result<String> {
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo")?;
    let escaped = mountpoint.display().to_string().replace('\\', "\\134").replace(' ', "\\040");
    mounts
        .lines()
        .rev()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|fields| fields.get(4) == Some(&escaped.as_str()))
        .and_then(|fields| fields.get(2)?.split_once(':').map(|(_, minor)| minor.to_owned()))
        .ok_or_else(|| io::Error::other(format!("no mount at `{escaped}` in mountinfo")))
}

/// Through a fusectl of our own that is mounted nowhere, so that it works where /sys has none.
fn abort_number(number: &str) -> io::Result<()> {
    let context = fsopen("fusectl", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(context.as_fd())?;
    let control = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    let path = format!("{number}/abort");
    match openat(&control, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(abort) => File::from(abort).write_all(b"1"),
        // Already gone: somebody else unmounted.
        Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
