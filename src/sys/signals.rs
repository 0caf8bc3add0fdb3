//! Signals of this process, and the clean slate for the script's.

use std::io;

use nix::{
    libc,
    sys::{
        signal::{SigSet, SigmaskHow, Signal, sigprocmask},
        signalfd::{SfdFlags, SignalFd},
    },
};

/// Blocks `signals` and returns the descriptor they are read from instead. It is closed on exec.
///
/// # Errors
/// Those of `signalfd(2)`.
pub fn listen(signals: &[Signal]) -> io::Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in signals {
        set.add(*signal);
    }
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?;
    Ok(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

/// Takes the next signal that waits, with the pid that sent it (0 for the kernel).
pub fn next(from: &SignalFd) -> Option<(Signal, u32)> {
    let info = from.read_signal().ok().flatten()?;
    let signal = Signal::try_from(info.ssi_signo.cast_signed()).ok()?;
    Some((signal, info.ssi_pid))
}

/// Gives every signal its default disposition and unblocks all: what a caller ignored or blocked
/// (`nohup`, a Python parent that ignores SIGPIPE) must not reach the script.
pub fn reset() {
    for number in 1..=libc::SIGRTMAX() {
        // SAFETY: SIG_DFL runs no code of ours; for SIGKILL, SIGSTOP and the two signals that the C
        // library keeps for itself the call fails and changes nothing.
        #[expect(unsafe_code, reason = "signal(2) with numbers that nix's Signal does not name")]
        unsafe {
            libc::signal(number, libc::SIG_DFL);
        }
    }
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
}

/// Ignores `signal` from now on.
pub fn ignore(signal: Signal) {
    // SAFETY: SIG_IGN runs no code of ours.
    #[expect(unsafe_code, reason = "signal(2)")]
    let _ = unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigIgn) };
}
