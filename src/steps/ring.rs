//! The kernel's ring buffer pages, as `trace_pipe_raw` hands them out.
//!
//! The binary form rather than the text of `trace_pipe`: no text of a script's could imitate an event, and
//! nothing has to be formatted. The layout is the kernel's ABI for readers (`include/linux/ring_buffer.h`,
//! `events/header_page`, `events/header_event`); perf and trace-cmd stand on it.

/// Bits of a record's header that hold its type or its length in words.
const TYPE_MASK: u32 = 0x1f;
const PADDING: u32 = 29;
const TIME_EXTEND: u32 = 30;
const TIME_STAMP: u32 = 31;
const DELTA_SHIFT: u32 = 5;
const EXTEND_SHIFT: u64 = 27;

/// Bits of the page's commit word.
const COMMIT_MASK: u64 = (1 << 20) - 1;
const MISSED_EVENTS: u64 = 1 << 31;

/// Size of a page's header: a timestamp and the commit word.
const HEADER: usize = 16;

/// One record: when, in the buffer's clock, and its bytes (they begin with the type's number).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Nanoseconds of the buffer's clock.
    pub time: u64,
    /// The event, common fields first.
    pub data: &'a [u8],
}

/// What a page held beside its records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageState {
    /// The kernel dropped records before this page.
    pub missed: bool,
    /// The page did not end where it should have.
    pub torn: bool,
}

/// Calls `each` for the records of one page.
pub fn read_page<'a>(page: &'a [u8], mut each: impl FnMut(Record<'a>)) -> PageState {
    let (Some(mut time), Some(commit)) = (u64_at(page, 0), u64_at(page, 8)) else {
        return PageState { missed: false, torn: true };
    };
    let mut state = PageState { missed: commit & MISSED_EVENTS != 0, torn: false };
    let length = usize::try_from(commit & COMMIT_MASK).unwrap_or(usize::MAX);
    let Some(data) = page.get(HEADER..HEADER.saturating_add(length)) else {
        state.torn = true;
        return state;
    };
    let mut at = 0;
    while at < data.len() {
        let Some(header) = u32_at(data, at) else {
            state.torn = true;
            break;
        };
        let delta = u64::from(header >> DELTA_SHIFT);
        let first = u32_at(data, at + 4);
        let (start, size) = match header & TYPE_MASK {
            PADDING if delta == 0 => break,
            PADDING => (at + 4, first.map(u64::from)),
            kind @ (TIME_EXTEND | TIME_STAMP) => {
                let high = u64::from(first.unwrap_or(0)) << EXTEND_SHIFT;
                // An absolute stamp holds 59 bits; the top five come from the stamps before it.
                time = if kind == TIME_EXTEND {
                    time.wrapping_add(high + delta)
                } else {
                    time & !((1 << 59) - 1) | high | delta
                };
                at += 8;
                continue;
            }
            // The length stands in the first word, itself included.
            0 => (at + 8, first.map(|size| u64::from(size).saturating_sub(4))),
            words => (at + 4, Some(u64::from(words) * 4)),
        };
        let end = size.and_then(|size| start.checked_add(usize::try_from(size).ok()?));
        let Some((end, record)) = end.and_then(|end| Some((end, data.get(start..end)?))) else {
            state.torn = true;
            break;
        };
        time = time.wrapping_add(delta);
        if header & TYPE_MASK != PADDING {
            each(Record { time, data: record });
        }
        at = end.next_multiple_of(4);
    }
    state
}

/// Four bytes in the machine's order.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Eight bytes in the machine's order.
pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(time: u64, words: &[u32]) -> Vec<u8> {
        let mut page = time.to_ne_bytes().to_vec();
        page.extend((words.len() as u64 * 4).to_ne_bytes());
        page.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        page
    }

    fn times_and_sizes(page: &[u8]) -> (Vec<(u64, usize)>, PageState) {
        let mut all = Vec::new();
        let state = read_page(page, |record| all.push((record.time, record.data.len())));
        (all, state)
    }

    #[test]
    fn short_and_long_records_carry_their_own_lengths() {
        let short = [2 | 5 << 5, 1, 2];
        let long = [7 << 5, 12, 1, 2];
        let (all, state) = times_and_sizes(&page(100, &[short.as_slice(), &long].concat()));
        assert_eq!(all, [(105, 8), (112, 8)]);
        assert_eq!(state, PageState::default());
    }

    #[test]
    fn a_long_pause_is_told_by_an_extension_or_by_an_absolute_stamp() {
        let (all, _) = times_and_sizes(&page(100, &[30 | 1 << 5, 2, 1 | 1 << 5, 9]));
        assert_eq!(all, [(100 + 1 + (2 << 27) + 1, 4)]);
        let (all, _) = times_and_sizes(&page(100, &[31 | 3 << 5, 4, 1, 9]));
        assert_eq!(all, [((4 << 27) + 3, 4)]);
    }

    #[test]
    fn discarded_records_are_skipped_and_padding_ends_the_page() {
        let (all, state) = times_and_sizes(&page(0, &[29 | 1 << 5, 8, 77, 1 | 1 << 5, 9, 29, 0]));
        assert_eq!(all, [(2, 4)]);
        assert!(!state.torn);
    }

    #[test]
    fn a_page_that_lies_about_its_length_is_torn_and_nothing_panics() {
        assert!(times_and_sizes(&page(0, &[20, 1])).1.torn);
        assert!(times_and_sizes(&page(0, &[0])).1.torn);
        assert!(times_and_sizes(&[0; 7]).1.torn);
        let mut long = page(0, &[1, 9]);
        long[8] = 200;
        assert!(times_and_sizes(&long).1.torn);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_run_on(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let mut page = 0u64.to_ne_bytes().to_vec();
            page.extend((bytes.len() as u64).to_ne_bytes());
            page.extend(&bytes);
            let mut count = 0;
            read_page(&page, |_| count += 1);
            proptest::prop_assert!(count <= bytes.len());
        }
    }
}
