//! The reading end of a pipe that is never polled.
//!
//! Once a pipe has been polled, each write to it looks for sleepers, for the rest of the pipe's life (`poll_usage` in
//! the kernel's fs/pipe.c): a fifth of what a short write takes, and the script pays it. So the news that an empty
//! pipe has been written to comes as SIGIO, and while it is read anyway, not at all.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    libc,
};

/// A pipe's reading end.
#[derive(Debug)]
pub struct Inflow {
    pipe: OwnedFd,
    is_watched: bool,
}

impl Inflow {
    /// Takes over a reading end that does not block. SIGIO goes to this process, which should listen to it.
    ///
    /// # Errors
    /// Those of `fcntl(2)`.
    pub fn new(pipe: OwnedFd) -> io::Result<Self> {
        let owner = std::process::id().cast_signed();
        // SAFETY: F_SETOWN takes a number and only says whom the kernel sends signals to.
        #[expect(unsafe_code, reason = "F_SETOWN has no wrapper in nix")]
        Errno::result(unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETOWN, owner) })?;
        Ok(Self { pipe, is_watched: false })
    }

    /// Whether SIGIO will tell of the next write, and of the end.
    pub fn is_watched(&self) -> bool {
        self.is_watched
    }

    /// Has SIGIO tell of the next write. What came before is not told: look once more after this.
    pub fn watch(&mut self) {
        self.set(true);
    }

    /// Lets writes go by without a word.
    pub fn ignore(&mut self) {
        self.set(false);
    }

    fn set(&mut self, is_watched: bool) {
        let mut flags = OFlag::O_NONBLOCK;
        flags.set(OFlag::O_ASYNC, is_watched);
        if self.is_watched != is_watched && fcntl(&self.pipe, FcntlArg::F_SETFL(flags)).is_ok() {
            self.is_watched = is_watched;
        }
    }
}

impl AsFd for Inflow {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::{
        signal::Signal,
        wait::{WaitStatus, waitpid},
    };

    use super::*;
    use crate::sys::{descriptors, fork, signals};

    #[test]
    fn a_write_to_the_empty_pipe_and_its_end_are_told_and_nothing_else() {
        // In a process of one thread: the signal goes to any that has not blocked it.
        let child = fork::spawn(|| {
            let listener = signals::listen(&[Signal::SIGIO]).unwrap();
            let (read, write) = descriptors::output_pipe().unwrap();
            let mut inflow = Inflow::new(read).unwrap();
            let is_told = || signals::next(&listener).is_some();
            nix::unistd::write(&write, b"before").unwrap();
            assert!(!is_told());
            nix::unistd::read(&inflow, &mut [0; 10]).unwrap();
            inflow.watch();
            assert!(!is_told());
            nix::unistd::write(&write, b"after").unwrap();
            assert!(is_told());
            inflow.ignore();
            nix::unistd::write(&write, b"more").unwrap();
            assert!(!is_told());
            inflow.watch();
            drop(write);
            assert!(is_told());
            0
        });
        assert!(matches!(waitpid(child.unwrap(), None), Ok(WaitStatus::Exited(_, 0))));
    }
}
