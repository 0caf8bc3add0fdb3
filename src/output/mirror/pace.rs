//! How often the mirror writes: seldom enough for a share that counts operations, often enough that a
//! line is there within a second (CONTRACT 6): two writes a second, whatever they bring, and beyond two whole
//! pieces a second one write for each.

use std::time::{Duration, Instant};

/// Between two small writes of output.
const BETWEEN: Duration = Duration::from_millis(700);

/// The span in which at most two writes happen.
const SPAN: Duration = Duration::from_secs(1);

/// So many whole pieces waiting have come faster than two a second.
const MANY: u64 = 3;

/// Longest wait of a document behind output that fills one write after the other.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Longest pause between two tries on a share that fails.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// When the next write may happen.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The two latest writes, of output or documents, the latest first.
    latest: [Option<Instant>; 2],
    output: Option<Instant>,
    document: Option<Instant>,
    /// The two latest writes of output, while they were whole pieces.
    whole: [Option<Instant>; 2],
    synced: Option<Instant>,
}

impl Pace {
    /// How long to wait until a small piece of output may be written; zero if it may be now.
    pub(super) fn output_waits(&self) -> Duration {
        left(self.output, BETWEEN).max(left(self.latest[1], SPAN))
    }

    /// How long to wait until a whole piece may be written, of so many that are waiting.
    pub(super) fn whole_waits(&self, pieces: u64) -> Duration {
        let is_fast = pieces >= MANY || !left(self.whole[1], SPAN).is_zero();
        if is_fast { Duration::ZERO } else { left(self.latest[1], SPAN) }
    }

    /// How long a document that was asked for at `since` waits. Of two writes a second one is the output's, also
    /// where several documents come together.
    pub(super) fn document_waits(&self, since: Instant) -> Duration {
        left(self.document, SPAN).max(left(self.latest[1], SPAN).min(left(Some(since), LONGEST_WAIT)))
    }

    /// How long to wait until the share is asked to take note of large pieces.
    pub(super) fn sync_waits(&self) -> Duration {
        left(self.synced, BETWEEN)
    }

    /// Output was written just now.
    pub(super) fn output(&mut self) {
        self.output = Some(Instant::now());
        self.whole = [None; 2];
        self.wrote();
    }

    /// A whole piece of output was written just now.
    pub(super) fn whole(&mut self) {
        self.output = Some(Instant::now());
        self.whole = [self.output, self.whole[0]];
        self.wrote();
    }

    /// A document was written just now.
    pub(super) fn document(&mut self) {
        self.document = Some(Instant::now());
        self.wrote();
    }

    fn wrote(&mut self) {
        self.latest = [Some(Instant::now()), self.latest[0]];
    }

    /// The share takes note of all output now.
    pub(super) fn sync(&mut self) {
        self.synced = Some(Instant::now());
    }
}

fn left(since: Option<Instant>, span: Duration) -> Duration {
    since.map_or(Duration::ZERO, |since| span.saturating_sub(since.elapsed()))
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
        assert_eq!(pace.output_waits(), Duration::ZERO);
        pace.output();
        assert!(pace.output_waits() > Duration::ZERO && pace.output_waits() <= BETWEEN);
    }

    #[test]
    fn a_document_makes_the_output_behind_it_wait_for_the_rest_of_the_second() {
        let mut pace = Pace::default();
        pace.output();
        assert_eq!(pace.document_waits(Instant::now()), Duration::ZERO);
        pace.document();
        assert!(pace.output_waits() > BETWEEN && pace.output_waits() <= SPAN);
    }

    #[test]
    fn several_documents_at_once_do_not_come_at_once() {
        let mut pace = Pace::default();
        let since = Instant::now().checked_sub(LONGEST_WAIT * 2).expect("a machine that is on for a while");
        pace.output();
        pace.document();
        assert!(pace.document_waits(since) > BETWEEN);
    }

    #[test]
    fn a_whole_piece_waits_like_any_other_write_until_they_come_faster_than_two_a_second() {
        let mut pace = Pace::default();
        assert_eq!(pace.whole_waits(1), Duration::ZERO);
        pace.output();
        assert_eq!(pace.whole_waits(1), Duration::ZERO);
        pace.whole();
        assert!(pace.whole_waits(1) > BETWEEN && pace.whole_waits(MANY - 1) <= SPAN);
        assert_eq!(pace.whole_waits(MANY), Duration::ZERO);
        pace.whole();
        assert_eq!(pace.whole_waits(1), Duration::ZERO);
        pace.document();
        assert_eq!(pace.whole_waits(1), Duration::ZERO);
        pace.output();
        assert!(pace.whole_waits(1) > BETWEEN);
    }

    #[test]
    fn pauses_grow_to_a_bound() {
        let mut backoff = Backoff::default();
        let pauses: Vec<Duration> = (0..10).map(|_| backoff.next()).collect();
        assert!(pauses.is_sorted() && pauses[0] < Duration::from_secs(1) && pauses[9] == LONGEST_PAUSE);
    }
}
