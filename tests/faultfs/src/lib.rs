//! A share for tests: a FUSE file system that passes through to a folder and, switched while it
//! runs, fails, lies, dawdles, forgets or hangs.
//!
//! ```no_run
//! use faultfs::{Errno, Fault, Ops, Options, Rule, Share};
//!
//! let share = Share::mount("/tmp/backing", "/tmp/share", Options::like_smb());
//! share.fault(Fault::Error(Errno::EIO), Ops::WRITE);
//! share.rule(Rule::new(Fault::Error(Errno::EACCES), Ops::RENAME).under("Logs").times(1));
//! share.hang(Ops::FSYNC);
//! share.wait_hung(Ops::FSYNC, 1);
//! share.heal();
//! assert!(share.busiest(Ops::WRITE, "Logs", std::time::Duration::from_secs(1)) <= 2);
//! ```
//!
//! The server is a process of its own. It is the test binary once more, so a test binary that
//! mounts shares says `faultfs::share_server!();` once, or `FAULTFS_SERVER` names the `faultfs`
//! binary. Needs root.
//!
//! # What really is uninterruptible
//!
//! Measured for each operation on Linux 6.18 by `tests/share/hanging.rs`:
//!
//! - lookup, getattr, setattr, open, create, mkdir, write (cached and direct), direct read, fsync,
//!   flush (`close`), rename, unlink, rmdir, readdir, statfs: once the request is taken the caller
//!   sleeps in state S, and SIGKILL puts it in state D for good. Who looks for D before the kill
//!   sees nothing. Only an answer, an abort of the connection or the server's end frees it.
//! - a read through the page cache can be killed; nobody waits for a release.
//! - a process that merely holds a file open cannot end while flush hangs.
//! - a request that the server has not read yet can be killed.
//! - a hung cached write takes with it whoever opens the same file, be it for reading (it waits for
//!   the page, in D at once); a hung direct write its other writers; a hung create or rename
//!   whoever looks up a name in the same folder. `stat` of a known name works on.
//!
//! Reading order: `protocol` (the words), `share` (the handle), `server` (the process),
//! `filesystem` (requests), `faults` (verdicts), `tree` and `unflushed` (the files), `connection`.

mod connection;
mod faults;
mod filesystem;
mod protocol;
mod server;
mod share;
pub mod smb;
mod tree;
mod unflushed;

pub use nix::errno::Errno;
pub use protocol::{Ask, Changes, Counts, Fault, Forgotten, Hung, Kept, Loss, Ops, Options, Owner, Record, Rule, Told};
pub use server::{Serve, serve};
#[doc(hidden)]
pub use share::{SERVE_VARIABLE, SERVER_TEST};
pub use share::{Share, busiest};

/// Asks a running server one question, in its own JSON.
///
/// # Errors
/// A question that is none, or a server that cannot be reached.
pub fn ask(control: &std::path::Path, question: &str) -> std::io::Result<String> {
    let told = server::ask(control, &serde_json::from_str(question)?)?;
    Ok(serde_json::to_string(&told)?)
}

/// Serves what the environment asks for, then exits; does nothing if it asks for nothing.
#[doc(hidden)]
pub fn serve_if_asked() {
    let Ok(asked) = std::env::var(SERVE_VARIABLE) else {
        return;
    };
    let served = serde_json::from_str(&asked).map_err(Into::into).and_then(serve);
    if let Err(error) = served {
        println!("faultfs: error: {error}");
        std::process::exit(1);
    }
    std::process::exit(0);
}

/// Makes this test binary able to serve the shares of its own tests.
#[macro_export]
macro_rules! share_server {
    () => {
        #[test]
        #[ignore = "no test: the process that serves the shares of the others"]
        fn faultfs_serves_the_share_of_another_test() {
            $crate::serve_if_asked();
        }
    };
}
