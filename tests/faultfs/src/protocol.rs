//! What a test can ask of the share, and the words it does so with (one JSON line each way).

use std::collections::BTreeMap;
use std::fmt;
use std::ops::BitOr;
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

/// A set of operation classes, as the server sees them (one class for each FUSE request). In JSON a
/// list of names.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "Vec<&'static str>", try_from = "Vec<String>")]
pub struct Ops(u32);

impl Ops {
    /// Nothing.
    pub const NONE: Ops = Ops(0);
    /// A name is looked up in a folder.
    pub const LOOKUP: Ops = Ops(1);
    /// `stat` of something already looked up.
    pub const GETATTR: Ops = Ops(1 << 1);
    /// chmod, chown, truncation (also that of `O_TRUNC`), times.
    pub const SETATTR: Ops = Ops(1 << 2);
    /// `open` of an existing file.
    pub const OPEN: Ops = Ops(1 << 3);
    /// A new file, folder, link or node.
    pub const CREATE: Ops = Ops(1 << 4);
    /// Read of a file or of a symbolic link.
    pub const READ: Ops = Ops(1 << 5);
    /// Write to a file.
    pub const WRITE: Ops = Ops(1 << 6);
    /// `fsync`, `fdatasync`, also of a folder.
    pub const FSYNC: Ops = Ops(1 << 7);
    /// `close` of one descriptor (sent by `close` itself, which waits for it).
    pub const FLUSH: Ops = Ops(1 << 8);
    /// The last descriptor is gone (nobody waits for it).
    pub const RELEASE: Ops = Ops(1 << 9);
    /// `rename`.
    pub const RENAME: Ops = Ops(1 << 10);
    /// `unlink`, `rmdir`.
    pub const UNLINK: Ops = Ops(1 << 11);
    /// Opening and reading a folder.
    pub const READDIR: Ops = Ops(1 << 12);
    /// `statfs`.
    pub const STATFS: Ops = Ops(1 << 13);
    /// Every class.
    pub const ALL: Ops = Ops((1 << 14) - 1);

    const NAMES: [&'static str; 14] = [
        "lookup", "getattr", "setattr", "open", "create", "read", "write", "fsync", "flush", "release", "rename",
        "unlink", "readdir", "statfs",
    ];

    /// Whether the two sets have a class in common.
    pub fn meets(self, other: Ops) -> bool {
        self.0 & other.0 != 0
    }

    /// The names of the classes in the set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.iter().enumerate().filter(move |(bit, _)| self.0 & (1 << bit) != 0).map(|(_, name)| *name)
    }
}

impl BitOr for Ops {
    type Output = Ops;
    fn bitor(self, other: Ops) -> Ops {
        Ops(self.0 | other.0)
    }
}

impl From<Ops> for Vec<&'static str> {
    fn from(ops: Ops) -> Self {
        ops.names().collect()
    }
}

impl TryFrom<Vec<String>> for Ops {
    type Error = String;
    fn try_from(names: Vec<String>) -> Result<Self, String> {
        names.iter().try_fold(Ops::NONE, |ops, name| {
            let bit = Ops::NAMES.iter().position(|known| known == name);
            let bit = bit.ok_or_else(|| format!("no class `{name}`, only {:?}", Ops::NAMES))?;
            Ok(ops | Ops(1 << bit))
        })
    }
}

impl fmt::Debug for Ops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().collect::<Vec<_>>().join("|"))
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// Refused with this error; nothing is done.
    Error(#[serde(with = "errno")] Errno),
    /// Done, but the answer is this error: an answer that was lost. What was opened so stays
    /// open on the server until the mount goes.
    ErrorAfter(#[serde(with = "errno")] Errno),
    /// No more than so many bytes of a write are stored (0: the caller gets EIO from the kernel)
    /// or of a read returned (without `direct_io` the kernel takes that for the end of the file).
    Short(u32),
    /// Done so much later. Others do not wait behind it, unless the kernel makes them.
    Delay(Duration),
    /// Taken, and not answered until released, healed or aborted. Then, and only if released, done.
    Hang,
    /// Done at once, and not answered until released, healed or aborted.
    HangAfter,
}

/// A fault, and when it strikes. The newest rule that fits an operation decides.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rule {
    pub(crate) fault: Fault,
    pub(crate) ops: Ops,
    pub(crate) under: PathBuf,
    pub(crate) skip: u64,
    pub(crate) times: Option<u64>,
}

