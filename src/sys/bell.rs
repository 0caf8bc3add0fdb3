//! A bell that one process rings and another one hears: it says that something changed, not what.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// An event descriptor. Neither ringing nor listening blocks; rings that nobody has heard yet are one.
#[derive(Debug)]
pub struct Bell(OwnedFd);

impl Bell {
    /// A new bell, closed on exec.
    ///
    /// # Errors
    /// Where no descriptor can be had.
    pub fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self(EventFd::from_value_and_flags(0, flags)?.into()))
    }

    /// The same bell, for another process.
    ///
    /// # Errors
    /// Where no descriptor can be had.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Rings.
    pub fn ring(&self) {
        let _ = nix::unistd::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Takes note of all rings so far. Whoever looks at what has changed does this first, so that a ring
    /// in between is heard the next time.
    pub fn hush(&self) {
        let _ = nix::unistd::read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
