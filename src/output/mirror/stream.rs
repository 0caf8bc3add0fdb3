//! One large file on its way to the share: the spool, or the tail of an output that was too long.

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt, MetadataExt},
    time::{Duration, Instant},
};

use super::folder::{Folder, sync};

/// The most bytes in one write, and the amount from which a write need not wait for its turn.
const PIECE: u64 = 1 << 20;

/// FUSE makes two requests of a write that does not begin on a page. So each begins on one, and brings a few
/// bytes once more that are there already.
const PAGE: u64 = 4096;

/// Up to here all of a copy is compared at the end. Of a longer one where nothing went wrong on the way it
/// is the last part; where something did, everything is.
const ALL_COMPARED: u64 = 32 << 20;
const TAIL_COMPARED: u64 = 8 << 20;

/// A source, and how far its copy is.
#[derive(Debug)]
pub(super) struct Stream {
    /// Its name on the share.
    pub(super) name: String,
    source: File,
    copy: Option<File>,
    /// Bytes that were written.
    at: u64,
    /// Bytes that were written and taken note of.
    synced: u64,
    needs_sync: bool,
    /// Whether the share took less than it was given: the rest does not wait for a turn.
    is_short: bool,
    /// Whether something happened that casts doubt on all that was written.
    is_doubtful: bool,
    /// How long the source was when all of it was last asked for.
    goal: u64,
    /// The length that was looked at on the share and found right.
    verified: Option<u64>,
}

/// What a stream wants to do next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Want {
    /// Nothing: all of it is there.
    Nothing,
    /// Write what is missing of what was asked for.
    WriteAtOnce,
    /// Write a whole piece, of so many that are there.
    WriteWhole(u64),
    /// Write something small.
    Write,
    /// Have the share take note.
    Sync,
}

impl Stream {
    pub(super) fn new(name: &str, source: File) -> Self {
        Self {
            name: name.into(),
            source,
            copy: None,
            at: 0,
            synced: 0,
            needs_sync: false,
            is_short: false,
            is_doubtful: false,
            goal: 0,
            verified: None,
        }
    }

    /// All that is there now is asked for.
    pub(super) fn set_goal(&mut self) {
        self.goal = self.source.metadata().map_or(self.goal, |found| found.len());
    }

    /// What there is to do.
    pub(super) fn want(&self) -> io::Result<Want> {
        let pending = self.pending()?;
        Ok(match pending {
            0 if self.needs_sync => Want::Sync,
            0 => Want::Nothing,
            _ if self.is_short || self.at < self.goal => Want::WriteAtOnce,
            _ if pending >= self.room() => Want::WriteWhole(1 + (pending - self.room()) / PIECE),
            _ => Want::Write,
        })
    }

    /// When to see again whether a whole piece has come together: soon where much of one has.
    pub(super) fn fills_after(&self) -> io::Result<Duration> {
        const SOON: Duration = Duration::from_millis(100);
        Ok(if self.pending()? >= PIECE / 4 { SOON } else { Duration::MAX })
    }

    /// Bytes not yet written.
    fn pending(&self) -> io::Result<u64> {
        Ok(self.source.metadata()?.len().saturating_sub(self.at))
    }

    /// The most new bytes in the next write.
    fn room(&self) -> u64 {
        PIECE - self.at % PAGE
    }

    /// Bytes that are known to be on the share.
    pub(super) fn known(&self) -> u64 {
        self.synced
    }

    /// The share failed: the file is opened anew, and then all of it is compared.
    pub(super) fn doubt(&mut self) {
        self.copy = None;
        self.is_doubtful = true;
        self.verified = None;
    }

    /// Lets go of the copy; it is opened anew before the next piece.
    pub(super) fn close(&mut self) {
        self.copy = None;
    }

    /// Doubts everything where the copy is not as long as what was written: somebody else was there.
    pub(super) fn doubt_if_resized(&mut self) -> io::Result<()> {
        if let Some(copy) = &self.copy
            && copy.metadata()?.len() != self.at
        {
            self.doubt();
        }
        Ok(())
    }

