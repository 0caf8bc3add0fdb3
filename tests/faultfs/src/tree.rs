//! The backing folder: inodes as descriptors (a rename cannot lose them), open files, attributes.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use fuser::{FileAttr, FileType, INodeNo, TimeOrNow};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, RenameFlags, openat, renameat2};
use nix::sys::stat::{FileStat, Mode, SFlag, UtimensatFlags, fstat, mknod, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat};

use crate::protocol::{Changes, Kept, Options};
use crate::unflushed::{Unflushed, read_full};

type Result<T> = std::result::Result<T, Errno>;

/// The kernel's number for the top of a mount.
const TOP: u64 = 1;

struct Node {
    fd: Arc<OwnedFd>,
    lookups: u64,
}

/// One entry of a folder: inode, kind, name.
pub(crate) type Entry = (u64, FileType, OsString);

enum Handle {
    File { file: File, inode: u64 },
    Folder { inode: u64, entries: Vec<Entry> },
}

/// One mount's view of the backing folder; a new mount begins with a new one.
pub(crate) struct Tree {
    backing: PathBuf,
    options: Options,
    unflushed: Arc<Unflushed>,
    nodes: Mutex<HashMap<u64, Node>>,
    handles: Mutex<HashMap<u64, Arc<Handle>>>,
    next_handle: AtomicU64,
}

/// Whose file a new file becomes.
#[derive(Clone, Copy)]
pub(crate) struct Caller {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Tree {
    pub(crate) fn new(backing: &Path, options: &Options, unflushed: Arc<Unflushed>) -> Result<Self> {
        let fd = openat(AT_FDCWD, backing, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        Ok(Tree {
            backing: backing.to_owned(),
            options: options.clone(),
            unflushed,
            nodes: Mutex::new(HashMap::from([(TOP, Node { fd: Arc::new(fd), lookups: 1 })])),
            handles: Mutex::default(),
            next_handle: AtomicU64::new(1),
        })
    }

    fn fd(&self, inode: u64) -> Result<Arc<OwnedFd>> {
        let nodes = self.nodes.lock().expect("no panic under this lock");
        nodes.get(&inode).map(|node| Arc::clone(&node.fd)).ok_or(Errno::ESTALE)
    }

    /// Where the inode is now, relative to the share; the last place if it was removed.
    pub(crate) fn path(&self, inode: u64) -> PathBuf {
        let Ok(fd) = self.fd(inode) else {
            return PathBuf::new();
        };
        let path = fs::read_link(through(&fd)).unwrap_or_default().into_os_string().into_vec();
        let path = path.strip_suffix(b" (deleted)").unwrap_or(&path);
        let path = Path::new(OsStr::from_bytes(path));
        path.strip_prefix(&self.backing).unwrap_or(path).to_owned()
    }

    pub(crate) fn look_up(&self, parent: u64, name: &OsStr) -> Result<FileAttr> {
        let parent = self.fd(parent)?;
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = openat(parent.as_fd(), name, flags, Mode::empty())?;
        let stat = fstat(&fd)?;
        let mut nodes = self.nodes.lock().expect("no panic under this lock");
        let node = nodes.entry(stat.st_ino).or_insert_with(|| Node { fd: Arc::new(fd), lookups: 0 });
        node.lookups += 1;
        drop(nodes);
        Ok(self.attributes(&stat, stat.st_ino))
    }

    pub(crate) fn forget(&self, inode: u64, lookups: u64) {
        let mut nodes = self.nodes.lock().expect("no panic under this lock");
        if let Some(node) = nodes.get_mut(&inode).filter(|_| inode != TOP) {
            node.lookups = node.lookups.saturating_sub(lookups);
            if node.lookups == 0 {
                nodes.remove(&inode);
            }
        }
    }

    pub(crate) fn stat(&self, inode: u64) -> Result<FileAttr> {
        Ok(self.attributes(&fstat(&*self.fd(inode)?)?, inode))
    }

    fn attributes(&self, stat: &FileStat, inode: u64) -> FileAttr {
        let kind = kind_of(stat.st_mode);
        let (mut uid, mut gid, mut perm) = (stat.st_uid, stat.st_gid, (stat.st_mode & 0o7777) as u16);
        if let Some(owner) = &self.options.owner {
            (uid, gid) = (owner.uid, owner.gid);
            perm = if kind == FileType::Directory { owner.dir_mode } else { owner.file_mode };
        }
        let size = self.unflushed.size(inode).unwrap_or(stat.st_size.unsigned_abs());
        FileAttr {
            ino: INodeNo(inode),
            size,
            blocks: size.div_ceil(512),
            atime: time(stat.st_atime, stat.st_atime_nsec),
            mtime: time(stat.st_mtime, stat.st_mtime_nsec),
            ctime: time(stat.st_ctime, stat.st_ctime_nsec),
            crtime: SystemTime::UNIX_EPOCH,
            kind,
            perm,
            nlink: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
            uid,
            gid,
            rdev: u32::try_from(stat.st_rdev).unwrap_or(0),
            blksize: 4096,
            flags: 0,
        }
    }

    pub(crate) fn change_mode(&self, inode: u64, mode: u32) -> Result<()> {
        match self.options.owner.map(|owner| owner.changes) {
            Some(Changes::Ignored) => Ok(()),
            Some(Changes::Refused(errno)) => Err(errno),
            None => {
                let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode & 0o7777);
                done(fs::set_permissions(through(&*self.fd(inode)?), permissions))
            }
        }
    }

