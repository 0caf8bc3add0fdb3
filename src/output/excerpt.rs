//! Pieces of a run's output, read from the local disk without reading all of it: its end, and what came while
//! a step ran.

use std::{fs::File, ops::Range, os::unix::fs::FileExt, path::Path, time::SystemTime};

use super::{
    spool::{LOG, TAIL},
    tail::{GROWING_TAIL, Mark},
    times::{TIMES, came_between},
};

/// The files of a run's output.
#[derive(Debug, Default)]
pub struct Excerpts {
    log: Option<File>,
    tail: Option<Tail>,
    times: Option<File>,
}

/// The end of an output that is longer than its limit.
#[derive(Debug)]
struct Tail {
    file: File,
    mark: Mark,
}

/// A piece of the output.
#[derive(Debug, Default)]
pub struct Piece {
    /// Its bytes, from the beginning of a line on where that is near.
    pub bytes: Vec<u8>,
    /// Whether there is output of the same span before them.
    pub is_cut: bool,
}

impl Excerpts {
    /// Opens what is there of a run's output.
    pub fn open(folder: &Path) -> Self {
        let open = |name: &str| File::open(folder.join(name)).ok();
        let growing = open(GROWING_TAIL).map(|file| Tail { file, mark: Mark::default() });
        let tail =
            growing.or_else(|| open(TAIL).map(|file| Tail { mark: Mark::read(&file).unwrap_or_default(), file }));
        Self { log: open(LOG), tail, times: open(TIMES) }
    }

    /// The last bytes of the output, at most so many.
    pub fn end(&self, most: u64) -> Piece {
        match (&self.tail, &self.log) {
            (Some(tail), _) => ending(&tail.file, length(&tail.file), most, 0),
            (None, Some(log)) => ending(log, length(log), most, 0),
            (None, None) => Piece::default(),
        }
    }

    /// What came from one time to another, its last bytes where it is more than `most`. What was on its way at
    /// either time may be among it. `None` where that is not known, or not kept.
    pub fn between(&self, from: SystemTime, to: SystemTime, most: u64) -> Option<Piece> {
        let (times, log) = (self.times.as_ref()?, self.log.as_ref()?);
        let Range { start: from, end: to } = came_between(times, from, to).ok()?;
        let logged = length(log);
        if to <= logged {
            return Some(ending(log, to, most, from));
        }
        let tail = self.tail.as_ref()?;
        let place = |offset: u64| tail.mark.place_of(offset.saturating_sub(logged));
        Some(ending(&tail.file, place(to)?, most, place(from).unwrap_or(tail.mark.length)))
    }
}

fn length(file: &File) -> u64 {
    file.metadata().map_or(0, |about| about.len())
}

/// The last bytes before `end`, none before `from`.
fn ending(file: &File, end: u64, most: u64, from: u64) -> Piece {
    let begin = end.saturating_sub(most).max(from).min(end);
    let mut bytes = vec![0; (end - begin) as usize];
    let mut got = 0;
    while got < bytes.len() {
        match file.read_at(&mut bytes[got..], begin + got as u64) {
            Ok(0) | Err(_) => break,
            Ok(count) => got += count,
        }
    }
    bytes.truncate(got);
    let is_cut = begin > from;
    if is_cut {
        // Half a line is no line; one that is longer than all of this is better than nothing.
        if let Some(line) = bytes.iter().position(|byte| *byte == b'\n').filter(|at| *at + 1 < bytes.len()) {
            bytes.drain(..=line);
        }
    }
    Piece { bytes, is_cut }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::*;

    fn at(millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_000 + millis)
    }

    fn folder(times: &[(u64, u64)], log: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let micros = |millis: u64| (1_000_000 + millis) * 1000;
        let records: Vec<u8> = times
            .iter()
            .flat_map(|(millis, bytes)| [micros(*millis).to_le_bytes(), bytes.to_le_bytes()].concat())
            .collect();
        fs::write(folder.path().join(TIMES), records).unwrap();
        fs::write(folder.path().join(LOG), log).unwrap();
        folder
    }

    fn between(folder: &Path, from: u64, to: u64, most: u64) -> String {
        let piece = Excerpts::open(folder).between(at(from), at(to), most);
        piece.map_or("none".into(), |piece| String::from_utf8(piece.bytes).unwrap())
    }

    #[test]
    fn what_came_while_a_step_ran_is_found() {
        let folder = folder(&[(0, 4), (100, 8), (1000, 12), (5000, 16)], "one\ntwo\n333\n444\n");
        assert_eq!(between(folder.path(), 0, 90, 100), "one\ntwo\n", "what was on its way is among it");
        assert_eq!(between(folder.path(), 50, 800, 100), "two\n");
        assert_eq!(between(folder.path(), 200, 2000, 100), "333\n");
        assert_eq!(between(folder.path(), 2000, 3000, 100), "");
        assert_eq!(between(folder.path(), 0, 9000, 9), "333\n444\n", "the last lines of what is too much");
    }

    #[test]
    fn the_end_begins_with_a_line() {
        let folder = folder(&[], "one\ntwo\nthree\n");
        let end = Excerpts::open(folder.path()).end(9);
        assert_eq!((end.bytes.as_slice(), end.is_cut), (&b"three\n"[..], true));
        let all = Excerpts::open(folder.path()).end(100);
        assert!(all.bytes.starts_with(b"one") && !all.is_cut);
    }

    #[test]
    fn a_step_is_found_in_the_tail_of_an_output_that_was_too_long() {
        let folder = folder(&[(0, 4), (1000, 100), (2000, 105)], "one\n");
        let mark = "[ci-setup-agent] 90 bytes left out here: the output is longer than --output-limit\n";
        fs::write(folder.path().join(TAIL), format!("{mark}12345\n1234\n")).unwrap();
        assert_eq!(between(folder.path(), 1500, 2500, 100), "1234\n");
        assert_eq!(between(folder.path(), 500, 1500, 100), "12345\n", "not before what is kept");
        assert_eq!(between(folder.path(), 0, 10, 100), "one\n");
    }
}
