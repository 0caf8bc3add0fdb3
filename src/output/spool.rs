//! The spool: the script's output on the local disk, byte for byte, the copy of truth (CONTRACT 6).
//!
//! Up to half of the limit goes to `output.log`. What comes after that goes to `output.tail.log`, of which
//! only the last half of the limit is kept: while the run lasts, the file is sparse, its offsets are
//! those of the stream, and what is too old is punched out of it.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::FileExt,
    },
};

use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, fallocate},
};

use super::{
    tail::{Tail, Writers, last_form},
    times::Times,
};
use crate::record::state::{RunDir, private};

/// What one look at the pipe gave.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pumped {
    /// So many bytes were taken from the pipe.
    Bytes(usize),
    /// Nothing at the moment.
    Empty,
    /// Every writer is gone.
    Ended,
}

/// The names of the spool's files, in the run's folder and on the share.
pub const LOG: &str = "output.log";
/// What is kept of an output that was too long, from behind.
pub const TAIL: &str = "output.tail.log";

/// The most bytes taken from the pipe at once. They are read and then written: `splice(2)` would spare a copy, but it
/// keeps the pipe locked while the file takes it, and the script waits as long.
const PIECE: usize = 128 * 1024;

/// How much more a disk that was full must take before output is kept again.
const ROOM: u64 = 256 * 1024;

/// The spool of one run.
#[derive(Debug)]
pub struct Spool {
    log: File,
    half: u64,
    /// Bytes in `output.log`, markers included.
    logged: u64,
    tail: Option<Tail>,
    run: RunDir,
    times: Times,
    /// The line in front of the tail, once it is there.
    tail_mark: u64,
    /// Bytes that the disk did not take since the last one it took.
    losing: u64,
    lost: u64,
    why_lost: Option<String>,
    /// What becomes of a piece on its way.
    scratch: Vec<u8>,
    writers: Writers,
}

impl Spool {
    /// Makes the spool of a run. `limit` is in bytes; 0 means none.
    ///
    /// # Errors
    /// Those of the local disk.
    pub fn create(run: &RunDir, limit: u64) -> io::Result<Self> {
        let path = run.file(LOG);
        Ok(Self {
            log: private(&path).create_new(true).open(&path)?,
            half: if limit == 0 { u64::MAX } else { (limit / 2).max(1) },
            logged: 0,
            tail: None,
            run: run.clone(),
            times: Times::create(run),
            tail_mark: 0,
            losing: 0,
            lost: 0,
            why_lost: None,
            scratch: Vec::new(),
            writers: Writers::Left,
        })
    }

    /// Takes what is in the pipe, a bounded piece at a time.
    ///
    /// # Errors
    /// Only those of the pipe; what the disk refuses is counted and marked.
    pub fn pump(&mut self, pipe: BorrowedFd<'_>) -> io::Result<Pumped> {
        let pumped = self.pump_piece(pipe)?;
        if let Pumped::Bytes(_) = pumped {
            self.times.note(self.taken());
        }
        Ok(pumped)
    }

