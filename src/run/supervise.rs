//! The supervisor: the process that starts the script, waits for it, ends it when time is up, and writes
//! down how it went. It alone waits for the script, and it waits for nothing else.
//!
//! It is the parent and the subreaper of everything that the script forks. The front, which the caller
//! sees, may die; then the supervisor ends the run. The supervisor may die; then the front does. After the
//! end it stays as long as somebody the script left behind writes, or the mirror is still on its way.

mod conclude;
mod end_tree;
mod pages;
mod publish;
mod turn;

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant, SystemTime},
};

use nix::{
    errno::Errno,
    sys::{signal::Signal, signalfd::SignalFd, wait::WaitStatus},
    unistd::Pid,
};
use tracing::{info, warn};

use super::{
    cgroup::Leaf,
    ending::{Ending, Stop},
    job::{Job, Notice, Order, leaf_name},
    scope,
    start::{Started, Starting},
    terminate::Tree,
};
use crate::{
    log,
    record::{
        outcome::State,
        state::{self, Durability},
        steps::StepList,
    },
    request::Warning,
    settings::Leftovers,
    show::progress::Phase,
    sys::{channel::Channel, descriptors, inflow::Inflow, signals},
};

/// How long the end waits for what others still hold in their hands, such as the `tee` of a script that
/// says `exec > >(tee …)`.
const DRAIN: Duration = Duration::from_millis(300);

/// How long a script has run when that is told: its first milliseconds are its own, on a machine of two processors.
const FIRST_WORD: Duration = Duration::from_millis(5);

/// The whole life of the supervisor's process. `lock` is given back when the run has ended.
pub fn supervise(job: Job, front: Channel<Notice, Order>, lock: Option<state::RunLock>) -> io::Result<()> {
    let mut supervisor = Supervisor::new(job, front)?;
    let ending = match supervisor.begin() {
        Ok(starting) => supervisor.follow(starting),
        Err(ending) => ending,
    };
    supervisor.conclude(&ending);
    supervisor.flush();
    supervisor.report(lock);
    supervisor.log_mirror();
    let stood = supervisor.is_mirrored;
    supervisor.stay();
    if supervisor.is_mirrored != stood || !stood {
        supervisor.log_mirror();
    }
    Ok(())
}

struct Supervisor {
    job: Job,
    front: Option<Channel<Notice, Order>>,
    signals: SignalFd,
    pipe: Option<Inflow>,
    /// Kept until the script has its own.
    pipe_end: Option<OwnedFd>,
    /// When it is told that the script runs, until then.
    announcement: Option<Instant>,
    /// Not to be read before: a chatty script is read in larger pieces.
    pipe_rests_until: Option<Instant>,
    tree: Tree,
    script: Option<Pid>,
    exit: Option<WaitStatus>,
    is_childless: bool,
    stop: Option<Stop>,
    /// Whether the end has begun anyway, so that a stop can only mean: be quick about it.
    is_ending: bool,
    is_urgent: bool,
    /// How long the copy on the share is waited for at most, since a stop was asked for once more.
    hurries_until: Option<Instant>,
    begun: Instant,
    written: Instant,
    is_changed: bool,
    /// Whether the mirror has looked at the whole output on the share, after the end.
    is_mirrored: bool,
    /// How much had been taken from the pipe when the mirror was last asked to finish.
    asked: u64,
    /// When that was.
    asked_at: Instant,
    /// When the script's part was over.
    over: Option<Instant>,
    /// The steps as they were last told.
    listed: StepList,
    /// Whether those have to be written down.
    has_new_steps: bool,
    /// The pages as they were last made.
    pages: pages::Pages,
    /// What was last told of its progress.
    told: Option<Told>,
}

/// What tells one command that runs from the next one.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Told {
    phase: Phase,
    line: Option<u32>,
    /// When it began, in tenths of a second since 1970.
    tenths: Option<u128>,
}

impl Supervisor {
    fn new(job: Job, front: Channel<Notice, Order>) -> io::Result<Self> {
        let _ = nix::unistd::setsid();
        let _ = nix::sys::prctl::set_name(c"ci-setup:run");
        nix::sys::prctl::set_child_subreaper(true)?;
        let signals =
            signals::listen(&[Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGCHLD, Signal::SIGIO])?;
        // The caller's descriptors are not the run's: a daemon that the script leaves behind must not keep
        // the caller waiting for the end of its output.
        let null = descriptors::null()?;
        descriptors::install_stdio([null.as_fd(); 3])?;
        let _ = nix::unistd::chdir("/");
        let (read, write) = descriptors::output_pipe()?;
        Ok(Self {
            job,
            front: Some(front),
            signals,
            pipe: Some(Inflow::new(read)?),
            pipe_end: Some(write),
            announcement: None,
            pipe_rests_until: None,
            tree: Tree::of_descendants(None),
            script: None,
            exit: None,
            is_childless: false,
            stop: None,
            is_ending: false,
            is_urgent: false,
            hurries_until: None,
            begun: Instant::now(),
            written: Instant::now(),
            is_changed: false,
            is_mirrored: false,
            asked: 0,
            asked_at: Instant::now(),
            over: None,
            listed: StepList::default(),
            has_new_steps: false,
            told: None,
            pages: pages::Pages::default(),
        })
    }

