//! The process that sets the probes up and takes them away again.
//!
//! The kernel waits for RCU grace periods when probes are put into running programs and, ten times longer,
//! when they are taken out (measured: 15 ms and 150 ms). Neither may hold the run up, so a detached child
//! does both; it sees the end of its socket when the recorder is dropped, or when the agent is killed.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use nix::fcntl::OFlag;

use super::probes::{Plan, Probe};
use super::tracefs::Tracefs;
use crate::sys::aside;

/// All our instances and probe groups begin so.
pub const PREFIX: &str = "ci_setup_agent_";

/// The events of the kernel's own that show ancestry.
pub const FORK_EVENT: &str = "events/sched/sched_process_fork";

/// A bash binary, open, with its plan.
#[derive(Debug)]
pub struct Target {
    /// Open for reading; the probe is put on this very inode, whatever its path names by now.
    pub binary: File,
    /// What to probe.
    pub plan: Plan,
    /// Whether the script has `-c` strings at all: [`Probe::Unit`] also fires for each `eval` and costs there.
    pub strings: bool,
}

/// Our end of the keeper's socket.
#[derive(Debug)]
pub struct Keeper {
    socket: UnixStream,
}

impl Keeper {
    /// Starts it. It makes the instance `name` with a probe group for each target and then answers.
    pub fn start(tracefs: &Tracefs, name: &str, targets: &[Target]) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut keep = vec![tracefs.as_fd(), theirs.as_fd()];
        keep.extend(targets.iter().map(|target| target.binary.as_fd()));
        aside::leave(c"ci-setup:probes", &keep, || keep_probes(tracefs, name, targets, &theirs))?;
        ours.set_nonblocking(true)?;
        Ok(Self { socket: ours })
    }

    /// The descriptor that becomes readable with the answer.
    pub fn socket(&self) -> &UnixStream {
        &self.socket
    }

    /// The answer, once it is there: `None` while the keeper is still at work.
    pub fn answer(&mut self) -> Option<Result<(), String>> {
        let mut text = [0; 512];
        match self.socket.read(&mut text) {
            Ok(0) => Some(Err("the keeper of the probes ended early".to_owned())),
            Ok(length) => match String::from_utf8_lossy(&text[..length]).strip_prefix("failed: ") {
                Some(reason) => Some(Err(reason.to_owned())),
                None => Some(Ok(())),
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => Some(Err(format!("the keeper of the probes cannot be heard: {error}"))),
        }
    }

    /// Asks it to switch a probe off or on. A keeper that has gone cannot: then nothing changes.
    pub fn switch(&mut self, probe: Probe, state: Switch) {
        let index = Probe::ALL.iter().position(|other| *other == probe).unwrap_or(0);
        let index = u8::try_from(index).unwrap_or(0);
        let _ = self.socket.write_all(&[index << 1 | u8::from(state == Switch::On)]);
    }
}

/// Whether a probe fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// It does.
    On,
    /// It does not.
    Off,
}

/// The whole life of the keeper.
fn keep_probes(tracefs: &Tracefs, name: &str, targets: &[Target], mut socket: &UnixStream) {
    let held = set_up(tracefs, name, targets);
    let answer = held.as_ref().map_or_else(|reason| format!("failed: {reason}"), |_| "ready".to_owned());
    if socket.write_all(answer.as_bytes()).is_ok() {
        // What dead runs left, now that nobody waits for it.
        sweep_stale(tracefs);
        let mut command = [0];
        while let Ok(1..) = socket.read(&mut command) {
            let state = if command[0] & 1 == 1 { "1" } else { "0" };
            if let Some(probe) = Probe::ALL.get(usize::from(command[0] >> 1)) {
                for (index, _) in targets.iter().enumerate() {
                    let group = group(name, index);
                    let event = event(name, *probe);
                    let _ = tracefs.write(&format!("instances/{name}/events/{group}/{event}/enable"), state);
                }
            }
        }
    }
    drop(held);
    take_down(tracefs, name);
}

/// The name of the probe group for one target.
pub fn group(name: &str, target: usize) -> String {
    format!("{name}_t{target}")
}

/// The name of a probe's event. The run is in it, because the kernel's list of hits shows no groups.
pub fn event(name: &str, probe: Probe) -> String {
    let mut numbers = name.rsplitn(3, '_');
    let (recording, process) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    format!("{}_{process}_{recording}", probe.name())
}

