//! The cgroup on the host that holds one room or machine.

use std::fs;
use std::path::{Path, PathBuf};

use super::wait_until;

/// A cgroup v2 folder directly below the host's root, and its shadow in systemd's v1 hierarchy where there is one.
///
/// It exists whether or not the room gets to see it: it is how everything in the room is found at the end.
pub struct Cgroup {
    path: PathBuf,
    shadow: Option<PathBuf>,
}

impl Cgroup {
    /// The cgroup of that name, which need not exist.
    pub fn named(name: &str) -> Self {
        let below = |root: PathBuf| root.join("ci-setup-agent-tests").join(name);
        // Where it sits depends on the host: /sys/fs/cgroup (systemd hosts), /sys/fs/cgroup/unified (hybrid ones).
        let root = mount_point("cgroup2", "").expect("the tests need cgroup v2 mounted, at any place");
        let shadow = mount_point("cgroup", "name=systemd");
        Self { path: below(root), shadow: shadow.map(below) }
    }

    /// Makes the folder `child` within, and returns its `cgroup.procs`.
    pub fn make(&self, child: &str) -> PathBuf {
        let path = self.path.join(child);
        if let Err(error) = fs::create_dir_all(&path) {
            panic!("cannot make the cgroup {}: {error}; the tests need a writable cgroup v2", path.display());
        }
        path.join("cgroup.procs")
    }

    /// `cgroup.procs` of a cgroup that somebody else has made within.
    pub fn procs_of(&self, child: &str) -> PathBuf {
        self.path.join(child).join("cgroup.procs")
    }

    /// Kills everything within and removes it.
    pub fn remove(&self) {
        if self.path.exists() {
            let _ = fs::write(self.path.join("cgroup.kill"), "1");
            wait_until("the cgroup of a room to be empty", || {
                let _ = remove_tree(&self.path);
                if self.path.exists() { Err(fs::read_to_string(self.path.join("cgroup.events"))) } else { Ok(()) }
            });
        }
        if let Some(shadow) = &self.shadow {
            let _ = remove_tree(shadow);
        }
    }
}

/// `rmdir` from the leaves up: the files in a cgroup folder cannot be unlinked, and need not be.
fn remove_tree(path: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}

fn mount_point(kind: &str, option: &str) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        let (mount, kind_and_options) = line.split_once(" - ")?;
        let (found, options) = kind_and_options.split_once(' ')?;
        let matches = found == kind && (option.is_empty() || options.split([' ', ',']).any(|word| word == option));
        matches.then(|| PathBuf::from(mount.split(' ').nth(4).unwrap_or_default()))
    })
}