    pub(crate) fn change_owner(&self, inode: u64, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        match self.options.owner.map(|owner| owner.changes) {
            Some(Changes::Ignored) => Ok(()),
            Some(Changes::Refused(errno)) => Err(errno),
            None => {
                let fd = self.fd(inode)?;
                fchownat(&*fd, "", uid.map(Uid::from_raw), gid.map(Gid::from_raw), AtFlags::AT_EMPTY_PATH)
            }
        }
    }

    pub(crate) fn change_size(&self, inode: u64, size: u64) -> Result<()> {
        let fd = self.fd(inode)?;
        if self.options.kept == Kept::AtOnce {
            return done(reopen(&fd, true).and_then(|file| file.set_len(size)));
        }
        done(self.unflushed.truncate(inode, || reopen(&fd, true), size))
    }

    pub(crate) fn change_times(&self, inode: u64, atime: Option<TimeOrNow>, mtime: Option<TimeOrNow>) -> Result<()> {
        let path = through(&*self.fd(inode)?);
        utimensat(AT_FDCWD, &path, &spec(atime), &spec(mtime), UtimensatFlags::FollowSymlink)
    }

    pub(crate) fn read_link(&self, inode: u64) -> Result<Vec<u8>> {
        let fd = self.fd(inode)?;
        nix::fcntl::readlinkat(&*fd, "").map(OsString::into_vec)
    }

    fn at(&self, parent: u64, name: &OsStr) -> Result<PathBuf> {
        Ok(through(&*self.fd(parent)?).join(name))
    }

