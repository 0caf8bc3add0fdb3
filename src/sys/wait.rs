//! Collecting dead children.

use nix::{errno::Errno, libc, sys::wait::WaitStatus, unistd::Pid};

/// The next child that has died, without waiting for one.
///
/// nix's `waitpid` fails for a child that died by a real-time signal, after it has buried it: the exit of a
/// script would be lost. Here such an end is told as the exit code that a shell makes of it, 128 + N.
///
/// # Errors
/// `ECHILD` where there is no child at all.
pub fn next_dead() -> nix::Result<WaitStatus> {
    let mut raw = 0;
    // SAFETY: waitpid(2) writes one int to `raw`.
    #[expect(unsafe_code, reason = "waitpid(2)")]
    let pid = unsafe { libc::waitpid(-1, &raw mut raw, libc::WNOHANG) };
    if Errno::result(pid)? == 0 {
        return Ok(WaitStatus::StillAlive);
    }
    let pid = Pid::from_raw(pid);
    let by_real_time_signal = || WaitStatus::Exited(pid, 128 + libc::WTERMSIG(raw));
    Ok(WaitStatus::from_raw(pid, raw).unwrap_or_else(|_| by_real_time_signal()))
}
