//! The one place where the supervisor waits, and what it takes note of when it wakes.

use super::{DRAIN, Supervisor};
use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    poll::{PollFd, PollFlags, ppoll},
    sys::{signal::Signal, wait::WaitStatus},
    unistd::Pid,
};
use tracing::{info, warn};

use crate::run::{ending::Stop, job::Order, start::Starting};
use crate::{
    output::spool::Pumped,
    record::state::Durability,
    sys::{channel::Received, signals, wait::next_dead},
};

/// How often the outcome is rewritten while the script runs.
pub(super) const OUTCOME_EVERY: Duration = Duration::from_secs(5);

impl Supervisor {
    /// Waits for something to happen, at most until `until`, and takes note of all that has.
    pub(super) fn turn(&mut self, until: Option<Instant>, starting: Option<&Starting>) {
        let now = Instant::now();
        let tick = (self.is_changed && self.front.is_some()).then(|| self.written + OUTCOME_EVERY);
        let look = self.job.recording.next_wakeup();
        let page = self.page_due(until);
        let timeout = [until, self.pipe_due(now), tick, look, page, self.announcement]
            .into_iter()
            .flatten()
            .min()
            .map(|at| at.saturating_duration_since(now));
        let has_seen = {
            let mut polls = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            let recording = self.job.recording.poll_fd().map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            let recorder_at = recording.is_some().then_some(polls.len());
            polls.extend(recording);
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
            self.tell_step();
            self.is_changed = true;
        }
        if self.job.mirror.pump() {
            self.is_changed = true;
        }
        if self.pipe_rests_until.is_none_or(|rest| rest <= Instant::now()) {
            self.pump();
        }
        if self.exit.is_some() {
            self.announcement = None;
        } else if self.announcement.is_some_and(|due| due <= Instant::now()) {
            self.announce();
        }
        if page.is_some_and(|due| due <= Instant::now()) {
            self.publish_with_page(Durability::Relaxed);
            self.list();
            self.list_on_share();
        } else if self.is_changed && self.written.elapsed() >= OUTCOME_EVERY {
            self.publish(Durability::Relaxed);
        }
    }

    /// When to look into the pipe; `None` where it will tell.
    fn pipe_due(&self, now: Instant) -> Option<Instant> {
        let pipe = self.pipe.as_ref()?;
        self.pipe_rests_until.or_else(|| (!pipe.is_watched()).then_some(now))
    }

    /// Takes one piece from the pipe. Returns whether there may be more at once.
    pub(super) fn pump(&mut self) -> bool {
        /// After a small piece the next one is let grow: a script that prints byte by byte is not woken,
        /// and does not wake the agent, for each of them.
        const REST: Duration = Duration::from_millis(1);
        const SMALL: usize = 64 * 1024;
        let Some(pipe) = &mut self.pipe else { return false };
        let mut pumped = self.job.spool.pump(pipe.as_fd());
        if let Ok(Pumped::Empty) = pumped
            && !pipe.is_watched()
        {
            pipe.watch();
            // It may have been written to in between.
            pumped = self.job.spool.pump(pipe.as_fd());
        }
        self.pipe_rests_until = None;
        match pumped {
            Ok(Pumped::Bytes(count)) => {
                pipe.ignore();
                self.is_changed = true;
                // What is there was looked at before these.
                self.is_mirrored = false;
                for bell in &self.job.bells {
                    bell.ring();
                }
                let rest = if count < SMALL { REST } else { Duration::ZERO };
                self.pipe_rests_until = Some(Instant::now() + rest);
                true
            }
            Ok(Pumped::Empty) => {
                // The word of the next write is taken as soon as it comes, and must not find the pipe at rest.
                self.pipe_rests_until = (!pipe.is_watched()).then(|| Instant::now() + REST);
                false
            }
            Ok(Pumped::Ended) | Err(_) => {
                self.pipe = None;
                false
            }
        }
    }

    /// Takes all that is in the pipe now, and not what comes meanwhile: whoever writes on and on would have this
    /// process read for ever.
    pub(super) fn pump_out(&mut self) {
        let Some(pipe) = &self.pipe else { return };
        let holds = fcntl(pipe, FcntlArg::F_GETPIPE_SZ).map_or(1 << 20, i32::cast_unsigned);
        let end = self.job.spool.taken() + u64::from(holds);
        while self.job.spool.taken() < end && self.pump() {}
    }

    pub(super) fn take_signals(&mut self) {
        while let Some((signal, sender)) = signals::next(&self.signals) {
            match signal {
                Signal::SIGCHLD => self.reap(),
                Signal::SIGTERM | Signal::SIGINT => {
                    info!(run = self.job.run.id(), signal = signal.as_str(), sender, "signal received");
                    self.ask_to_stop(Stop::Signal(signal));
                }
                // A dropped session: the run goes on.
                _ => {}
            }
        }
    }

    pub(super) fn take_orders(&mut self) {
        while let Some(front) = &self.front {
            match front.receive() {
                Received::Message(Order::Stop(number), _) => {
                    let signal = Signal::try_from(number).unwrap_or(Signal::SIGTERM);
                    self.ask_to_stop(Stop::Signal(signal));
                }
                Received::Nothing => return,
                Received::Closed => {
                    warn!(run = self.job.run.id(), "front lost");
                    self.front = None;
                    self.ask_to_stop(Stop::FrontGone);
                }
            }
        }
    }

    pub(super) fn ask_to_stop(&mut self, stop: Stop) {
        if self.stop.is_some() || self.is_ending {
            self.is_urgent = true;
        }
        self.stop.get_or_insert(stop);
    }

    pub(super) fn reap(&mut self) {
        reap(self.script, &mut self.exit, &mut self.is_childless);
    }

    pub(super) fn wait_for_exit(&mut self) {
        while self.exit.is_none() && !self.is_childless {
            self.turn(Some(Instant::now() + DRAIN), None);
            self.reap();
        }
    }
}

/// Collects who has died. As the subreaper this process is childless exactly when the run is over.
pub(super) fn reap(script: Option<Pid>, exit: &mut Option<WaitStatus>, is_childless: &mut bool) {
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
