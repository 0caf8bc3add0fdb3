//! The recording while the script runs.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant, SystemTime};

use super::budget::{Budget, Verdict};
use super::buffers::{Buffers, Drained};
use super::clock::Clock;
use super::event::{Event, What};
use super::record::Moment;
use super::timeline::Timeline;
use super::{Step, Summary};

/// How long events may wait once the first has come: at most ten wake-ups a second, none while nothing happens.
const PAUSE: Duration = Duration::from_millis(100);

/// A recording.
#[derive(Debug)]
pub struct Recorder {
    buffers: Buffers,
    timeline: Timeline,
    waiting: Vec<Event>,
    clock: Clock,
    next: Option<Instant>,
    // Last: its keeper can remove the instance only when the buffers' files are closed.
    budget: Budget,
}

impl Recorder {
    /// Begins with probes that are in.
    pub(super) fn new(buffers: Buffers, timeline: Timeline, budget: Budget) -> Self {
        let clock = Clock::now();
        let mut recorder = Self { buffers, timeline, waiting: Vec::new(), clock, next: None, budget };
        // Tells the timeline who we are, and the clock what time it is, before anything is forked.
        recorder.pump();
        recorder
    }

    /// Names the script's first process. Its events may already wait; they are read after this.
    pub fn set_root(&mut self, pid: u32) {
        self.timeline.set_root(pid);
    }

    /// What becomes readable when events wait; nothing during the pause after a [`Recorder::pump`].
    pub fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        self.next.is_none().then(|| self.buffers.poll_fd())
    }

    /// When to call [`Recorder::pump`] next without being woken.
    pub fn next_wakeup(&self) -> Option<Instant> {
        [self.next, self.budget.next_look()].into_iter().flatten().min()
    }

    /// Reads what is there. Cheap to call early or for nothing.
    pub fn pump(&mut self) {
        // The marker tells the time on the buffer's clock, and how far the reading below is complete: what
        // another processor writes meanwhile may be older than something just read, but not than the marker.
        let (instant, system) = (Instant::now(), SystemTime::now());
        self.buffers.mark();
        let held_back = self.waiting.len();
        let drained = self.buffers.read(&mut self.waiting);
        let marker = self.waiting.iter().rev().find(|event| event.what == What::Marker).map(|event| event.time);
        if let Some(time) = marker {
            self.clock = Clock { moment: Moment(time), instant, system };
        }
        if self.budget.look(&self.buffers) == Verdict::Paused {
            self.timeline.record.note("a loop came by so often that some commands were not watched");
        }
        let quiet = held_back == 0 && self.waiting.iter().all(|event| event.what == What::Marker);
        self.deliver(marker.unwrap_or(u64::MAX));
        self.next = match (drained, quiet) {
            (Drained::Partly, _) => Some(Instant::now()),
            (Drained::Wholly, false) => Some(Instant::now() + PAUSE),
            (Drained::Wholly, true) => None,
        };
    }

    /// The command that runs, the innermost one.
    pub fn current(&self) -> Option<Step> {
        let ran = self.timeline.current()?;
        let seconds = self.clock.seconds_since(ran.began);
        Some(self.clock.step(&ran, seconds, None))
    }

    /// The steps that ended so far.
    pub fn count(&self) -> u64 {
        self.timeline.record.count
    }

    /// The commands that failed so far, the first 100.
    pub fn failed(&self) -> Vec<Step> {
        self.timeline.record.failed.iter().map(|done| self.clock.done(done)).collect()
    }

    /// The steps that ended so far, the first and the latest.
    pub fn steps(&self) -> Vec<Step> {
        self.timeline.record.steps().map(|done| self.clock.done(done)).collect()
    }

    /// Ends the recording. The probes are taken out by the keeper, after this has returned.
    pub fn finish(mut self) -> Summary {
        self.buffers.stop();
        self.pump();
        while matches!(self.buffers.read(&mut self.waiting), Drained::Partly) {
            self.deliver(u64::MAX);
        }
        self.deliver(u64::MAX);
        let unfinished = self.current();
        let lost_events = self.buffers.lost_events();
        let Self { timeline, clock, buffers, .. } = self;
        let mut record = timeline.record;
        if record.unseen > 0 {
            let unseen = record.unseen;
            record.note(&format!(
                "{unseen} commands are counted but were not seen: the kernel had no room for their events"
            ));
        }
        if buffers.torn() {
            record.note("some of the kernel's pages could not be read");
        }
        let steps: Vec<Step> = record.steps().map(|done| clock.done(done)).collect();
        let left_out = record.count.saturating_sub(record.unseen + steps.len() as u64);
        if left_out > 0 {
            record.note(&format!("{left_out} commands between the first and the latest are left out of the list"));
        }
        Summary {
            unavailable: (!record.seen).then(|| "the script's bash did not come by the probes".to_owned()),
            count: record.count,
            steps,
            failed: record.failed.iter().map(|done| clock.done(done)).collect(),
            failed_count: record.failed_count,
            unfinished,
            lost_events,
            notes: record.notes,
        }
    }

    /// Gives the timeline what happened up to `limit`, in order.
    fn deliver(&mut self, limit: u64) {
        self.waiting.sort_by_key(|event| event.time);
        let ready = self.waiting.partition_point(|event| event.time <= limit);
        for event in self.waiting.drain(..ready) {
            self.timeline.take(event);
        }
    }
}
