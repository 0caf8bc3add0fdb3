//! The supervisor: the process that starts the script, waits for it, ends it when time is up, and writes
//! down how it went. It alone waits for the script, and it waits for nothing else.
//!
//! It is the parent and the subreaper of everything that the script forks. The front, which the caller
//! sees, may die; then the supervisor ends the run. The supervisor may die; then the front does. After the
//! end it stays as long as somebody the script left behind writes, or the mirror is still on its way.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant, SystemTime},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, ppoll},
    sys::{signal::Signal, signalfd::SignalFd, wait::WaitStatus},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

use super::{
    cgroup::Leaf,
    ending::{Ending, Stop},
    recording::{Recording, silent_failures},
    scope,
    start::{Invocation, OomScore, Started, Starting},
    terminate::{self, Standstill, Tree},
    tree::Seen,
};
use crate::{
    output::{
        mirror::Mirror,
        spool::{Pumped, Spool},
    },
    record::{
        history::{self, History},
        outcome::{self, Outcome, State},
        state::{self, Durability, RunDir},
    },
    request::{SharePath, Warning},
    script::share::Share,
    sys::{
        bell::Bell,
        channel::{Channel, Received},
        descriptors, signals,
        wait::next_dead,
    },
};

/// What the front tells the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// End the run; a second one skips the grace. Holds the signal's number.
    Stop(i32),
}

/// What the supervisor tells the front.
#[derive(Debug, Serialize, Deserialize)]
pub enum Notice {
    /// The first process is there.
    Begun,
    /// The script's part is over, and this is all of its output; the descriptor that comes along is the
    /// tail of an output that was too long.
    Concluded,
    /// The run has ended; the descriptor that comes along holds the outcome.
    Ended,
}

/// What becomes of processes that a script leaves behind.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Leftovers {
    /// They live on, and what they write is recorded.
    Keep,
    /// They are ended as at a timeout, but with at most 0.3 s of grace.
    Kill,
}

/// One run, ready to start.
#[derive(Debug)]
pub struct Job {
    /// Its folder.
    pub run: RunDir,
    /// The right to write there, until all of it is on the share.
    pub claim: Option<File>,
    /// Its outcome so far.
    pub outcome: Outcome,
    /// Where it is written down as having run; `None` for a rehearsal.
    pub history: Option<History>,
    /// What is written down.
    pub started: history::Started,
    /// What to start.
    pub invocation: Invocation,
    /// How long the script may run; `None` means no limit.
    pub limit: Option<Duration>,
    /// When the limit began to count, where that was before the start.
    pub clock: Option<Instant>,
    /// From SIGTERM to SIGKILL.
    pub grace: Duration,
    /// How long the end waits for the mirror.
    pub flush_wait: Duration,
    /// What becomes of processes that the script leaves behind.
    pub leftovers: Leftovers,
    /// The most bytes that all runs together may take on the local disk; 0 means any number.
    pub state_limit: u64,
    /// The spool.
    pub spool: Spool,
    /// The recording of its steps.
    pub recording: Recording,
    /// The mirror.
    pub mirror: Mirror,
    /// Rung when the spool has grown.
    pub bells: Vec<Bell>,
    /// What the share may see.
    pub redaction: Redaction,
    /// The script on the share, to see whether it changed under way.
    pub original: Option<(Share, SharePath)>,
    /// The text that runs.
    pub text: Vec<u8>,
    /// What the caller's memory protection was.
    pub oom_score: OomScore,
    /// Whether this is root's, with a scope where systemd runs.
    pub is_root: bool,
}

/// What the configuration keeps off the share.
#[derive(Clone, Copy, Debug)]
pub struct Redaction {
    /// Whether the share gets the script as it ran.
    pub shows_script: bool,
    /// Whether the share gets the arguments.
    pub shows_arguments: bool,
}

impl Redaction {
    /// The outcome as the share gets it: of processes only the names.
    pub fn of(self, outcome: &Outcome) -> Outcome {
        let mut public = outcome.clone();
        if !self.shows_arguments {
            public.arguments = None;
        }
        let lists = &mut public.processes;
        for process in lists.at_deadline.iter_mut().chain(&mut lists.left).chain(&mut lists.unkillable) {
            let program = process.command.split(' ').next().unwrap_or_default();
            process.command = program.rsplit('/').next().unwrap_or_default().to_owned();
        }
        public
    }
}

