//! A run's output as it is kept: its beginning, of one that was too long its end, and when it came.

use std::{
    fs::File,
    io,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::output::{
    spool::{LOG, TAIL},
    tail::Mark,
    times::{Arrivals, bytes_before},
};

/// How much is read at once, bytes.
pub const PIECE: usize = 64 * 1024;

/// The output of one run. Positions count the bytes of `output.log` and, behind them, those of
/// `output.tail.log`.
#[derive(Debug)]
pub struct Kept {
    folder: PathBuf,
    log: Option<File>,
    /// Their lengths when they were last looked at.
    log_length: u64,
    tail: Option<File>,
    tail_length: u64,
    /// When it came; `None` where that is not known.
    times: Option<Arrivals>,
    mark: Mark,
}

impl Kept {
    /// Opens what is there of a run's output in its folder.
    ///
    /// # Errors
    /// Those of the disk. A file that is not there is none.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let folder = folder.to_owned();
        let mut kept =
            Self { folder, log: None, log_length: 0, tail: None, tail_length: 0, times: None, mark: Mark::default() };
        kept.look()?;
        kept.look_for_tail()?;
        Ok(kept)
    }

    /// Looks whether there is more than before.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn look(&mut self) -> io::Result<()> {
        if self.log.is_none() {
            self.log = found(File::open(self.folder.join(LOG)))?;
        }
        if let Some(log) = &self.log {
            self.log_length = log.metadata()?.len();
        }
        match &mut self.times {
            Some(times) => times.refresh()?,
            None => self.times = found(Arrivals::open(&self.folder))?,
        }
        Ok(())
    }

    /// Looks for the end of an output that was too long: it is there when the run has ended.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn look_for_tail(&mut self) -> io::Result<()> {
        self.tail = found(File::open(self.folder.join(TAIL)))?;
        if let Some(tail) = &self.tail {
            self.tail_length = tail.metadata()?.len();
            self.mark = Mark::read(tail)?;
        }
        Ok(())
    }

    /// Whether it is known when the output came.
    pub fn has_times(&self) -> bool {
        self.times.is_some()
    }

    /// How many bytes there were when it was last looked at.
    pub fn length(&self) -> u64 {
        self.log_length + self.tail_length
    }

    /// Reads what stands at a position: at most the buffer's length, nothing behind the last byte.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn read(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let (log, length) = (self.log_length, self.length());
        // Not beyond what was the log's length: what is behind that belongs to the tail's positions.
        let end = if at < log { log } else { length };
        let room = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX).min(buffer.len());
        match (&self.log, &self.tail) {
            (Some(file), _) if at < log => file.read_at(&mut buffer[..room], at),
            (_, Some(tail)) => tail.read_at(&mut buffer[..room], at.saturating_sub(log)),
            (_, None) => Ok(0),
        }
    }

    /// When the byte at a position came. For one of which nothing was noted yet: `now`.
    pub fn time_of(&self, at: u64, now: SystemTime) -> Option<SystemTime> {
        let times = &self.times.as_ref()?.list;
        let stream = self.stream_of(at);
        let index = times.partition_point(|arrival| arrival.bytes <= stream);
        Some(times.get(index).map_or(now, |arrival| arrival.at))
    }

    /// When the last byte came.
    pub fn last_time(&self) -> Option<SystemTime> {
        self.times.as_ref()?.list.last().map(|arrival| arrival.at)
    }

    /// The position of the line that was being printed at that time, or began next.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn position_at(&self, time: SystemTime) -> io::Result<u64> {
        let times = self.times.as_ref().map_or(&[][..], |times| &times.list);
        self.line_start(self.position_of(bytes_before(times, time)))
    }

    /// What came while something ran, from `began` to `ended`, and what was on its way at either time.
    pub fn between(&self, began: SystemTime, ended: SystemTime) -> Range<u64> {
        let came = self.times.as_ref().and_then(|times| times.between(began, ended).ok()).unwrap_or_default();
        let end = self.position_of(came.end);
        self.position_of(came.start).min(end)..end
    }

    /// Where the last `count` lines of a range begin. Reads backwards, and no more than it must.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn last_lines(&self, range: Range<u64>, count: u64) -> io::Result<u64> {
        if count == 0 {
            return Ok(range.end);
        }
        let (mut buffer, mut end, mut seen) = (vec![0; PIECE], range.end, 0);
        while end > range.start {
            let begin = end.saturating_sub(PIECE as u64).max(range.start);
            let piece = self.read_exactly(&mut buffer, begin..end)?;
            for (index, byte) in piece.iter().enumerate().rev() {
                let at = begin + index as u64;
                // The line end of the last line ends it, and begins no other.
                if *byte == b'\n' && at + 1 < range.end {
                    seen += 1;
                    if seen == count {
                        return Ok(at + 1);
                    }
                }
            }
            end = begin;
        }
        Ok(range.start)
    }

    /// Where the line begins that holds a position. Of an endless line, a good piece of it.
    fn line_start(&self, at: u64) -> io::Result<u64> {
        let begin = at.saturating_sub(PIECE as u64);
        let mut buffer = vec![0; PIECE];
        let piece = self.read_exactly(&mut buffer, begin..at)?;
        Ok(piece.iter().rposition(|byte| *byte == b'\n').map_or(begin, |index| begin + index as u64 + 1))
    }

    /// A range of at most the buffer's length; less where the file has become shorter.
    fn read_exactly<'a>(&self, buffer: &'a mut [u8], range: Range<u64>) -> io::Result<&'a [u8]> {
        let wanted = usize::try_from(range.end - range.start).unwrap_or(0).min(buffer.len());
        let mut read = 0;
        while read < wanted {
            match self.read(&mut buffer[read..wanted], range.start + read as u64)? {
                0 => break,
                count => read += count,
            }
        }
        Ok(&buffer[..read])
    }

    /// How much of the stream had come with the byte at that position. Lines of the agent's about bytes that a
    /// full disk did not take are counted as the stream's, the lost bytes are not: times behind them are a little early.
    fn stream_of(&self, at: u64) -> u64 {
        if at < self.log_length {
            return at;
        }
        self.log_length + self.mark.behind(at - self.log_length)
    }

    /// For what was left out it is the line that says so.
    fn position_of(&self, stream: u64) -> u64 {
        let place = self.tail.as_ref().and_then(|_| self.mark.place_of(stream.saturating_sub(self.log_length)));
        let kept = place.filter(|place| *place > self.mark.length);
        kept.map_or(stream.min(self.log_length), |place| (self.log_length + place).min(self.length()))
    }
}

fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write, time::Duration};

    use super::*;
    use crate::output::times::TIMES;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    fn kept(log: &[u8], tail: Option<&[u8]>, times: &[(u64, u64)]) -> (tempfile::TempDir, Kept) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(LOG), log).unwrap();
        if let Some(tail) = tail {
            fs::write(folder.path().join(TAIL), tail).unwrap();
        }
        let mut file = File::create(folder.path().join(TIMES)).unwrap();
        for (seconds, bytes) in times {
            let micros = (1_000_000 + seconds) * 1_000_000;
            file.write_all(&[micros.to_le_bytes(), bytes.to_le_bytes()].concat()).unwrap();
        }
        let kept = Kept::open(folder.path()).unwrap();
        (folder, kept)
    }

    fn text(kept: &Kept, range: Range<u64>) -> String {
        let mut buffer = vec![0; 1000];
        String::from_utf8(kept.read_exactly(&mut buffer, range).unwrap().to_vec()).unwrap()
    }

    #[test]
    fn the_last_lines_are_found_from_behind() {
        let (_folder, kept) = kept(b"one\ntwo\nthree\nfour", None, &[]);
        for (count, expected) in
            [(0, ""), (1, "four"), (2, "three\nfour"), (4, "one\ntwo\nthree\nfour"), (9, "one\ntwo\nthree\nfour")]
        {
            let begin = kept.last_lines(0..18, count).unwrap();
            assert_eq!(text(&kept, begin..18), expected, "{count}");
        }
        assert_eq!(text(&kept, kept.last_lines(0..14, 1).unwrap()..14), "three\n");
        assert_eq!(kept.last_lines(5..18, 9).unwrap(), 5);
    }

    #[test]
    fn the_last_lines_of_an_output_that_was_too_long_are_those_of_its_tail_and_what_is_before() {
        let tail = b"[ci-setup-agent] 90 bytes left out here: x\nlast\n";
        let (_folder, kept) = kept(b"one\ntwo\n", Some(tail), &[(1, 8), (5, 103)]);
        let all = kept.length();
        assert_eq!(text(&kept, kept.last_lines(0..all, 1).unwrap()..all), "last\n");
        assert!(text(&kept, kept.last_lines(0..all, 3).unwrap()..all).starts_with("two\n[ci"));
        assert_eq!(kept.time_of(0, at(9)), Some(at(1)));
        assert_eq!(kept.time_of(all - 1, at(9)), Some(at(5)));
        assert_eq!(text(&kept, kept.position_at(at(2)).unwrap()..all), String::from_utf8_lossy(tail));
    }

    #[test]
    fn what_came_while_a_command_ran_is_found_by_its_times() {
        let (_folder, kept) = kept(b"one\nerror\nthree\n", None, &[(1, 4), (5, 10), (9, 16)]);
        assert_eq!(text(&kept, kept.between(at(4), at(5))), "error\n");
        let late = at(5) - Duration::from_millis(100);
        assert_eq!(text(&kept, kept.between(at(4), late)), "error\n");
        assert_eq!(text(&kept, kept.between(at(6), at(8))), "");
        assert_eq!(text(&kept, kept.position_at(at(5)).unwrap()..16), "error\nthree\n");
        assert_eq!(kept.time_of(4, at(99)), Some(at(5)));
        assert_eq!(kept.time_of(16, at(99)), Some(at(99)), "nothing noted yet");
    }
}
