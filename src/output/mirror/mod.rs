//! The mirror: the process that brings a run's output and documents to the share.
//!
//! It is alone with the share. It may hang there in the kernel for ever, and then nobody waits for it:
//! it shares nothing with the others but a channel that never blocks and a descriptor of the spool.

mod documents;
mod folder;
mod pace;
mod process;
mod stream;

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd},
    time::Instant,
};

use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

pub use self::folder::Target;
use self::process::Process;
use crate::{
    request::Warning,
    sys::{
        aside,
        bell::Bell,
        channel::{self, Channel, Received, Sent},
        descriptors, fork,
    },
};

/// What the mirror is told. Each message adds one to the generation it answers with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// The descriptor that comes along is the new content of a small file; older content of that name
    /// need not be written any more.
    Document(String),
    /// The descriptor that comes along is the list of the instance's runs, for the instance's folder.
    List,
    /// The descriptor that comes along is a further large file that will not grow any more.
    Stream(String),
    /// The output has reached its end for now: bring everything over, look at it there, and say so.
    Finish,
}

/// What the mirror tells.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// So many bytes of the output are on the share, in this folder below the share.
    Progress { bytes: u64, folder: String },
    /// All orders up to this generation are carried out, and what they brought was looked at on the share.
    Complete { generation: u64, bytes: u64 },
    /// It reads a long copy back to compare it.
    Looking,
    /// The share refused something; it will be tried again.
    Failing { why: String },
    /// Something the outcome should tell.
    Warning(Warning),
}

/// The mirror as its supervisor sees it: how far it is, and a way to tell it things. Never blocks.
#[derive(Debug)]
pub struct Mirror {
    pid: Pid,
    /// The run's id, for the log; `None` where nothing is to be said there.
    run: Option<String>,
    /// Why the share has refused things since it last took some, as far as the log says.
    outage: Vec<String>,
    /// Bytes that were there when that began.
    bytes_before: u64,
    channel: Option<Channel<Order, Report>>,
    sent: u64,
    complete: u64,
    waiting: Vec<(Order, Option<File>)>,
    /// Whether all that is ordered is to be brought over and looked at, and that is not known to have happened.
    is_finishing: bool,
    /// Bytes of output known to be on the share.
    pub bytes: u64,
    /// The run's folder there, once it exists.
    pub folder: Option<String>,
    /// The last refusal since something was written.
    pub failing: Option<String>,
    /// Told once each.
    pub warnings: Vec<Warning>,
    /// When it last made progress.
    pub moved: Instant,
}

impl Mirror {
    /// Starts a mirror process for the spool file `log`, and rung with `bell` when that has grown.
    ///
    /// # Errors
    /// Where no process can be made.
    pub fn start(target: Target, log: File, bell: Bell) -> io::Result<Self> {
        let (ours, theirs) = channel::pair()?;
        let resumed = target.resume.clone();
        let run = format!("{}-{}", target.word, target.stamp);
        let pid = fork::spawn(|| {
            descriptors::close_all_but(&[theirs.as_fd(), log.as_fd(), bell.as_fd()]);
            aside::detach(c"ci-setup:mirror");
            Process::new(target, theirs, log, bell).run();
            0
        })?;
        Ok(Self {
            pid,
            run: Some(run),
            outage: Vec::new(),
            bytes_before: 0,
            channel: Some(ours),
            sent: 0,
            complete: 0,
            waiting: Vec::new(),
            is_finishing: false,
            bytes: 0,
            folder: resumed,
            failing: None,
            warnings: Vec::new(),
            moved: Instant::now(),
        })
    }

    /// Says nothing in the log: it only tries once more what an earlier one has failed at.
    #[must_use]
    pub fn silent(mut self) -> Self {
        self.run = None;
        self
    }

    /// The process.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Orders a small file to be written, atomically where the share can do that.
    pub fn document(&mut self, name: &str, content: File) {
        self.waiting.retain(|(order, _)| !matches!(order, Order::Document(waiting) if waiting == name));
        self.order(Order::Document(name.into()), Some(content));
    }

    /// Orders the list of the instance's runs to be written, above the run's folder. A file of somebody else's
    /// that bears its name stays, with a warning.
    pub fn list(&mut self, content: File) {
        self.waiting.retain(|(order, _)| !matches!(order, Order::List));
        self.order(Order::List, Some(content));
    }

    /// Orders a further large file.
    pub fn stream(&mut self, name: &str, content: File) {
        self.order(Order::Stream(name.into()), Some(content));
    }

    /// Asks for everything to be brought over and looked at; [`Mirror::is_complete`] tells when it is. What is ordered
    /// before that counts as asked for as well.
    pub fn finish(&mut self) {
        self.is_finishing = true;
        self.order_finish();
        self.push();
    }

    fn order(&mut self, order: Order, content: Option<File>) {
        self.waiting.push((order, content));
        if self.is_finishing {
            // The mirror may have said a moment ago that it is complete. It would have no reason to say so again.
            self.order_finish();
        }
        self.push();
    }

    fn order_finish(&mut self) {
        self.waiting.retain(|(order, _)| !matches!(order, Order::Finish));
        self.waiting.push((Order::Finish, None));
    }

