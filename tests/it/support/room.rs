//! A room: a Debian root file system with namespaces of its own and no init system.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::call::Door;
use super::cgroup::Cgroup;
use super::disk::Disk;
use super::image::image;
use super::place::{Place, SHARE};
use super::process::{Process, children};
use super::{binary_under_test, wait_until};

/// What a room sees of cgroups. Its processes are in `/system.slice/walinuxagent.service` in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cgroups {
    /// Nothing mounted.
    None,
    /// Version 2 at `/sys/fs/cgroup`, writable.
    Unified,
    /// Version 2 at `/sys/fs/cgroup/unified`, writable, below a tmpfs on which `mkdir` means nothing.
    Hybrid,
    /// Version 2 at `/sys/fs/cgroup`, not writable.
    ReadOnly,
}

impl Cgroups {
    fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Unified => "unified",
            Self::Hybrid => "hybrid",
            Self::ReadOnly => "read-only",
        }
    }
}

/// A room that runs. Ends, with everything in it, when dropped.
pub struct Room {
    disk: Disk,
    cgroup: Cgroup,
    cgroups: Cgroups,
    life: Life,
}

/// The processes of a room between two boots.
struct Life {
    /// `unshare`, outside. Its standard input is the lifeline of process 1 inside.
    keeper: Child,
    door: Door,
}

impl Room {
    /// A room with that Debian release, everything in it, writable cgroup v2.
    pub fn new(suite: &str) -> Self {
        Self::with_cgroups(suite, Cgroups::Unified)
    }

    /// A room that sees cgroups in that way.
    pub fn with_cgroups(suite: &str, cgroups: Cgroups) -> Self {
        let disk = Disk::new(&image(suite));
        let cgroup = Cgroup::named(&disk.name);
        let life = start(&disk, &cgroup, cgroups);
        let room = Self { disk, cgroup, cgroups, life };
        room.install(&binary_under_test(), "/usr/bin/ci-setup-agent", 0o755);
        room
    }

    /// A computer of somebody who is not root and has no `sudo`: call with `.user("datasci")`.
    pub fn without_sudo(suite: &str) -> Self {
        let room = Self::new(suite);
        for file in ["/usr/bin/sudo", "/etc/sudoers.d/90-azureuser"] {
            fs::remove_file(room.path(file)).expect("sudo in the image");
        }
        room
    }

    /// Switches the room off without warning and on again: same disk, another boot id, nothing runs.
    pub fn reset(&mut self) {
        self.life.end();
        self.cgroup.remove();
        self.life = start(&self.disk, &self.cgroup, self.cgroups);
    }
}

impl Place for Room {
    fn door(&self) -> Option<Door> {
        Some(self.life.door.clone())
    }

    fn disk(&self) -> &Disk {
        &self.disk
    }
}

impl Life {
    /// With process 1 the kernel kills all of its namespace.
    fn end(&mut self) {
        let _ = kill(Pid::from_raw(self.door.leader), Signal::SIGKILL);
        let _ = self.keeper.wait();
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.life.end();
        self.cgroup.remove();
    }
}

fn start(disk: &Disk, cgroup: &Cgroup, cgroups: Cgroups) -> Life {
    // The room's cgroup namespace begins here: inside, this is `/`.
    let root = cgroup.make("");
    let boot_id = disk.beside("boot-id");
    fs::copy("/proc/sys/kernel/random/uuid", &boot_id).expect("a new boot id");
    let log = disk.beside("start.log");

    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "unshare", "--pid", "--fork", "--kill-child", "--"]);
    // The parent stays outside: within, a process of another pid namespace shows up as 0 in `cgroup.procs`.
    command.args(["sh", "-c", "echo 0 > \"$0\" && exec \"$@\""]).arg(root);
    command.args(["unshare", "--mount", "--propagation", "slave", "--uts", "--ipc", "--net", "--cgroup", "--"]);
    command.args(["sh", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/room.sh")]);
    command.args([disk.root(), disk.share(), PathBuf::from(SHARE)]).arg(cgroups.word()).arg(boot_id);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(fs::File::create(&log).expect("a log file"));
    let mut keeper = command.spawn().expect("util-linux's setpriv on the host");

    let mut ready = String::new();
    BufReader::new(keeper.stdout.take().expect("a pipe")).read_line(&mut ready).expect("a line from the room");
    let said = fs::read_to_string(&log).unwrap_or_default();
    assert_eq!(ready, "ready\n", "cannot set up a room: {said}");
    let unshare = i32::try_from(keeper.id()).expect("a process id");
    let leader = wait_until("process 1 of a room", || {
        let process = children(unshare).into_iter().find_map(Process::of);
        // Until it is cat, a SIGCHLD could still reach a shell that does not know the child.
        process.filter(|process| process.command == "cat").map(|process| process.pid).ok_or("not cat yet")
    });
    Life { keeper, door: Door { leader, cgroup: cgroup.make("system.slice/walinuxagent.service") } }
}
