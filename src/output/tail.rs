//! The end of an output that is longer than its limit: while it grows, and in its lasting form.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::{FileExt, MetadataExt},
};

use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, fallocate},
};

use super::spool::{LOG, TAIL};
use crate::record::state::{RunDir, private};

/// The tail while it grows: sparse, with the offsets of the stream.
pub(super) const GROWING_TAIL: &str = "output.tail.part";

/// The growing end of an output that is too long.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) file: File,
    /// Bytes of the stream behind `output.log`, dropped ones included.
    pub(super) length: u64,
    punched: u64,
}

impl Tail {
    /// A new one for the run.
    ///
    /// # Errors
    /// Those of the local disk.
    pub(super) fn create(run: &RunDir) -> io::Result<Self> {
        let path = run.file(GROWING_TAIL);
        let file = private(&path).create(true).truncate(true).open(&path)?;
        Ok(Self { file, length: 0, punched: 0 })
    }

    /// Gives back the space of what is older than the last `keep` bytes, a good piece at a time.
    pub(super) fn punch(&mut self, keep: u64) {
        let old = self.length.saturating_sub(keep);
        let step = (keep / 8).max(1 << 16);
        if old < self.punched + step {
            return;
        }
        let block = self.file.metadata().map_or(4096, |meta| meta.blksize().max(1));
        let end = old / block * block;
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let length = end.saturating_sub(self.punched).cast_signed();
        // Where the file system cannot do that, the file only takes more space than it should.
        if length > 0 {
            let _ = fallocate(&self.file, flags, self.punched.cast_signed(), length);
        }
        self.punched = end;
    }
}

/// The line in front of a tail in its lasting form, and with it where the tail's bytes stand in the stream.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Mark {
    /// Bytes of the line. While the tail grows, and where nothing is missing, there is none.
    pub length: u64,
    /// Bytes of the stream between the end of `output.log` and the first one in the tail.
    missing: u64,
}

impl Mark {
    /// Looks at the beginning of a tail. A line of the script's that only resembles the agent's is none.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn read(tail: &File) -> io::Result<Self> {
        let mut begin = [0; 200];
        let got = tail.read_at(&mut begin, 0)?;
        let text = String::from_utf8_lossy(&begin[..got]);
        let missing = text.strip_prefix(AGENT).and_then(|rest| rest.split_once(LEFT_OUT)?.0.parse().ok());
        Ok(match (missing, text.find('\n')) {
            (Some(missing), Some(end)) => Self { length: end as u64 + 1, missing },
            _ => Self::default(),
        })
    }

    fn line(missing: u64) -> String {
        match missing {
            0 => String::new(),
            _ => format!("{AGENT}{missing}{LEFT_OUT}: the output is longer than --output-limit\n"),
        }
    }

    /// Where in the tail the byte of the stream stands that comes so many behind the end of `output.log`; `None` for
    /// one that was left out.
    pub fn place_of(self, behind: u64) -> Option<u64> {
        behind.checked_sub(self.missing).map(|at| at + self.length)
    }

    /// How many bytes of the stream come between the end of `output.log` and what stands at that place in the tail.
    pub fn behind(self, place: u64) -> u64 {
        self.missing + place.saturating_sub(self.length)
    }
}

const AGENT: &str = "[ci-setup-agent] ";
const LEFT_OUT: &str = " bytes left out here";

/// Whether somebody may go on writing to a tail.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Writers {
    /// The script or those whom it left behind.
    Left,
    /// Nobody.
    Gone,
}

/// Writes the last `keep` bytes of a tail of that `length` under its lasting name, behind a line that says
/// how much is missing. Returns the file and the length of that line.
pub(super) fn last_form(
    run: &RunDir,
    tail: &File,
    length: u64,
    keep: u64,
    writers: Writers,
) -> io::Result<(File, u64)> {
    let missing = length.saturating_sub(keep);
    if missing == 0 && writers == Writers::Gone && fs::rename(run.file(GROWING_TAIL), run.file(TAIL)).is_ok() {
        // It is what it will be.
        return Ok((File::open(run.file(TAIL))?, 0));
    }
    let new = run.file("output.tail.log.new");
    let mut file = private(&new).create(true).truncate(true).open(&new)?;
    let mark = Mark::line(missing);
    let mut write = || -> io::Result<()> {
        file.write_all(mark.as_bytes())?;
        let mut from = missing.cast_signed();
        while from.cast_unsigned() < length {
            let left = (length - from.cast_unsigned()) as usize;
            match nix::fcntl::copy_file_range(tail, Some(&mut from), &file, None, left) {
                Ok(0) => break,
                Ok(_) => {}
                Err(Errno::EXDEV | Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP) => {
                    let mut source = tail.try_clone()?;
                    io::Seek::seek(&mut source, io::SeekFrom::Start(from.cast_unsigned()))?;
                    io::copy(&mut Read::take(source, left as u64), &mut file)?;
                    break;
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        fs::rename(&new, run.file(TAIL))
    };
    write().inspect_err(|_| drop(fs::remove_file(&new)))?;
    // Leftovers may go on writing to the other form, which has no name any more.
    let _ = fs::remove_file(run.file(GROWING_TAIL));
    Ok((File::open(run.file(TAIL))?, mark.len() as u64))
}

/// The files of a run's output in their lasting form, also where its recorder was killed before it could
/// see to that. Call it with the run claimed.
///
/// # Errors
/// Those of the local disk.
pub fn settled(run: &RunDir) -> io::Result<(File, Option<File>)> {
    let log = match File::open(run.file(LOG)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => crate::sys::descriptors::memory_file(c"log", b"")?,
        result => result?,
    };
    if let Ok(tail) = File::open(run.file(GROWING_TAIL)) {
        // The log has taken its half before there was a tail, which has the same one.
        let (file, _) = last_form(run, &tail, tail.metadata()?.len(), log.metadata()?.len(), Writers::Gone)?;
        return Ok((log, Some(file)));
    }
    match File::open(run.file(TAIL)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((log, None)),
        result => Ok((log, Some(result?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark_of(content: &str) -> Mark {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content.as_bytes()).unwrap();
        Mark::read(&file).unwrap()
    }

    #[test]
    fn the_line_in_front_tells_where_in_the_stream_a_tail_begins() {
        let line = Mark::line(90);
        let mark = mark_of(&format!("{line}last\n"));
        assert_eq!(mark, Mark { length: line.len() as u64, missing: 90 });
        assert_eq!([0, 89].map(|behind| mark.place_of(behind)), [None, None]);
        for behind in [90, 91, 1000] {
            assert_eq!(mark.place_of(behind).map(|place| mark.behind(place)), Some(behind));
        }
        assert_eq!([0, mark.length].map(|place| mark.behind(place)), [90, 90], "the line stands for what is missing");
    }

    #[test]
    fn what_only_resembles_that_line_is_the_scripts() {
        for content in [
            "",
            "last\n",
            "[ci-setup-agent] hello\n",
            "[ci-setup-agent] 90 bytes lost here: the disk failed\n",
            "[ci-setup-agent] many bytes left out here\n",
            "[ci-setup-agent] 90 bytes left out here: no end",
        ] {
            assert_eq!(mark_of(content), Mark::default(), "{content}");
        }
    }
}
