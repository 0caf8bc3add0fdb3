//! The script's output on the agent's own standard output, as it comes.
//!
//! A process of its own reads the spool and writes to the caller: a caller that stops reading, or whose
//! output is a file on a dead share, holds up nobody but this process.

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
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{signal::Signal, wait::WaitPidFlag},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

use crate::sys::{
    bell::Bell,
    channel::{self, Channel, Received},
    descriptors, fork, signals,
};

/// The process that writes to the caller, as the front sees it.
#[derive(Debug)]
pub struct Passthrough {
    pid: Pid,
    channel: Channel<End, Done>,
}

/// There will be no more than this; the descriptor that comes along is the tail of too long an output.
#[derive(Debug, Serialize, Deserialize)]
struct End {}

/// All of it was written.
#[derive(Debug, Serialize, Deserialize)]
struct Done {}

impl Passthrough {
    /// Starts passing `log` through to standard output. `bell` rings when that has grown.
    ///
    /// # Errors
    /// Where no process can be made.
    pub fn start(log: File, bell: Bell) -> io::Result<Self> {
        let (ours, theirs) = channel::pair::<End, Done>()?;
        let pid = fork::spawn(|| {
            descriptors::close_all_but(&[theirs.as_fd(), log.as_fd(), bell.as_fd()]);
            let _ = nix::sys::prctl::set_name(c"ci-setup:pass");
            // Ctrl-C is for the front to answer: the output goes on until the run has ended.
            for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
                signals::ignore(signal);
            }
            // A reader that is gone ends this process, and nothing else.
            i32::from(pass(&log, &bell, &theirs).is_err())
        })?;
        Ok(Self { pid, channel: ours })
    }

    /// Says that the log has reached its end, and how it goes on in the tail.
    pub fn end(&self, tail: Option<&File>) {
        self.channel.send(&End {}, tail.map(AsFd::as_fd));
    }

    /// The process.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Readable when everything was written or the reader is gone.
    pub fn poll_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    /// Ends the process if it has not ended: the caller would wait for the end of the output otherwise.
    pub fn stop(self) {
        let _ = nix::sys::signal::kill(self.pid, Signal::SIGKILL);
        let _ = nix::sys::wait::waitpid(self.pid, Some(WaitPidFlag::WNOHANG));
    }
}

fn pass(log: &File, bell: &Bell, channel: &Channel<Done, End>) -> io::Result<()> {
    let mut at = 0;
    loop {
        // First the notice, then the look: what comes in between rings again.
        bell.hush();
        let end = match channel.receive() {
            Received::Message(End {}, tail) => Some(tail),
            Received::Nothing => None,
            // The front is gone, and with it whoever wanted to see this.
            Received::Closed => return Ok(()),
        };
        copy(log, &mut at)?;
        if let Some(tail) = end {
            if let Some(tail) = tail {
                copy(&File::from(tail), &mut 0)?;
            }
            channel.send(&Done {}, None);
            return Ok(());
        }
        let mut polls = [PollFd::new(bell.as_fd(), PollFlags::POLLIN), PollFd::new(channel.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polls, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Writes what `from` has beyond `at`.
fn copy(from: &File, at: &mut u64) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = from.read_at(&mut buffer, *at)?;
        if count == 0 {
            return Ok(());
        }
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            match nix::unistd::write(io::stdout().as_fd(), rest) {
                Ok(written) => {
                    rest = &rest[written..];
                    *at += written as u64;
                }
                Err(Errno::EINTR) => {}
                // The caller made its end non-blocking: wait as a blocking write would.
                Err(Errno::EAGAIN) => {
                    let stdout = io::stdout();
                    let _ = poll(&mut [PollFd::new(stdout.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE);
                }
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}
