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
    // A caller that ignores SIGCHLD hands that down, and then the kernel buries our children before we have
    // seen how they ended.
    restore(Signal::SIGCHLD);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?;
    Ok(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

/// Takes the next signal that waits, with the pid that sent it (0 for the kernel).
pub fn next(from: &SignalFd) -> Option<(Signal, u32)> {
    let info = from.read_signal().ok().flatten()?;
    let signal = Signal::try_from(info.ssi_signo.cast_signed()).ok()?;
    Some((signal, info.ssi_pid))
}

/// What a process that died by that signal, or was stopped by it, exits with.
pub fn code_of_signal(signal: Signal) -> u8 {
    u8::try_from(128 + signal as i32).unwrap_or(u8::MAX)
}

/// Gives every signal its default disposition and unblocks all: what a caller ignored or blocked
/// (`nohup`, a Python parent that ignores SIGPIPE) must not reach the script. The two signals that the C
/// library keeps for itself too: it refuses to change them, and programs in other languages do ignore them.
pub fn reset() {
    /// The kernel's `struct sigaction`, all zero: SIG_DFL, no flags, an empty mask.
    const DEFAULT: [u64; 4] = [0; 4];
    /// Bytes in the kernel's signal sets.
    const SET: usize = 8;
    for number in 1..=libc::SIGRTMAX() {
        // SAFETY: rt_sigaction(2) reads `DEFAULT` and writes nothing; SIG_DFL runs no code of ours. For
        // SIGKILL and SIGSTOP the call fails and changes nothing.
        #[expect(unsafe_code, reason = "rt_sigaction(2), which the C library keeps to itself")]
        unsafe {
            let nowhere = std::ptr::null_mut::<u64>();
            libc::syscall(libc::SYS_rt_sigaction, number, DEFAULT.as_ptr(), nowhere, SET);
        }
    }
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
}

/// Gives `signal` its default disposition, whatever the caller has made of it.
pub fn restore(signal: Signal) {
    // SAFETY: SIG_DFL runs no code of ours.
    #[expect(unsafe_code, reason = "signal(2)")]
    let _ = unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigDfl) };
}

/// Ignores `signal` from now on.
pub fn ignore(signal: Signal) {
    // SAFETY: SIG_IGN runs no code of ours.
    #[expect(unsafe_code, reason = "signal(2)")]
    let _ = unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigIgn) };
}
