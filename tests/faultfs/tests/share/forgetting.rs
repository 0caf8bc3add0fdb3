use std::fs::{self, File};
use std::io::Write;

use faultfs::{Errno, Kept, Loss, Ops, Options};

use crate::support::{errno, mounted, until};

fn forgetful(kept: Kept) -> Options {
    Options { kept, ..Options::default() }
}

#[test]
fn what_was_not_synced_is_visible_until_the_server_forgets_it() {
    let share = mounted(forgetful(Kept::AtFsync));
    let mut file = File::create(share.at("log")).unwrap();
    file.write_all(b"safe ").unwrap();
    file.sync_all().unwrap();
    file.write_all(b"lost").unwrap();
    assert_eq!(fs::read(share.at("log")).unwrap(), b"safe lost");
    assert_eq!(fs::metadata(share.at("log")).unwrap().len(), 9);
    assert_eq!(fs::read(share.behind("log")).unwrap(), b"safe ");
    let forgotten = share.forget();
    assert_eq!((forgotten.writes, forgotten.bytes), (1, 4));
    until("the mount shows the loss", || fs::read(share.at("log")).unwrap(), |bytes| bytes == b"safe ");
    assert_eq!(file.metadata().unwrap().len(), 5);
}

#[test]
fn a_crash_shortens_the_file_and_kills_its_handles() {
    let share = mounted(forgetful(Kept::AtFsync));
    let mut file = File::create(share.at("log")).unwrap();
    for part in [b"aa", b"bb", b"cc"] {
        file.write_all(part).unwrap();
    }
    let forgotten = share.crash(Loss::Last(2));
    assert_eq!((forgotten.writes, forgotten.bytes), (2, 4));
    assert_eq!(errno(file.write(b"dd")), Errno::ENOTCONN);
    assert_eq!(fs::read(share.at("log")).unwrap(), b"aa");
}

#[test]
fn out_of_order_leaves_zeros_before_what_was_written_later() {
    let share = mounted(forgetful(Kept::AtFsync));
    let mut file = File::create(share.at("log")).unwrap();
    file.write_all(b"kept").unwrap();
    file.sync_all().unwrap();
    for part in [b"11", b"22", b"33"] {
        file.write_all(part).unwrap();
    }
    share.crash(Loss::OutOfOrder);
    assert_eq!(fs::read(share.at("log")).unwrap(), b"kept\0\x002233");

    let mut file = File::create(share.at("single")).unwrap();
    file.write_all(b"abcd").unwrap();
    share.crash(Loss::OutOfOrder);
    assert_eq!(fs::read(share.at("single")).unwrap(), b"\0\0cd");
}

#[test]
fn close_or_release_make_bytes_safe_only_where_asked() {
    for (kept, at_close) in
        [(Kept::AtFsync, false), (Kept::AtClose, true), (Kept::AtRelease, true), (Kept::AtOnce, true)]
    {
        let share = mounted(forgetful(kept));
        fs::write(share.at("log"), b"bytes").unwrap();
        share.wait_for(Ops::RELEASE, "log", 1);
        // Nobody waits for a release, so it may be counted and not yet done.
        share.remount();
        share.forget();
        let left = fs::read(share.at("log")).unwrap();
        assert_eq!(left == b"bytes", at_close, "{kept:?}: {left:?}");
    }
}

#[test]
fn a_clean_unmount_forgets_nothing() {
    let share = mounted(forgetful(Kept::AtFsync));
    fs::write(share.at("log"), b"bytes").unwrap();
    share.unmount();
    assert_eq!(fs::read(share.behind("log")).unwrap(), b"bytes");
}