/// How often the outcome is rewritten while the script runs.
const OUTCOME_EVERY: Duration = Duration::from_secs(5);

/// How long the end waits for what others still hold in their hands, such as the `tee` of a script that
/// says `exec > >(tee …)`.
const DRAIN: Duration = Duration::from_millis(300);

/// How long after a kill the next one comes, if somebody is left by then.
const KILL_AGAIN_AFTER: Duration = Duration::from_millis(50);
const KILL_AGAIN_AT_LAST: Duration = Duration::from_millis(400);

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
    supervisor.stay();
    Ok(())
}

struct Supervisor {
    job: Job,
    front: Option<Channel<Notice, Order>>,
    signals: SignalFd,
    pipe: Option<OwnedFd>,
    /// Kept until the script has its own.
    pipe_end: Option<OwnedFd>,
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
    begun: Instant,
    written: Instant,
    is_changed: bool,
    /// Whether the mirror has looked at the whole output on the share, after the end.
    is_mirrored: bool,
    /// How much had been taken from the pipe when the mirror was last asked to finish.
    asked: u64,
    /// When the script's part was over.
    over: Option<Instant>,
}

impl Supervisor {
    fn new(job: Job, front: Channel<Notice, Order>) -> io::Result<Self> {
        let _ = nix::unistd::setsid();
        let _ = nix::sys::prctl::set_name(c"ci-setup:run");
        nix::sys::prctl::set_child_subreaper(true)?;
        let signals = signals::listen(&[Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGCHLD])?;
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
            pipe: Some(read),
            pipe_end: Some(write),
            pipe_rests_until: None,
            tree: Tree::of_descendants(None),
            script: None,
            exit: None,
            is_childless: false,
            stop: None,
            is_ending: false,
            is_urgent: false,
            begun: Instant::now(),
            written: Instant::now(),
            is_changed: false,
            is_mirrored: false,
            asked: 0,
            over: None,
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
        self.take_signals();
        self.take_orders();
        if let Some(stop) = self.stop {
            return Err(Ending::StoppedBefore(stop));
        }
        self.job.recording.begin();
        // From here on the script counts as having run.
        if let Some(history) = &self.job.history {
            history.started(&self.job.started).map_err(Ending::Refused)?;
        }
        self.job.outcome.state = State::Running;
        self.job.outcome.started_at = state::timestamp(SystemTime::now());
        self.begun = self.job.clock.unwrap_or_else(Instant::now);
        let end = self.pipe_end.take().ok_or_else(|| Ending::CannotStart("start", Errno::EBADF.into()))?;
        let started = self.job.invocation.start(end.as_fd(), self.tree.leaf(), &self.job.oom_score);
        drop(end);
        let starting = started.map_err(|error| Ending::CannotStart("start", error))?;
        self.script = Some(starting.pid);
        self.job.recording.follow(starting.pid.as_raw());
        self.publish(Durability::Relaxed);
        if self.job.redaction.shows_script
            && let Ok(file) = descriptors::memory_file(c"script", &self.job.text)
        {
            self.job.mirror.document("script.sh", file);
        }
        self.tell(&Notice::Begun, None);
        Ok(starting)
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
        let left = self.tree.members();
        if !left.is_empty() {
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
            while self.pump() {}
            if self.pipe.is_none() || self.is_childless || Instant::now() >= until {
                return;
            }
            self.turn(Some(until), None);
        }
    }

