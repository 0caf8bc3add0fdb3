//! FUSE requests: judged, then done on the tree, then answered. No request waits in the loop that
//! takes them, so one that hangs holds up no other, and answers come in the order of requests.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, FileAttr, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, InitFlags, KernelConfig,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use nix::errno::Errno;
use nix::sys::statvfs::Statvfs;

use crate::faults::{Faults, GoOn};
use crate::protocol::{Fault, Hung, Ops, Options};
use crate::tree::{Caller, Entry, Tree};

type Result<T> = std::result::Result<T, Errno>;

pub(crate) struct FaultFs {
    pub(crate) tree: Arc<Tree>,
    pub(crate) faults: Arc<Faults>,
    pub(crate) options: Options,
}

/// Where an operation is and how large: what rules and counts go by.
struct Site {
    op: Ops,
    paths: Vec<PathBuf>,
    offset: u64,
    bytes: u64,
    pid: u32,
}

impl Site {
    fn new(op: Ops, request: &Request, path: PathBuf) -> Self {
        Site { op, paths: vec![path], offset: 0, bytes: 0, pid: request.pid() }
    }

    fn sized(mut self, offset: u64, bytes: u64) -> Self {
        (self.offset, self.bytes) = (offset, bytes);
        self
    }
}

/// A reply that takes one kind of result.
trait Answer<T>: Send + 'static {
    fn answer(self, result: Result<T>);
}

impl FaultFs {
    /// `perform` gets the most bytes that it may move.
    fn serve<R: Answer<T>, T: Send + 'static>(
        &self,
        site: Site,
        reply: R,
        perform: impl FnOnce(&Tree, usize) -> Result<T> + Send + 'static,
    ) {
        let verdict = self.faults.judge(site.op, &site.paths, site.offset, site.bytes);
        let tree = Arc::clone(&self.tree);
        let all = usize::MAX;
        let hung =
            |site: Site| Hung { op: site.op, path: site.paths.into_iter().next().unwrap_or_default(), pid: site.pid };
        match verdict {
            None => reply.answer(perform(&tree, all)),
            Some(Fault::Short(bytes)) => reply.answer(perform(&tree, bytes as usize)),
            Some(Fault::Error(errno)) => reply.answer(Err(errno)),
            Some(Fault::ErrorAfter(errno)) => {
                let answer = perform(&tree, all).and(Err(errno));
                reply.answer(answer);
            }
            Some(Fault::Delay(delay)) => {
                thread::spawn(move || {
                    thread::sleep(delay);
                    reply.answer(perform(&tree, all));
                });
            }
            Some(Fault::Hang) => {
                let go_on = move |how| match how {
                    GoOn::Do => reply.answer(perform(&tree, all)),
                    GoOn::Fail(errno) => reply.answer(Err(errno)),
                };
                self.faults.park(hung(site), Box::new(go_on));
            }
            Some(Fault::HangAfter) => {
                let result = perform(&tree, all);
                let go_on = move |how| match how {
                    GoOn::Do => reply.answer(result),
                    GoOn::Fail(errno) => reply.answer(Err(errno)),
                };
                self.faults.park(hung(site), Box::new(go_on));
            }
        }
    }

    fn site(&self, op: Ops, request: &Request, inode: INodeNo) -> Site {
        Site::new(op, request, self.tree.path(inode.0))
    }

    fn site_in(&self, op: Ops, request: &Request, parent: INodeNo, name: &OsStr) -> Site {
        Site::new(op, request, self.tree.path(parent.0).join(name))
    }

    fn open_flags(&self) -> FopenFlags {
        if self.options.direct_io { FopenFlags::FOPEN_DIRECT_IO } else { FopenFlags::empty() }
    }
}

fn caller(request: &Request) -> Caller {
    Caller { uid: request.uid(), gid: request.gid() }
}

