//! How often the mirror writes: seldom enough for a share that counts operations, often enough that a
//! line is there within a second (CONTRACT 6).

use std::time::{Duration, Instant};

/// Between two small writes. With the outcome's copy every 5 s and the first and last documents this
/// stays below two writes a second.
const BETWEEN: Duration = Duration::from_millis(700);

/// Longest pause between two tries on a share that fails.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// When the next small write may happen.
#[derive(Debug, Default)]
pub(super) struct Pace {
    last: Option<Instant>,
}

impl Pace {
    /// How long to wait until a small write may happen; zero if it may happen now.
    pub(super) fn wait(&self) -> Duration {
        self.last.map_or(Duration::ZERO, |last| BETWEEN.saturating_sub(last.elapsed()))
    }

    /// A small write happens now.
    pub(super) fn count(&mut self) {
        self.last = Some(Instant::now());
    }
}

/// Growing pauses between tries.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(Duration::from_millis(125))
    }
}

impl Backoff {
    /// The pause before the next try.
    pub(super) fn next(&mut self) -> Duration {
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_write_may_happen_at_once_and_the_second_may_not() {
        let mut pace = Pace::default();
        assert_eq!(pace.wait(), Duration::ZERO);
        pace.count();
        assert!(pace.wait() > Duration::ZERO && pace.wait() <= BETWEEN);
    }

    #[test]
    fn pauses_grow_to_a_bound() {
        let mut backoff = Backoff::default();
        let pauses: Vec<Duration> = (0..10).map(|_| backoff.next()).collect();
        assert!(pauses.is_sorted() && pauses[0] < Duration::from_secs(1) && pauses[9] == LONGEST_PAUSE);
    }
}