    /// SIGTERM and SIGCONT, the grace, SIGKILL until nobody is left.
    fn end_tree(&mut self, grace: Duration, is_deadline: bool) {
        let members = self.tree.members();

        if is_deadline {
            self.job.outcome.processes.at_deadline_count = members.len() as u64;
            self.job.outcome.processes.at_deadline = super::tree::described(&members);
        }

        terminate::ask_to_end(&members);

        let until = Instant::now() + grace;
        self.is_urgent = false;
        self.is_ending = true;
        self.reap();
        while !self.is_childless && Instant::now() < until && !self.is_urgent {
            self.turn(Some(until), None);
        }
        let mut standstill = Standstill::from_now();
        loop {
            let round = Instant::now();

            let alive = self.kill();

            if alive.is_empty() && self.is_childless {
                break;
            }
            if standstill.is_reached(&alive) {
                self.job.outcome.processes.unkillable_count = alive.len() as u64;
                self.job.outcome.processes.unkillable = super::tree::described(&alive);
                break;
            }
            self.let_die(alive.len(), round.elapsed());
        }
        while self.pump() {}
    }

    /// Gives the killed, so many, time to die before the next round, which takes as long as the last one.
    fn let_die(&mut self, count: usize, round: Duration) {
        /// Above it, each death is not looked at when it comes: the kernel goes through all children then,
        /// and is busy enough with their ends.
        const CROWD: usize = 200;
        let pause = KILL_AGAIN_AFTER.max(round * 2).min(KILL_AGAIN_AT_LAST);
        if count > CROWD {
            std::thread::sleep(pause);
            self.reap();
            return;
        }
        let until = Instant::now() + pause;
        while !self.is_childless && Instant::now() < until {
            self.turn(Some(until), None);
        }
    }

    fn kill(&mut self) -> Vec<Seen> {
        let Self { tree, script, exit, is_childless, .. } = self;
        let alive = tree.kill(|| {
            reap(*script, exit, is_childless);
            *is_childless
        });
        self.reap();
        alive
    }

    /// The end, as the local disk records it.
    fn conclude(&mut self, ending: &Ending) {
        self.over.get_or_insert_with(Instant::now);
        while self.pump() {}
        if let Some(leaf) = self.tree.leaf() {
            leaf.remove();
        }
        self.pipe_end = None;
        // On a full disk there is room for the mark, the history and the outcome now.
        self.job.run.release_reserve();
        self.job.spool.mark_end();
        let outcome = &mut self.job.outcome;
        outcome.elapsed_seconds.get_or_insert(self.begun.elapsed().as_secs_f64());
        outcome.ended_at = Some(state::timestamp(SystemTime::now()));
        self.job.recording.finish(outcome);
        ending.write_to(outcome);
        if outcome.state == State::Succeeded {
            outcome.warnings.extend(silent_failures(outcome));
        }
        self.note_losses();
        if let Some(history) = &self.job.history
            && ending.has_begun()
        {
            let outcome = &self.job.outcome;
            let ended = history::Ended {
                run_id: outcome.run_id.clone(),
                boot_id: outcome.boot_id.clone(),
                state: outcome.state,
                exit_code: outcome.exit_code.unwrap_or(125),
                error: outcome.error.clone(),
                at: outcome.ended_at.clone().unwrap_or_default(),
            };
            if let Err(error) = history.ended(&ended) {
                self.warn(Warning::new(
                    "end-not-recorded",
                    error.chain(),
                    "the next start may report this run as interrupted",
                ));
            }
        }
        let tail = self.hand_over_tail();
        self.tell(&Notice::Concluded, tail.as_ref());
        self.note_changed_script();
    }

    fn note_losses(&mut self) {
        if let Some(why) = self.job.spool.why_lost().map(str::to_owned) {
            let lost = self.job.spool.dropped();
            self.warn(Warning::new(
                "output-lost",
                format!("{lost} bytes of the output could not be kept on the local disk: {why}"),
                "free space below the state directory",
            ));
        }
    }

    /// Says if the file on the share is not what ran any more. Bounded: the share may be dead by now.
    fn note_changed_script(&mut self) {
        let Some((share, path)) = &self.job.original else { return };
        let patience = self.job.flush_wait.min(Duration::from_secs(1));
        let now = share.hash_now(path, patience);
        let before = self.job.outcome.source.as_ref().and_then(|source| source.sha256.clone());
        if let (Some(now), Some(before)) = (now, before)
            && now != before
        {
            self.warn(Warning::new(
                "script-changed",
                format!("script `{path}` was changed on the share while it ran"),
                "bash reads a script as it goes: what ran may be a mixture of both",
            ));
        }
    }

