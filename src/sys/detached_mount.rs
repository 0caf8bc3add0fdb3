//! A file system mounted nowhere: a descriptor is the only way in, so no other process can see it.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::libc;

/// From `linux/mount.h`; libc has no names for them on all targets.
const FSOPEN_CLOEXEC: libc::c_long = 1;
const FSCONFIG_CMD_CREATE: libc::c_long = 6;
const FSMOUNT_CLOEXEC: libc::c_long = 1;

/// Opens the root folder of a file system such as `tracefs` without attaching it to the tree of mounts
/// (fsopen(2), Linux 5.2).
///
/// Reconfiguring is the kernel's habit when a file system with one instance is opened a second time, so
/// callers prefer a mount that exists.
pub fn open(kind: &CStr) -> io::Result<OwnedFd> {
    let context = owned(fsopen(kind))?;
    check(fsconfig_create(context.as_raw_fd()))?;
    owned(fsmount(context.as_raw_fd()))
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[expect(unsafe_code, reason = "a new descriptor from the kernel gets its owner")]
fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    let fd = RawFd::try_from(check(result)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just returned this descriptor to us and to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[expect(unsafe_code, reason = "fsopen(2) has no wrapper in nix")]
fn fsopen(kind: &CStr) -> libc::c_long {
    // SAFETY: `kind` is a string with its NUL, which outlives the call.
    unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) }
}

#[expect(unsafe_code, reason = "fsconfig(2) has no wrapper in nix")]
fn fsconfig_create(context: RawFd) -> libc::c_long {
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: FSCONFIG_CMD_CREATE takes neither key nor value.
    unsafe { libc::syscall(libc::SYS_fsconfig, context, FSCONFIG_CMD_CREATE, none, none, 0) }
}

#[expect(unsafe_code, reason = "fsmount(2) has no wrapper in nix")]
fn fsmount(context: RawFd) -> libc::c_long {
    // SAFETY: plain integers; a wrong descriptor is an error, not undefined.
    unsafe { libc::syscall(libc::SYS_fsmount, context, FSMOUNT_CLOEXEC, 0) }
}