    /// Writes the next piece.
    pub(super) fn write(&mut self, folder: &Folder, buffer: &mut Vec<u8>, alive: &dyn Fn()) -> io::Result<()> {
        self.open(folder, alive)?;
        let Some(copy) = &self.copy else { return Ok(()) };
        let pending = self.pending()?;
        if pending == 0 {
            return Ok(());
        }
        // Where the share takes only parts, those bytes may be all that it takes.
        let start = if self.is_short { self.at } else { self.at - self.at % PAGE };
        let length = (self.at + pending - start).min(PIECE);
        buffer.resize(length as usize, 0);
        self.source.read_exact_at(buffer, start)?;
        // Not by O_APPEND, which FUSE clients of SMB do not know.
        let written = copy.write_at(buffer, start)? as u64;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        if written == PIECE {
            // Under way to the disk already when the share is asked to take note of it.
            start_writeback(copy, start, written);
        }
        self.at = self.at.max(start + written);
        self.is_short = written < length;
        self.needs_sync = true;
        Ok(())
    }

    /// Has the share take note of what was written.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if let Some(copy) = &self.copy {
            if self.needs_sync {
                sync(copy)?;
            }
            self.needs_sync = false;
            self.synced = self.at;
        }
        Ok(())
    }

    /// Opens the copy. One that is there already is compared with the source from its beginning, and
    /// writing goes on at the first difference.
    fn open(&mut self, folder: &Folder, alive: &dyn Fn()) -> io::Result<()> {
        if self.copy.is_some() {
            return Ok(());
        }
        let (copy, is_new) = folder.file(&self.name)?;
        let length = self.source.metadata()?.len();
        self.at = if is_new { 0 } else { self.first_difference(&copy, 0, length, alive)? };
        // What is longer than it should be would look so at every turn.
        if !is_new && self.at == length && copy.metadata()?.len() > length {
            copy.set_len(length)?;
        }
        self.synced = self.synced.min(self.at);
        self.needs_sync = true;
        self.is_short = false;
        self.copy = Some(copy);
        Ok(())
    }

    /// Looks at the share, through a handle opened anew, whether the copy is what it should be. If not,
    /// writing goes on at the first difference.
    ///
    /// The share may have been truncated, replaced, or may have lost writes that it had accepted.
    pub(super) fn verify(&mut self, folder: &Folder, alive: &dyn Fn()) -> io::Result<bool> {
        self.open(folder, alive)?;
        if self.at < self.goal {
            return Ok(false);
        }
        if self.verified.is_some_and(|verified| verified >= self.goal) {
            return Ok(true);
        }
        let (fresh, _) = folder.file(&self.name)?;
        // What this machine has cached says nothing about the server.
        let _ = nix::fcntl::posix_fadvise(&fresh, 0, 0, nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED);
        let found = fresh.metadata()?;
        let is_same =
            self.copy.as_ref().and_then(|copy| copy.metadata().ok()).is_some_and(|held| held.ino() == found.ino());
        if !is_same {
            self.is_doubtful = true;
        }
        if found.len() > self.at {
            fresh.set_len(self.at)?;
        }
        let is_all = self.is_doubtful || self.goal <= ALL_COMPARED;
        let from = if is_all { 0 } else { self.goal.saturating_sub(TAIL_COMPARED) };
        let right = self.first_difference(&fresh, from, self.goal, alive)?;
        self.copy = Some(fresh);
        // Of an empty copy there is nothing but the name, which the share has.
        self.needs_sync |= self.at > 0;
        if right < self.goal {
            // Everything before is suspect as well, unless it has just been compared.
            self.is_doubtful = true;
            self.at = if from == 0 { right } else { 0 };
            self.synced = self.synced.min(self.at);
            return Ok(false);
        }
        self.sync()?;
        self.is_doubtful = false;
        self.verified = Some(self.goal);
        Ok(true)
    }

    /// The offset, not before `from` and not beyond `until`, up to which the copy equals the source. Says
    /// that it is `alive` now and then: a long copy takes long to read.
    fn first_difference(&self, copy: &File, from: u64, until: u64, alive: &dyn Fn()) -> io::Result<u64> {
        const CHUNK: usize = 128 * 1024;
        const SAY_SO: Duration = Duration::from_millis(500);
        // No more than there is to compare: most copies are small.
        let chunk = usize::try_from(until.saturating_sub(from)).unwrap_or(CHUNK).min(CHUNK);
        let (mut wanted, mut found) = (vec![0; chunk], vec![0; chunk]);
        let (mut at, mut said) = (from, Instant::now());
        while at < until {
            let most = usize::try_from(until - at).unwrap_or(chunk).min(chunk);
            let there = copy.read_at(&mut found[..most], at)?;
            let here = self.source.read_at(&mut wanted[..there], at)?;
            let (wanted, found) = (&wanted[..here], &found[..here]);
            let equal = if wanted == found {
                here
            } else {
                wanted.iter().zip(found).take_while(|(wanted, found)| wanted == found).count()
            };
            at += equal as u64;
            if there == 0 || equal < there {
                break;
            }
            if said.elapsed() >= SAY_SO {
                alive();
                said = Instant::now();
            }
        }
        Ok(at)
    }
}