    /// Gives the mirror the tail of an output that was too long; returns it.
    fn hand_over_tail(&mut self) -> Option<File> {
        match self.job.spool.finish_tail() {
            Ok(Some(tail)) => {
                let copy = tail.try_clone().ok();
                self.job.mirror.stream(crate::output::spool::TAIL, tail);
                self.asked = self.job.spool.taken();
                copy
            }
            Ok(None) => None,
            Err(error) => {
                self.warn(Warning::new(
                    "tail-not-kept",
                    format!("cannot write the end of the output: {error}"),
                    "free space below the state directory",
                ));
                None
            }
        }
    }

    /// Waits for the mirror, at most `flush_wait`; then everything there is true.
    fn flush(&mut self) {
        // Counted from the script's end: what has been waited for since then is part of it.
        let until = self.over.unwrap_or_else(Instant::now) + self.job.flush_wait;
        self.is_ending = true;
        self.publish(Durability::Relaxed);
        self.finish_mirror();
        self.wait_for_mirror(until);
        self.is_mirrored = self.is_looked_at();
        self.publish(Durability::Synced);
        if !self.is_mirrored {
            return;
        }
        self.finish_mirror();
        self.wait_for_mirror(until);
        if !self.is_looked_at() {
            // The output is there, and the outcome that says so is not.
            self.is_mirrored = false;
            self.publish(Durability::Synced);
        }
    }

    fn wait_for_mirror(&mut self, until: Instant) {
        let mut is_over = false;
        while !self.job.mirror.is_complete() && self.job.mirror.is_alive() && !self.is_urgent && !is_over {
            is_over = Instant::now() >= until;
            self.turn(Some(until), None);
        }
    }

    /// Asks the mirror for all that was kept so far. Of a tail it has what it was given.
    fn finish_mirror(&mut self) {
        if !self.job.spool.has_tail() {
            self.asked = self.job.spool.taken();
        }
        self.job.mirror.finish();
    }

    /// Whether all that was kept is on the share and was looked at there: leftovers may write on meanwhile.
    fn is_looked_at(&self) -> bool {
        self.job.mirror.is_complete() && self.asked == self.job.spool.taken()
    }

    /// Tells the front, and lets the next `run` have its turn.
    fn report(&mut self, lock: Option<state::RunLock>) {
        drop(lock);
        let text = state::to_json(&self.job.outcome);
        let outcome = descriptors::memory_file(c"outcome", &text).ok();
        self.tell(&Notice::Ended, outcome.as_ref());
        self.front = None;
    }

    /// What is left to do when nobody waits any more: the output of leftovers, a mirror that is late.
    fn stay(&mut self) {
        let before = self.job.spool.taken();
        self.job.spool.sync();
        state::forget_oldest(&self.job.run, self.job.state_limit);
        while self.pipe.is_some() && !self.is_urgent && self.stop.is_none() {
            let until = (!self.is_mirrored && self.job.mirror.is_alive()).then(|| Instant::now() + OUTCOME_EVERY);
            self.turn(until, None);
            self.look_again();
        }
        if self.job.spool.taken() != before {
            self.is_mirrored = false;
            self.hand_over_tail();
            self.publish(Durability::Relaxed);
            self.finish_mirror();
        }
        self.let_mirror_finish();
    }

    /// While leftovers write now and then, the outcome follows: it is behind until what they wrote is there.
    fn look_again(&mut self) {
        if self.is_mirrored || self.job.spool.has_tail() {
            return;
        }
        if self.is_looked_at() {
            self.is_mirrored = true;
            self.publish(Durability::Relaxed);
            self.finish_mirror();
        } else if self.asked != self.job.spool.taken() && self.written.elapsed() >= OUTCOME_EVERY {
            self.publish(Durability::Relaxed);
            self.finish_mirror();
        }
    }

