//! The processes that descend from a script by fork, found in `/proc`.
//!
//! The supervisor is their subreaper: whoever's parent dies becomes its child. So the descendants of the
//! supervisor are the run, whatever session, group, user or cgroup they moved to, and what systemd, cron
//! or Docker started on the script's behalf is not among them.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io::Read,
    os::unix::fs::MetadataExt,
    time::Duration,
};

use nix::{errno::Errno, sys::signal::Signal, unistd::Pid};
use serde::{Serialize, de::DeserializeOwned};

use super::environment::TOKEN;
use crate::{
    record::outcome::{LONGEST_LIST, Process},
    sys::{aside, pidfd::PidFd, users::User},
};

/// A process as one look at `/proc/PID/stat` showed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Process id.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// `R`, `S`, `D`, `T`, `Z`, …
    pub state: u8,
    /// Start time, clock ticks since boot: with the pid it names the process for ever.
    pub started: u64,
    /// Threads that live, or 1 for a process that is dead altogether.
    threads: u32,
}

impl Seen {
    /// Looks at one process; `None` if it is gone.
    pub fn look(pid: i32) -> Option<Self> {
        // One read: it is short, and ten thousand of them must not take long.
        let mut text = [0; 1024];
        let length = File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut text).ok()?;
        let text = &text[..length];
        // The name stands in parentheses and may hold any byte, closing parentheses included.
        let rest = text.get(text.iter().rposition(|byte| *byte == b')')? + 2..)?;
        let mut fields = std::str::from_utf8(rest).ok()?.split(' ');
        let state = *fields.next()?.as_bytes().first()?;
        let parent = fields.next()?.parse().ok()?;
        let threads = fields.nth(15)?.parse().ok()?;
        let started = fields.nth(1)?.trim().parse().ok()?;
        Some(Self { pid, parent, state, started, threads })
    }

    /// Dead, and only waiting for its parent to take note. One whose first thread is dead while another
    /// hangs in the kernel is not: nobody can take note of it yet.
    pub fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X') && self.threads <= 1
    }

    /// Signals the process, and never another one that got its pid meanwhile.
    pub fn signal(&self, signal: Signal) {
        match PidFd::open(self.pid) {
            Ok(handle) => {
                if Self::look(self.pid).is_some_and(|now| now.started == self.started) {
                    let _ = handle.signal(signal);
                }
            }
            // Before Linux 5.3 there is only the small race of every kill(1).
            Err(Errno::ENOSYS | Errno::EPERM) => {
                let _ = nix::sys::signal::kill(Pid::from_raw(self.pid), signal);
            }
            Err(_) => {}
        }
    }
}

/// All processes of the machine that this one can see.
pub fn all() -> Vec<Seen> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(Seen::look).collect()
}

/// The living among `roots` and their descendants, without `apart` and theirs, the oldest first: a shell hears of its
/// end before the death of what it waits for makes it go on, or end without its trap.
pub fn families(all: &[Seen], roots: &[i32], apart: &[i32]) -> Vec<Seen> {
    let mut children: HashMap<i32, Vec<&Seen>> = HashMap::new();
    let mut by_pid: HashMap<i32, &Seen> = HashMap::new();
    for seen in all {
        children.entry(seen.parent).or_default().push(seen);
        by_pid.insert(seen.pid, seen);
    }
    let mut found = Vec::new();
    let mut known: HashSet<i32> = apart.iter().copied().collect();
    let mut waiting: Vec<i32> = roots.to_vec();
    while let Some(pid) = waiting.pop() {
        if !known.insert(pid) {
            continue;
        }
        found.extend(by_pid.get(&pid).filter(|seen| !seen.is_dead()).map(|seen| **seen));
        waiting.extend(children.get(&pid).into_iter().flatten().map(|child| child.pid));
    }
    found.sort_by_key(|seen| (seen.started, seen.pid));
    found
}

/// Reads something in the memory of processes. Whoever unmaps a file of a share that hangs holds the lock on its
/// memory, and reading there waits for that: it is done aside, and left where it takes too long.
fn in_memory<T: Serialize + DeserializeOwned>(processes: &[Seen], read: impl Fn(i32) -> T) -> HashMap<i32, T> {
    const PATIENCE: Duration = Duration::from_millis(400);
    // Those who hang come last: the others are read by then.
    let (stuck, others): (Vec<&Seen>, Vec<&Seen>) = processes.iter().partition(|seen| seen.state == b'D');
    let pids: Vec<i32> = others.into_iter().chain(stuck).map(|seen| seen.pid).collect();
    let read = aside::each(c"ci-setup:look", &pids, PATIENCE, read);
    pids.into_iter().zip(read).filter_map(|(pid, read)| Some((pid, read?))).collect()
}