impl Rule {
    /// This fault, for these classes, everywhere and always.
    pub fn new(fault: Fault, ops: Ops) -> Self {
        Rule { fault, ops, under: PathBuf::new(), skip: 0, times: None }
    }

    /// Only at and below this path (relative to the share). For a rename either name counts.
    pub fn under(mut self, path: impl Into<PathBuf>) -> Self {
        self.under = path.into();
        self
    }

    /// Lets so many fitting operations pass first.
    pub fn after(mut self, operations: u64) -> Self {
        self.skip = operations;
        self
    }

    /// Strikes so many times, then no more.
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }
}

/// Who owns what on the share, as SMB mounts with `uid=`, `gid=`, `file_mode=`, `dir_mode=` show it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Owner {
    /// Shown as owner of everything.
    pub uid: u32,
    /// Shown as group of everything.
    pub gid: u32,
    /// Shown as mode of every file.
    pub file_mode: u16,
    /// Shown as mode of every folder.
    pub dir_mode: u16,
    /// What chmod and chown get.
    pub changes: Changes,
}

/// What becomes of chmod and chown on a share with one fixed owner.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Changes {
    /// Success, and nothing happens.
    Ignored,
    /// This error.
    Refused(#[serde(with = "errno")] Errno),
}

/// When what was written is safe from [`crate::Share::forget`]; until then the server holds it in
/// memory, shows it to whoever looks through the mount, and the backing folder does not have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kept {
    /// With the write.
    AtOnce,
    /// With fsync only (and with a clean unmount).
    AtFsync,
    /// With fsync and with each `close`.
    AtClose,
    /// With fsync and when the last descriptor is gone.
    AtRelease,
}

/// What a crash of the server costs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Loss {
    /// All that was not flushed.
    Everything,
    /// Of each file the last so many writes.
    Last(usize),
    /// Of each file the first write (the first half of it, if it is the only one), while the
    /// later ones are kept: they reached the disk out of order, and zeros fill the hole.
    OutOfOrder,
}

/// How the share is mounted and what kind of server it plays.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Others than root may look (`allow_other`).
    pub allow_other: bool,
    /// The kernel checks modes (`default_permissions`). Without it everybody may do everything.
    pub default_permissions: bool,
    /// One owner for everything; `None` shows the backing folder's own.
    pub owner: Option<Owner>,
    /// What a rename onto a file that is open gets; `None`: it is done.
    #[serde(with = "maybe_errno")]
    pub rename_over_open: Option<Errno>,
    /// What removing a file that is open gets; `None`: it is done.
    #[serde(with = "maybe_errno")]
    pub unlink_open: Option<Errno>,
    /// Whether hard links can be made.
    pub hard_links: bool,
    /// Whether symbolic links can be made (those in the backing folder are shown in any case).
    pub symlinks: bool,
    /// How long the kernel keeps attributes and names; 0: it asks every time.
    pub cache: Duration,
    /// No page cache: each `read` and `write` call is a request.
    pub direct_io: bool,
    /// The kernel collects writes (`writeback_cache`). Write counts then mean little.
    pub writeback_cache: bool,
    /// The largest write request in bytes.
    pub max_write: u32,
    /// When written bytes are safe.
    pub kept: Kept,
    /// The mount's source, as mountinfo shows it.
    pub source: String,
    /// The subtype: mountinfo shows `fuse.<subtype>`.
    pub subtype: String,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            allow_other: true,
            default_permissions: false,
            owner: None,
            rename_over_open: None,
            unlink_open: None,
            hard_links: true,
            symlinks: true,
            cache: Duration::ZERO,
            direct_io: false,
            writeback_cache: false,
            max_write: 1 << 20,
            kept: Kept::AtOnce,
            source: "//faultfs/code".into(),
            subtype: "faultfs".into(),
        }
    }
}

