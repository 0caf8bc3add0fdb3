//! apt and dpkg: whose locks a script would run into (CONTRACT 4).

use std::{fs::File, path::Path};

use nix::{
    fcntl::{FcntlArg, fcntl},
    libc,
};

/// The locks that apt and dpkg take, in the order in which they take them.
pub const LOCKS: [&str; 4] =
    ["/var/lib/apt/lists/lock", "/var/cache/apt/archives/lock", "/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock"];

/// Whether a script's text names apt or dpkg.
pub fn is_named_in(text: &[u8]) -> bool {
    super::words(text).any(|word| {
        let program = word.rsplit('/').next().unwrap_or_default();
        matches!(program, "apt" | "aptitude" | "dpkg" | "add-apt-repository")
            || program.starts_with("apt-")
            || program.starts_with("dpkg-")
    })
}

/// Somebody who holds a lock.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Holder {
    /// Which lock.
    pub lock: &'static str,
    /// Who.
    pub pid: i32,
    /// Its program's name.
    pub program: String,
}

/// Who holds one of the locks at the moment.
pub fn holder() -> Option<Holder> {
    LOCKS.into_iter().find_map(|lock| {
        let file = File::options().read(true).write(true).open(lock).ok()?;
        let mut wanted = whole_file();
        fcntl(&file, FcntlArg::F_GETLK(&mut wanted)).ok()?;
        if i32::from(wanted.l_type) == libc::F_UNLCK {
            return None;
        }
        let name = std::fs::read_to_string(Path::new("/proc").join(wanted.l_pid.to_string()).join("comm"));
        let program = name.map_or_else(|_| "a process that is not visible".into(), |name| name.trim().to_owned());
        Some(Holder { lock, pid: wanted.l_pid, program })
    })
}

/// Waits until each of the locks was free once. It may wait for ever: call it in a process that can be
/// left behind.
pub fn wait_until_free() {
    for lock in LOCKS {
        let Ok(file) = File::options().read(true).write(true).open(lock) else { continue };
        // Closing the file gives the lock back at once.
        let _ = fcntl(&file, FcntlArg::F_SETLKW(&whole_file()));
    }
}

fn whole_file() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_names_apt_as_a_word() {
        for text in [
            "apt-get update",
            "sudo apt install -y x",
            "x=$(dpkg -l)",
            "/usr/bin/apt-get -y upgrade",
            "apt-add-repository x",
        ] {
            assert!(is_named_in(text.as_bytes()), "{text}");
        }
        for text in ["echo captain", "conda install aptly", "pip install adapt"] {
            assert!(!is_named_in(text.as_bytes()), "{text}");
        }
    }
}
