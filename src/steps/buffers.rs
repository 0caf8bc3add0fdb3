//! The kernel's buffers of one instance: marked, waited for, read.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};

use super::event::{Event, Formats};
use super::ring;
use super::tracefs::Tracefs;

/// Pages read in one go from each processor's buffer, so that a flood cannot hold the caller up.
const MOST_PAGES: usize = 128;

/// A page is 4 KiB unless somebody made the kernel's larger (Linux 6.8 allows 64 KiB).
const PAGE: usize = 64 * 1024;

/// The buffers, one for each processor.
#[derive(Debug)]
pub struct Buffers {
    formats: Formats,
    // Opened by the keeper, which closes them after us: an open, and a last close, take locks of the kernel's that
    // somebody's probes can hold for minutes. To read, to poll and to write the marker take none of them.
    pipe: File,
    processors: Vec<File>,
    marker: File,
    counts: Vec<File>,
    page: Vec<u8>,
    torn: bool,
}

/// Whether the kernel's buffers were read to their ends.
#[derive(Clone, Copy, Debug)]
pub enum Drained {
    /// They were.
    Wholly,
    /// A flood: there is more.
    Partly,
}

/// What a file of an instance is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// It is polled. It stands for all processors, where the raw files stand for one each.
    Pipe,
    /// The events of one processor.
    Pages,
    /// How many of them were lost.
    Counts,
    /// It is written to see how far the reading goes.
    Marker,
}

impl Buffers {
    /// Opens those of an instance.
    pub fn open(instance: &Tracefs, opened: &mut Vec<(Purpose, File)>) -> io::Result<()> {
        let open = |path: &str| instance.open(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK);
        opened.push((Purpose::Pipe, open("trace_pipe")?));
        for name in instance.names("per_cpu", "cpu")? {
            // A processor that is switched off has no buffer.
            for (purpose, file) in [(Purpose::Pages, "trace_pipe_raw"), (Purpose::Counts, "stats")] {
                opened.extend(open(&format!("per_cpu/{name}/{file}")).ok().map(|file| (purpose, file)));
            }
        }
        opened.push((Purpose::Marker, instance.open("trace_marker", OFlag::O_WRONLY | OFlag::O_APPEND)?));
        Ok(())
    }

    /// Those files put to their purposes; `None` where one is missing.
    pub fn new(opened: Vec<(Purpose, File)>, formats: Formats) -> Option<Self> {
        let (mut pipe, mut marker, mut processors, mut counts) = (None, None, Vec::new(), Vec::new());
        for (purpose, file) in opened {
            match purpose {
                Purpose::Pipe => pipe = Some(file),
                Purpose::Pages => processors.push(file),
                Purpose::Counts => counts.push(file),
                Purpose::Marker => marker = Some(file),
            }
        }
        let (pipe, marker) = (pipe?, marker?);
        Some(Self { formats, pipe, processors, marker, counts, page: vec![0; PAGE], torn: false })
    }

    /// Readable when events wait.
    pub fn poll_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Writes an event of our own.
    pub fn mark(&self) {
        let _ = (&self.marker).write_all(b"now");
    }

    /// Some pages were not understood.
    pub fn torn(&self) -> bool {
        self.torn
    }

    /// Moves events from the kernel's buffers to the end of `events`, each processor's in order.
    pub fn read(&mut self, events: &mut Vec<Event>) -> Drained {
        let mut drained = Drained::Wholly;
        for processor in &mut self.processors {
            let mut pages = 0;
            loop {
                if pages == MOST_PAGES {
                    drained = Drained::Partly;
                    break;
                }
                let length = match processor.read(&mut self.page) {
                    Ok(0) => break,
                    Ok(length) => length,
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    // Empty, or a processor that was switched off.
                    Err(_) => break,
                };
                pages += 1;
                let state = ring::read_page(&self.page[..length], |record| {
                    events.extend(self.formats.event(record));
                });
                self.torn |= state.torn;
            }
        }
        drained
    }

    /// How many events the kernel has dropped.
    pub fn lost_events(&self) -> u64 {
        let count = |text: String| -> u64 {
            let lost = text
                .lines()
                .filter_map(|line| line.strip_prefix("dropped events: ").or(line.strip_prefix("overrun: ")));
            lost.filter_map(|number| number.trim().parse::<u64>().ok()).sum()
        };
        let text = |file: &File| {
            let mut text = [0; 1024];
            let length = file.read_at(&mut text, 0).unwrap_or(0);
            String::from_utf8_lossy(&text[..length]).into_owned()
        };
        self.counts.iter().map(text).map(count).sum()
    }
}
