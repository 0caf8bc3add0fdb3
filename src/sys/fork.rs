//! Processes of the agent's own making.
//!
//! The agent never starts a thread, so a forked child may do all that a fresh process may.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use nix::{
    errno::Errno,
    libc,
    unistd::{ForkResult, Pid},
};

/// Runs `body` in a new process, which ends with the code that `body` returns.
///
/// The child keeps the parent's descriptors and blocked signals. Nothing of the parent's is run at its
/// end: no destructors, no exit handlers.
///
/// # Errors
/// Those of `fork(2)`.
pub fn spawn(body: impl FnOnce() -> i32) -> io::Result<Pid> {
    // SAFETY: the agent is single-threaded (no thread is ever started), so the child's memory, locks
    // and allocator are in a consistent state and it may run any code.
    #[expect(unsafe_code, reason = "fork(2)")]
    let forked = unsafe { nix::unistd::fork() }?;
    match forked {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => run_and_exit(body),
    }
}

/// As [`spawn`], with the new process in the cgroup v2 whose folder `cgroup` is, from its first instruction on.
///
/// A process that is born there does not have to be moved: a move waits for an RCU grace period, some milliseconds.
///
/// # Errors
/// Those of `clone3(2)`: `ENOSYS` before Linux 5.3, `E2BIG` before 5.7, `EBUSY` and others where that cgroup takes
/// nobody in. Nothing has been made then, and `body` comes back.
pub fn spawn_in<Body: FnOnce() -> i32>(cgroup: BorrowedFd<'_>, body: Body) -> Result<Pid, (io::Error, Body)> {
    let arguments = CloneArguments {
        flags: CLONE_INTO_CGROUP,
        exit_signal: libc::SIGCHLD as u64,
        cgroup: cgroup.as_raw_fd() as u64,
        ..CloneArguments::default()
    };
    // SAFETY: without CLONE_VM this is fork(2), with a copy of the stack; as in `spawn`, there is one thread. What the
    // C library's fork does beyond that concerns threads and its handlers, of which there are none.
    #[expect(unsafe_code, reason = "clone3(2) has no wrapper")]
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<CloneArguments>()) };
    match Errno::result(pid) {
        Err(errno) => Err((errno.into(), body)),
        Ok(0) => run_and_exit(body),
        // A pid fits: the kernel's own type for it is an int.
        Ok(pid) => Ok(Pid::from_raw(pid as i32)),
    }
}

/// From `linux/sched.h`; the libc crate has no name for it on all targets.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// The kernel's `struct clone_args`, as long as it was when it learned of cgroups.
#[derive(Default)]
#[repr(C)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

fn run_and_exit(body: impl FnOnce() -> i32) -> ! {
    // A panic must not unwind into the parent's stack frames.
    let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(125);
    exit_now(code)
}

/// Ends this process at once, without destructors and exit handlers.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` has no preconditions.
    #[expect(unsafe_code, reason = "_exit(2)")]
    unsafe {
        libc::_exit(code)
    }
}
