//! The two sources of a recording: probes on bash from outside, and the hook inside it.

use std::{
    os::fd::BorrowedFd,
    time::{Instant, SystemTime},
};

use super::{
    buffers::{Buffers, Drained},
    clock::Clock,
    event::{Event, What},
    hook::{self, Hook, Took},
    keeper::Keeper,
    record::{Moment, Record},
};

/// Where events come from.
#[derive(Debug)]
pub enum Source {
    /// The kernel's buffers.
    Probes {
        /// The buffers.
        buffers: Box<Buffers>,
        // After the buffers: by its end it knows that their files are closed here.
        /// The process that has put the probes in.
        keeper: Keeper,
    },
    /// The files that the hook writes.
    Hook(Hook),
}

/// What a reading has led to.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Whether there is more.
    pub drained: Drained,
    /// Up to here nothing older can come any more, on the source's clock.
    pub complete_to: u64,
    /// How the source's clock stands to ours, if it said so.
    pub clock: Option<Clock>,
}

impl Source {
    /// What becomes readable when events wait.
    pub fn poll_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Probes { buffers, .. } => buffers.poll_fd(),
            Self::Hook(hook) => hook.poll_fd(),
        }
    }

    /// Moves what is there to the end of `events`.
    pub fn read(&mut self, events: &mut Vec<Event>) -> Reading {
        let (instant, system) = (Instant::now(), SystemTime::now());
        match self {
            Self::Probes { buffers, .. } => {
                // The marker tells the time on the buffer's clock, and how far the reading below is complete: what
                // another processor writes meanwhile may be older than something just read, but not than the marker.
                buffers.mark();
                let drained = buffers.read(events);
                let marker = events.iter().rev().find(|event| event.what == What::Marker).map(|event| event.time);
                let clock = marker.map(|time| Clock { moment: Moment(time), instant, system });
                Reading { drained, complete_to: marker.unwrap_or(u64::MAX), clock }
            }
            Self::Hook(hook) => {
                // What a block wrote before this, its starter wrote before that: both are read below.
                let time = hook::now();
                let drained = match hook.read(events) {
                    Took::All => Drained::Wholly,
                    Took::Part => Drained::Partly,
                };
                let clock = Some(Clock { moment: Moment(time), instant, system });
                Reading { drained, complete_to: time, clock }
            }
        }
    }

    /// Ends it, and says what was lost: events that the kernel had no room for.
    pub fn end(self, record: &mut Record) -> u64 {
        match self {
            Self::Probes { buffers, keeper } => {
                let lost = buffers.lost_events();
                let noticed = keeper.noticed();
                if noticed.paused {
                    record.note("a loop came by so often that some commands were not watched");
                }
                if let Some(silent) = noticed.silent {
                    record.note(&format!("this bash never comes by {silent}, so not all of its commands are recorded"));
                }
                if buffers.torn() {
                    record.note("some of the kernel's pages could not be read");
                }
                drop(buffers);
                drop(keeper);
                lost
            }
            Self::Hook(hook) => {
                if hook.is_full() {
                    record.note("the hook inside bash wrote so much that some commands were not read");
                }
                hook.remove();
                0
            }
        }
    }

    /// Why there is nothing of the script's own bash, where there is nothing.
    pub fn why_unseen(&self) -> &'static str {
        match self {
            Self::Probes { .. } => "the script's bash did not come by the probes",
            Self::Hook(_) => "the script's bash did not read the hook",
        }
    }

    /// Why commands are counted that nobody saw.
    pub fn why_missed(&self) -> &'static str {
        match self {
            Self::Probes { .. } => "the kernel had no room for their events",
            Self::Hook(_) => "the hook inside bash does not see them, or not how they ended",
        }
    }
}
