//! What was written and not flushed: in memory, over the backing file.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard};

use crate::protocol::{Forgotten, Loss};

enum Change {
    Write { offset: u64, data: Vec<u8> },
    Truncate { size: u64 },
}

struct Pending {
    backing: File,
    changes: Vec<Change>,
}

/// By inode number of the backing file; outlives a mount, as a server outlives its client.
#[derive(Default)]
pub(crate) struct Unflushed {
    files: Mutex<HashMap<u64, Pending>>,
}

impl Unflushed {
    fn files(&self) -> MutexGuard<'_, HashMap<u64, Pending>> {
        self.files.lock().expect("no panic under this lock")
    }

    fn change(&self, inode: u64, backing: impl FnOnce() -> io::Result<File>, change: Change) -> io::Result<()> {
        let mut files = self.files();
        if let Some(pending) = files.get_mut(&inode) {
            pending.changes.push(change);
        } else {
            files.insert(inode, Pending { backing: backing()?, changes: vec![change] });
        }
        Ok(())
    }

    pub(crate) fn write(
        &self,
        inode: u64,
        backing: impl FnOnce() -> io::Result<File>,
        offset: u64,
        data: &[u8],
    ) -> io::Result<()> {
        self.change(inode, backing, Change::Write { offset, data: data.to_vec() })
    }

    pub(crate) fn truncate(&self, inode: u64, backing: impl FnOnce() -> io::Result<File>, size: u64) -> io::Result<()> {
        self.change(inode, backing, Change::Truncate { size })
    }

    /// The size that a client sees, if something of this file is not flushed.
    pub(crate) fn size(&self, inode: u64) -> Option<u64> {
        self.files().get(&inode).and_then(|pending| pending.size().ok())
    }

    /// What a client reads, if something of this file is not flushed.
    pub(crate) fn read(&self, inode: u64, offset: u64, length: usize) -> Option<io::Result<Vec<u8>>> {
        self.files().get(&inode).map(|pending| pending.read(offset, length))
    }

    pub(crate) fn flush(&self, inode: u64) -> io::Result<()> {
        let pending = self.files().remove(&inode);
        pending.map_or(Ok(()), |pending| pending.store())
    }

    pub(crate) fn flush_all(&self) -> io::Result<()> {
        let all = std::mem::take(&mut *self.files());
        all.into_values().try_for_each(|pending| pending.store())
    }

    /// Returns what was lost and whose files it was.
    pub(crate) fn forget(&self, loss: Loss) -> io::Result<(Forgotten, Vec<u64>)> {
        let all = std::mem::take(&mut *self.files());
        let mut forgotten = Forgotten::default();
        let inodes = all.keys().copied().collect();
        for (_, mut pending) in all {
            pending.lose(loss, &mut forgotten);
            pending.store()?;
        }
        Ok((forgotten, inodes))
    }
}

impl Pending {
    fn size(&self) -> io::Result<u64> {
        let backing = self.backing.metadata()?.len();
        Ok(self.changes.iter().fold(backing, |size, change| match change {
            Change::Write { offset, data } => size.max(offset + data.len() as u64),
            Change::Truncate { size } => *size,
        }))
    }

    fn read(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut window = vec![0; length];
        let got = read_full(&self.backing, &mut window, offset)?;
        window[got..].fill(0);
        for change in &self.changes {
            match change {
                Change::Write { offset: at, data } => {
                    let from = offset.max(*at);
                    let to = (offset + length as u64).min(at + data.len() as u64);
                    if from < to {
                        let (from_window, to_window) = ((from - offset) as usize, (to - offset) as usize);
                        window[from_window..to_window].copy_from_slice(&data[(from - at) as usize..(to - at) as usize]);
                    }
                }
                Change::Truncate { size } => {
                    let keep = size.saturating_sub(offset).min(length as u64) as usize;
                    window[keep..].fill(0);
                }
            }
        }
        window.truncate(self.size()?.saturating_sub(offset).min(length as u64) as usize);
        Ok(window)
    }

    fn store(self) -> io::Result<()> {
        for change in &self.changes {
            match change {
                Change::Write { offset, data } => self.backing.write_all_at(data, *offset)?,
                Change::Truncate { size } => self.backing.set_len(*size)?,
            }
        }
        Ok(())
    }

    fn lose(&mut self, loss: Loss, forgotten: &mut Forgotten) {
        let writes: Vec<usize> =
            (0..self.changes.len()).filter(|&at| matches!(self.changes[at], Change::Write { .. })).collect();
        let lost = match loss {
            Loss::Everything => {
                for change in self.changes.drain(..) {
                    forgotten.note(&change);
                }
                return;
            }
            Loss::Last(count) => &writes[writes.len().saturating_sub(count)..],
            Loss::OutOfOrder if writes.len() > 1 => &writes[..1],
            Loss::OutOfOrder => {
                if let Some(Change::Write { offset, data }) = writes.first().map(|&at| &mut self.changes[at]) {
                    let second_half = data.split_off(data.len() / 2);
                    forgotten.writes += 1;
                    forgotten.bytes += data.len() as u64;
                    *offset += data.len() as u64;
                    *data = second_half;
                }
                return;
            }
        };
        for &at in lost.iter().rev() {
            forgotten.note(&self.changes.remove(at));
        }
    }
}

impl Forgotten {
    fn note(&mut self, change: &Change) {
        if let Change::Write { data, .. } = change {
            self.writes += 1;
            self.bytes += data.len() as u64;
        }
    }
}

/// Reads until the window is full or the file ends.
pub(crate) fn read_full(file: &File, window: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut got = 0;
    while got < window.len() {
        match file.read_at(&mut window[got..], offset + got as u64) {
            Ok(0) => break,
            Ok(count) => got += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}