    fn pump_piece(&mut self, pipe: BorrowedFd<'_>) -> io::Result<Pumped> {
        if self.losing > 0 {
            self.try_to_mark(ROOM);
        }
        let room = usize::try_from(self.half.saturating_sub(self.logged)).unwrap_or(usize::MAX).min(PIECE);
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.resize(PIECE, 0);
        let is_for_tail = room == 0;
        let got = nix::unistd::read(pipe, &mut scratch[..if is_for_tail { PIECE } else { room }]);
        let pumped = match got {
            Ok(0) => {
                self.writers = Writers::Gone;
                Ok(Pumped::Ended)
            }
            Ok(count) => {
                if is_for_tail {
                    self.keep_in_tail(&scratch[..count]);
                } else {
                    self.keep(&scratch[..count]);
                }
                Ok(Pumped::Bytes(count))
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(Pumped::Empty),
            Err(errno) => Err(errno.into()),
        };
        self.scratch = scratch;
        pumped
    }

    /// Writes to the log; what the disk does not take is lost, and counted.
    fn keep(&mut self, bytes: &[u8]) {
        let written = if self.losing == 0 { write_what_fits(&self.log, bytes, self.logged) } else { Written::NOTHING };
        self.logged += written.bytes as u64;
        self.count_lost(bytes.len(), written);
    }

    /// The same for the tail, which is made when it is first needed.
    fn keep_in_tail(&mut self, bytes: &[u8]) {
        if self.losing == 0 && self.tail.is_none() {
            match Tail::create(&self.run) {
                Ok(tail) => self.tail = Some(tail),
                Err(error) => self.lose(&error),
            }
        }
        let written = match &mut self.tail {
            Some(tail) if self.losing == 0 => {
                let written = write_what_fits(&tail.file, bytes, tail.length);
                tail.length += written.bytes as u64;
                tail.punch(self.half);
                written
            }
            Some(_) | None => Written::NOTHING,
        };
        self.count_lost(bytes.len(), written);
    }

    fn count_lost(&mut self, bytes: usize, written: Written) {
        if let Some(error) = written.error {
            self.lose(&error);
        }
        let lost = (bytes - written.bytes) as u64;
        self.losing += lost;
        self.lost += lost;
    }

    fn lose(&mut self, error: &io::Error) {
        self.why_lost.get_or_insert_with(|| crate::error::reason(error));
    }

    /// Once the disk takes bytes again, one line says how many it did not. `room` is how many more it must
    /// take by then: a disk on the brink would be marked again and again.
    fn try_to_mark(&mut self, room: u64) {
        let why = self.why_lost.as_deref().unwrap_or("the disk failed");
        let (file, at) = match &self.tail {
            Some(tail) => (&tail.file, tail.length),
            None => (&self.log, self.logged),
        };
        let line_end = if at == 0 { "" } else { "\n" };
        let mark = format!("{line_end}[ci-setup-agent] {} bytes lost here: {why}\n", self.losing);
        // Space first: half a line would be read, and then be overwritten by another one.
        let flags = FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let wanted = (mark.len() as u64 + room).cast_signed();
        match fallocate(file, flags, at.cast_signed(), wanted) {
            Ok(()) | Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => {}
            Err(_) => return,
        }
        if file.write_all_at(mark.as_bytes(), at).is_ok() {
            let length = mark.len() as u64;
            match &mut self.tail {
                Some(tail) => tail.length += length,
                None => self.logged += length,
            }
            self.losing = 0;
        }
    }

    /// Whether the disk refuses what comes: what has been lost is not marked yet.
    pub fn is_losing(&self) -> bool {
        self.losing > 0
    }

    /// Says in the log what was lost at its very end. Best effort: the disk may still be full.
    pub fn mark_end(&mut self) {
        if self.losing > 0 {
            self.try_to_mark(0);
        }
        self.times.flush();
    }

    /// Brings the kept end of an output that was too long into its lasting form: one line that says how
    /// much is missing, then the bytes. `None` where nothing had to be left out or dropped behind.
    ///
    /// # Errors
    /// Those of the local disk.
    pub fn finish_tail(&mut self) -> io::Result<Option<File>> {
        let Some(tail) = &self.tail else { return Ok(None) };
        let (file, mark) = last_form(&self.run, &tail.file, tail.length, self.half, self.writers)?;
        self.tail_mark = mark;
        Ok(Some(file))
    }

    /// Bytes taken from the pipe, kept or not. It grows with every byte, also where an old one is given up for
    /// a new one.
    pub fn taken(&self) -> u64 {
        self.logged + self.lost + self.tail.as_ref().map_or(0, |tail| tail.length)
    }

    /// Whether the output has outgrown its first half of the limit.
    pub fn has_tail(&self) -> bool {
        self.tail.is_some()
    }

    /// Bytes kept.
    pub fn kept(&self) -> u64 {
        self.logged + self.tail_mark + self.tail.as_ref().map_or(0, |tail| tail.length.min(self.half))
    }

    /// Bytes that could not be kept, or were left out.
    pub fn dropped(&self) -> u64 {
        self.lost + self.tail.as_ref().map_or(0, |tail| tail.length.saturating_sub(self.half))
    }

    /// Why bytes could not be kept, if that has happened.
    pub fn why_lost(&self) -> Option<&str> {
        self.why_lost.as_deref()
    }

    /// The spool, to read from.
    ///
    /// # Errors
    /// Those of `dup(2)`.
    pub fn reader(&self) -> io::Result<File> {
        File::open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&self.log.as_fd())))
    }

    /// Asks the disk to keep what was written.
    pub fn sync(&self) {
        let _ = self.log.sync_data();
    }
}

/// How much of a piece a file took, and why not more.
struct Written {
    bytes: usize,
    error: Option<io::Error>,
}

impl Written {
    const NOTHING: Self = Self { bytes: 0, error: None };
}

