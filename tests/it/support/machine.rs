//! A machine: a Debian system booted by systemd, with logind, cron and atd.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::call::{Call, Door};
use super::cgroup::Cgroup;
use super::disk::Disk;
use super::image::image;
use super::place::{Place, SHARE};
use super::process::{Process, children};
use super::{binary_under_test, wait_until};

/// A machine, on or off. Vanishes when dropped.
pub struct Machine {
    disk: Disk,
    cgroup: Cgroup,
    life: Option<Life>,
}

/// What runs between switching on and off.
struct Life {
    /// `unshare`, which ends with the namespace that nspawn is process 1 of.
    keeper: Child,
    /// Host's process id of systemd-nspawn.
    nspawn: Pid,
    door: Door,
}

impl Machine {
    /// A machine with that Debian release that has not been switched on yet.
    pub fn new(suite: &str) -> Self {
        let machine = Self::with_disk(Disk::new(&image(suite)));
        machine.install(&binary_under_test(), "/usr/bin/ci-setup-agent", 0o755);
        machine
    }

    /// A machine with that Debian release, up and running.
    pub fn booted(suite: &str) -> Self {
        let mut machine = Self::new(suite);
        machine.boot();
        machine
    }

    fn with_disk(disk: Disk) -> Self {
        Self { cgroup: Cgroup::named(&disk.name), disk, life: None }
    }

    /// Switches it on and waits until systemd has started everything.
    pub fn boot(&mut self) {
        assert!(self.life.is_none(), "the machine is on already");
        self.cgroup.remove();
        let mut keeper = self.nspawn().spawn().expect("util-linux's setpriv on the host");
        let (nspawn, leader) = wait_until("process 1 of a machine", || {
            self.assert_alive(&mut keeper);
            let nspawn = *children(keeper.id().cast_signed()).first().ok_or("no nspawn")?;
            // nspawn has another child for a while, which is in no namespace of its own yet.
            let mut inner = children(nspawn).into_iter().filter_map(Process::of);
            let leader = inner.find(|child| child.pid_inside == 1).ok_or("no machine")?;
            Ok::<_, &str>((Pid::from_raw(nspawn), leader.pid))
        });
        let door = Door { leader, cgroup: self.cgroup.procs_of("payload/system.slice/walinuxagent.service") };
        // Until that service runs, calls begin in the cgroup of nspawn: in the root of the machine's own
        // they would be in the way of systemd, which wants no processes there.
        let early = Door { cgroup: self.cgroup.procs_of("supervisor"), ..door.clone() };
        wait_until("a machine to boot", || {
            self.assert_alive(&mut keeper);
            if !early.cgroup.exists() {
                return Err(format!("no cgroup yet; console:\n{}", self.console()));
            }
            // `degraded`: a unit has failed, which may be what the test is about.
            let state = Call::new(early.clone(), ["systemctl", "is-system-running"]).run();
            match state.stdout.trim() {
                "running" | "degraded" if door.cgroup.exists() => Ok(()),
                _ => Err(format!("{state:?}; console:\n{}", self.console())),
            }
        });
        self.life = Some(Life { keeper, nspawn, door });
    }

    /// Shuts it down in good order, as `systemctl poweroff` does.
    pub fn stop(&mut self) {
        let life = self.life.as_ref().expect("a machine that is on");
        // nspawn passes it on as SIGRTMIN+3, systemd's signal for a power button.
        kill(life.nspawn, Signal::SIGTERM).expect("nspawn");
        self.wait_until_off();
    }

    /// Waits until somebody inside has switched it off, or has asked for a reboot: call `boot` then.
    pub fn wait_until_off(&mut self) {
        let mut life = self.life.take().expect("a machine that is on");
        wait_until("a machine to shut down", || match life.keeper.try_wait() {
            Ok(Some(_)) => Ok(()),
            Ok(None) | Err(_) => Err((self.console(), Process::all_beside(life.door.leader))),
        });
    }

    /// Pulls the plug.
    pub fn kill(&mut self) {
        let mut life = self.life.take().expect("a machine that is on");
        // With process 1 the kernel kills all of its namespace, the machine's own within included.
        let _ = kill(life.nspawn, Signal::SIGKILL);
        let _ = life.keeper.wait();
    }

    /// A machine, off, with a copy of this disk, as made from an image captured of it. It has its own share.
    pub fn capture(&self) -> Self {
        assert!(self.life.is_none(), "only a machine that is off has a disk that is at rest");
        Self::with_disk(self.disk.copy())
    }

    /// What was written to the console, in all boots.
    pub fn console(&self) -> String {
        fs::read_to_string(self.console_file()).unwrap_or_default()
    }

    fn console_file(&self) -> PathBuf {
        self.disk.beside("console.log")
    }

    fn assert_alive(&self, keeper: &mut Child) {
        if let Some(status) = keeper.try_wait().expect("wait") {
            panic!("systemd-nspawn has ended ({status}); console:\n{}", self.console());
        }
    }

    fn nspawn(&self) -> Command {
        let console = File::options().append(true).create(true).open(self.console_file()).expect("a log file");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]);
        // A machine may outlive an nspawn that is killed. So nspawn gets a process id namespace around it, which
        // ends with unshare, which ends with the test's thread, however that ends.
        command.args(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
        command.args(["sh", "-c", "echo 0 > \"$0\" && exec \"$@\""]).arg(self.cgroup.make(""));
        command.arg("systemd-nspawn").arg("--directory").arg(self.disk.root());
        // No machined and no unit of its own are needed, so that it works where the host runs no systemd.
        // It then takes the cgroup it is started in (hence the line above) and puts the machine in its `payload`.
        command.args(["--boot", "--register=no", "--keep-unit", &format!("--machine=test-{}", self.disk.name)]);
        command.args(["--private-network", "--hostname=ci-1", "--console=read-only"]);
        command.args(["--resolv-conf=off", "--timezone=off", "--link-journal=no"]);
        // As much of a real machine as can be had: tracefs (systemd mounts it if it has CAP_SYS_RAWIO), perf events,
        // mounts. Not the clock and not modules, which are the host's.
        command.args(["--capability=all", "--drop-capability=CAP_SYS_TIME,CAP_SYS_MODULE"]);
        command.arg(format!("--bind={}:{SHARE}", self.disk.share().display()));
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("SYSTEMD_SECCOMP", "0"); // nspawn's filter forbids what root on a real machine may do
        // On a hybrid host nspawn would give the machine version 1 hierarchies; Ubuntu 22.04 and later have version 2.
        // Where the host has version 2 alone, this changes nothing.
        command.env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1");
        command.stdin(Stdio::null()).stdout(console.try_clone().expect("a descriptor")).stderr(console);
        command
    }
}

impl Place for Machine {
    fn door(&self) -> Option<Door> {
        self.life.as_ref().map(|life| life.door.clone())
    }

    fn disk(&self) -> &Disk {
        &self.disk
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.life.is_some() {
            self.kill();
        }
        self.cgroup.remove();
    }
}
