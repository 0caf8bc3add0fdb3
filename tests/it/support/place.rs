//! What a room and a machine have in common.

use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use super::call::{Call, Door, Ran, Spawned};
use super::disk::Disk;
use super::process::Process;

/// Where the share is mounted inside, as the service mounts it for an instance called `ci-1`.
pub const SHARE: &str = "/mnt/batch/tasks/shared/LS_root/mounts/clusters/ci-1/code";

/// Somewhere to run the program under test, which is `/usr/bin/ci-setup-agent` there.
pub trait Place {
    /// The way in, while it runs.
    fn door(&self) -> Option<Door>;
    /// Its disk.
    fn disk(&self) -> &Disk;

    /// A program to start inside, with a say in its user, environment, folder and input.
    fn call<Argument: Into<String>>(&self, arguments: impl IntoIterator<Item = Argument>) -> Call {
        Call::new(self.door().expect("a place that runs: this machine is off"), arguments)
    }

    /// Runs a program as root to its end.
    fn run<Argument: Into<String>>(&self, arguments: impl IntoIterator<Item = Argument>) -> Ran {
        self.call(arguments).run()
    }

    /// Runs a few lines of bash as root to their end.
    fn bash(&self, lines: &str) -> Ran {
        self.run(["bash", "-c", lines])
    }

    /// Starts a program as root.
    fn spawn<Argument: Into<String>>(&self, arguments: impl IntoIterator<Item = Argument>) -> Spawned {
        self.call(arguments).spawn()
    }

    /// Where the test finds a file that is at `inside` in there. Absolute links on the way lead out of the place:
    /// `read` and `write` do not have that trap.
    fn path(&self, inside: impl AsRef<Path>) -> PathBuf {
        // A running place is looked at through process 1, which sees what is mounted inside.
        let root = self.door().map_or(self.disk().root(), |door| format!("/proc/{}/root", door.leader).into());
        root.join(inside.as_ref().strip_prefix("/").expect("an absolute path"))
    }

    /// Writes a file, and makes the folders it is in.
    fn write(&self, inside: impl AsRef<Path>, content: impl AsRef<[u8]>, mode: u32) {
        let inside = inside.as_ref();
        let folder = inside.parent().expect("a file's path");
        if open(&self.path("/"), folder, OFlag::O_PATH).is_err() {
            let folder = self.path(folder);
            fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display()));
        }
        let mut file = open(&self.path("/"), inside, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC)
            .unwrap_or_else(|error| panic!("cannot write {}: {error}", inside.display()));
        file.write_all(content.as_ref()).expect("write");
        file.set_permissions(Permissions::from_mode(mode)).expect("chmod");
    }

    /// A file's text. `None` if there is no such file.
    fn read(&self, inside: impl AsRef<Path>) -> Option<String> {
        let mut file = open(&self.path("/"), inside.as_ref(), OFlag::O_RDONLY).ok()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).expect("read");
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Copies a program or file from the host.
    fn install(&self, from: &Path, inside: impl AsRef<Path>, mode: u32) {
        let to = self.path(inside);
        fs::copy(from, &to).unwrap_or_else(|error| panic!("cannot copy {}: {error}", from.display()));
        fs::set_permissions(to, Permissions::from_mode(mode)).expect("chmod");
    }

    /// The share's server side: the folder that is mounted at [`SHARE`].
    fn share(&self) -> PathBuf {
        self.disk().share()
    }

    /// Everything that runs inside but for process 1, zombies left out.
    fn processes(&self) -> Vec<Process> {
        self.door().map(|door| Process::all_beside(door.leader)).unwrap_or_default()
    }
}

/// Opens a file as somebody inside would: links, absolute ones too, stay within `root`.
fn open(root: &Path, inside: &Path, flags: OFlag) -> nix::Result<File> {
    let root = File::open(root).expect("the root of a place");
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_IN_ROOT);
    let mode = nix::sys::stat::Mode::from_bits_truncate(if flags.contains(OFlag::O_CREAT) { 0o600 } else { 0 });
    openat2(root, inside, how.mode(mode)).map(File::from)
}
