//! The disk of a room or machine: an overlay on an image, in a scratch folder of its own.
//!
//! Nothing of it may outlive the test, however the test ends:
//! the mounts are in a mount namespace of the test's thread, so the kernel removes them with the thread;
//! the folder is locked for as long as the test process lives, so the next test can tell what is stale
//! and remove it.

use std::cell::Cell;
use std::fs::{self, File, TryLockError};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::cgroup::Cgroup;

/// A writable file system made of an image and what was changed since.
pub struct Disk {
    /// Unique on this machine: also the name of the cgroup.
    pub name: String,
    folder: PathBuf,
    image: PathBuf,
    _alive: File,
}

impl Disk {
    /// A fresh disk: what `image` holds.
    pub fn new(image: &Path) -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "the tests make namespaces, mounts and users: run them as root (`sudo scripts/test`)"
        );
        own_mounts();
        let (name, folder, alive) = claim_folder();
        for part in ["upper", "work", "root", "share"] {
            fs::create_dir(folder.join(part)).expect("a new folder");
        }
        // As the service mounts it: everybody may write.
        fs::set_permissions(folder.join("share"), fs::Permissions::from_mode(0o777)).expect("chmod of the share");
        // What a test mounts on the share later, or unmounts there, rooms see too.
        mount(Some(&folder), &folder, None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("a bind mount");
        mount(None::<&str>, &folder, None::<&str>, MsFlags::MS_SHARED, None::<&str>).expect("a shared mount");
        let disk = Self { name, folder, image: image.to_owned(), _alive: alive };
        disk.mount();
        disk
    }

    /// A copy with everything that was changed on this disk, as capturing an image of a VM makes it.
    pub fn copy(&self) -> Self {
        let copy = Self::new(&self.image);
        copy.unmount();
        // -a keeps what overlayfs keeps in the upper folder: whiteouts (devices 0:0) and trusted.* attributes.
        let status = Command::new("cp")
            .args(["-a", "--reflink=auto"])
            .args([self.folder.join("upper/."), copy.folder.join("upper")])
            .status();
        assert!(status.is_ok_and(|status| status.success()), "cannot copy {}", self.folder.display());
        copy.mount();
        copy
    }

    /// Where the test sees the root file system. What is mounted inside the room is not visible here.
    pub fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// The folder that plays the share's server.
    pub fn share(&self) -> PathBuf {
        self.folder.join("share")
    }

    /// A file beside the disk, for the harness's own logs.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn mount(&self) {
        let [upper, work] = ["upper", "work"].map(|part| self.folder.join(part).display().to_string());
        let options = format!("lowerdir={},upperdir={upper},workdir={work}", self.image.display());
        mount(Some("overlay"), &self.root(), Some("overlay"), MsFlags::empty(), Some(options.as_str())).unwrap_or_else(
            |error| {
                panic!(
                    "cannot mount an overlay in {}: {error}; set SETUP_TESTS_SCRATCH to a folder on ext4, xfs or tmpfs",
                    self.folder.display()
                )
            },
        );
    }

    /// Also whatever a test has mounted below, a share that hangs included: hence detached, not waited for.
    fn unmount(&self) {
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(Path::new);
        let mut below: Vec<_> = points.filter(|point| point.starts_with(&self.folder)).collect();
        below.reverse();
        for point in below {
            let _ = umount2(point, MntFlags::MNT_DETACH);
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.unmount();
        // What cannot be removed now is swept by a later test.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Gives the calling thread its own mounts. Threads and processes that it starts share them.
fn own_mounts() {
    thread_local!(static DONE: Cell<bool> = const { Cell::new(false) });
    if DONE.replace(true) {
        return;
    }
    unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace (the tests need CAP_SYS_ADMIN)");
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).expect("private mounts");
    // systemd-nspawn leaves a folder for each machine here, and refuses to remove it where /run is no tmpfs.
    let leavings = "/run/systemd/nspawn";
    fs::create_dir_all(leavings).expect("the folder of systemd-nspawn");
    mount(Some("tmpfs"), leavings, Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("a tmpfs");
}

/// A new scratch folder, locked until the returned file is closed. Removes stale ones first.
fn claim_folder() -> (String, PathBuf, File) {
    let scratch = std::env::var_os("SETUP_TESTS_SCRATCH").unwrap_or_else(|| "/var/tmp/ci-setup-agent-tests".into());
    let scratch = PathBuf::from(scratch);
    fs::create_dir_all(&scratch).expect("the scratch folder");
    // Held while folders come and go: otherwise a folder could be swept between its creation and its lock.
    let door = File::create(scratch.join("lock")).expect("the scratch folder's lock");
    door.lock().expect("the scratch folder's lock");
    sweep(&scratch);
    for number in 1.. {
        let name = format!("{}-{number}", std::process::id());
        let folder = scratch.join(&name);
        if fs::create_dir(&folder).is_ok() {
            let alive = File::create(folder.join("alive")).expect("a lock file");
            alive.lock().expect("the lock of a new folder");
            return (name, folder, alive);
        }
    }
    unreachable!("numbers do not end")
}

/// Removes what tests left behind that were killed.
fn sweep(scratch: &Path) {
    for entry in fs::read_dir(scratch).expect("the scratch folder").flatten() {
        let folder = entry.path();
        let Ok(alive) = File::open(folder.join("alive")) else {
            continue;
        };
        match alive.try_lock() {
            Ok(()) => {
                Cgroup::named(&entry.file_name().to_string_lossy()).remove();
                let _ = fs::remove_dir_all(&folder);
            }
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
        }
    }
}