    /// Sends what waits, as far as the mirror takes it.
    fn push(&mut self) {
        while let (Some(channel), Some((order, content))) = (&self.channel, self.waiting.first()) {
            match channel.send(order, content.as_ref().map(AsFd::as_fd)) {
                Sent::Yes => {
                    self.sent += 1;
                    self.waiting.remove(0);
                }
                Sent::Full => return,
                Sent::Closed => self.lose(),
            }
        }
    }

    /// The descriptor to poll, while there is a mirror.
    pub fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        self.channel.as_ref().map(AsFd::as_fd)
    }

    /// Whether the descriptor should be polled for writing too.
    pub fn has_waiting(&self) -> bool {
        self.channel.is_some() && !self.waiting.is_empty()
    }

    /// Takes in what the mirror has told. Returns whether it made progress.
    pub fn pump(&mut self) -> bool {
        self.push();
        let mut moved = false;
        loop {
            let Some(channel) = &self.channel else { return moved };
            match channel.receive() {
                Received::Message(report, _) => {
                    if self.take(report) {
                        (moved, self.moved) = (true, Instant::now());
                    }
                }
                Received::Nothing => return moved,
                Received::Closed => self.lose(),
            }
        }
    }

    /// It has died, of whatever: nobody has let go of it.
    fn lose(&mut self) {
        if let Some(run) = &self.run {
            warn!(run, mirror = self.pid.as_raw(), "mirror lost");
        }
        self.channel = None;
    }

    /// One line for each reason of an outage, however often that is tried and whatever small things succeed in
    /// between: it is over when bytes have come over, or all of it was looked at.
    fn log_failure(&mut self, why: &str) {
        /// Of a share that finds ever new ones.
        const MOST_REASONS: usize = 8;
        let Some(run) = &self.run else { return };
        if self.outage.is_empty() {
            self.bytes_before = self.bytes;
        }
        if self.outage.len() < MOST_REASONS && !self.outage.iter().any(|told| told == why) {
            warn!(run, bytes = self.bytes, why, "mirror failing");
            self.outage.push(why.to_owned());
        }
    }

    fn log_success(&mut self, bytes: u64) {
        if !self.outage.is_empty() {
            info!(run = self.run, bytes, "mirror resumed");
            self.outage.clear();
        }
    }

    fn take(&mut self, report: Report) -> bool {
        match report {
            Report::Progress { bytes, folder } => {
                if let Some(run) = self.run.as_ref().filter(|_| self.folder.as_ref() != Some(&folder)) {
                    info!(run, mirror = self.pid.as_raw(), folder, "mirror has a folder");
                }
                if bytes > self.bytes_before {
                    self.log_success(bytes);
                }
                let moved = bytes > self.bytes || self.failing.is_some();
                (self.bytes, self.folder, self.failing) = (bytes, Some(folder), None);
                moved
            }
            Report::Complete { generation, bytes } => {
                self.log_success(bytes);
                (self.complete, self.bytes, self.failing) = (generation, bytes, None);
                self.is_finishing &= !self.is_complete();
                true
            }
            Report::Looking => true,
            Report::Failing { why } => {
                self.log_failure(&why);
                self.failing = Some(why);
                false
            }
            Report::Warning(warning) => {
                self.warnings.push(warning);
                false
            }
        }
    }

    /// Whether everything ordered so far is on the share and was looked at there.
    pub fn is_complete(&self) -> bool {
        self.waiting.is_empty() && self.sent > 0 && self.complete == self.sent
    }

    /// Whether the process is there to be told things.
    pub fn is_alive(&self) -> bool {
        self.channel.is_some()
    }

    /// Leaves the process behind. It dies at once, or when the share lets go of it; until then the one
    /// operation it hangs in may still happen, and it writes what belongs there.
    pub fn abandon(&mut self) {
        self.channel = None;
        let _ = nix::sys::signal::kill(self.pid, nix::sys::signal::Signal::SIGKILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, time::Duration};

    #[test]
    fn what_is_ordered_while_the_end_of_the_copy_is_on_its_way_to_us_is_looked_at_too() {
        let share = tempfile::tempdir().unwrap();
        let spool = tempfile::NamedTempFile::new().unwrap();
        let target = folder::target(share.path());
        let mut mirror = Mirror::start(target, spool.reopen().unwrap(), Bell::new().unwrap()).unwrap().silent();
        mirror.finish();
        let document = || descriptors::memory_file(c"document", b"content").unwrap();
        mirror.document("first", document());
        let folder = share.path().join("Logs/ci-1/creation/S");
        let wait_for = |what: &mut dyn FnMut() -> bool| {
            let began = Instant::now();
            while !what() {
                assert!(began.elapsed() < Duration::from_secs(60));
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        wait_for(&mut || folder.join("first").exists());
        // By now it has most likely said that it is complete, and we have not heard it.
        std::thread::sleep(Duration::from_millis(200));
        mirror.document("second", document());
        wait_for(&mut || mirror.pump() && mirror.is_complete());
        assert_eq!(fs::read(folder.join("second")).unwrap(), b"content");
        mirror.abandon();
    }
}