    fn own(&self, path: &Path, caller: Caller) -> Result<()> {
        let (uid, gid) = (Uid::from_raw(caller.uid), Gid::from_raw(caller.gid));
        fchownat(AT_FDCWD, path, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
    }

    pub(crate) fn make_node(
        &self,
        parent: u64,
        name: &OsStr,
        mode: u32,
        rdev: u32,
        caller: Caller,
    ) -> Result<FileAttr> {
        let path = self.at(parent, name)?;
        let kind = SFlag::from_bits_truncate(mode & SFlag::S_IFMT.bits());
        mknod(&path, kind, Mode::from_bits_truncate(mode & 0o7777), u64::from(rdev))?;
        self.own(&path, caller)?;
        self.look_up(parent, name)
    }

    pub(crate) fn make_folder(&self, parent: u64, name: &OsStr, mode: u32, caller: Caller) -> Result<FileAttr> {
        let path = self.at(parent, name)?;
        nix::unistd::mkdir(&path, Mode::from_bits_truncate(mode & 0o7777))?;
        self.own(&path, caller)?;
        self.look_up(parent, name)
    }

    pub(crate) fn make_symlink(&self, parent: u64, name: &OsStr, target: &Path, caller: Caller) -> Result<FileAttr> {
        if !self.options.symlinks {
            return Err(Errno::EOPNOTSUPP);
        }
        let path = self.at(parent, name)?;
        done(std::os::unix::fs::symlink(target, &path))?;
        self.own(&path, caller)?;
        self.look_up(parent, name)
    }

    pub(crate) fn make_link(&self, inode: u64, parent: u64, name: &OsStr) -> Result<FileAttr> {
        if !self.options.hard_links {
            return Err(Errno::EOPNOTSUPP);
        }
        let (fd, folder) = (self.fd(inode)?, self.fd(parent)?);
        nix::unistd::linkat(AT_FDCWD, &through(&fd), &*folder, name, AtFlags::AT_SYMLINK_FOLLOW)?;
        self.look_up(parent, name)
    }

    fn refuse_if_open(&self, parent: u64, name: &OsStr, refusal: Option<Errno>) -> Result<()> {
        let Some(errno) = refusal else {
            return Ok(());
        };
        let Ok(target) = nix::sys::stat::lstat(&self.at(parent, name)?) else {
            return Ok(());
        };
        let handles = self.handles.lock().expect("no panic under this lock");
        let open = |handle: &Arc<Handle>| matches!(&**handle, Handle::File { inode, .. } if *inode == target.st_ino);
        if handles.values().any(open) { Err(errno) } else { Ok(()) }
    }

    pub(crate) fn remove_file(&self, parent: u64, name: &OsStr) -> Result<()> {
        self.refuse_if_open(parent, name, self.options.unlink_open)?;
        done(fs::remove_file(self.at(parent, name)?))
    }

    pub(crate) fn remove_folder(&self, parent: u64, name: &OsStr) -> Result<()> {
        done(fs::remove_dir(self.at(parent, name)?))
    }

    pub(crate) fn rename(&self, from: (u64, &OsStr), to: (u64, &OsStr), flags: u32) -> Result<()> {
        self.refuse_if_open(to.0, to.1, self.options.rename_over_open)?;
        let flags = RenameFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
        renameat2(&*self.fd(from.0)?, from.1, &*self.fd(to.0)?, to.1, flags)
    }

    fn keep(&self, handle: Handle) -> u64 {
        let number = self.next_handle.fetch_add(1, Ordering::Relaxed);
        self.handles.lock().expect("no panic under this lock").insert(number, Arc::new(handle));
        number
    }

    fn handle(&self, number: u64) -> Result<Arc<Handle>> {
        let handles = self.handles.lock().expect("no panic under this lock");
        handles.get(&number).cloned().ok_or(Errno::EBADF)
    }

    pub(crate) fn open(&self, inode: u64, flags: i32) -> Result<u64> {
        let writes = flags & nix::libc::O_ACCMODE != nix::libc::O_RDONLY;
        let file = reopen(&*self.fd(inode)?, writes).map_err(errno_of)?;
        Ok(self.keep(Handle::File { file, inode }))
    }

    pub(crate) fn create(
        &self,
        parent: u64,
        name: &OsStr,
        mode: u32,
        flags: i32,
        caller: Caller,
    ) -> Result<(FileAttr, u64)> {
        let made = self.make_node(parent, name, mode & 0o7777 | SFlag::S_IFREG.bits(), 0, caller);
        let attributes = match made {
            Err(Errno::EEXIST) if flags & nix::libc::O_EXCL == 0 => self.look_up(parent, name)?,
            made => made?,
        };
        let handle = self.open(attributes.ino.0, flags)?;
        Ok((attributes, handle))
    }

    pub(crate) fn read(&self, handle: u64, offset: u64, length: usize) -> Result<Vec<u8>> {
        let handle = self.handle(handle)?;
        let Handle::File { file, inode } = &*handle else {
            return Err(Errno::EISDIR);
        };
        if let Some(read) = self.unflushed.read(*inode, offset, length) {
            return read.map_err(errno_of);
        }
        let mut window = vec![0; length];
        let got = read_full(file, &mut window, offset).map_err(errno_of)?;
        window.truncate(got);
        Ok(window)
    }

    pub(crate) fn write(&self, handle: u64, offset: u64, data: &[u8]) -> Result<()> {
        let handle = self.handle(handle)?;
        let Handle::File { file, inode } = &*handle else {
            return Err(Errno::EISDIR);
        };
        if self.options.kept == Kept::AtOnce {
            return done(file.write_all_at(data, offset));
        }
        done(self.unflushed.write(*inode, || file.try_clone(), offset, data))
    }

    pub(crate) fn sync(&self, inode: u64) -> Result<()> {
        done(self.unflushed.flush(inode))
    }

    pub(crate) fn flush(&self, inode: u64) -> Result<()> {
        if self.options.kept == Kept::AtClose { self.sync(inode) } else { Ok(()) }
    }

    pub(crate) fn release(&self, handle: u64) -> Result<()> {
        let mut handles = self.handles.lock().expect("no panic under this lock");
        let removed = handles.remove(&handle);
        let Some(Handle::File { inode, .. }) = removed.as_deref() else {
            return Ok(());
        };
        let same = |other: &Arc<Handle>| matches!(&**other, Handle::File { inode: open, .. } if open == inode);
        let last = !handles.values().any(same);
        drop(handles);
        match self.options.kept {
            Kept::AtRelease if last => self.sync(*inode),
            Kept::AtClose | Kept::AtRelease | Kept::AtOnce | Kept::AtFsync => Ok(()),
        }
    }

    fn entries(&self, inode: u64) -> Result<Vec<Entry>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut folder = nix::dir::Dir::openat(&*self.fd(inode)?, ".", flags, Mode::empty())?;
        folder
            .iter()
            .map(|entry| {
                let entry = entry?;
                let kind = match entry.file_type() {
                    Some(nix::dir::Type::Directory) => FileType::Directory,
                    Some(nix::dir::Type::Symlink) => FileType::Symlink,
                    Some(nix::dir::Type::Fifo) => FileType::NamedPipe,
                    Some(nix::dir::Type::Socket) => FileType::Socket,
                    Some(nix::dir::Type::CharacterDevice) => FileType::CharDevice,
                    Some(nix::dir::Type::BlockDevice) => FileType::BlockDevice,
                    Some(nix::dir::Type::File) | None => FileType::RegularFile,
                };
                Ok((entry.ino(), kind, OsStr::from_bytes(entry.file_name().to_bytes()).to_owned()))
            })
            .collect()
    }

