//! Folders to mount in, children to watch.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use faultfs::{Options, Share};
use tempfile::TempDir;

/// A share on folders of its own. The share goes first, then the folders.
pub struct Mounted {
    pub share: Share,
    _folders: TempDir,
}

impl std::ops::Deref for Mounted {
    type Target = Share;
    fn deref(&self) -> &Share {
        &self.share
    }
}

pub fn mounted(options: Options) -> Mounted {
    let folders = tempfile::tempdir().expect("a temporary folder");
    let (backing, mountpoint) = (folders.path().join("backing"), folders.path().join("share"));
    std::fs::create_dir(&backing).expect("a folder");
    std::fs::create_dir(&mountpoint).expect("a folder");
    Mounted { share: Share::mount(&backing, &mountpoint, options), _folders: folders }
}

impl Mounted {
    /// A path on the share.
    pub fn at(&self, path: &str) -> PathBuf {
        self.path().join(path)
    }

    /// The same file behind the share.
    pub fn behind(&self, path: &str) -> PathBuf {
        self.backing().join(path)
    }
}

pub fn shell(script: &str, folder: &Path) -> Child {
    Command::new("bash")
        .args(["-c", script])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("bash starts")
}

/// The state letter of /proc/PID/stat; None once the process is reaped.
pub fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Looks until it is so; fails with the last thing seen.
pub fn until<T: std::fmt::Debug>(what: &str, see: impl Fn() -> T, so: impl Fn(&T) -> bool) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let seen = see();
        if so(&seen) {
            return seen;
        }
        assert!(Instant::now() < deadline, "not so after 10 s: {what}; last seen: {seen:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// The error number of a result that must be an error.
pub fn errno<T: std::fmt::Debug>(result: std::io::Result<T>) -> faultfs::Errno {
    let error = result.expect_err("this should have failed");
    faultfs::Errno::from_raw(error.raw_os_error().expect("an error of the system"))
}
