//! Ending a process tree so that nobody is left (CONTRACT 5).
//!
//! Three nets at once, because each has a hole: the run's cgroup leaf misses who was moved out of it, the
//! walk over descendants races with forks, and the mark in the environment can be taken off.
//!
//! What forks while it is killed is outrun: its orphans fall to the subreaper at once, and killing the
//! subreaper's children again and again takes less time than forking them.

use std::{
    collections::{BTreeSet, HashSet},
    path::PathBuf,
    time::{Duration, Instant},
};

use nix::{sys::signal::Signal, unistd::Pid};

use super::{
    cgroup::{self, Frozen, Leaf},
    environment,
    tree::{self, Seen},
};

/// Everything that belongs to one run, and how to find it.
#[derive(Debug)]
pub struct Tree {
    /// The subreaper that all descendants fall back to.
    root: i32,
    /// Children of `root` that are the agent's own.
    apart: Vec<i32>,
    leaf: Option<Leaf>,
    /// The mark in the environment; only looked for when the subreaper that would know better is gone.
    token: Option<String>,
    rounds: u32,
}

impl Tree {
    /// The tree below this process.
    pub fn of_descendants(leaf: Option<Leaf>) -> Self {
        Self { root: std::process::id().cast_signed(), apart: Vec::new(), leaf, token: None, rounds: 0 }
    }

    /// What is left of a run whose supervisor is gone: in its leaf, marked in its environment, or fallen
    /// back to this process; `apart` are children of this process that are none of it.
    pub fn of_orphans(leaf: Option<Leaf>, token: &str, apart: &[i32]) -> Self {
        let root = std::process::id().cast_signed();
        Self { root, apart: apart.to_vec(), leaf, token: Some(token.to_owned()), rounds: 0 }
    }

    /// The leaf, where there is one.
    pub fn leaf(&self) -> Option<&Leaf> {
        self.leaf.as_ref()
    }

    /// The living processes of the run.
    pub fn members(&self) -> Vec<Seen> {
        let all = tree::all();
        let mut roots = vec![self.root];
        roots.extend(self.leaf.iter().flat_map(Leaf::members));
        if let Some(token) = &self.token {
            // Whoever took the mark off may still be found below one who did not.
            let marked = tree::with_variable(&all, environment::TOKEN, token);
            roots.extend(marked.into_iter().filter(|pid| !is_scheduled(*pid, &all)));
        }
        let mut found = tree::families(&all, &roots, &self.apart);
        let own = [std::process::id().cast_signed(), self.root];
        found.retain(|seen| !own.contains(&seen.pid));
        found
    }

    /// Kills everybody once around. Returns who was alive before; who cannot die yet is found again by the
    /// next round, as is who forked in between. Call it until nobody is returned.
    ///
    /// `bury` takes note of children of this process that have died, and says whether none is left.
    pub fn kill(&mut self, mut bury: impl FnMut() -> bool) -> Vec<Seen> {
        /// So many rounds have to fail before other processes are made to stand still.
        const PATIENCE: u32 = 8;
        self.rounds += 1;
        if let Some(leaf) = &self.leaf {
            leaf.kill();
        }
        let alive = self.members();
        let strays = self.strays(&alive);
        if strays.is_empty() {
            return alive;
        }
        for seen in &strays {
            seen.signal(Signal::SIGKILL);
        }
        self.outrun(&mut bury);
        let places = if self.rounds > PATIENCE { foreign_places(&strays) } else { Vec::new() };
        if !places.is_empty() {
            // Where not even that reaches them (orphans of a run whose subreaper is gone), their cgroups
            // stand still for the moment of the kill; others in there lose some milliseconds.
            let still: Vec<Frozen<'_>> = places.iter().map(|place| Frozen::new(place)).collect();
            let apart = self.apart.len();
            self.apart.extend(still.iter().filter_map(Frozen::thawer));
            for seen in self.strays(&self.members()) {
                seen.signal(Signal::SIGKILL);
            }
            self.apart.truncate(apart);
        }
        alive
    }

