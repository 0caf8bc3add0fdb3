//! When the output came: `output.times`, beside the spool. The log itself stays as the script wrote it.
//!
//! The file is a row of records of 16 bytes, both numbers little-endian: microseconds since 1970 and how many
//! bytes of the stream had come by then, those included that could not be kept.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    ops::Range,
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, SystemTime},
};

use crate::record::state::{RunDir, private};

/// The name of the file in the run's folder.
pub const TIMES: &str = "output.times";

/// Up to so many records, the least time between two of them; further ones come once a minute. A script that
/// prints for 15 minutes gets a record every 50 ms and a file of 300 KB.
const SPARSER: [(u64, Duration); 3] =
    [(16_384, Duration::ZERO), (65_536, Duration::from_millis(50)), (131_072, Duration::from_secs(1))];
const SPARSEST: Duration = Duration::from_secs(60);

const RECORD: usize = 16;

/// So many bytes of the stream had come by that time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Arrival {
    /// By the clock on the wall.
    pub at: SystemTime,
    /// Bytes since the beginning.
    pub bytes: u64,
}

impl Arrival {
    fn parse(record: &[u8]) -> Self {
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        let (micros, bytes) = record.split_at(8);
        Self { at: SystemTime::UNIX_EPOCH + Duration::from_micros(number(micros)), bytes: number(bytes) }
    }
}

/// The file while it grows.
#[derive(Debug)]
pub(super) struct Times {
    /// `None` once the disk has refused a record: a torn one would shift all others.
    file: Option<File>,
    count: u64,
    last: Option<SystemTime>,
    waiting: Option<Arrival>,
}

impl Times {
    /// A new one for the run; a disk that refuses it costs the times and nothing else.
    pub(super) fn create(run: &RunDir) -> Self {
        let path = run.file(TIMES);
        let file = private(&path).create_new(true).append(true).open(&path).ok();
        Self { file, count: 0, last: None, waiting: None }
    }

    /// Notes that `bytes` of the stream have come by now.
    pub(super) fn note(&mut self, bytes: u64) {
        self.note_at(Arrival { at: SystemTime::now(), bytes });
    }

    fn note_at(&mut self, arrival: Arrival) {
        if self.file.is_none() {
            return;
        }
        let pause = SPARSER.iter().find(|(most, _)| self.count < *most).map_or(SPARSEST, |(_, pause)| *pause);
        // A clock that was set back must not silence it.
        let is_due = |last: SystemTime| arrival.at.duration_since(last).map_or(true, |since| since >= pause);
        if self.last.is_some_and(|last| !is_due(last)) {
            self.waiting = Some(arrival);
            return;
        }
        // What came in the pause came then, however long ago that is by now.
        if let Some(waiting) = self.waiting.take().filter(|waiting| is_due(waiting.at)) {
            self.write(waiting);
        }
        self.write(arrival);
    }

    /// Writes what waits. Call it at the end, and when nothing has come for a while.
    pub(super) fn flush(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            self.write(waiting);
        }
    }

    fn write(&mut self, Arrival { at, bytes }: Arrival) {
        let micros = at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
        let mut record = [0; RECORD];
        record[..8].copy_from_slice(&micros.to_le_bytes());
        record[8..].copy_from_slice(&bytes.to_le_bytes());
        if let Some(file) = &mut self.file
            && file.write(&record).ok() != Some(RECORD)
        {
            self.file = None;
        }
        (self.last, self.count) = (Some(at), self.count + 1);
    }
}

/// The arrivals of a run's output while they become more.
#[derive(Debug)]
pub struct Arrivals {
    file: File,
    read: u64,
    /// Those so far, in the order of their bytes.
    pub list: Vec<Arrival>,
}

impl Arrivals {
    /// Those of a run, up to now.
    ///
    /// # Errors
    /// Those of the disk; `NotFound` where the run has no such file.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let mut arrivals = Self { file: File::open(folder.join(TIMES))?, read: 0, list: Vec::new() };
        arrivals.refresh()?;
        Ok(arrivals)
    }

    /// Where in the stream stands what was printed from one time to another; see [`came_between`].
    ///
    /// # Errors
    /// Those of the disk.
    pub fn between(&self, from: SystemTime, to: SystemTime) -> io::Result<Range<u64>> {
        came_between(&self.file, from, to)
    }

    /// Takes in what has come since.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn refresh(&mut self) -> io::Result<()> {
        let mut content = Vec::new();
        self.file.seek(SeekFrom::Start(self.read))?;
        self.file.read_to_end(&mut content)?;
        for record in content.chunks_exact(RECORD) {
            let arrival = Arrival::parse(record);
            if self.list.last().is_none_or(|last| last.bytes < arrival.bytes) {
                self.list.push(arrival);
            }
            self.read += RECORD as u64;
        }
        Ok(())
    }
}