/// Whether a probe group belongs to the run `name` (and not to one whose name merely begins like it).
fn is_group_of(group: &str, name: &str) -> bool {
    let number = group.strip_prefix(name).and_then(|rest| rest.strip_prefix("_t"));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Makes everything; the file it returns, as long as it is open, marks the instance as a living run's.
fn set_up(tracefs: &Tracefs, name: &str, targets: &[Target]) -> Result<File, String> {
    let instance = format!("instances/{name}");
    let said = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| format!("cannot {what}: {error}")
    };
    let held = hold(tracefs, &instance).map_err(said("make a tracing instance"))?;
    // What does not fit is dropped and counted; the oldest stays, so that there are no torn ends.
    tracefs.write(&format!("{instance}/options/overwrite"), "0").map_err(said("set its options"))?;
    // Wake the reader for the first event; absent before Linux 5.0, where that is the only way.
    let _ = tracefs.write(&format!("{instance}/buffer_percent"), "0");
    // Changing the clock costs an RCU grace period (28 ms), so it is done only where the kernel itself
    // found at boot that the local clocks of its processors do not agree.
    if tracefs.read("trace_clock").is_ok_and(|clocks| clocks.contains("[global]")) {
        tracefs.write(&format!("{instance}/trace_clock"), "mono").map_err(said("set its clock"))?;
    }
    for (index, target) in targets.iter().enumerate() {
        let group = group(name, index);
        define(tracefs, name, &group, target).map_err(said("define probes"))?;
        for (probe, _) in &target.plan.probes {
            let event = format!("{instance}/events/{group}/{}", event(name, *probe));
            if let Some(filter) = probe.filter() {
                tracefs.write(&format!("{event}/filter"), filter).map_err(said("filter a probe"))?;
            }
            if *probe != Probe::Unit || target.strings {
                tracefs.write(&format!("{event}/enable"), "1").map_err(said("enable a probe"))?;
            }
        }
    }
    tracefs.write(&format!("{instance}/{FORK_EVENT}/enable"), "1").map_err(said("watch forks"))?;
    Ok(held)
}

/// Makes an instance and holds one of its pipes open (the text one admits a single reader): that is what tells
/// a living run's instance from a dead one's. One that is not held yet may be swept away by another run.
fn hold(tracefs: &Tracefs, instance: &str) -> io::Result<File> {
    /// More runs than these do not begin within the moment between the two.
    const TRIES: usize = 10;
    let pipe = format!("{instance}/per_cpu/cpu0/trace_pipe_raw");
    let try_once = || match tracefs.make_folder(instance) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => tracefs.open(&pipe, OFlag::O_RDONLY | OFlag::O_NONBLOCK),
    };
    let mut last = try_once();
    for _ in 1..TRIES {
        if last.is_ok() {
            break;
        }
        last = try_once();
    }
    last
}

fn define(tracefs: &Tracefs, name: &str, group: &str, target: &Target) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let binary = target.binary.as_raw_fd();
    for (probe, place) in &target.plan.probes {
        // Through the descriptor, so that no path is parsed and the inode is the one whose symbols were read.
        tracefs
            .write("uprobe_events", &format!("p:{group}/{} /proc/self/fd/{binary}:{place}\n", event(name, *probe)))?;
    }
    Ok(())
}

/// Removes an instance and its probe groups, as far as they are there.
pub fn take_down(tracefs: &Tracefs, name: &str) {
    let instance = format!("instances/{name}");
    for event in tracefs.names(&format!("{instance}/events"), name).unwrap_or_default() {
        if !is_group_of(&event, name) {
            continue;
        }
        let _ = tracefs.write(&format!("{instance}/events/{event}/enable"), "0");
    }
    let _ = tracefs.write(&format!("{instance}/{FORK_EVENT}/enable"), "0");
    let _ = tracefs.remove_folder(&instance);
    remove_probes(tracefs, &probes(tracefs), |group| is_group_of(group, name));
}

/// The kernel's list of probes.
fn probes(tracefs: &Tracefs) -> String {
    tracefs.read("uprobe_events").unwrap_or_default()
}

/// Removes those probes of a list whose groups `which` names.
fn remove_probes(tracefs: &Tracefs, probes: &str, which: impl Fn(&str) -> bool) {
    for line in probes.lines() {
        let Some((group, event)) =
            line.strip_prefix("p:").and_then(|rest| rest.split_whitespace().next()?.split_once('/'))
        else {
            continue;
        };
        if which(group) {
            let _ = tracefs.write("uprobe_events", &format!("-:{group}/{event}\n"));
        }
    }
}

/// Removes what dead runs left: instances whose pipe nobody holds, then probes without an instance.
///
/// The kernel itself refuses the removal of an instance in use, so a run in another container, whose
/// processes cannot be seen from here, is as safe as one beside us.
pub fn sweep_stale(tracefs: &Tracefs) {
    // Read before the instances are: of what is in here, a living run holds the instance already.
    let probes = probes(tracefs);
    for name in tracefs.names("instances", PREFIX).unwrap_or_default() {
        let _ = tracefs.remove_folder(&format!("instances/{name}"));
    }
    let alive = tracefs.names("instances", PREFIX).unwrap_or_default();
    remove_probes(tracefs, &probes, |group| {
        group.starts_with(PREFIX) && !alive.iter().any(|name| is_group_of(group, name))
    });
}