/// Processes that carry `NAME=VALUE` in the environment they were started with.
pub fn with_variable(all: &[Seen], name: &str, value: &str) -> Vec<i32> {
    let wanted = format!("{name}={value}");
    let living: Vec<Seen> = all.iter().filter(|seen| !seen.is_dead()).copied().collect();
    let has = in_memory(&living, |pid| {
        fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|text| text.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes()))
    });
    living.iter().map(|seen| seen.pid).filter(|pid| has.get(pid).is_some_and(|has| *has)).collect()
}

/// Whether this process has a script that `run` executes among its parents and theirs.
pub fn is_below_a_script() -> bool {
    let is_marked = |pid: &i32| {
        let mark = format!("{TOKEN}=");
        fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|text| text.split(|byte| *byte == 0).any(|entry| entry.starts_with(mark.as_bytes())))
    };
    let parent = |pid: &i32| Seen::look(*pid).map(|seen| seen.parent).filter(|parent| *parent > 1);
    std::iter::successors(Some(std::process::id().cast_signed()), parent).any(|pid| is_marked(&pid))
}

/// What the outcome says of `processes`: the oldest [`LONGEST_LIST`] of them.
pub fn described(processes: &[Seen]) -> Vec<Process> {
    let mut oldest = processes.to_vec();
    oldest.sort_by_key(|seen| (seen.started, seen.pid));
    oldest.truncate(LONGEST_LIST);
    let mut commands = in_memory(&oldest, command_line);
    let mut describe = |seen: &Seen| {
        let uid = fs::metadata(format!("/proc/{}", seen.pid)).ok()?.uid();
        let command = commands.remove(&seen.pid).unwrap_or_else(|| format!("[{}]", program_name(seen.pid)));
        Some(Process { pid: seen.pid, user: User::name_of(uid), seconds: age(seen.started).as_secs_f64(), command })
    };
    oldest.iter().filter_map(&mut describe).collect()
}

/// The command line, bounded, or the program's name in brackets where there is none. It begins with a name in
/// any case: the first word is what the share may see, and an empty `argv[0]` must not put an argument there.
fn command_line(pid: i32) -> String {
    const LONGEST: usize = 512;
    let text = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = text.strip_suffix(&[0]).unwrap_or(&text).split(|byte| *byte == 0);
    let mut words: Vec<_> = words.map(String::from_utf8_lossy).collect();
    match words.first_mut() {
        Some(first) if first.trim().is_empty() => *first = format!("[{}]", program_name(pid)).into(),
        _ => {}
    }
    words.retain(|word| !word.is_empty());
    let line = crate::error::one_line(&words.join(" "));
    match line.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None => line,
    }
}

/// The program's name, as `comm` has it.
pub fn program_name(pid: i32) -> String {
    crate::error::one_line(fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end())
}

/// How long ago a process started, from its start time in clock ticks since boot.
fn age(started: u64) -> Duration {
    // USER_HZ is 100 on every Linux; the kernel keeps it so for /proc alone.
    const TICKS_A_SECOND: f64 = 100.0;
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let uptime: f64 = uptime.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or_default();
    let seconds = uptime - started as f64 / TICKS_A_SECOND;
    Duration::from_secs_f64(seconds.max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_sees_itself() {
        let own = std::process::id().cast_signed();
        let seen = Seen::look(own).unwrap();
        assert_eq!(seen.parent, std::os::unix::process::parent_id().cast_signed());
        assert!(!seen.is_dead());
    }

    #[test]
    fn a_parent_comes_before_its_children_whoever_is_named_first() {
        let seen = |pid, parent, started| Seen { pid, parent, state: b'S', started, threads: 1 };
        // Within one tick of the clock, and after the pids have begun anew.
        let all = [seen(30, 900, 9), seen(800, 10, 5), seen(801, 800, 5), seen(900, 801, 8)];
        for roots in [[10, 800, 801, 900, 30], [30, 900, 801, 800, 10]] {
            let order: Vec<i32> = families(&all, &roots, &[]).iter().map(|seen| seen.pid).collect();
            assert_eq!(order, [800, 801, 900, 30]);
        }
    }

    #[test]
    fn a_name_full_of_parentheses_does_not_confuse() {
        use std::os::unix::process::CommandExt;
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("a) S 1 (b");
        fs::copy("/bin/sleep", &program).unwrap();
        let mut child = std::process::Command::new(&program).arg0("x").arg("1000").spawn().unwrap();
        let pid = child.id().cast_signed();
        let own = std::process::id().cast_signed();
        assert!(families(&all(), &[own], &[]).iter().any(|seen| seen.pid == pid));
        assert!(families(&all(), &[own], &[pid]).iter().all(|seen| seen.pid != pid));
        assert_eq!(Seen::look(pid).unwrap().parent, std::process::id().cast_signed());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
