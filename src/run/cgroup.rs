//! A cgroup of the run's own: the kernel then knows the tree, and kills it in one step.
//!
//! It is one of three nets. It misses who is moved out of it (pam_systemd does that to `sudo -i`), and it
//! may not be there at all: no cgroup v2, a read-only one, an old kernel.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    fcntl::OFlag,
    sys::{
        signal::Signal,
        statfs::{CGROUP2_SUPER_MAGIC, statfs},
        wait::waitpid,
    },
    unistd::{Pid, pipe2},
};

use super::tree::Seen;
use crate::sys::{aside, descriptors, fork};

/// A leaf of the cgroup v2 tree that holds a run's processes.
#[derive(Debug)]
pub struct Leaf {
    path: PathBuf,
    folder: File,
    procs: File,
}

impl Leaf {
    /// Makes the leaf `name` below this process's own cgroup. `None` where there is no cgroup v2 that this
    /// process may write.
    pub fn create(name: &str) -> Option<Self> {
        let path = own_cgroup()?.join(name);
        fs::create_dir(&path).ok()?;
        Self::open(&path).or_else(|| {
            let _ = fs::remove_dir(&path);
            None
        })
    }

    fn open(path: &Path) -> Option<Self> {
        let folder = File::open(path).ok()?;
        let procs = File::options().write(true).open(path.join("cgroup.procs")).ok()?;
        Some(Self { path: path.to_owned(), folder, procs })
    }

    /// Finds the leaf `name`, wherever an earlier process of the agent made it.
    pub fn find(name: &str) -> Option<Self> {
        let mut folders = mounts().into_iter().map(|(mount, _)| mount).collect::<Vec<_>>();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    if entry.file_name() == name {
                        let path = entry.path();
                        if own_cgroup().is_some_and(|own| own.starts_with(&path)) {
                            // Somebody whom that run left behind calls the agent: it must not kill itself.
                            return None;
                        }
                        return Self::open(&path);
                    }
                    folders.push(entry.path());
                }
            }
        }
        None
    }

    /// Forks a process that is in the leaf from its first instruction on. Where the kernel cannot do that, or will
    /// not, the process joins by itself; one that may not (below a threaded cgroup) runs outside: the leaf is one of
    /// three nets.
    ///
    /// # Errors
    /// Those of `fork(2)`.
    pub fn spawn(&self, body: impl FnOnce() -> i32) -> io::Result<Pid> {
        fork::spawn_in(self.folder.as_fd(), body).or_else(|(_, body)| {
            fork::spawn(|| {
                let _ = nix::unistd::write(&self.procs, b"0");
                body()
            })
        })
    }

    /// The processes in the leaf and in what the script made below it.
    pub fn members(&self) -> Vec<i32> {
        let mut folders = vec![self.path.clone()];
        let mut pids = Vec::new();
        while let Some(folder) = folders.pop() {
            let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
            let below = fs::read_dir(&folder).into_iter().flatten().flatten();
            folders.extend(
                below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()),
            );
        }
        pids
    }

    /// Kills everything in the leaf, and what it forks meanwhile. Without `cgroup.kill` (Linux before 5.14)
    /// it is frozen first, so that nothing can fork between the look and the kill.
    pub fn kill(&self) {
        if fs::write(self.path.join("cgroup.kill"), "1").is_err() {
            self.kill_frozen();
        }
    }

    fn kill_frozen(&self) {
        let _frozen = Frozen::new(&self.path);
        for seen in self.members().into_iter().filter_map(Seen::look) {
            seen.signal(Signal::SIGKILL);
        }
    }

    /// Removes the leaf if nobody is left in it.
    pub fn remove(&self) {
        remove_empty(&self.path);
    }
}

/// A cgroup whose processes stand still while this lives, and no longer, even if this process is killed.
#[derive(Debug)]
pub struct Frozen<'a> {
    path: &'a Path,
    /// Closed at the end, whatever the end is; the process behind it then thaws too.
    lifeline: Option<(OwnedFd, Pid)>,
}

impl<'a> Frozen<'a> {
    /// Freezes a cgroup and waits, a bounded time, until it stands still.
    pub fn new(path: &'a Path) -> Self {
        let frozen = Self { path, lifeline: thawer(path).ok() };
        let _ = fs::write(path.join("cgroup.freeze"), "1");
        let events = path.join("cgroup.events");
        for _ in 0..50 {
            match fs::read_to_string(&events) {
                Ok(text) if !text.contains("frozen 1") => std::thread::sleep(Duration::from_millis(1)),
                _ => break,
            }
        }
        frozen
    }

    /// The child of this process that thaws the cgroup if this process dies.
    pub fn thawer(&self) -> Option<i32> {
        self.lifeline.as_ref().map(|(_, pid)| pid.as_raw())
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        thaw(self.path);
        if let Some((end, thawer)) = self.lifeline.take() {
            drop(end);
            let _ = waitpid(thawer, None);
        }
    }
}

