//! The handle that a test holds.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use tempfile::TempDir;

use crate::connection::unmount;
use crate::protocol::{Ask, Counts, Fault, Forgotten, Hung, Loss, Ops, Options, Record, Rule, Told};
use crate::server::{READY, Serve, ask};

/// Names the ignored test of `share_server!` for the test binary that is to be the server.
#[doc(hidden)]
pub const SERVER_TEST: &str = "faultfs_serves_the_share_of_another_test";

/// Holds the JSON of what to serve.
#[doc(hidden)]
pub const SERVE_VARIABLE: &str = "FAULTFS_SERVE";

/// How long the server may take for an answer, and for going away.
const PATIENCE: Duration = Duration::from_secs(20);

/// A share that is mounted. Dropping it frees whoever hangs on it and unmounts it.
///
/// All methods panic when the server cannot be reached or does not do as told: in a test there is
/// nothing to go on with.
#[derive(Debug)]
pub struct Share {
    backing: PathBuf,
    mountpoint: PathBuf,
    control: TempDir,
    server: Child,
}

impl Share {
    /// Starts a server of its own for `mountpoint`, which shows `backing`. Both folders must exist.
    ///
    /// The server is the binary named by `FAULTFS_SERVER`, else the calling test binary once more,
    /// which must contain [`crate::share_server!`]. It inherits the caller's mount namespace.
    pub fn mount(backing: impl AsRef<Path>, mountpoint: impl AsRef<Path>, options: Options) -> Share {
        let control = tempfile::Builder::new().prefix("faultfs-").tempdir().expect("a folder for the control socket");
        let serve = Serve {
            backing: backing.as_ref().to_owned(),
            mountpoint: mountpoint.as_ref().canonicalize().unwrap_or_else(|_| mountpoint.as_ref().to_owned()),
            control: control.path().join("control"),
            options,
            with_stdin: true,
        };
        let mut command = server_command();
        command.env(SERVE_VARIABLE, serde_json::to_string(&serve).expect("plain data becomes JSON"));
        let mut server = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let said = server.stdout.as_mut().expect("stdout is piped");
        let mut lines = BufReader::new(said).lines().map_while(Result::ok);
        let mut heard = Vec::new();
        // libtest writes its `test … ` before it without a line end.
        let ready = lines.by_ref().any(|line| {
            let ready = line.ends_with(READY);
            heard.push(line);
            ready
        });
        let share = Share { backing: serve.backing, mountpoint: serve.mountpoint, control, server };
        assert!(ready, "the server did not mount {}; it said {heard:#?}", share.mountpoint.display());
        share
    }

    /// Where the share is mounted.
    pub fn path(&self) -> &Path {
        &self.mountpoint
    }

    /// The folder behind it: what another client of the server would see.
    pub fn backing(&self) -> &Path {
        &self.backing
    }

    /// The server's process id.
    pub fn pid(&self) -> u32 {
        self.server.id()
    }

    /// The control socket, for `faultfs ask SOCKET JSON` in scripts.
    pub fn control(&self) -> PathBuf {
        self.control.path().join("control")
    }

    fn ask(&self, question: &Ask) -> Told {
        match ask(&self.control(), question) {
            Ok(Told::Failed(why)) => panic!("{question:?}: {why}"),
            Ok(told) => told,
            Err(error) => panic!("{question:?}: the server does not answer: {error}"),
        }
    }

    /// From now on this goes wrong, for these operations, everywhere.
    pub fn fault(&self, fault: Fault, ops: Ops) {
        self.rule(Rule::new(fault, ops));
    }

    /// From now on this goes wrong where and when the rule says.
    pub fn rule(&self, rule: Rule) {
        self.ask(&Ask::Add(rule));
    }

    /// From now on these operations hang: see [`Fault::Hang`].
    pub fn hang(&self, ops: Ops) {
        self.fault(Fault::Hang, ops);
    }

    /// Ends every fault. What hangs is done and answered.
    pub fn heal(&self) {
        self.ask(&Ask::Heal);
    }

    /// Does and answers what hangs now. The rules stay.
    pub fn release(&self) {
        self.ask(&Ask::Release(None));
    }

    /// Answers what hangs now with an error. The rules stay.
    pub fn fail_hung(&self, errno: Errno) {
        self.ask(&Ask::Release(Some(errno as i32)));
    }