/// Has the kernel begin to write a part of a file out, and waits for nothing.
fn start_writeback(file: &File, at: u64, length: u64) {
    let (Ok(at), Ok(length)) = (at.try_into(), length.try_into()) else { return };
    // What is written out already also leaves the cache, where nobody needs it any more.
    let _ = nix::fcntl::posix_fadvise(file, at, length, nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED);
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Bench {
        share: tempfile::TempDir,
        spool: tempfile::NamedTempFile,
        folder: Folder,
        stream: Stream,
    }

    fn bench(content: &[u8]) -> Bench {
        let share = tempfile::tempdir().unwrap();
        let target = super::super::folder::target(share.path());
        let folder = Folder::open(&target, super::super::folder::Rights::Users, None, &[]).unwrap();
        let spool = tempfile::NamedTempFile::new().unwrap();
        fs::write(spool.path(), content).unwrap();
        let stream = Stream::new("output.log", File::open(spool.path()).unwrap());
        Bench { share, spool, folder, stream }
    }

    impl Bench {
        fn bring_over(&mut self) {
            self.stream.set_goal();
            while !self.stream.verify(&self.folder, &|| ()).unwrap() {
                self.stream.write(&self.folder, &mut Vec::new(), &|| ()).unwrap();
            }
        }

        fn path(&self) -> std::path::PathBuf {
            self.share.path().join(&self.folder.path).join("output.log")
        }

        fn assert_equal(&self) {
            assert!(fs::read(self.path()).unwrap() == fs::read(self.spool.path()).unwrap());
        }
    }

    fn noise(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i * 2_654_435_761) as u8 ^ (i >> 8) as u8).collect()
    }

    #[test]
    fn a_copy_that_was_truncated_replaced_or_overwritten_is_made_right_again() {
        let mut bench = bench(&noise(3_000_000));
        bench.bring_over();
        bench.assert_equal();
        let path = bench.path();
        let spoil: [&dyn Fn(); 5] = [
            &|| File::options().write(true).open(&path).unwrap().set_len(1_000_000).unwrap(),
            &|| File::options().write(true).open(&path).unwrap().set_len(4_000_000).unwrap(),
            &|| fs::write(&path, noise(10)).unwrap(),
            &|| fs::remove_file(&path).unwrap(),
            &|| File::options().write(true).open(&path).unwrap().write_all_at(&[0; 4096], 1_500_000).unwrap(),
        ];
        for spoil in spoil {
            spoil();
            bench.stream.doubt();
            bench.bring_over();
            bench.assert_equal();
        }
    }

    #[test]
    fn an_earlier_copy_is_continued_where_it_stopped() {
        let mut bench = bench(&noise(2_500_000));
        fs::write(bench.path(), noise(1_200_000)).unwrap();
        bench.stream.write(&bench.folder, &mut Vec::new(), &|| ()).unwrap();
        assert_eq!(bench.stream.at, 1_200_000 + PIECE - 1_200_000 % PAGE);
        bench.bring_over();
        bench.assert_equal();
    }
}