impl Filesystem for FaultFs {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        let mut wanted = InitFlags::FUSE_PARALLEL_DIROPS | InitFlags::FUSE_AUTO_INVAL_DATA;
        if self.options.writeback_cache {
            wanted |= InitFlags::FUSE_WRITEBACK_CACHE;
        }
        let missing = |flags| std::io::Error::other(format!("this kernel's FUSE lacks {flags:?}"));
        config.add_capabilities(wanted).map_err(missing)?;
        let too_much = |most| std::io::Error::other(format!("max_write must be from 1 to {most}"));
        config.set_max_write(self.options.max_write).map_err(too_much)?;
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let site = self.site_in(Ops::LOOKUP, request, parent, name);
        let (name, reply) = (name.to_owned(), self.stamped(reply));
        self.serve(site, reply, move |tree, _| tree.look_up(parent.0, &name));
    }

    fn forget(&self, _: &Request, inode: INodeNo, lookups: u64) {
        self.tree.forget(inode.0, lookups);
    }

    fn getattr(&self, request: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let site = self.site(Ops::GETATTR, request, inode);
        self.serve(site, self.stamped(reply), move |tree, _| tree.stat(inode.0));
    }

    fn setattr(
        &self,
        request: &Request,
        inode: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let site = self.site(Ops::SETATTR, request, inode).sized(size.unwrap_or(0), 0);
        self.serve(site, self.stamped(reply), move |tree, _| {
            if let Some(mode) = mode {
                tree.change_mode(inode.0, mode)?;
            }
            if uid.is_some() || gid.is_some() {
                tree.change_owner(inode.0, uid, gid)?;
            }
            if let Some(size) = size {
                tree.change_size(inode.0, size)?;
            }
            if atime.is_some() || mtime.is_some() {
                tree.change_times(inode.0, atime, mtime)?;
            }
            tree.stat(inode.0)
        });
    }

    fn readlink(&self, request: &Request, inode: INodeNo, reply: ReplyData) {
        let site = self.site(Ops::READ, request, inode);
        self.serve(site, reply, move |tree, _| tree.read_link(inode.0));
    }

    fn mknod(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, rdev: u32, reply: ReplyEntry) {
        let site = self.site_in(Ops::CREATE, request, parent, name);
        let (name, caller, reply) = (name.to_owned(), caller(request), self.stamped(reply));
        self.serve(site, reply, move |tree, _| tree.make_node(parent.0, &name, mode, rdev, caller));
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, reply: ReplyEntry) {
        let site = self.site_in(Ops::CREATE, request, parent, name);
        let (name, caller, reply) = (name.to_owned(), caller(request), self.stamped(reply));
        self.serve(site, reply, move |tree, _| tree.make_folder(parent.0, &name, mode, caller));
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let site = self.site_in(Ops::CREATE, request, parent, name);
        let (name, target, caller) = (name.to_owned(), target.to_owned(), caller(request));
        let reply = self.stamped(reply);
        self.serve(site, reply, move |tree, _| tree.make_symlink(parent.0, &name, &target, caller));
    }

    fn link(&self, request: &Request, inode: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let site = self.site_in(Ops::CREATE, request, parent, name);
        let (name, reply) = (name.to_owned(), self.stamped(reply));
        self.serve(site, reply, move |tree, _| tree.make_link(inode.0, parent.0, &name));
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let site = self.site_in(Ops::UNLINK, request, parent, name);
        let name = name.to_owned();
        self.serve(site, reply, move |tree, _| tree.remove_file(parent.0, &name));
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let site = self.site_in(Ops::UNLINK, request, parent, name);
        let name = name.to_owned();
        self.serve(site, reply, move |tree, _| tree.remove_folder(parent.0, &name));
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let mut site = self.site_in(Ops::RENAME, request, parent, name);
        site.paths.push(self.tree.path(new_parent.0).join(new_name));
        let (name, new_name) = (name.to_owned(), new_name.to_owned());
        self.serve(site, reply, move |tree, _| tree.rename((parent.0, &name), (new_parent.0, &new_name), flags.bits()));
    }

    fn open(&self, request: &Request, inode: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let site = self.site(Ops::OPEN, request, inode);
        let reply = Opened { reply, flags: self.open_flags() };
        self.serve(site, reply, move |tree, _| tree.open(inode.0, flags.0));
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let site = self.site_in(Ops::CREATE, request, parent, name);
        let (name, caller) = (name.to_owned(), caller(request));
        let reply = self.stamped(Opened { reply, flags: self.open_flags() });
        self.serve(site, reply, move |tree, _| tree.create(parent.0, &name, mode, flags, caller));
    }

    fn read(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let site = self.site(Ops::READ, request, inode).sized(offset, u64::from(size));
        self.serve(site, reply, move |tree, most| tree.read(handle.0, offset, most.min(size as usize)));
    }

    fn write(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let site = self.site(Ops::WRITE, request, inode).sized(offset, data.len() as u64);
        let reply = Written { reply, faults: Arc::clone(&self.faults), path: site.paths[0].clone() };
        let data = data.to_vec();
        self.serve(site, reply, move |tree, most| {
            let data = &data[..data.len().min(most)];
            tree.write(handle.0, offset, data)?;
            Ok(data.len() as u32)
        });
    }

    fn flush(&self, request: &Request, inode: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        let site = self.site(Ops::FLUSH, request, inode);
        self.serve(site, reply, move |tree, _| tree.flush(inode.0));
    }

    fn release(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        let site = self.site(Ops::RELEASE, request, inode);
        self.serve(site, reply, move |tree, _| tree.release(handle.0));
    }

    fn fsync(&self, request: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let site = self.site(Ops::FSYNC, request, inode);
        self.serve(site, reply, move |tree, _| tree.sync(inode.0));
    }

    fn opendir(&self, request: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let site = self.site(Ops::READDIR, request, inode);
        let reply = Opened { reply, flags: FopenFlags::empty() };
        self.serve(site, reply, move |tree, _| tree.open_folder(inode.0));
    }

    fn readdir(&self, request: &Request, inode: INodeNo, handle: FileHandle, offset: u64, reply: ReplyDirectory) {
        let site = self.site(Ops::READDIR, request, inode).sized(offset, 0);
        let reply = Listed { reply, offset };
        self.serve(site, reply, move |tree, _| tree.read_folder(handle.0, offset as usize));
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        reply.answer(self.tree.release(handle.0));
    }

    fn fsyncdir(&self, request: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let site = self.site(Ops::FSYNC, request, inode);
        self.serve(site, reply, |_, _| Ok(()));
    }

    fn statfs(&self, request: &Request, inode: INodeNo, reply: ReplyStatfs) {
        let site = self.site(Ops::STATFS, request, inode);
        self.serve(site, reply, |tree, _| tree.statistics());
    }
}