    /// What waits for an answer now.
    pub fn hung(&self) -> Vec<Hung> {
        self.hung_of(&Ask::Hung)
    }

    /// Waits until so many operations of these classes were taken and hang.
    pub fn wait_hung(&self, ops: Ops, count: usize) -> Vec<Hung> {
        self.hung_of(&Ask::AwaitHung(ops, count, PATIENCE))
    }

    fn hung_of(&self, question: &Ask) -> Vec<Hung> {
        match self.ask(question) {
            Told::Hung(hung) => hung,
            told => panic!("{question:?}: {told:?}"),
        }
    }

    /// Waits until so many operations of these classes were taken at and below `path` (relative).
    pub fn wait_for(&self, ops: Ops, path: impl Into<PathBuf>, count: u64) {
        self.ask(&Ask::AwaitCount(ops, path.into(), count, PATIENCE));
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.counts_under("")
    }

    /// What was counted at and below `path` (relative to the share).
    pub fn counts_under(&self, path: impl Into<PathBuf>) -> Counts {
        match self.ask(&Ask::Counts(path.into())) {
            Told::Counts(counts) => counts,
            told => panic!("counts: {told:?}"),
        }
    }

    /// The operations of these classes at and below `path`, in order.
    pub fn records(&self, ops: Ops, path: impl Into<PathBuf>) -> Vec<Record> {
        match self.ask(&Ask::Records(ops, path.into())) {
            Told::Records(records) => records,
            told => panic!("records: {told:?}"),
        }
    }

    /// The most operations of these classes, at and below `path`, in any span of this length.
    pub fn busiest(&self, ops: Ops, path: impl Into<PathBuf>, span: Duration) -> usize {
        busiest(&self.records(ops, path), span)
    }

    /// Begins to count anew.
    pub fn reset_counts(&self) {
        self.ask(&Ask::Reset);
    }

    /// Throws away all that was not flushed, as a server does that loses its power.
    pub fn forget(&self) -> Forgotten {
        self.lose(Loss::Everything)
    }

    /// Throws away some of what was not flushed.
    pub fn lose(&self, loss: Loss) -> Forgotten {
        match self.ask(&Ask::Forget(loss)) {
            Told::Forgotten(forgotten) => forgotten,
            told => panic!("{loss:?}: {told:?}"),
        }
    }

    /// Unmounts: what was written is flushed, what hangs is freed, handles are dead, the folder empty.
    pub fn unmount(&self) {
        self.ask(&Ask::Unmount);
    }

    /// Breaks the connection: what hangs is freed, and every use of the mount gets ENOTCONN.
    pub fn abort(&self) {
        self.ask(&Ask::Abort);
    }

    /// Mounts again at the same place. Handles of before stay dead; rules and counts stay.
    pub fn mount_again(&self) {
        self.ask(&Ask::Mount);
    }

    /// Breaks the connection and mounts again at the same place; what was not flushed stays so.
    pub fn remount(&self) {
        self.abort();
        self.mount_again();
    }

    /// The server falls over and comes back: [`Share::abort`], [`Share::lose`], [`Share::mount_again`].
    pub fn crash(&self, loss: Loss) -> Forgotten {
        self.abort();
        let forgotten = self.lose(loss);
        self.mount_again();
        forgotten
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let _ = ask(&self.control(), &Ask::Quit);
        drop(self.server.stdin.take());
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.server.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
        // Without its server the kernel aborts the connection, and only an empty mount is left.
        let _ = self.server.kill();
        let _ = self.server.wait();
        unmount(&self.mountpoint);
    }
}

/// The most records within any span of this length.
pub fn busiest(records: &[Record], span: Duration) -> usize {
    let mut first = 0;
    let mut most = 0;
    for (last, record) in records.iter().enumerate() {
        while record.at - records[first].at >= span {
            first += 1;
        }
        most = most.max(last + 1 - first);
    }
    most
}

fn server_command() -> Command {
    if let Some(server) = std::env::var_os("FAULTFS_SERVER") {
        return Command::new(server);
    }
    let mut command = Command::new(std::env::current_exe().expect("a process has a path"));
    command.args(["--ignored", "--nocapture", "--test-threads=1"].map(OsString::from)).arg(SERVER_TEST);
    command
}
