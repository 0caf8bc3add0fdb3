//! Ending a process tree so that nobody is left (CONTRACT 5).
//!
//! Three nets at once, because each has a hole: the run's cgroup leaf misses who was moved out of it, the
//! walk over descendants races with forks, and the mark in the environment can be taken off. Whoever is
//! found outside of the leaf is moved into it, where the kernel's kill has no race.

use std::{
    collections::{BTreeSet, HashSet},
    path::PathBuf,
};

use nix::sys::signal::Signal;

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
        let mut found = tree::descendants(self.root, &self.apart);
        let mut known: HashSet<i32> = found.iter().map(|seen| seen.pid).collect();
        let mut add = |more: Vec<Seen>| {
            found.extend(more.into_iter().filter(|seen| !seen.is_dead() && known.insert(seen.pid)));
        };
        if let Some(leaf) = &self.leaf {
            add(leaf.members().into_iter().filter_map(Seen::look).collect());
        }
        if let Some(token) = &self.token {
            let marked = tree::with_variable(environment::TOKEN, token);
            for seen in &marked {
                // Whoever took the mark off may still be found below one who did not.
                add(tree::descendants(seen.pid, &self.apart));
            }
            add(marked.into_iter().filter(|seen| !is_scheduled(seen.pid)).collect());
        }
        let own = [std::process::id().cast_signed(), self.root];
        found.retain(|seen| !own.contains(&seen.pid) && !self.apart.contains(&seen.pid));
        found
    }

    /// Asks everybody to end: SIGTERM, and SIGCONT so that the stopped ones hear it.
    pub fn ask_to_end(&self) -> Vec<Seen> {
        let members = self.members();
        for signal in [Signal::SIGTERM, Signal::SIGCONT] {
            for seen in &members {
                seen.signal(signal);
            }
        }
        members
    }

    /// Kills everybody once around. Returns who was alive; those of them who cannot die yet are found again
    /// by the next round, as is who forked in between. Call it until nobody is returned.
    pub fn kill(&mut self) -> Vec<Seen> {
        self.rounds += 1;
        if let Some(leaf) = &self.leaf {
            leaf.kill();
        }
        let mut alive = self.members();
        let strays = self.strays(&alive);
        if !strays.is_empty() {
            let places = if self.rounds > 1 { foreign_places(&strays) } else { Vec::new() };
            {
                // A chain of processes that fork and exit can outrun a walk for ever. Where the leaf does
                // not reach it, its cgroup stands still for the moment of the kill; others in there lose
                // some milliseconds.
                let _still: Vec<Frozen<'_>> = places.iter().map(|place| Frozen::new(place)).collect();
                let strays = if places.is_empty() { strays } else { self.strays(&self.members()) };
                for seen in &strays {
                    if let Some(leaf) = &self.leaf {
                        leaf.take_in(seen.pid);
                    }
                    seen.signal(Signal::SIGKILL);
                }
            }
            if let Some(leaf) = &self.leaf {
                leaf.kill();
            }
            alive = self.members();
            if self.leaf.is_none() {
                self.outrun();
            }
        }
        alive
    }

    /// Who is not in the leaf.
    fn strays(&self, members: &[Seen]) -> Vec<Seen> {
        let inside: HashSet<i32> = self.leaf.iter().flat_map(Leaf::members).collect();
        members.iter().filter(|seen| !inside.contains(&seen.pid)).copied().collect()
    }

    /// Without any cgroup: orphans fall to the subreaper within microseconds, and the kernel's list of its
    /// children is much faster to read than all of `/proc`. Read and kill until the list stays empty.
    fn outrun(&self) {
        const TRIES: u32 = 2000;
        let list = format!("/proc/{0}/task/{0}/children", self.root);
        for _ in 0..TRIES {
            let children = std::fs::read_to_string(&list).unwrap_or_default();
            let mut any = false;
            for pid in children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()) {
                if !self.apart.contains(&pid)
                    && let Some(seen) = Seen::look(pid).filter(|seen| !seen.is_dead())
                {
                    any = true;
                    seen.signal(Signal::SIGKILL);
                }
            }
            if !any {
                return;
            }
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
fn is_scheduled(pid: i32) -> bool {
    const SERVICES: [&str; 3] = ["atd.service", "cron.service", "crond.service"];
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    text.lines().any(|line| line.rsplit('/').any(|part| SERVICES.contains(&part)))
}
