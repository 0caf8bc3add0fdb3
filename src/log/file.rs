//! The file, root's alone, and the few older ones beside it.

use std::{
    ffi::CStr,
    fs::File,
    io::{self, Write},
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open, openat, renameat},
    sys::stat::{Mode, SFlag, fstat, fstatat},
};

use crate::record::state::make_folder;

const NAME: &CStr = c"agent.log";

/// A file that has grown to this becomes `agent.log.1`, bytes: some thousand lines.
const FULL: u64 = 1 << 20;

/// The names of older files, newest first; what is last goes when there is another.
const OLDER: [&CStr; 4] = [c"agent.log.1", c"agent.log.2", c"agent.log.3", c"agent.log.4"];

/// Appends a line, in one write: lines of several processes do not mix.
///
/// # Errors
/// Those of the local disk. `PermissionDenied` where somebody else could lead it astray: `/var/log` belongs to a group
/// on Ubuntu.
pub(super) fn append(folder: &Path, line: &[u8]) -> io::Result<()> {
    let folder = open_folder(folder)?;
    // Not to be held up by a FIFO either.
    let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let mut file = File::from(openat(&folder, NAME, flags | OFlag::O_CLOEXEC, Mode::from_bits_truncate(0o600))?);
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    file.write_all(line)?;
    if found.size() + line.len() as u64 >= FULL {
        rotate(&folder, &file, found.ino())?;
    }
    Ok(())
}

fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let folder = match open(path, flags, Mode::empty()) {
        Err(Errno::ENOENT) => {
            // Of the processes of a first run each may find that there is none, and one makes it.
            make_folder(path)?;
            open(path, flags, Mode::empty())?
        }
        result => result?,
    };
    let found = fstat(&folder)?;
    let is_ours = found.st_uid == nix::unistd::geteuid().as_raw() && found.st_mode & 0o022 == 0;
    if is_ours { Ok(folder) } else { Err(io::ErrorKind::PermissionDenied.into()) }
}

/// Moves all files one name on. Of processes that find it full at the same time one does so.
fn rotate(folder: &OwnedFd, file: &File, inode: u64) -> io::Result<()> {
    if file.try_lock().is_err() {
        return Ok(());
    }
    let current = fstatat(folder, NAME, nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW)?;
    if current.st_ino != inode || SFlag::from_bits_truncate(current.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
        return Ok(());
    }
    let names: Vec<&CStr> = [NAME].into_iter().chain(OLDER).collect();
    for pair in names.windows(2).rev() {
        match renameat(folder, pair[0], folder, pair[1]) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn in_folder(test: impl Fn(&Path)) {
        let above = tempfile::tempdir().unwrap();
        test(&above.path().join("log"));
    }

    #[test]
    fn it_grows_to_five_files_of_a_mebibyte_and_no_further() {
        in_folder(|folder| {
            let mut written = 0;
            while written < 8 * FULL {
                let line = format!("{written:0>65535}\n");
                append(folder, line.as_bytes()).unwrap();
                written += line.len() as u64;
            }
            let mut sizes: Vec<u64> =
                fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().size()).collect();
            sizes.sort_unstable();
            assert_eq!(sizes, [FULL; 4], "just rotated: the newest is not there yet");
            append(folder, b"one more\n").unwrap();
            assert_eq!(fs::read_to_string(folder.join("agent.log")).unwrap(), "one more\n");
            let newest = fs::read_to_string(folder.join("agent.log.1")).unwrap();
            assert!(newest.lines().next_back().unwrap().ends_with(&(8 * FULL - 65536).to_string()));
        });
    }

    #[test]
    fn many_writers_lose_no_line_and_tear_none_when_it_is_full() {
        const EACH: usize = 40;
        in_folder(|folder| {
            let line = |writer: usize, number: usize| format!("{writer} {number:0>16000}\n");
            std::thread::scope(|scope| {
                for writer in 0..4 {
                    scope.spawn(move || {
                        (0..EACH).for_each(|number| append(folder, line(writer, number).as_bytes()).unwrap());
                    });
                }
            });
            let files = fs::read_dir(folder).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
            let mut found: Vec<String> =
                files.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
            let mut written: Vec<String> = (0..4)
                .flat_map(|writer| (0..EACH).map(move |number| line(writer, number).trim_end().to_owned()))
                .collect();
            found.sort();
            written.sort();
            assert!(found == written, "{} lines of {}", found.len(), written.len());
            assert!(folder.join("agent.log.2").exists(), "it was full twice");
        });
    }

    #[test]
    fn of_the_first_lines_of_several_processes_none_is_lost() {
        for _ in 0..200 {
            in_folder(|folder| {
                let together = std::sync::Barrier::new(3);
                std::thread::scope(|scope| {
                    for _ in 0..3 {
                        scope.spawn(|| {
                            together.wait();
                            append(folder, b"line\n").unwrap();
                        });
                    }
                });
                assert_eq!(fs::read_to_string(folder.join("agent.log")).unwrap().lines().count(), 3);
            });
        }
    }

    #[test]
    fn only_its_owner_reads_it() {
        in_folder(|folder| {
            append(folder, b"line\n").unwrap();
            assert_eq!(fs::metadata(folder).unwrap().mode() & 0o777, 0o700);
            assert_eq!(fs::metadata(folder.join("agent.log")).unwrap().mode() & 0o777, 0o600);
        });
    }

    #[test]
    fn it_is_not_led_astray() {
        let elsewhere = tempfile::tempdir().unwrap();
        let target = elsewhere.path().join("target");
        fs::write(&target, "").unwrap();
        in_folder(|folder| {
            std::os::unix::fs::symlink(elsewhere.path(), folder).unwrap();
            append(folder, b"line\n").unwrap_err();
        });
        in_folder(|folder| {
            fs::create_dir(folder).unwrap();
            std::os::unix::fs::symlink(&target, folder.join("agent.log")).unwrap();
            append(folder, b"line\n").unwrap_err();
            fs::remove_file(folder.join("agent.log")).unwrap();
            nix::unistd::mkfifo(&folder.join("agent.log"), Mode::S_IRWXU).unwrap();
            append(folder, b"line\n").unwrap_err();
        });
        in_folder(|folder| {
            fs::create_dir(folder).unwrap();
            fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o770)).unwrap();
            append(folder, b"line\n").unwrap_err();
        });
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1);
        assert_eq!(fs::read_to_string(&target).unwrap(), "");
    }
}
