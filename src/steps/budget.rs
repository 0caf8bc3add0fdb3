//! A bound on what the probes cost.
//!
//! A hit costs the script 0.8 µs. Those on reading a command, on forking and on ending go with work that
//! takes much longer. Only `Probe::Unit` fires on something fast, an `eval`; and only scripts that have
//! `-c` strings need it. There, now and then, its hits are counted, and it pauses when they are too many.

use std::time::{Duration, Instant};

/// How often hits are counted while the probe is on.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Hits a second that are still well: 2 % of a processor.
const MOST_HITS: f64 = 25_000.0;

/// The first pause; each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(4);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// Watches the hits of the one probe that can be too many.
#[derive(Debug)]
pub struct Budget {
    state: State,
    pause: Duration,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// The script has no `-c` strings: the probe is off for good.
    NotNeeded,
    On {
        since: Instant,
        hits: u64,
    },
    Paused {
        until: Instant,
    },
}

/// What a look has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing new.
    Well,
    /// Too many hits: the probe is to be switched off for a while.
    Pause,
    /// The pause is over.
    GoOn,
}

impl Budget {
    /// `strings`: whether the script has `-c` strings.
    pub fn new(strings: bool) -> Self {
        let state = if strings { State::On { since: Instant::now(), hits: 0 } } else { State::NotNeeded };
        Self { state, pause: FIRST_PAUSE }
    }

    /// When to look next.
    pub fn next_look(&self) -> Option<Instant> {
        match self.state {
            State::NotNeeded => None,
            State::On { since, .. } => Some(since + LOOK_EVERY),
            State::Paused { until } => Some(until),
        }
    }

    /// Takes the number of `hits` so far, when it is time to.
    pub fn look(&mut self, hits: u64) -> Verdict {
        let now = Instant::now();
        match self.state {
            State::NotNeeded => Verdict::Well,
            State::On { since, hits: before } => {
                let rate = hits.saturating_sub(before) as f64 / now.duration_since(since).as_secs_f64();
                if rate <= MOST_HITS {
                    self.state = State::On { since: now, hits };
                    return Verdict::Well;
                }
                self.state = State::Paused { until: now + self.pause };
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                Verdict::Pause
            }
            State::Paused { .. } => {
                self.state = State::On { since: now, hits };
                Verdict::GoOn
            }
        }
    }
}
