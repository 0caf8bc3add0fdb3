//! What a process that waits for an unanswered request can and cannot do. Measured, not believed:
//! each row of the tables below is tried, and the states are those of /proc/PID/stat.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::time::{Duration, Instant};

use faultfs::{Errno, Fault, Ops, Options, Rule};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Mounted, mounted, shell, state, until};

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid as i32), signal).unwrap();
}

/// Kills the child and sees that it stays in an uninterruptible wait. That something does not
/// happen can only be watched for a while: a hundred looks.
fn survives_sigkill(what: &str, child: &mut Child) {
    signal(child.id(), Signal::SIGKILL);
    until(&format!("{what}: in D after SIGKILL"), || state(child.id()), |state| *state == Some('D'));
    let end = Instant::now() + Duration::from_millis(200);
    while Instant::now() < end {
        assert_eq!(state(child.id()), Some('D'), "{what}: after SIGKILL");
        assert!(child.try_wait().unwrap().is_none(), "{what}: reaped after SIGKILL");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn with_a_file(options: Options) -> Mounted {
    let share = mounted(options);
    fs::create_dir(share.behind("folder")).unwrap();
    fs::write(share.behind("file"), vec![b'x'; 1 << 20]).unwrap();
    share
}

/// Class, direct I/O, and what the child does.
const UNINTERRUPTIBLE: [(Ops, bool, &str); 16] = [
    (Ops::LOOKUP, false, "exec stat file"),
    (Ops::GETATTR, false, "exec 3<file; exec stat -L /dev/fd/3"),
    (Ops::SETATTR, false, "exec chmod 600 file"),
    (Ops::OPEN, false, "exec 3<file"),
    (Ops::CREATE, false, ": >new"),
    (Ops::CREATE, false, "exec mkdir new"),
    (Ops::READ, true, "exec 3<file; read -r -u 3"),
    (Ops::WRITE, false, "exec 3>>file; printf x >&3"),
    (Ops::WRITE, true, "exec 3>>file; printf x >&3"),
    (Ops::FSYNC, false, "exec sync file"),
    (Ops::FLUSH, false, "exec 3>>file; exec 3>&-"),
    (Ops::RENAME, false, "exec mv -T file moved"),
    (Ops::UNLINK, false, "exec rm -f file"),
    (Ops::UNLINK, false, "exec rmdir folder"),
    (Ops::READDIR, false, "exec ls -U"),
    (Ops::STATFS, false, "exec stat -f ."),
];

#[test]
fn sigkill_does_not_end_who_waits_for_a_request_that_was_taken() {
    for (ops, direct_io, script) in UNINTERRUPTIBLE {
        let what = format!("{ops:?}, direct_io {direct_io}, `{script}`");
        let share = with_a_file(Options { direct_io, ..Options::default() });
        share.hang(ops);
        let mut child = shell(script, share.path());
        let hung = share.wait_hung(ops, 1);
        assert!(hung.iter().any(|hung| hung.pid == child.id()), "{what}: {hung:?}");
        let before = until(&what, || state(child.id()), |state| matches!(state, Some('S' | 'D')));
        survives_sigkill(&what, &mut child);
        println!("{what}: {} before SIGKILL, D after", before.unwrap_or('?'));
        share.heal();
        assert_eq!(child.wait().unwrap().signal(), Some(9), "{what}: dies once answered");
    }
}

#[test]
fn an_abort_of_the_connection_frees_them_and_undoes_what_was_not_begun() {
    for (ops, direct_io, script) in UNINTERRUPTIBLE {
        let what = format!("{ops:?}, direct_io {direct_io}, `{script}`");
        let share = with_a_file(Options { direct_io, ..Options::default() });
        share.hang(ops);
        let mut child = shell(script, share.path());
        share.wait_hung(ops, 1);
        survives_sigkill(&what, &mut child);
        share.abort();
        assert_eq!(child.wait().unwrap().signal(), Some(9), "{what}");
        assert!(!share.behind("new").exists() && !share.behind("moved").exists(), "{what}");
        assert_eq!(fs::metadata(share.behind("file")).unwrap().len(), 1 << 20, "{what}");
    }
}

#[test]
fn a_read_through_the_page_cache_can_be_killed() {
    let share = with_a_file(Options::default());
    share.hang(Ops::READ);
    let mut child = shell("exec cat file", share.path());
    share.wait_hung(Ops::READ, 1);
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
}

#[test]
fn nobody_waits_for_a_release() {
    let share = with_a_file(Options::default());
    share.hang(Ops::RELEASE);
    assert!(shell("exec 3<file; exec 3<&-", share.path()).wait().unwrap().success());
    share.wait_hung(Ops::RELEASE, 1);
}

#[test]
fn who_only_holds_a_file_open_cannot_end_while_flush_hangs() {
    let share = with_a_file(Options::default());
    share.hang(Ops::FLUSH);
    let mut child = shell("exec 3>>file; touch opened; read -r </proc/self/fd/9", share.path());
    // The redirection fails, so bash ends by itself and its exit closes the file.
    share.wait_hung(Ops::FLUSH, 1);
    survives_sigkill("exit", &mut child);
    share.heal();
    child.wait().unwrap();
}

#[test]
fn a_request_that_was_not_taken_can_be_killed() {
    let share = with_a_file(Options::default());
    signal(share.pid(), Signal::SIGSTOP);
    until("the server stands", || state(share.pid()), |state| *state == Some('T'));
    let mut waiting = shell(&format!("exec stat {}", share.at("file").display()), &std::env::temp_dir());
    let syscall = || fs::read_to_string(format!("/proc/{}/wchan", waiting.id())).unwrap_or_default();
    until("it waits for the server", syscall, |at| at.contains("request_wait_answer"));
    waiting.kill().unwrap();
    assert_eq!(waiting.wait().unwrap().signal(), Some(9));
    signal(share.pid(), Signal::SIGCONT);
}

/// Where in the kernel the process waits. Locks show as the function that takes them.
fn waits_at(what: &str, child: &Child, places: &[&str]) {
    let at = || fs::read_to_string(format!("/proc/{}/wchan", child.id())).unwrap_or_default();
    until(&format!("{what} waits at one of {places:?}"), at, |at| places.iter().any(|place| at.contains(place)));
}

/// One hung request takes others of the same file with it, inside the kernel and for ever: through
/// the page cache whoever opens the file, because opening waits for the page that is being
/// written; with direct I/O whoever writes, because of the inode's lock.
#[test]
fn a_hung_write_holds_up_no_other_file_but_does_hold_up_its_own() {
    let cases = [
        (false, "exec cat file", ["folio_lock", "folio_wait"]),
        (false, "printf b >>file", ["folio_lock", "folio_wait"]),
        (true, "printf b >>file", ["fuse_file_write_iter", "rwsem"]),
    ];
    for (direct_io, script, places) in cases {
        let share = with_a_file(Options { direct_io, ..Options::default() });
        share.rule(Rule::new(Fault::Hang, Ops::WRITE).under("file").times(1));
        let mut first = shell("printf a >>file", share.path());
        share.wait_hung(Ops::WRITE, 1);
        fs::write(share.at("other"), b"x").unwrap();
        assert_eq!(fs::metadata(share.at("file")).unwrap().len(), 1 << 20);
        let mut second = shell(script, share.path());
        waits_at(&format!("direct_io {direct_io}, `{script}`"), &second, &places);
        survives_sigkill("the second one", &mut second);
        assert_eq!(share.counts_under("file").of(Ops::WRITE), 1);
        share.heal();
        assert!(first.wait().unwrap().success());
        second.wait().unwrap();
    }
}

/// The folder's lock: nobody can look up a name there that the kernel does not remember.
#[test]
fn a_hung_create_or_rename_holds_up_its_folder() {
    for (ops, script) in [(Ops::CREATE, ": >folder/new"), (Ops::RENAME, "exec mv -T file folder/moved")] {
        let share = with_a_file(Options::default());
        share.hang(ops);
        let mut first = shell(script, share.path());
        share.wait_hung(ops, 1);
        let mut second = shell("exec stat folder/other", share.path());
        waits_at(&format!("{ops:?}: the second one"), &second, &["walk_component", "lookup", "rwsem"]);
        survives_sigkill("the second one", &mut second);
        share.heal();
        assert!(first.wait().unwrap().success());
        second.wait().unwrap();
    }
}

#[test]
fn what_hung_can_end_with_an_error_or_have_been_done_all_along() {
    let share = with_a_file(Options::default());
    share.rule(Rule::new(Fault::HangAfter, Ops::WRITE));
    let mut child = shell("printf x >>file", share.path());
    share.wait_hung(Ops::WRITE, 1);
    assert_eq!(fs::metadata(share.behind("file")).unwrap().len(), (1 << 20) + 1);
    share.fail_hung(Errno::EIO);
    assert!(!child.wait().unwrap().success());
    share.rule(Rule::new(Fault::Hang, Ops::RENAME));
    let mut child = shell("exec mv -T file moved", share.path());
    share.wait_hung(Ops::RENAME, 1);
    assert!(share.behind("file").exists());
    share.release();
    assert!(child.wait().unwrap().success());
    assert!(share.behind("moved").exists());
    assert_eq!(share.hung().len(), 0);
}