fn write_what_fits(file: &File, piece: &[u8], at: u64) -> Written {
    let mut bytes = 0;
    while bytes < piece.len() {
        match file.write_at(&piece[bytes..], at + bytes as u64) {
            Ok(0) => return Written { bytes, error: Some(io::ErrorKind::WriteZero.into()) },
            Ok(count) => bytes += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Written { bytes, error: Some(error) },
        }
    }
    Written { bytes, error: None }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{Read, Write},
        os::{fd::OwnedFd, unix::fs::MetadataExt},
        time::SystemTime,
    };

    use super::*;
    use crate::{
        output::tail::{GROWING_TAIL, settled},
        record::state::StateDir,
        sys::descriptors::output_pipe,
    };

    struct Bench {
        _state: tempfile::TempDir,
        run: RunDir,
        spool: Spool,
        read: OwnedFd,
        write: File,
    }

    fn bench(limit: u64) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let run = StateDir::open(folder.path()).unwrap().create_run("creation", SystemTime::now()).unwrap();
        let (read, write) = output_pipe().unwrap();
        Bench { spool: Spool::create(&run, limit).unwrap(), run, read, write: write.into(), _state: folder }
    }

    impl Bench {
        fn print(&mut self, bytes: &[u8]) {
            for piece in bytes.chunks(4096) {
                self.write.write_all(piece).unwrap();
                while self.spool.pump(self.read.as_fd()).unwrap() != Pumped::Empty {}
            }
        }

        fn file(&self, name: &str) -> Vec<u8> {
            fs::read(self.run.file(name)).unwrap()
        }
    }

    #[test]
    fn every_byte_is_kept_as_it_came() {
        let mut bench = bench(0);
        let output: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
        bench.print(&output);
        assert!(bench.file(LOG) == output);
        assert_eq!((bench.spool.kept(), bench.spool.dropped()), (300_000, 0));
        assert!(bench.spool.finish_tail().unwrap().is_none());
    }

    #[test]
    fn of_an_output_that_is_too_long_both_ends_are_kept_and_the_gap_is_told() {
        let mut bench = bench(200_000);
        let output: Vec<u8> = (0..1_000_000_u32).flat_map(|i| (i % 65_521).to_le_bytes()).collect();
        bench.print(&output);
        bench.spool.finish_tail().unwrap().unwrap();
        assert!(bench.file(LOG) == output[..100_000]);
        let tail = bench.file(TAIL);
        let (line, rest) = tail.split_at(tail.iter().position(|byte| *byte == b'\n').unwrap() + 1);
        let missing = output.len() - 200_000;
        assert!(line.starts_with(format!("[ci-setup-agent] {missing} bytes left out").as_bytes()));
        assert!(rest == &output[output.len() - 100_000..]);
        let kept = 200_000 + line.len() as u64;
        assert_eq!((bench.spool.kept(), bench.spool.dropped()), (kept, missing as u64));
    }

    #[test]
    fn the_tail_of_a_recorder_that_was_killed_is_settled_afterwards() {
        let mut bench = bench(200_000);
        let output: Vec<u8> = (0..1_000_000_u32).flat_map(|i| (i % 65_521).to_le_bytes()).collect();
        bench.print(&output);
        let (log, tail) = settled(&bench.run).unwrap();
        let mut text = Vec::new();
        tail.unwrap().read_to_end(&mut text).unwrap();
        assert_eq!(log.metadata().unwrap().len(), 100_000);
        assert!(text.starts_with(b"[ci-setup-agent] ") && text.ends_with(&output[output.len() - 100_000..]));
        assert!(settled(&bench.run).unwrap().1.is_some(), "once more");
    }

    #[test]
    fn an_output_between_half_the_limit_and_the_limit_loses_nothing() {
        let mut bench = bench(200_000);
        let output = vec![b'x'; 150_000];
        bench.print(&output);
        bench.spool.finish_tail().unwrap().unwrap();
        assert!([bench.file(LOG), bench.file(TAIL)].concat() == output);
        assert_eq!(bench.spool.dropped(), 0);
    }

    #[test]
    fn while_it_runs_the_tail_takes_little_more_space_than_its_share() {
        let mut bench = bench(4 << 20);
        bench.print(&vec![b'x'; 24 << 20]);
        let used = fs::metadata(bench.run.file(GROWING_TAIL)).unwrap().blocks() * 512;
        assert!(used <= 3 << 20, "{used}");
    }

    #[test]
    fn the_end_of_all_writers_is_told() {
        let mut bench = bench(0);
        bench.print(b"last words");
        drop(bench.write);
        assert_eq!(bench.spool.pump(bench.read.as_fd()).unwrap(), Pumped::Ended);
    }
}