impl Options {
    /// As Azure Files shows itself to an instance: everything belongs to root with mode 0777,
    /// chmod and chown do nothing, no links, no rename or removal under an open file.
    pub fn like_smb() -> Self {
        Options {
            owner: Some(Owner { uid: 0, gid: 0, file_mode: 0o777, dir_mode: 0o777, changes: Changes::Ignored }),
            default_permissions: true,
            rename_over_open: Some(Errno::EACCES),
            unlink_open: Some(Errno::EBUSY),
            hard_links: false,
            symlinks: false,
            cache: Duration::from_secs(1),
            ..Options::default()
        }
    }
}

/// Operations counted since the mount or the last reset.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// By class name (`write`, `rename`, …). Counted when taken, whatever became of it.
    pub operations: BTreeMap<String, u64>,
    /// Bytes that callers were told are written.
    pub bytes_written: u64,
    /// Operations that a rule struck.
    pub faults: u64,
}

impl Counts {
    /// How many operations of these classes.
    pub fn of(&self, ops: Ops) -> u64 {
        ops.names().filter_map(|name| self.operations.get(name)).sum()
    }
}

/// One operation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// CLOCK_MONOTONIC when it was taken.
    pub at: Duration,
    /// Its class.
    pub op: Ops,
    /// Relative to the share.
    pub path: PathBuf,
    /// Of a read or write.
    pub offset: u64,
    /// Bytes asked for.
    pub bytes: u64,
}

/// An operation that waits for its answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hung {
    /// Its class.
    pub op: Ops,
    /// Relative to the share.
    pub path: PathBuf,
    /// Who waits (0 for the kernel itself).
    pub pid: u32,
}

/// What `forget` threw away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    /// Writes, whole or in part.
    pub writes: usize,
    /// Bytes.
    pub bytes: u64,
}

/// One line to the server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Ask {
    /// Adds a rule.
    Add(Rule),
    /// Drops every rule and answers what hangs.
    Heal,
    /// Answers what hangs; with an error, if one is given, else by doing it. Rules stay.
    Release(Option<i32>),
    /// Counts at and below a path.
    Counts(PathBuf),
    /// The operations themselves (the first million).
    Records(Ops, PathBuf),
    /// Forgets the counts.
    Reset,
    /// Waits until so many operations of these classes hang.
    AwaitHung(Ops, usize, Duration),
    /// Waits until so many operations of these classes, at and below the path, were taken.
    AwaitCount(Ops, PathBuf, u64, Duration),
    /// What hangs now.
    Hung,
    /// Throws away what was not flushed.
    Forget(Loss),
    /// Flushes, aborts, unmounts: the folder is empty.
    Unmount,
    /// Aborts the connection and leaves the dead mount where it is (ENOTCONN).
    Abort,
    /// Mounts again, in place of whatever is there.
    Mount,
    /// Cleans up and exits.
    Quit,
}

/// One line from the server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Told {
    /// Done.
    Done,
    /// To `Counts`.
    Counts(Counts),
    /// To `Records`.
    Records(Vec<Record>),
    /// To `Hung` and `AwaitHung`.
    Hung(Vec<Hung>),
    /// To `Forget`.
    Forgotten(Forgotten),
    /// It could not be done.
    Failed(String),
}

mod errno {
    use nix::errno::Errno;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(errno: &Errno, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i32(*errno as i32)
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Errno, D::Error> {
        i32::deserialize(from).map(Errno::from_raw)
    }
}

mod maybe_errno {
    use nix::errno::Errno;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(errno: &Option<Errno>, to: S) -> Result<S::Ok, S::Error> {
        errno.map(|errno| errno as i32).serialize(to)
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Option<Errno>, D::Error> {
        Option::<i32>::deserialize(from).map(|raw| raw.map(Errno::from_raw))
    }
}
