//! The recording while the script runs.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use super::buffers::Drained;
use super::clock::Clock;
use super::event::{Event, What};
use super::hook::{self, Hook};
use super::source::Source;
use super::timeline::Timeline;
use super::{Step, Summary};

/// How long events may wait once the first has come: at most ten wake-ups a second, none while nothing happens.
const PAUSE: Duration = Duration::from_millis(100);

/// Most events held back until those before them are read; the kernel's buffers hold fewer.
const MOST_WAITING: usize = 200_000;

/// Readings at the end: these empty the kernel's buffers several times.
const MOST_READINGS: usize = 16;

/// A recording.
#[derive(Debug)]
pub struct Recorder {
    source: Source,
    timeline: Timeline,
    waiting: Vec<Event>,
    clock: Clock,
    /// Up to here all that happened has been read: the time of the reading before the last one.
    settled: u64,
    next: Option<Instant>,
}

impl Recorder {
    /// Begins with a source that is ready.
    pub(super) fn new(source: Source, timeline: Timeline) -> Self {
        let (clock, settled) = (Clock::now(), u64::MAX);
        let mut recorder = Self { source, timeline, waiting: Vec::new(), clock, settled, next: None };
        // Tells the timeline who we are, and the clock what time it is, before anything is forked.
        recorder.pump();
        recorder
    }

    /// Records what the hook writes while a bash runs this script.
    pub fn of_hook(hook: Hook, script: &[u8]) -> Self {
        Self::new(Source::Hook(hook), Timeline::new(script))
    }

    /// The hook, if that is the source.
    pub fn hook(&mut self) -> Option<&mut Hook> {
        match &mut self.source {
            Source::Hook(hook) => Some(hook),
            Source::Probes { .. } => None,
        }
    }

    /// Names the script's first process. Its events may already wait; they are read after this.
    pub fn set_root(&mut self, pid: u32) {
        self.timeline.set_root(pid);
    }

    /// What becomes readable when events wait; nothing during the pause after a [`Recorder::pump`].
    pub fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        self.next.is_none().then(|| self.source.poll_fd())
    }

    /// When to call [`Recorder::pump`] next without being woken.
    pub fn next_wakeup(&self) -> Option<Instant> {
        self.next
    }

    /// Reads what is there. Cheap to call early or for nothing.
    pub fn pump(&mut self) {
        let reading = self.source.read(&mut self.waiting);
        self.clock = reading.clock.unwrap_or(self.clock);
        let happened = self.waiting.iter().any(|event| event.what != What::Marker);
        match reading.drained {
            // An event gets its time before it is where it can be read. In between its processor may be taken away, and
            // a fork that comes after what the child did is a block that nobody sees. So each reading waits for the next.
            Drained::Wholly => {
                let settled = std::mem::replace(&mut self.settled, reading.complete_to);
                self.deliver(settled);
            }
            // What is not read yet may be older than what is. A flood without end is not waited out.
            Drained::Partly if self.waiting.len() > MOST_WAITING => self.deliver(u64::MAX),
            Drained::Partly => {}
        }
        self.next = match (reading.drained, happened) {
            (Drained::Partly, _) => Some(Instant::now()),
            (Drained::Wholly, true) => Some(Instant::now() + PAUSE),
            (Drained::Wholly, false) => None,
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

    /// Ends the recording. `status` is what the script's own shell exited with, if it ended by itself: the hook
    /// cannot know. The probes are taken out by the keeper, after this has returned.
    pub fn finish(mut self, status: Option<i32>) -> Summary {
        // All that was there when the script ended, and not what others write on and on.
        for _ in 0..MOST_READINGS {
            if matches!(self.source.read(&mut self.waiting).drained, Drained::Wholly) {
                break;
            }
        }
        self.deliver(u64::MAX);
        if let Some(status) = status {
            self.timeline.script_ended(hook::now(), status);
        }
        let unfinished = self.current();
        let Self { source, timeline, clock, .. } = self;
        let mut record = timeline.record;
        if record.unseen > 0 {
            let (unseen, why) = (record.unseen, source.why_missed());
            record.note(&format!("{unseen} commands are counted but were not seen: {why}"));
        }
        let why_unseen = source.why_unseen();
        let lost_events = source.end(&mut record);
        let steps: Vec<Step> = record.steps().map(|done| clock.done(done)).collect();
        let left_out = record.count.saturating_sub(record.unseen + steps.len() as u64);
        if left_out > 0 {
            record.note(&format!("{left_out} commands between the first and the latest are left out of the list"));
        }
        Summary {
            unavailable: (!record.seen).then(|| why_unseen.to_owned()),
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