    /// Who is not in the leaf, where the kernel's own kill has no race.
    fn strays(&self, members: &[Seen]) -> Vec<Seen> {
        let inside: HashSet<i32> = self.leaf.iter().flat_map(Leaf::members).collect();
        members.iter().filter(|seen| !inside.contains(&seen.pid)).copied().collect()
    }

    /// Kills the children of the subreaper until there are no new ones: orphans become such children within
    /// microseconds, and the kernel's list of them is much faster to read than all of `/proc`.
    fn outrun(&self, bury: &mut impl FnMut() -> bool) {
        const TRIES: u32 = 2000;
        let list = format!("/proc/{0}/task/{0}/children", self.root);
        let mut before = String::new();
        for _ in 0..TRIES {
            if bury() {
                return;
            }
            let children = std::fs::read_to_string(&list).unwrap_or_default();
            if children == before {
                return;
            }
            for pid in children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()) {
                if !self.apart.contains(&pid) {
                    // Only this process buries them, so the pid cannot belong to anybody else yet.
                    let _ = nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL);
                }
            }
            before = children;
        }
    }
}

/// Whether a process that could not die is all that is left: for some time now the same ones were alive
/// after every kill.
#[derive(Debug)]
pub struct Standstill {
    began: Instant,
    alive: Vec<Seen>,
    since: Instant,
}

impl Standstill {
    /// How long after SIGKILL an uninterruptible process is waited for.
    const AFTER: Duration = Duration::from_secs(5);
    /// How long nobody may have died by then.
    const UNCHANGED: Duration = Duration::from_secs(1);

    /// The kill begins now.
    pub fn from_now() -> Self {
        let now = Instant::now();
        Self { began: now, alive: Vec::new(), since: now }
    }

    /// Takes note of who was alive after a round.
    pub fn is_reached(&mut self, alive: &[Seen]) -> bool {
        let same = |(a, b): (&Seen, &Seen)| (a.pid, a.started) == (b.pid, b.started);
        if alive.len() != self.alive.len() || !alive.iter().zip(&self.alive).all(same) {
            self.alive = alive.to_vec();
            self.since = Instant::now();
        }
        self.began.elapsed() >= Self::AFTER && self.since.elapsed() >= Self::UNCHANGED
    }
}

/// Asks processes to end: SIGTERM, and SIGCONT so that the stopped ones hear it.
pub fn ask_to_end(members: &[Seen]) {
    for signal in [Signal::SIGTERM, Signal::SIGCONT] {
        for seen in members {
            seen.signal(signal);
        }
    }
}

/// The cgroups of `strays` that may be frozen: not the root, and none that holds this process.
fn foreign_places(strays: &[Seen]) -> Vec<PathBuf> {
    let own = cgroup::of_process(std::process::id().cast_signed());
    let places: BTreeSet<PathBuf> = strays.iter().filter_map(|seen| cgroup::of_process(seen.pid)).collect();
    places
        .into_iter()
        .filter(|place| place.join("cgroup.freeze").exists())
        .filter(|place| !own.as_ref().is_some_and(|own| own.starts_with(place)))
        .collect()
}

/// Whether at or cron started a process: at hands a job the environment in which it was asked for, mark
/// included, and what they start does not belong to the run.
fn is_scheduled(pid: i32, all: &[Seen]) -> bool {
    const SERVICES: [&str; 3] = ["atd.service", "cron.service", "crond.service"];
    const PROGRAMS: [&str; 3] = ["atd", "cron", "crond"];
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    if text.lines().any(|line| line.rsplit('/').any(|part| SERVICES.contains(&part))) {
        return true;
    }
    let mut at = pid;
    while let Some(seen) = all.iter().find(|seen| seen.pid == at) {
        if PROGRAMS.contains(&tree::program_name(at).as_str()) {
            return true;
        }
        at = seen.parent;
    }
    false
}