/// Where in the stream stands what was printed from one time to another. What was on its way at either time may be
/// among it: the arrival that comes first after the end was written, at least in part, before it.
///
/// # Errors
/// Those of the disk.
pub fn came_between(times: &File, from: SystemTime, to: SystemTime) -> io::Result<Range<u64>> {
    /// How much later than it was written output may arrive: a chatty script is read in larger pieces, and a machine
    /// may be busy.
    const LATE: Duration = Duration::from_millis(100);
    let count = times.metadata()?.len() / RECORD as u64;
    let begin = first_at(times, count, from)?;
    let mut end = first_at(times, count, to)?;
    if end < count && record(times, end)?.at <= to + LATE {
        end += 1;
    }
    let bytes_at = |index: u64| if index == 0 { Ok(0) } else { Ok::<_, io::Error>(record(times, index - 1)?.bytes) };
    let begin = bytes_at(begin)?;
    Ok(begin..bytes_at(end)?.max(begin))
}

fn record(times: &File, index: u64) -> io::Result<Arrival> {
    let mut record = [0; RECORD];
    times.read_exact_at(&mut record, index * RECORD as u64)?;
    Ok(Arrival::parse(&record))
}

/// The first record that is not before `time`.
fn first_at(times: &File, count: u64, time: SystemTime) -> io::Result<u64> {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if record(times, middle)?.at < time {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// How many bytes had come before `time`: what the stream held at that moment.
pub fn bytes_before(arrivals: &[Arrival], time: SystemTime) -> u64 {
    let later = arrivals.partition_point(|arrival| arrival.at < time);
    later.checked_sub(1).map_or(0, |last| arrivals[last].bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::state::StateDir;

    fn at(millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_000 + millis)
    }

    fn times() -> (tempfile::TempDir, RunDir, Times) {
        let folder = tempfile::tempdir().unwrap();
        let run = StateDir::open(folder.path()).unwrap().create_run("creation", SystemTime::now()).unwrap();
        let times = Times::create(&run);
        (folder, run, times)
    }

    fn arrivals(run: &RunDir) -> Vec<Arrival> {
        Arrivals::open(run.path()).unwrap().list
    }

    #[test]
    fn each_piece_has_its_time() {
        let (_folder, run, mut times) = times();
        for (millis, bytes) in [(0, 10), (1, 20), (500, 25)] {
            times.note_at(Arrival { at: at(millis), bytes });
        }
        let arrivals = arrivals(&run);
        assert_eq!(arrivals.iter().map(|arrival| arrival.bytes).collect::<Vec<_>>(), [10, 20, 25]);
        assert_eq!(arrivals[2].at, at(500));
        assert_eq!([0, 1, 2, 500, 501].map(|millis| bytes_before(&arrivals, at(millis))), [0, 10, 20, 20, 25]);
    }

    #[test]
    fn a_chatty_script_is_noted_more_seldom_and_its_pauses_stay_where_they_were() {
        let (_folder, run, mut times) = times();
        for millis in 0..100_000 {
            times.note_at(Arrival { at: at(millis), bytes: millis + 1 });
        }
        // A pause, in the middle of one of ours.
        times.note_at(Arrival { at: at(900_000), bytes: 100_001 });
        times.flush();
        let arrivals = arrivals(&run);
        assert!(arrivals.len() < 20_000, "{}", arrivals.len());
        let last = arrivals[arrivals.len() - 2];
        assert_eq!((last.at, last.bytes), (at(99_999), 100_000));
        assert_eq!(arrivals.last().unwrap().bytes, 100_001);
    }

    #[test]
    fn a_clock_that_is_set_back_silences_nothing() {
        let (_folder, run, mut times) = times();
        times.count = 20_000;
        times.note_at(Arrival { at: at(900_000), bytes: 1 });
        times.note_at(Arrival { at: at(0), bytes: 2 });
        assert_eq!(arrivals(&run).len(), 2);
    }

    #[test]
    fn a_record_that_is_torn_at_the_end_is_left_out() {
        let (_folder, run, mut times) = times();
        times.note_at(Arrival { at: at(0), bytes: 1 });
        drop(times);
        let mut file = File::options().append(true).open(run.file(TIMES)).unwrap();
        file.write_all(&[1; 7]).unwrap();
        assert_eq!(arrivals(&run).len(), 1);
    }
}
