//! The buffer's clock against ours.

use std::time::{Duration, Instant, SystemTime};

use super::Step;
use super::record::{Done, Moment, Ran};

/// How the buffer's clock stands to ours.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// A time on the buffer's clock …
    pub moment: Moment,
    /// … on the monotonic clock …
    pub instant: Instant,
    /// … and on the wall's, all three the same.
    pub system: SystemTime,
}

impl Clock {
    /// A first guess, until the first marker.
    pub fn now() -> Self {
        Self { moment: Moment(0), instant: Instant::now(), system: SystemTime::now() }
    }

    /// A moment by the wall clock.
    pub fn system_time(&self, moment: Moment) -> SystemTime {
        match moment.0.checked_sub(self.moment.0) {
            Some(later) => self.system + Duration::from_nanos(later),
            None => self.system - Duration::from_nanos(self.moment.0 - moment.0),
        }
    }

    /// How long ago a moment is.
    pub fn seconds_since(&self, moment: Moment) -> f64 {
        let until_known = self.moment.0.saturating_sub(moment.0);
        (Duration::from_nanos(until_known) + self.instant.elapsed()).as_secs_f64()
    }

    /// A step that has ended.
    pub fn done(&self, done: &Done) -> Step {
        let seconds = Duration::from_nanos(done.ended.0.saturating_sub(done.ran.began.0)).as_secs_f64();
        Step { has_failed: done.has_failed, ..self.step(&done.ran, seconds, Some(done.exit_code)) }
    }

    /// A step.
    pub fn step(&self, ran: &Ran, seconds: f64, exit_code: Option<i32>) -> Step {
        Step {
            line: ran.line,
            end_line: ran.end_line,
            block: ran.block.clone(),
            command: ran.command.clone(),
            began: self.system_time(ran.began),
            seconds,
            exit_code,
            has_failed: false,
        }
    }
}
