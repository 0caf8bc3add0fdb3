//! Handles on processes that cannot be reused for another process, unlike pids.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::{errno::Errno, libc, sys::signal::Signal};

/// A process that cannot turn into another one between a look at it and a signal to it.
#[derive(Debug)]
pub struct PidFd(OwnedFd);

impl PidFd {
    /// Opens the process `pid`.
    ///
    /// # Errors
    /// `ESRCH` if there is none, `ENOSYS` before Linux 5.3.
    pub fn open(pid: i32) -> Result<Self, Errno> {
        // SAFETY: pidfd_open takes two integers and touches no memory of ours.
        #[expect(unsafe_code, reason = "pidfd_open(2) has no wrapper in nix")]
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let fd = Errno::result(fd)?;
        let fd = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
        // SAFETY: the kernel has just made this descriptor for us, and nobody else owns it.
        #[expect(unsafe_code, reason = "taking ownership of a new descriptor")]
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Sends a signal to the process.
    ///
    /// # Errors
    /// `ESRCH` if it is gone.
    pub fn signal(&self, signal: Signal) -> Result<(), Errno> {
        let none: *const libc::siginfo_t = std::ptr::null();
        // SAFETY: a null siginfo is allowed and means a plain kill(2).
        #[expect(unsafe_code, reason = "pidfd_send_signal(2) has no wrapper in nix")]
        let done = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, self.0.as_raw_fd(), signal as i32, none, 0) };
        Errno::result(done).map(drop)
    }
}

/// Whether the running kernel has pidfds, for callers that need another way without them.
///
/// # Errors
/// None: any answer but `ENOSYS` counts as yes.
pub fn available() -> bool {
    !matches!(PidFd::open(std::process::id().cast_signed()), Err(Errno::ENOSYS | Errno::EPERM))
}
