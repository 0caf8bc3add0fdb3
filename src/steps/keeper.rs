//! The process that sets the probes up and takes them away again.
//!
//! The kernel waits for RCU grace periods when probes are put into running programs and, ten times longer,
//! when they are taken out (measured: 15 ms and 150 ms). Neither may hold the run up, so a detached child
//! does both; it sees the end of its channel when the recorder is dropped, or when the agent is killed.
//!
//! It also opens all files of tracefs that the recorder reads, and closes them last: an open and a last close take
//! locks of the kernel's that anybody's probes hold for as long as some process's memory stays locked.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, ppoll};
use serde::{Deserialize, Serialize};

use super::budget::{Budget, Verdict};
use super::buffers::{Buffers, Purpose};
use super::event::Formats;
use super::locked;
use super::probes::{Plan, Probe};
use super::tracefs::Tracefs;
use crate::sys::{
    aside,
    channel::{self, Channel, Received, Sent},
};

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

/// What the keeper tells.
#[derive(Debug, Serialize, Deserialize)]
enum Told {
    /// A file of the instance comes along, open.
    Opened(Purpose),
    /// All files are handed over, and the probes are in.
    Ready(Formats),
    /// There will be no recording, and this is why.
    Failed(String),
    /// The functions that the bash never comes by, as the self-test has found out.
    Silent(String),
    /// A probe was hit so often that it was switched off for a while.
    Paused,
}

/// What the keeper has noticed in the course of a recording.
#[derive(Clone, Debug, Default)]
pub struct Noticed {
    /// The functions that the bash never comes by, if there are any.
    pub silent: Option<String>,
    /// A probe was switched off for a while.
    pub paused: bool,
}

/// Our end of the keeper's channel.
#[derive(Debug)]
pub struct Keeper {
    channel: Channel<(), Told>,
    opened: Vec<(Purpose, File)>,
}

impl Keeper {
    /// Starts it. It makes the instance `name` with a probe group for each target and then answers.
    pub fn start(tracefs: &Tracefs, name: &str, targets: &[Target]) -> io::Result<Self> {
        let (ours, theirs) = channel::pair()?;
        let mut keep = vec![tracefs.as_fd(), theirs.as_fd()];
        keep.extend(targets.iter().map(|target| target.binary.as_fd()));
        aside::leave(c"ci-setup:probes", &keep, || keep_probes(tracefs, name, targets, &theirs))?;
        Ok(Self { channel: ours, opened: Vec::new() })
    }

    /// Readable when the keeper has told something.
    pub fn poll_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    /// The answer, once it is there: `None` while the keeper is still at work.
    pub fn answer(&mut self) -> Option<Result<Buffers, String>> {
        loop {
            match self.channel.receive() {
                Received::Message(Told::Opened(purpose), Some(file)) => self.opened.push((purpose, file.into())),
                Received::Message(Told::Ready(formats), _) => {
                    let opened = std::mem::take(&mut self.opened);
                    return Some(
                        Buffers::new(opened, formats).ok_or_else(|| "the buffers are not complete".to_owned()),
                    );
                }
                Received::Message(Told::Failed(reason), _) => return Some(Err(reason)),
                Received::Message(Told::Opened(_) | Told::Silent(_) | Told::Paused, _) => {}
                Received::Nothing => return None,
                Received::Closed => return Some(Err("the keeper of the probes ended early".to_owned())),
            }
        }
    }

    /// After the answer: what it has noticed since.
    pub fn noticed(&self) -> Noticed {
        let mut noticed = Noticed::default();
        loop {
            match self.channel.receive() {
                Received::Message(Told::Silent(functions), _) => noticed.silent = Some(functions),
                Received::Message(Told::Paused, _) => noticed.paused = true,
                Received::Message(Told::Opened(_) | Told::Ready(_) | Told::Failed(_), _) => {}
                Received::Nothing | Received::Closed => return noticed,
            }
        }
    }
}

/// The keeper's end of the channel.
type Listener = Channel<Told, ()>;