    pub(crate) fn open_folder(&self, inode: u64) -> Result<u64> {
        let entries = self.entries(inode)?;
        Ok(self.keep(Handle::Folder { inode, entries }))
    }

    /// The entries from `offset` on. As they were at `open_folder`; at offset 0 as they are.
    pub(crate) fn read_folder(&self, number: u64, offset: usize) -> Result<Vec<Entry>> {
        let handle = self.handle(number)?;
        let Handle::Folder { inode, entries } = &*handle else {
            return Err(Errno::ENOTDIR);
        };
        if offset > 0 {
            return Ok(entries.get(offset..).unwrap_or_default().to_vec());
        }
        let entries = self.entries(*inode)?;
        let fresh = Handle::Folder { inode: *inode, entries: entries.clone() };
        self.handles.lock().expect("no panic under this lock").insert(number, Arc::new(fresh));
        Ok(entries)
    }

    pub(crate) fn statistics(&self) -> Result<nix::sys::statvfs::Statvfs> {
        nix::sys::statvfs::statvfs(&self.backing)
    }
}

/// The name under which the kernel lets a descriptor be opened again.
fn through(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// Never with `O_APPEND`: the kernel sends offsets, and pwrite(2) ignores them on such a file.
fn reopen(fd: &OwnedFd, write: bool) -> io::Result<File> {
    File::options().read(true).write(write).open(through(fd))
}

fn kind_of(mode: u32) -> FileType {
    match SFlag::from_bits_truncate(mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFDIR => FileType::Directory,
        SFlag::S_IFLNK => FileType::Symlink,
        SFlag::S_IFIFO => FileType::NamedPipe,
        SFlag::S_IFSOCK => FileType::Socket,
        SFlag::S_IFCHR => FileType::CharDevice,
        SFlag::S_IFBLK => FileType::BlockDevice,
        _ => FileType::RegularFile,
    }
}

fn time(seconds: i64, nanoseconds: i64) -> SystemTime {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let base = if seconds < 0 { SystemTime::UNIX_EPOCH - whole } else { SystemTime::UNIX_EPOCH + whole };
    base + Duration::from_nanos(nanoseconds.unsigned_abs())
}

fn spec(time: Option<TimeOrNow>) -> TimeSpec {
    match time {
        None => TimeSpec::UTIME_OMIT,
        Some(TimeOrNow::Now) => TimeSpec::UTIME_NOW,
        Some(TimeOrNow::SpecificTime(time)) => {
            TimeSpec::from_duration(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
        }
    }
}

pub(crate) fn errno_of(error: io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

fn done(result: io::Result<()>) -> Result<()> {
    result.map_err(errno_of)
}