    /// Goes on with a mirror that is late, as long as it makes progress. Then `sync` has its turn.
    fn let_mirror_finish(&mut self) {
        let patience = self.job.flush_wait.max(Duration::from_secs(1));
        let since = Instant::now();
        loop {
            let moved = self.job.mirror.moved.max(since);
            if !self.job.mirror.is_alive() || self.stop.is_some() || moved.elapsed() >= patience {
                break;
            }
            if self.job.mirror.is_complete() {
                if self.is_mirrored {
                    return;
                }
                if !self.is_looked_at() {
                    // A tail that could not be written here.
                    break;
                }
                self.is_mirrored = true;
                self.publish(Durability::Synced);
                self.finish_mirror();
            }
            self.turn(Some(moved + patience), None);
        }
        self.is_mirrored = self.is_mirrored && self.job.mirror.is_complete();
        self.job.mirror.abandon();
        self.publish(Durability::Synced);
    }

    /// Waits for something to happen, at most until `until`, and takes note of all that has.
    fn turn(&mut self, until: Option<Instant>, starting: Option<&Starting>) {
        let now = Instant::now();
        let pipe_rests = self.pipe_rests_until.filter(|rest| *rest > now);
        let tick = (self.is_changed && self.front.is_some()).then(|| self.written + OUTCOME_EVERY);
        let look = self.job.recording.next_wakeup();
        let timeout =
            [until, pipe_rests, tick, look].into_iter().flatten().min().map(|at| at.saturating_duration_since(now));
        let has_seen = {
            let mut polls = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            let recording = self.job.recording.poll_fd().map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            let recorder_at = recording.is_some().then_some(polls.len());
            polls.extend(recording);
            if let (Some(pipe), None) = (&self.pipe, pipe_rests) {
                polls.push(PollFd::new(pipe.as_fd(), PollFlags::POLLIN));
            }
            polls.extend(self.front.as_ref().map(|front| PollFd::new(front.as_fd(), PollFlags::POLLIN)));
            polls.extend(starting.map(|starting| PollFd::new(starting.poll_fd(), PollFlags::POLLIN)));
            let write = if self.job.mirror.has_waiting() { PollFlags::POLLOUT } else { PollFlags::empty() };
            polls.extend(self.job.mirror.poll_fd().map(|fd| PollFd::new(fd, PollFlags::POLLIN | write)));
            let _ = ppoll(&mut polls, timeout.map(Into::into), None);
            recorder_at.and_then(|at| polls[at].any()).unwrap_or(false)
        };
        self.take_signals();
        self.take_orders();
        if has_seen || look.is_some_and(|look| look <= Instant::now()) {
            self.job.recording.pump();
        }
        if self.job.mirror.pump() {
            self.is_changed = true;
        }
        if self.pipe_rests_until.is_none_or(|rest| rest <= Instant::now()) {
            self.pump();
        }
        if self.is_changed && self.written.elapsed() >= OUTCOME_EVERY {
            self.publish(Durability::Relaxed);
        }
    }

    /// Takes one piece from the pipe. Returns whether there may be more at once.
    fn pump(&mut self) -> bool {
        /// After a small piece the next one is let grow: a script that prints byte by byte is not woken,
        /// and does not wake the agent, for each of them.
        const REST: Duration = Duration::from_millis(1);
        const SMALL: usize = 64 * 1024;
        let Some(pipe) = &self.pipe else { return false };
        match self.job.spool.pump(pipe.as_fd()) {
            Ok(Pumped::Bytes(count)) => {
                self.is_changed = true;
                // What is there was looked at before these.
                self.is_mirrored = false;
                for bell in &self.job.bells {
                    bell.ring();
                }
                self.pipe_rests_until = (count < SMALL).then(|| Instant::now() + REST);
                true
            }
            Ok(Pumped::Empty) => false,
            Ok(Pumped::Ended) | Err(_) => {
                self.pipe = None;
                false
            }
        }
    }

    fn take_signals(&mut self) {
        while let Some((signal, _)) = signals::next(&self.signals) {
            match signal {
                Signal::SIGCHLD => self.reap(),
                Signal::SIGTERM | Signal::SIGINT => self.ask_to_stop(Stop::Signal(signal)),
                // A dropped session: the run goes on.
                _ => {}
            }
        }
    }

