//! Descriptors: pipes, duplicates, and which of them a new program may see.

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    libc,
    sys::stat::{Mode, fchmod},
};

/// The script's output pipe: reading end, writing end, both closed on exec.
///
/// The pipe may be opened anew for writing by every user (`echo x > /dev/stderr` in a
/// `sudo -u azureuser` block does that), for reading by root alone (CONTRACT 4.1).
///
/// # Errors
/// Those of `pipe2(2)` and `fchmod(2)`.
pub fn output_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    /// Large enough that a script seldom waits for its reader, bytes.
    const CAPACITY: i32 = 1 << 20;
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    fchmod(&write, Mode::from_bits_truncate(0o622))?;
    // Only the reading end must not block; O_NONBLOCK belongs to the open file, not to the pipe.
    fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    // A smaller pipe works too: ordinary users may be at their limit.
    let _ = fcntl(&read, FcntlArg::F_SETPIPE_SZ(CAPACITY));
    Ok((read, write))
}

/// Makes `fds` the standard input, output and error of this process.
///
/// # Errors
/// Those of `dup3(2)`.
pub fn install_stdio(fds: [BorrowedFd<'_>; 3]) -> io::Result<()> {
    // Out of the way first: a source may itself be 0, 1 or 2 when the caller had closed them.
    let mut high = Vec::new();
    let mut numbers = fds.map(|fd| fd.as_raw_fd());
    for (fd, number) in fds.into_iter().zip(&mut numbers).filter(|(_, number)| **number <= 2) {
        let copy = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(10))?;
        // SAFETY: fcntl has just made this descriptor for us.
        #[expect(unsafe_code, reason = "taking ownership of a new descriptor")]
        high.push(unsafe { OwnedFd::from_raw_fd(copy) });
        *number = copy;
    }
    for (target, number) in (0..).zip(numbers) {
        // SAFETY: dup2 onto 0, 1 and 2, which no Rust object of this process owns.
        #[expect(unsafe_code, reason = "dup2(2) onto the standard descriptors")]
        Errno::result(unsafe { libc::dup2(number, target) })?;
    }
    Ok(())
}

/// Marks every descriptor from 3 up to be closed on exec, those that a caller left open included.
pub fn close_others_on_exec() {
    if close_range(3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC).is_ok() {
        return;
    }
    // Before Linux 5.11: one by one.
    for number in open_descriptors() {
        // SAFETY: F_SETFD on a number that may be closed by now fails with EBADF and does nothing.
        #[expect(unsafe_code, reason = "fcntl(2) on descriptors that nobody here owns")]
        unsafe {
            libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC);
        }
    }
}

/// Closes every descriptor from 3 up but `kept`: a child of the agent's must not hold a lock or the end of a
/// channel that it knows nothing of.
///
/// Only for a freshly forked child, which never drops the objects whose descriptors are closed here.
pub fn close_all_but(kept: &[BorrowedFd<'_>]) {
    let mut kept: Vec<u32> =
        kept.iter().map(|fd| fd.as_raw_fd().cast_unsigned()).filter(|number| *number > 2).collect();
    kept.sort_unstable();
    let mut first = 3;
    let mut is_done = true;
    for number in kept.iter().copied().chain([u32::MAX]) {
        is_done &= first >= number || close_range(first, number - 1, 0).is_ok();
        first = number.saturating_add(1);
    }
    if is_done {
        return;
    }
    // Before Linux 5.9: one by one.
    for number in open_descriptors().into_iter().filter(|number| !kept.contains(&number.cast_unsigned())) {
        // SAFETY: the owners of these descriptors are never used or dropped in this process.
        #[expect(unsafe_code, reason = "close(2) of descriptors whose owners were left behind by fork")]
        unsafe {
            libc::close(number);
        }
    }
}

/// Closes the descriptors from `first` to `last`, or does with them what `flags` say.
fn close_range(first: u32, last: u32, flags: u32) -> Result<(), Errno> {
    // SAFETY: whoever calls this owns none of these descriptors, or never uses their owners again.
    #[expect(unsafe_code, reason = "close_range(2) has no wrapper in nix")]
    Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) }).map(drop)
}

/// The numbers from 3 up that are open in this process.
fn open_descriptors() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|number| *number > 2).collect()
}

/// Closes a descriptor whose owner belongs to the parent of this freshly forked child: the other end must be
/// able to see that the parent is gone.
pub fn close_inherited(fd: BorrowedFd<'_>) {
    // SAFETY: the owner is never used or dropped in this process, which ends by `_exit`.
    #[expect(unsafe_code, reason = "close(2) of a descriptor whose owner was left behind by fork")]
    unsafe {
        libc::close(fd.as_raw_fd());
    }
}

/// An anonymous file in memory that holds `content`, at offset 0: how a document is handed to a process
/// that may not open the file itself.
///
/// # Errors
/// Those of `memfd_create(2)` and `write(2)`.
pub fn memory_file(name: &std::ffi::CStr, content: &[u8]) -> io::Result<File> {
    use std::io::{Seek, Write};
    let fd = nix::sys::memfd::memfd_create(name, nix::sys::memfd::MFdFlags::MFD_CLOEXEC)?;
    let mut file = File::from(fd);
    file.write_all(content)?;
    file.rewind()?;
    Ok(file)
}

/// Takes over a descriptor that this process received in a message.
pub(super) fn adopt(fd: i32) -> OwnedFd {
    // SAFETY: recvmsg has installed this descriptor for us; the caller hands each number in once.
    #[expect(unsafe_code, reason = "taking ownership of a received descriptor")]
    unsafe {
        OwnedFd::from_raw_fd(fd)
    }
}

/// Opens `/dev/null` for reading and writing.
///
/// # Errors
/// Those of `open(2)`.
pub fn null() -> io::Result<File> {
    File::options().read(true).write(true).open("/dev/null")
}
