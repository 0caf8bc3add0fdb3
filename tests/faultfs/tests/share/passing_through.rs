use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use faultfs::{Changes, Errno, Options, Owner};

use crate::support::{errno, mounted};

fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 56) as u8
        })
        .collect()
}

fn every_way() -> Vec<Options> {
    let plain = Options::default();
    vec![
        plain.clone(),
        Options { direct_io: true, ..plain.clone() },
        Options { cache: Duration::from_secs(10), ..plain.clone() },
        Options { writeback_cache: true, cache: Duration::from_secs(10), ..plain.clone() },
        Options { kept: faultfs::Kept::AtFsync, ..plain.clone() },
        Options::like_smb(),
    ]
}

#[test]
fn large_files_pass_byte_for_byte_both_ways() {
    let bytes = noise(5 * 1024 * 1024 + 3);
    for options in every_way() {
        let share = mounted(options.clone());
        let mut file = File::create(share.at("large")).unwrap();
        file.write_all(&bytes).unwrap();
        assert!(fs::read(share.at("large")).unwrap() == bytes, "before fsync, {options:?}");
        file.sync_all().unwrap();
        assert!(fs::read(share.behind("large")).unwrap() == bytes, "behind, {options:?}");
        fs::write(share.behind("other"), &bytes).unwrap();
        assert!(fs::read(share.at("other")).unwrap() == bytes, "from behind, {options:?}");
    }
}

#[test]
fn appending_truncating_and_writing_in_the_middle_give_what_a_plain_folder_gives() {
    fn work(folder: &std::path::Path) -> Vec<u8> {
        let path = folder.join("file");
        fs::write(&path, b"one two three").unwrap();
        let mut append = OpenOptions::new().append(true).open(&path).unwrap();
        append.write_all(b" four").unwrap();
        let mut middle = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        middle.seek(SeekFrom::Start(4)).unwrap();
        middle.write_all(b"TWO").unwrap();
        middle.set_len(12).unwrap();
        append.write_all(b" five").unwrap();
        middle.set_len(20).unwrap();
        middle.seek(SeekFrom::Start(25)).unwrap();
        middle.write_all(b"end").unwrap();
        middle.seek(SeekFrom::Start(2)).unwrap();
        let mut read = Vec::new();
        middle.read_to_end(&mut read).unwrap();
        middle.sync_all().unwrap();
        read
    }
    let plain = tempfile::tempdir().unwrap();
    let expected = work(plain.path());
    let whole = fs::read(plain.path().join("file")).unwrap();
    for options in every_way() {
        let share = mounted(options.clone());
        assert_eq!(work(share.path()), expected, "{options:?}");
        assert_eq!(fs::read(share.behind("file")).unwrap(), whole, "{options:?}");
    }
}

#[test]
fn names_move_and_go_and_open_files_follow_them() {
    let share = mounted(Options::default());
    fs::create_dir_all(share.at("a/b")).unwrap();
    let mut file = File::create(share.at("a/b/file")).unwrap();
    fs::rename(share.at("a"), share.at("z")).unwrap();
    file.write_all(b"still mine").unwrap();
    assert_eq!(fs::read(share.behind("z/b/file")).unwrap(), b"still mine");
    fs::write(share.at("new"), b"new").unwrap();
    fs::rename(share.at("new"), share.at("z/b/file")).unwrap();
    assert_eq!(fs::read(share.at("z/b/file")).unwrap(), b"new");
    file.write_all(b", nameless").unwrap();
    assert_eq!(errno(fs::remove_dir(share.at("z/b"))), Errno::ENOTEMPTY);
    fs::remove_file(share.at("z/b/file")).unwrap();
    fs::remove_dir(share.at("z/b")).unwrap();
    assert_eq!(fs::read_dir(share.at("z")).unwrap().count(), 0);
    let names: Vec<String> = (0..2000).map(|number| format!("entry-{number:04}")).collect();
    for name in &names {
        fs::write(share.at("z").join(name), name).unwrap();
    }
    let mut seen: Vec<String> =
        fs::read_dir(share.at("z")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    seen.sort();
    assert_eq!(seen, names);
}

#[test]
fn links_modes_and_owners_are_the_backing_folders_unless_it_plays_smb() {
    let share = mounted(Options::default());
    fs::write(share.at("file"), b"x").unwrap();
    fs::hard_link(share.at("file"), share.at("hard")).unwrap();
    std::os::unix::fs::symlink("file", share.at("soft")).unwrap();
    assert_eq!(fs::read_link(share.at("soft")).unwrap().to_str(), Some("file"));
    assert_eq!(fs::read(share.at("soft")).unwrap(), b"x");
    fs::set_permissions(share.at("file"), fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::chown(share.at("file"), Some(12), Some(34)).unwrap();
    let behind = fs::metadata(share.behind("hard")).unwrap();
    assert_eq!((behind.mode() & 0o7777, behind.uid(), behind.gid(), behind.nlink()), (0o640, 12, 34, 2));

    let owner = Owner { uid: 1000, gid: 1001, file_mode: 0o666, dir_mode: 0o777, changes: Changes::Ignored };
    let share = mounted(Options { owner: Some(owner), ..Options::like_smb() });
    fs::write(share.at("file"), b"x").unwrap();
    fs::set_permissions(share.at("file"), fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::chown(share.at("file"), Some(12), Some(34)).unwrap();
    let shown = fs::metadata(share.at("file")).unwrap();
    assert_eq!((shown.mode() & 0o7777, shown.uid(), shown.gid()), (0o666, 1000, 1001));
    assert_eq!(errno(fs::hard_link(share.at("file"), share.at("hard"))), Errno::EOPNOTSUPP);
    assert_eq!(errno(std::os::unix::fs::symlink("file", share.at("soft"))), Errno::EOPNOTSUPP);

    let owner = Owner { changes: Changes::Refused(Errno::EPERM), ..owner };
    let share = mounted(Options { owner: Some(owner), ..Options::like_smb() });
    fs::write(share.at("file"), b"x").unwrap();
    assert_eq!(errno(fs::set_permissions(share.at("file"), fs::Permissions::from_mode(0o600))), Errno::EPERM);
    assert_eq!(errno(std::os::unix::fs::chown(share.at("file"), Some(12), Some(34))), Errno::EPERM);
}

#[test]
fn a_share_like_smb_refuses_to_replace_or_remove_an_open_file() {
    let share = mounted(Options::like_smb());
    fs::write(share.at("outcome"), b"old").unwrap();
    fs::write(share.at("outcome.new"), b"new").unwrap();
    let open = File::open(share.at("outcome")).unwrap();
    assert_eq!(errno(fs::rename(share.at("outcome.new"), share.at("outcome"))), Errno::EACCES);
    assert_eq!(errno(fs::remove_file(share.at("outcome"))), Errno::EBUSY);
    drop(open);
    fs::rename(share.at("outcome.new"), share.at("outcome")).unwrap();
    assert_eq!(fs::read(share.at("outcome")).unwrap(), b"new");
}

#[test]
fn modes_hold_others_off_only_with_default_permissions() {
    for (default_permissions, succeeds) in [(true, false), (false, true)] {
        let share = mounted(Options { default_permissions, ..Options::default() });
        // The way to the mount is root's alone, so the child goes there first and becomes another user after.
        fs::write(share.at("secret"), b"x").unwrap();
        fs::set_permissions(share.at("secret"), fs::Permissions::from_mode(0o600)).unwrap();
        let status = std::process::Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "cat", "secret"])
            .current_dir(share.path())
            .output()
            .unwrap();
        assert_eq!(status.status.success(), succeeds, "{status:?}");
    }
}
