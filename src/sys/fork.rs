//! Processes of the agent's own making.
//!
//! The agent never starts a thread, so a forked child may do all that a fresh process may.

use std::io;

use nix::unistd::{ForkResult, Pid};

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
        ForkResult::Child => {
            // A panic must not unwind into the parent's stack frames.
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(125);
            exit_now(code)
        }
    }
}

/// Ends this process at once, without destructors and exit handlers.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` has no preconditions.
    #[expect(unsafe_code, reason = "_exit(2)")]
    unsafe {
        nix::libc::_exit(code)
    }
}