    fn take_orders(&mut self) {
        while let Some(front) = &self.front {
            match front.receive() {
                Received::Message(Order::Stop(number), _) => {
                    let signal = Signal::try_from(number).unwrap_or(Signal::SIGTERM);
                    self.ask_to_stop(Stop::Signal(signal));
                }
                Received::Nothing => return,
                Received::Closed => {
                    self.front = None;
                    self.ask_to_stop(Stop::FrontGone);
                }
            }
        }
    }

    fn ask_to_stop(&mut self, stop: Stop) {
        if self.stop.is_some() || self.is_ending {
            self.is_urgent = true;
        }
        self.stop.get_or_insert(stop);
    }

    fn reap(&mut self) {
        reap(self.script, &mut self.exit, &mut self.is_childless);
    }

    fn wait_for_exit(&mut self) {
        while self.exit.is_none() && !self.is_childless {
            self.turn(Some(Instant::now() + DRAIN), None);
            self.reap();
        }
    }

    /// Writes the outcome, here and for the share.
    fn publish(&mut self, durability: Durability) {
        self.job.outcome.output = self.output();
        self.job.recording.write_to(&mut self.job.outcome);
        for warning in std::mem::take(&mut self.job.mirror.warnings) {
            self.warn(warning);
        }
        // A full disk: the front still gets the outcome through its channel.
        let _ = self.job.run.write_outcome(&self.job.outcome, durability);
        let public = self.job.redaction.of(&self.job.outcome);
        if let Ok(file) = descriptors::memory_file(c"outcome", &state::to_json(&public)) {
            self.job.mirror.document("outcome.json", file);
        }
        self.written = Instant::now();
        self.is_changed = false;
    }

    fn output(&self) -> outcome::Output {
        let (spool, mirror) = (&self.job.spool, &self.job.mirror);
        let standing = match &mirror.folder {
            None => outcome::Mirror::None,
            Some(_) if self.is_mirrored => outcome::Mirror::Current,
            Some(_) if self.job.outcome.state.is_final() => outcome::Mirror::Behind,
            Some(_) if mirror.bytes == spool.kept() && mirror.failing.is_none() => outcome::Mirror::Current,
            Some(_) => outcome::Mirror::Behind,
        };
        outcome::Output {
            bytes: spool.kept(),
            dropped_bytes: spool.dropped(),
            mirrored_bytes: mirror.bytes,
            mirror: standing,
            mirror_path: mirror.folder.clone(),
        }
    }

    fn warn(&mut self, warning: Warning) {
        if self.job.outcome.warnings.len() < outcome::LONGEST_LIST {
            self.job.outcome.warnings.push(warning);
        }
    }

    fn tell(&mut self, notice: &Notice, file: Option<&File>) {
        if let Some(front) = &self.front {
            let _ = front.send(notice, file.map(AsFd::as_fd));
        }
    }
}

/// Collects who has died. As the subreaper this process is childless exactly when the run is over.
fn reap(script: Option<Pid>, exit: &mut Option<WaitStatus>, is_childless: &mut bool) {
    loop {
        match next_dead() {
            Ok(WaitStatus::StillAlive) => {
                *is_childless = false;
                return;
            }
            Ok(status) => {
                if status.pid() == script && exit.is_none() {
                    *exit = Some(status);
                }
            }
            Err(Errno::EINTR) => {}
            Err(_) => {
                *is_childless = true;
                return;
            }
        }
    }
}

/// The name of a run's scope and cgroup leaf: with the token, since two state directories may make the same
/// run id.
pub fn leaf_name(started: &history::Started) -> String {
    format!("{LEAF_PREFIX}{}", started.token)
}

/// How the names of all our cgroups begin.
pub const LEAF_PREFIX: &str = "ci-setup-";

fn ended_by_stop_signal(status: WaitStatus) -> bool {
    match status {
        WaitStatus::Signaled(_, signal, _) => matches!(signal, Signal::SIGTERM | Signal::SIGINT),
        WaitStatus::Exited(_, code) => matches!(code, 130 | 143),
        _ => false,
    }
}
