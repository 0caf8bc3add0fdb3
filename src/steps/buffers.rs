//! The kernel's buffers of one instance: marked, waited for, read.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use nix::fcntl::OFlag;

use super::event::{Event, Formats};
use super::keeper;
use super::ring;
use super::tracefs::Tracefs;

/// Pages read in one go from each processor's buffer, so that a flood cannot hold the caller up.
const MOST_PAGES: usize = 128;

/// A page is 4 KiB unless somebody made the kernel's larger (Linux 6.8 allows 64 KiB).
const PAGE: usize = 64 * 1024;

/// The buffers, one for each processor.
#[derive(Debug)]
pub struct Buffers {
    instance: Tracefs,
    formats: Formats,
    pipe: File,
    processors: Vec<File>,
    // Open from the beginning: to open a file in there takes a lock of the kernel's that somebody else's probes
    // can hold for minutes, where bash's memory cannot be looked at.
    marker: File,
    switch: File,
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

impl Buffers {
    /// Opens those of an instance.
    pub fn open(instance: Tracefs, formats: Formats) -> io::Result<Self> {
        let open = |path: &str| instance.open(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK);
        // Only polled. It stands for all processors, where the raw files stand for one each.
        let pipe = open("trace_pipe")?;
        let processors = instance.names("per_cpu", "cpu")?;
        // A processor that is switched off has no buffer.
        let of_each =
            |file: &str| processors.iter().filter_map(|name| open(&format!("per_cpu/{name}/{file}")).ok()).collect();
        let (pages, counts) = (of_each("trace_pipe_raw"), of_each("stats"));
        let write = |path: &str| instance.open(path, OFlag::O_WRONLY | OFlag::O_APPEND);
        let (marker, switch) = (write("trace_marker")?, write("tracing_on")?);
        let page = vec![0; PAGE];
        Ok(Self { instance, formats, pipe, processors: pages, marker, switch, counts, page, torn: false })
    }

    /// Readable when events wait.
    pub fn poll_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Writes an event of our own.
    pub fn mark(&self) {
        let _ = (&self.marker).write_all(b"now");
    }

    /// Nothing is written into the buffers from now on.
    pub fn stop(&self) {
        let _ = (&self.switch).write_all(b"0");
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

    /// How often an event's probe was hit, whatever its filter did then.
    pub fn hits(&self, event: &str) -> u64 {
        // tracefs has one such list, beside the folder of instances.
        keeper::hits(&self.instance.read("../../uprobe_profile").unwrap_or_default(), None, event)
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