/// A reply that also says how long the kernel may believe it.
struct Stamped<R> {
    reply: R,
    cache: Duration,
}

/// A reply that hands out a file handle.
struct Opened<R> {
    reply: R,
    flags: FopenFlags,
}

/// A reply that counts what was written.
struct Written {
    reply: ReplyWrite,
    faults: Arc<Faults>,
    path: PathBuf,
}

/// A reply that numbers entries from an offset on.
struct Listed {
    reply: ReplyDirectory,
    offset: u64,
}

impl FaultFs {
    fn stamped<R>(&self, reply: R) -> Stamped<R> {
        Stamped { reply, cache: self.options.cache }
    }
}

fn to_fuse(errno: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(errno as i32)
}

impl Answer<()> for ReplyEmpty {
    fn answer(self, result: Result<()>) {
        match result {
            Ok(()) => self.ok(),
            Err(errno) => self.error(to_fuse(errno)),
        }
    }
}

impl Answer<Vec<u8>> for ReplyData {
    fn answer(self, result: Result<Vec<u8>>) {
        match result {
            Ok(data) => self.data(&data),
            Err(errno) => self.error(to_fuse(errno)),
        }
    }
}

impl Answer<FileAttr> for Stamped<ReplyEntry> {
    fn answer(self, result: Result<FileAttr>) {
        match result {
            Ok(attributes) => self.reply.entry(&self.cache, &attributes, Generation(0)),
            Err(errno) => self.reply.error(to_fuse(errno)),
        }
    }
}

impl Answer<FileAttr> for Stamped<ReplyAttr> {
    fn answer(self, result: Result<FileAttr>) {
        match result {
            Ok(attributes) => self.reply.attr(&self.cache, &attributes),
            Err(errno) => self.reply.error(to_fuse(errno)),
        }
    }
}

impl Answer<u64> for Opened<ReplyOpen> {
    fn answer(self, result: Result<u64>) {
        match result {
            Ok(handle) => self.reply.opened(FileHandle(handle), self.flags),
            Err(errno) => self.reply.error(to_fuse(errno)),
        }
    }
}

impl Answer<(FileAttr, u64)> for Stamped<Opened<ReplyCreate>> {
    fn answer(self, result: Result<(FileAttr, u64)>) {
        let Opened { reply, flags } = self.reply;
        match result {
            Ok((attributes, handle)) => {
                reply.created(&self.cache, &attributes, Generation(0), FileHandle(handle), flags);
            }
            Err(errno) => reply.error(to_fuse(errno)),
        }
    }
}

impl Answer<u32> for Written {
    fn answer(self, result: Result<u32>) {
        match result {
            Ok(bytes) => {
                self.faults.wrote(&self.path, u64::from(bytes));
                self.reply.written(bytes);
            }
            Err(errno) => self.reply.error(to_fuse(errno)),
        }
    }
}

impl Answer<Vec<Entry>> for Listed {
    fn answer(mut self, result: Result<Vec<Entry>>) {
        let entries = match result {
            Ok(entries) => entries,
            Err(errno) => return self.reply.error(to_fuse(errno)),
        };
        for (next, (inode, kind, name)) in (self.offset + 1..).zip(entries) {
            if self.reply.add(INodeNo(inode), next, kind, name) {
                break;
            }
        }
        self.reply.ok();
    }
}

impl Answer<Statvfs> for ReplyStatfs {
    fn answer(self, result: Result<Statvfs>) {
        match result {
            Ok(of) => self.statfs(
                of.blocks(),
                of.blocks_free(),
                of.blocks_available(),
                of.files(),
                of.files_free(),
                u32::try_from(of.block_size()).unwrap_or(4096),
                u32::try_from(of.name_max()).unwrap_or(255),
                u32::try_from(of.fragment_size()).unwrap_or(4096),
            ),
            Err(errno) => self.error(to_fuse(errno)),
        }
    }
}