/// The whole life of the keeper.
fn keep_probes(tracefs: &Tracefs, name: &str, targets: &[Target], listener: &Listener) {
    let mut held = Vec::new();
    match set_up(tracefs, name, targets, &mut held) {
        Ok(formats) => {
            let is_heard = held.iter().all(|(purpose, file)| tell(listener, &Told::Opened(*purpose), Some(file)));
            if is_heard && tell(listener, &Told::Ready(formats), None) {
                // Now that nobody waits: what this bash can tell, and what dead runs left.
                let silent = silent_functions(tracefs, name, targets);
                if !silent.is_empty() {
                    tell(listener, &Told::Silent(silent.join(", ")), None);
                }
                sweep_stale(tracefs);
                watch_costs(tracefs, name, targets, listener);
            }
        }
        Err(reason) => {
            tell(listener, &Told::Failed(reason), None);
        }
    }
    // Only now: whoever closes such a file last may wait for a lock of the kernel's, and that is to be this process.
    drop(held);
    // To take a probe out is as much of a wait as to put it in, and everybody's wait.
    while locked::process().is_some() {
        std::thread::sleep(LOCKED_LOOK_EVERY);
    }
    take_down(tracefs, name);
}

/// How often the keeper that is left behind looks whether the probes can be taken out.
const LOCKED_LOOK_EVERY: Duration = Duration::from_secs(1);

/// Tells something, and waits where there is no room for it. Whether it was told.
fn tell(listener: &Listener, told: &Told, file: Option<&File>) -> bool {
    loop {
        match listener.send(told, file.map(AsFd::as_fd)) {
            Sent::Yes => return true,
            Sent::Closed => return false,
            Sent::Full => {
                let mut polls = [PollFd::new(listener.as_fd(), PollFlags::POLLOUT)];
                let _ = ppoll(&mut polls, None, None);
            }
        }
    }
}

/// Until the recorder has gone: sees to it that the probes do not cost too much.
fn watch_costs(tracefs: &Tracefs, name: &str, targets: &[Target], listener: &Listener) {
    let mut budget = Budget::new(targets.iter().any(|target| target.strings));
    let unit = event(name, Probe::Unit);
    loop {
        let left = budget.next_look().map(|look| look.saturating_duration_since(Instant::now()).into());
        let mut polls = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        if !matches!(ppoll(&mut polls, left, None), Ok(0) | Err(Errno::EINTR)) {
            // Nothing is ever sent this way: it is the end.
            return;
        }
        if budget.next_look().is_none_or(|look| Instant::now() < look) {
            continue;
        }
        let profile = tracefs.read("uprobe_profile").unwrap_or_default();
        let state = match budget.look(hits(&profile, None, &unit)) {
            Verdict::Well => continue,
            Verdict::Pause => "0",
            Verdict::GoOn => "1",
        };
        if locked::process().is_some() {
            continue;
        }
        for (index, _) in targets.iter().enumerate() {
            let group = group(name, index);
            let _ = tracefs.write(&format!("instances/{name}/events/{group}/{unit}/enable"), state);
        }
        if state == "0" {
            tell(listener, &Told::Paused, None);
        }
    }
}

/// The self-test: runs each bash for a moment and looks which of the probes it never came by. A symbol that is
/// there says little: where bash was optimised at link time, functions have been merged into others.
fn silent_functions(tracefs: &Tracefs, name: &str, targets: &[Target]) -> Vec<&'static str> {
    let mut silent: Vec<&'static str> = Vec::new();
    for target in targets {
        let path = path_of(target);
        let mut child = Command::new(&path);
        // A top-level command, a fork, an end: each probe but that on `-c` strings.
        child.args(["--norc", "--noprofile", "-s"]).env_clear().stdin(Stdio::piped());
        let Ok(mut child) = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn() else { continue };
        if let Some(mut input) = child.stdin.take() {
            let _ = input.write_all(b"(:)\nexit\n");
        }
        let _ = child.wait();
        let profile = tracefs.read("uprobe_profile").unwrap_or_default();
        for probe in [Probe::Top, Probe::Exit, Probe::Fork] {
            let planned = target.plan.probes.iter().any(|(other, _)| *other == probe);
            if planned && !silent.contains(&probe.function()) && hits(&profile, Some(&path), &event(name, probe)) == 0 {
                silent.push(probe.function());
            }
        }
    }
    silent
}