    /// Everything up to the fork of the script's first process.
    fn begin(&mut self) -> Result<Starting, Ending> {
        let name = leaf_name(&self.job.started);
        if self.job.is_root {
            let pids = [std::process::id(), self.job.mirror.pid().as_raw().cast_unsigned()];
            if let Err(why) = scope::enter(&name, &pids) {
                self.warn(Warning::new(
                    "no-scope",
                    format!("systemd gave the run no scope of its own: {why}"),
                    "what the script leaves running may end with the service or session that called the agent",
                ));
            }
        }
        self.tree = Tree::of_descendants(Leaf::create(&name));
        if self.job.redaction.shows_script
            && let Ok(file) = descriptors::memory_file(c"script", &self.job.text)
        {
            self.job.mirror.document("script.sh", file);
        }
        self.take_signals();
        self.take_orders();
        if let Some(stop) = self.stop {
            return Err(Ending::StoppedBefore(stop));
        }
        // From here on the script counts as having run.
        if let Some(history) = &self.job.history {
            history.started(&self.job.started).map_err(Ending::Refused)?;
        }
        // Last: the kernel needs some milliseconds for the probes, and has had them by now if all goes well.
        self.job.recording.begin();
        self.job.outcome.state = State::Running;
        self.job.outcome.started_at = state::timestamp(SystemTime::now());
        // A script that fills the disk needs no time for that.
        self.job.run.reserve();
        self.begun = self.job.clock.unwrap_or_else(Instant::now);
        let end = self.pipe_end.take().ok_or_else(|| Ending::CannotStart("start", Errno::EBADF.into()))?;
        let started = self.job.invocation.start(end.as_fd(), self.tree.leaf(), &self.job.oom_score);
        drop(end);
        let starting = started.map_err(|error| Ending::CannotStart("start", error))?;
        self.script = Some(starting.pid);
        self.job.recording.follow(starting.pid.as_raw());
        self.tell_phase(Phase::Running);
        info!(
            run = self.job.run.id(),
            pid = starting.pid.as_raw(),
            cgroup = self.tree.leaf().map(|_| name.as_str()),
            timeout_seconds = self.job.limit.map(log::seconds),
            grace_seconds = log::seconds(self.job.grace),
            steps = self.job.recording.standing(),
            "script started"
        );
        self.announcement = Some(Instant::now() + FIRST_WORD);
        Ok(starting)
    }

    /// Says everywhere that the script runs. Of one that is over by now only its end is told.
    fn announce(&mut self) {
        self.announcement = None;
        self.publish(Durability::Relaxed);
        self.read_list();
    }

    /// Follows the script to its end, or ends it.
    fn follow(&mut self, starting: Starting) -> Ending {
        let deadline = self.job.limit.and_then(|limit| self.begun.checked_add(limit));
        let mut starting = Some(starting);
        loop {
            if let Some(start) = &mut starting {
                match start.look() {
                    Started::Running => starting = None,
                    Started::Failed { what, error } => {
                        self.wait_for_exit();
                        return Ending::CannotStart(what, error);
                    }
                    Started::NotYet => {}
                }
            }
            if let Some(status) = self.exit
                && starting.is_none()
            {
                return self.after(status);
            }
            if let Some(stop) = self.stop {
                self.end_tree(self.job.grace, true);
                return Ending::Stopped(stop, self.exit);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                let limit = self.job.limit.map(log::seconds);
                warn!(run = self.job.run.id(), timeout_seconds = limit, "deadline reached");
                self.end_tree(self.job.grace, true);
                return Ending::TimedOut(self.exit);
            }
            self.turn(deadline, starting.as_ref());
        }
    }

    /// The script's first process has ended by itself: what it left in the pipe, and whom it left behind.
    fn after(&mut self, status: WaitStatus) -> Ending {
        let elapsed = self.begun.elapsed();
        self.over = Some(Instant::now());
        self.job.outcome.elapsed_seconds = Some(elapsed.as_secs_f64());
        let (code, signal) = match status {
            WaitStatus::Signaled(_, signal, _) => (None, Some(signal.as_str())),
            WaitStatus::Exited(_, code) => (Some(code), None),
            _ => (None, None),
        };
        info!(run = self.job.run.id(), code, signal, seconds = log::seconds(elapsed), "script exited");
        self.drain();
        // When a machine goes down, systemd signals everybody in the scope at once, the script maybe
        // first: then it did not fail, it was stopped.
        let failed = !matches!(status, WaitStatus::Exited(_, 0));
        if ended_by_stop_signal(status) || (failed && self.stop.is_some()) {
            let until = Instant::now() + Duration::from_millis(100);
            while self.stop.is_none() && Instant::now() < until {
                self.turn(Some(until), None);
            }
            if let Some(stop) = self.stop {
                self.end_tree(self.job.grace, true);
                return Ending::Stopped(stop, Some(status));
            }
        }
        // Whoever descends from the script is below this process, its subreaper: a walk through all processes of the
        // machine takes as long as there are many.
        let left = if self.is_childless { Vec::new() } else { self.tree.members() };
        if !left.is_empty() {
            let becomes = self.job.leftovers.word();
            info!(run = self.job.run.id(), processes = left.len(), becomes, "processes left behind");
            match self.job.leftovers {
                Leftovers::Keep => {
                    self.job.outcome.processes.left_count = left.len() as u64;
                    self.job.outcome.processes.left = super::tree::described(&left);
                }
                Leftovers::Kill => self.end_tree(self.job.grace.min(DRAIN), false),
            }
        }
        Ending::Exited(status)
    }

    /// Takes what is in the pipe, and waits a moment for what is on its way into it.
    fn drain(&mut self) {
        let until = Instant::now() + DRAIN;
        self.pipe_rests_until = None;
        loop {
            self.pump_out();
            if self.pipe.is_none() || self.is_childless || Instant::now() >= until {
                return;
            }
            self.turn(Some(until), None);
        }
    }
}

fn ended_by_stop_signal(status: WaitStatus) -> bool {
    match status {
        WaitStatus::Signaled(_, signal, _) => matches!(signal, Signal::SIGTERM | Signal::SIGINT),
        WaitStatus::Exited(_, code) => matches!(code, 130 | 143),
        _ => false,
    }
}
