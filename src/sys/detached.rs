//! A process of its own that its maker can leave behind.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, dup2_stderr, dup2_stdin, dup2_stdout, fork, setsid};

/// Runs `body` in a grandchild: in a session of its own, holding no descriptor of the caller's but
/// `keep` (standard input, output and error are `/dev/null`), deaf to TERM, INT, HUP and PIPE.
///
/// Descriptors matter: a copy of a pipe's writing end or of a locked file that lived on here would keep
/// readers and lock holders waiting after the agent has gone. The grandchild is adopted by the nearest
/// subreaper; whoever that is may meet its end in a `wait`.
pub fn detached(keep: &[BorrowedFd], body: impl FnOnce()) -> nix::Result<()> {
    match fork_single_threaded()? {
        ForkResult::Parent { child } => {
            waitpid(child, None)?;
            Ok(())
        }
        ForkResult::Child => {
            // Any failure from here on ends this process alone; the caller learns of it by the end of file
            // on what `body` was to answer through.
            let _ = setsid();
            if matches!(fork_single_threaded(), Ok(ForkResult::Child)) {
                let mut deaf = SigSet::empty();
                for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGPIPE] {
                    deaf.add(signal);
                }
                let _ = sigprocmask(SigmaskHow::SIG_BLOCK, Some(&deaf), None);
                if leave_descriptors(keep).is_some() {
                    body();
                }
            }
            leave()
        }
    }
}

/// Points 0, 1 and 2 to `/dev/null` and closes everything else but `keep`.
fn leave_descriptors(keep: &[BorrowedFd]) -> Option<()> {
    let null = std::fs::File::options().read(true).write(true).open("/dev/null").ok()?;
    dup2_stdin(&null).ok()?;
    dup2_stdout(&null).ok()?;
    dup2_stderr(&null).ok()?;
    // Collected first: closing changes the folder that is being read.
    let open: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for fd in open {
        if fd > 2 && keep.iter().all(|kept| kept.as_raw_fd() != fd) {
            close_raw(fd);
        }
    }
    std::mem::forget(null);
    Some(())
}

#[expect(unsafe_code, reason = "fork(2)")]
fn fork_single_threaded() -> nix::Result<ForkResult> {
    // SAFETY: the agent has one thread (an invariant of the house), so no lock can be held by a thread
    // that does not exist in the child.
    unsafe { fork() }
}

#[expect(unsafe_code, reason = "close(2) of descriptors that belong to the process before the fork")]
fn close_raw(fd: RawFd) {
    // SAFETY: only called in the grandchild, which ends by `_exit` and so never drops, nor uses, the
    // owners that it inherited; EBADF is harmless.
    unsafe { nix::libc::close(fd) };
}

#[expect(unsafe_code, reason = "_exit(2): no destructor or exit handler of the agent's may run twice")]
fn leave() -> ! {
    // SAFETY: `_exit` has no preconditions and does not return.
    unsafe { nix::libc::_exit(0) }
}