/// How often an event's probe was hit, in any file or in one, by the kernel's list: file, event, hits.
pub fn hits(profile: &str, file: Option<&str>, event: &str) -> u64 {
    let rows = profile.lines().map(str::split_whitespace);
    let count = rows.filter_map(|mut row| {
        let (path, name) = (row.next()?, row.next()?);
        (name == event && file.is_none_or(|file| file == path)).then(|| row.next()?.parse::<u64>().ok())?
    });
    count.sum()
}

/// A binary through its descriptor, so that no path is parsed and the inode is the one whose symbols were read.
fn path_of(target: &Target) -> String {
    format!("/proc/self/fd/{}", target.binary.as_raw_fd())
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

/// Makes everything and opens what the recorder needs. The files of `held`, as long as they are open, mark the
/// instance as a living run's.
fn set_up(
    tracefs: &Tracefs,
    name: &str,
    targets: &[Target],
    held: &mut Vec<(Purpose, File)>,
) -> Result<Formats, String> {
    let instance = format!("instances/{name}");
    let said = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| format!("cannot {what}: {error}")
    };
    let pipe = hold(tracefs, &instance).map_err(said("make a tracing instance"))?;
    // What does not fit is dropped and counted; the oldest stays, so that there are no torn ends.
    tracefs.write(&format!("{instance}/options/overwrite"), "0").map_err(said("set its options"))?;
    // Wake the reader for the first event; absent before Linux 5.0, where that is the only way.
    let _ = tracefs.write(&format!("{instance}/buffer_percent"), "0");
    // Changing the clock costs an RCU grace period (28 ms), so it is done only where the kernel itself
    // found at boot that the local clocks of its processors do not agree.
    if tracefs.read("trace_clock").is_ok_and(|clocks| clocks.contains("[global]")) {
        tracefs.write(&format!("{instance}/trace_clock"), "mono").map_err(said("set its clock"))?;
    }
    let folder = tracefs.folder(&instance).map_err(said("open a tracing instance"))?;
    Buffers::open(&folder, held).map_err(said("open the tracing buffers"))?;
    drop(pipe);
    // While the kernel waits for a process's memory to put a probe in, no process of the machine can fork.
    if let Some(process) = locked::process() {
        return Err(format!(
            "the memory of {process} is locked, perhaps by a share that hangs: probes would wait for it"
        ));
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
    Formats::read(&folder, name, targets)
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
    let path = path_of(target);
    for (probe, place) in &target.plan.probes {
        tracefs.write("uprobe_events", &format!("p:{group}/{} {path}:{place}\n", event(name, *probe)))?;
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

/// The time in an instance's name: nanoseconds in 48 bits, which wrap in three days.
pub fn stamp() -> u64 {
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(time.as_nanos() & 0xffff_ffff_ffff).unwrap_or_default()
}

/// Whether an instance may be so new that its run does not hold it yet.
fn is_young(name: &str) -> bool {
    const YOUTH: u64 = 10_000_000_000;
    let made = name.rsplit('_').next().and_then(|stamp| u64::from_str_radix(stamp, 16).ok());
    made.is_some_and(|made| stamp().wrapping_sub(made) & 0xffff_ffff_ffff < YOUTH)
}

/// Removes what dead runs left: instances whose pipe nobody holds, then probes without an instance.
///
/// The kernel itself refuses the removal of an instance in use, so a run in another container, whose
/// processes cannot be seen from here, is as safe as one beside us.
pub fn sweep_stale(tracefs: &Tracefs) {
    if locked::process().is_some() {
        return;
    }
    // Read before the instances are: of what is in here, a living run holds the instance already.
    let probes = probes(tracefs);
    for name in tracefs.names("instances", PREFIX).unwrap_or_default() {
        if !is_young(&name) {
            let _ = tracefs.remove_folder(&format!("instances/{name}"));
        }
    }
    let alive = tracefs.names("instances", PREFIX).unwrap_or_default();
    remove_probes(tracefs, &probes, |group| {
        group.starts_with(PREFIX)
            && !is_young(group.rsplit_once("_t").map_or(group, |(name, _)| name))
            && !alive.iter().any(|name| is_group_of(group, name))
    });
}