/// A process that thaws `path` when this one closes its end of the lifeline, or dies.
fn thawer(path: &Path) -> io::Result<(OwnedFd, Pid)> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    let pid = fork::spawn(|| {
        descriptors::close_all_but(&[read.as_fd()]);
        aside::detach(c"ci-setup:thaw");
        let _ = nix::unistd::read(&read, &mut [0]);
        thaw(path);
        0
    })?;
    Ok((write, pid))
}

fn thaw(path: &Path) {
    let _ = fs::write(path.join("cgroup.freeze"), "0");
}

/// The cgroup v2 folder that a process is in; `None` for the root and for what lies outside of what is
/// visible here.
pub fn of_process(pid: i32) -> Option<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let path = path.trim_end_matches(" (deleted)");
    for (mount, root) in mounts() {
        let inside = if root == "/" { Some(path) } else { path.strip_prefix(root.as_str()) };
        if let Some(inside) = inside
            && !inside.starts_with("/..")
        {
            return Some(mount.join(inside.trim_start_matches('/')));
        }
    }
    None
}

fn own_cgroup() -> Option<PathBuf> {
    let path = of_process(std::process::id().cast_signed())?;
    // On a tmpfs /sys/fs/cgroup a mkdir succeeds and means nothing.
    (statfs(&path).ok()?.filesystem_type() == CGROUP2_SUPER_MAGIC).then_some(path)
}

/// Where cgroup v2 is mounted, and which of its folders is visible there.
fn mounts() -> Vec<(PathBuf, String)> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut found = Vec::new();
    for line in table.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let fields: Vec<&str> = left.split(' ').collect();
        if right.starts_with("cgroup2 ")
            && let [_, _, _, root, mount, ..] = fields[..]
        {
            found.push((PathBuf::from(mount.replace("\\040", " ")), root.to_owned()));
        }
    }
    found
}

/// Removes a folder of the cgroup tree and what was made below it, as far as nobody is left there.
fn remove_empty(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty(&entry.path());
        }
    }
    let _ = fs::remove_dir(path);
}

/// Removes the empty leaves that earlier runs have left below this process's own cgroup; `is_leaf` knows them by their
/// names. A young one may be that of an agent with another state directory, who has made it and not yet entered it.
pub fn sweep(is_leaf: impl Fn(&str) -> bool) -> io::Result<()> {
    const YOUNG: Duration = Duration::from_secs(60);
    let Some(own) = own_cgroup() else { return Ok(()) };
    let entries = fs::read_dir(own)?.flatten();
    for entry in entries.filter(|entry| entry.file_name().to_str().is_some_and(&is_leaf)) {
        let age = entry.metadata().and_then(|meta| meta.modified()).ok().and_then(|made| made.elapsed().ok());
        if age.is_some_and(|age| age > YOUNG) {
            remove_empty(&entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::time::Instant;

    /// Chains that fork and exit, so many that a look at all of them takes longer than a fork.
    /// They give up some time after a test that was killed.
    const CHAINS: &str =
        "$SIG{TERM} = q(IGNORE); for (1 .. 40) { fork or last } while (time - $^T < 20) { fork and exit }";

    #[test]
    fn without_the_kernels_own_kill_nobody_who_forks_is_left_either() {
        for number in 0..5 {
            let name = format!("ci-setup-test-{}-{number}", std::process::id());
            let leaf = Leaf::create(&name).expect("a writable cgroup v2: the tests run as root");
            fs::create_dir(leaf.path.join("below")).unwrap();
            for procs in ["cgroup.procs", "below/cgroup.procs"] {
                let enter = "echo 0 > \"$0\" && exec perl -e \"$1\"";
                let mut shell = Command::new("sh");
                shell.args(["-c", enter]).arg(leaf.path.join(procs)).arg(CHAINS);
                assert!(shell.status().unwrap().success());
            }
            assert_ne!(fs::read_to_string(leaf.path.join("cgroup.events")).unwrap().find("populated 1"), None);
            let is_empty = || fs::read_to_string(leaf.path.join("cgroup.events")).unwrap().contains("populated 0");
            // The wait for a standstill is bounded, so a busy machine may take a second round.
            for _ in 0..4 {
                leaf.kill_frozen();
                let killed = Instant::now();
                while !is_empty() && killed.elapsed() < Duration::from_millis(500) {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
            assert_eq!(fs::read_to_string(leaf.path.join("cgroup.freeze")).unwrap(), "0\n", "it is thawed again");
            let survived = !is_empty();
            let _ = fs::write(leaf.path.join("cgroup.kill"), "1");
            std::thread::sleep(Duration::from_millis(20));
            leaf.remove();
            assert!(!survived, "round {number}: somebody forks on");
            assert!(!leaf.path.exists());
        }
    }
}
