use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use faultfs::{Errno, Fault, Ops, Options, Rule};

use crate::support::{errno, mounted, until};

const ERRORS: [Errno; 6] = [Errno::EIO, Errno::ENOSPC, Errno::ESTALE, Errno::EROFS, Errno::EACCES, Errno::ENOENT];

#[test]
fn each_class_fails_alone_with_each_error_and_heals() {
    let share = mounted(Options { direct_io: true, ..Options::default() });
    fs::create_dir(share.at("folder")).unwrap();
    fs::write(share.at("file"), b"content").unwrap();
    let mut open = OpenOptions::new().read(true).write(true).open(share.at("file")).unwrap();
    for error in ERRORS {
        let mut fails = |ops: Ops, act: &mut dyn FnMut(&mut File) -> std::io::Result<()>| {
            share.fault(Fault::Error(error), ops);
            // ESTALE: the kernel looks the path up once more, so the error may come from there.
            assert_eq!(errno(act(&mut open)), error, "{ops:?}");
            share.heal();
        };
        fails(Ops::LOOKUP, &mut |_| fs::metadata(share.at("file")).map(drop));
        fails(Ops::GETATTR, &mut |open| open.metadata().map(drop));
        fails(Ops::SETATTR, &mut |open| open.set_len(7));
        fails(Ops::OPEN, &mut |_| File::open(share.at("file")).map(drop));
        fails(Ops::CREATE, &mut |_| File::create(share.at("new")).map(drop));
        fails(Ops::CREATE, &mut |_| fs::create_dir(share.at("new")));
        fails(Ops::READ, &mut |open| open.read_at(&mut [0; 4], 0).map(drop));
        fails(Ops::WRITE, &mut |open| open.write_at(b"lost", 0).map(drop));
        fails(Ops::FSYNC, &mut |open| open.sync_all());
        fails(Ops::FLUSH, &mut |open| nix_close(open.try_clone()?));
        fails(Ops::RENAME, &mut |_| fs::rename(share.at("file"), share.at("moved")));
        fails(Ops::UNLINK, &mut |_| fs::remove_file(share.at("file")));
        fails(Ops::UNLINK, &mut |_| fs::remove_dir(share.at("folder")));
        fails(Ops::READDIR, &mut |_| fs::read_dir(share.path()).map(drop));
        fails(Ops::ALL, &mut |_| fs::read(share.at("file")).map(drop));
    }
    let mut content = String::new();
    open.read_to_string(&mut content).unwrap();
    assert_eq!(content, "content");
    assert_eq!(fs::read_dir(share.path()).unwrap().count(), 2, "nothing was made, moved or removed");
}

/// `close` with its error, which dropping a `File` throws away.
fn nix_close(file: File) -> std::io::Result<()> {
    nix::unistd::close(file).map_err(Into::into)
}

#[test]
fn a_rule_strikes_below_its_path_after_its_count_and_so_many_times() {
    let share = mounted(Options::default());
    fs::create_dir(share.at("Logs")).unwrap();
    share.rule(Rule::new(Fault::Error(Errno::ENOSPC), Ops::WRITE).under("Logs").after(1).times(2));
    let mut outside = File::create(share.at("LogsNot")).unwrap();
    let mut inside = File::create(share.at("Logs/output.log")).unwrap();
    for _ in 0..5 {
        outside.write_all(b"x").unwrap();
    }
    let told: Vec<bool> = (0..5).map(|_| inside.write(b"x").is_ok()).collect();
    assert_eq!(told, [true, false, false, true, true]);
    assert_eq!(share.counts().faults, 2);
    fs::write(share.at("outcome.new"), b"{}").unwrap();
    share.rule(Rule::new(Fault::Error(Errno::EACCES), Ops::RENAME).under("outcome"));
    assert_eq!(errno(fs::rename(share.at("outcome.new"), share.at("outcome"))), Errno::EACCES);
}

#[test]
fn a_short_write_stores_less_and_says_so() {
    for direct_io in [true, false] {
        let share = mounted(Options { direct_io, ..Options::default() });
        let mut file = File::create(share.at("file")).unwrap();
        share.fault(Fault::Short(3), Ops::WRITE);
        assert_eq!(file.write(b"abcdefgh").unwrap(), 3, "direct_io {direct_io}");
        assert_eq!(fs::read(share.behind("file")).unwrap(), b"abc");
        file.write_all(b"defgh").unwrap();
        share.fault(Fault::Short(0), Ops::WRITE);
        match file.write(b"nothing") {
            Ok(count) => assert!(direct_io && count == 0, "direct_io {direct_io}, {count}"),
            Err(error) => assert_eq!(error.raw_os_error(), Some(Errno::EIO as i32)),
        }
        assert_eq!(fs::read(share.behind("file")).unwrap(), b"abcdefgh");
        assert_eq!(share.counts().bytes_written, 8);
    }
}

#[test]
fn an_answer_that_was_lost_was_done_all_the_same() {
    let share = mounted(Options::default());
    let mut file = File::create(share.at("file")).unwrap();
    share.rule(Rule::new(Fault::ErrorAfter(Errno::EIO), Ops::WRITE | Ops::RENAME));
    assert_eq!(errno(file.write(b"stored")), Errno::EIO);
    assert_eq!(fs::read(share.behind("file")).unwrap(), b"stored");
    assert_eq!(errno(fs::rename(share.at("file"), share.at("moved"))), Errno::EIO);
    assert!(share.behind("moved").exists());
}

#[test]
fn a_slow_operation_holds_up_no_other() {
    let share = mounted(Options::default());
    let delay = Duration::from_millis(300);
    let mut slow = File::create(share.at("slow")).unwrap();
    share.rule(Rule::new(Fault::Delay(delay), Ops::WRITE).under("slow"));
    let began = Instant::now();
    let writer = std::thread::spawn(move || slow.write_all(b"late").map(|()| began.elapsed()));
    share.wait_for(Ops::WRITE, "slow", 1);
    fs::write(share.at("quick"), b"at once").unwrap();
    let quick = began.elapsed();
    let took = writer.join().unwrap().unwrap();
    assert!(took >= delay, "{took:?}");
    assert!(quick < took, "{quick:?} and {took:?}");
    until("the late bytes are there", || fs::read(share.behind("slow")).unwrap(), |bytes| bytes == b"late");
}
