//! Processes as the host sees them: also those that hide in other sessions, cgroups and namespaces.

use std::fs;
use std::path::PathBuf;

/// One process that is not a zombie.
#[derive(Clone, Debug)]
pub struct Process {
    /// Process id on the host.
    pub pid: i32,
    /// Process id in its own (innermost) namespace: what the program itself and its outcome speak of.
    pub pid_inside: i32,
    /// The real user id.
    pub uid: u32,
    /// Arguments, joined by spaces. The name in brackets where there are none.
    pub command: String,
}

impl Process {
    /// None if it has ended.
    pub fn of(pid: i32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name))?;
            Some(line.split_ascii_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>())
        };
        if field("State:")?.first().is_none_or(|state| state == "Z" || state == "X") {
            return None;
        }
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let command = String::from_utf8_lossy(&arguments).trim_end_matches('\0').replace('\0', " ");
        Some(Self {
            pid,
            pid_inside: field("NSpid:")?.last()?.parse().ok()?,
            uid: field("Uid:")?.first()?.parse().ok()?,
            command: if command.is_empty() { format!("[{}]", field("Name:")?.join(" ")) } else { command },
        })
    }

    /// All that live now.
    pub fn all() -> Vec<Self> {
        let entries = fs::read_dir("/proc").expect("/proc").flatten();
        entries.filter_map(|entry| Self::of(entry.file_name().to_str()?.parse().ok()?)).collect()
    }

    /// All in the process id namespace of `leader`, but for the leader itself.
    pub fn all_beside(leader: i32) -> Vec<Self> {
        let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let Some(ours) = namespace(leader) else {
            return Vec::new();
        };
        let mut found = Self::all();
        found.retain(|process| process.pid != leader && namespace(process.pid).as_ref() == Some(&ours));
        found
    }

    /// Its cgroup v2 path as a process in the host's root cgroup namespace reads it.
    pub fn cgroup(&self) -> Option<PathBuf> {
        let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", self.pid)).ok()?;
        cgroups.lines().find_map(|line| line.strip_prefix("0::")).map(PathBuf::from)
    }
}

/// The processes, anywhere on this computer, that have `marker` in their arguments or environment.
pub fn pids_with_marker(marker: &str) -> Vec<i32> {
    let own = i32::try_from(std::process::id()).expect("a process id");
    let marked = |process: &Process| {
        let environment = fs::read(format!("/proc/{}/environ", process.pid)).unwrap_or_default();
        process.command.contains(marker) || String::from_utf8_lossy(&environment).contains(marker)
    };
    Process::all().iter().filter(|process| process.pid != own && marked(process)).map(|process| process.pid).collect()
}

/// The children of a process that has one thread.
pub fn children(pid: i32) -> Vec<i32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}
