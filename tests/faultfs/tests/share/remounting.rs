use std::fs::{self, File};
use std::io::Write;
use std::process::{Command, Stdio};

use faultfs::{Errno, Ops, Options, Share};

use crate::support::{errno, mounted, shell, until};

#[test]
fn handles_of_before_are_dead_after_a_remount_and_new_ones_live() {
    let share = mounted(Options::default());
    let mut file = File::create(share.at("log")).unwrap();
    let folder = File::open(share.path()).unwrap();
    file.write_all(b"before").unwrap();
    share.remount();
    assert_eq!(errno(file.write(b"!")), Errno::ENOTCONN);
    assert_eq!(errno(file.sync_all()), Errno::ENOTCONN);
    assert_eq!(errno(folder.metadata()), Errno::ENOTCONN);
    assert_eq!(fs::read(share.at("log")).unwrap(), b"before");
}

#[test]
fn an_unmounted_share_is_an_empty_folder_and_a_broken_one_is_not_connected() {
    let share = mounted(Options::default());
    let inode = fs::metadata(share.at("")).map(|of| std::os::unix::fs::MetadataExt::dev(&of)).unwrap();
    fs::write(share.at("file"), b"x").unwrap();
    share.unmount();
    assert_eq!(errno(fs::read(share.at("file"))), Errno::ENOENT);
    assert_eq!(fs::read_dir(share.path()).unwrap().count(), 0);
    assert_ne!(fs::metadata(share.path()).map(|of| std::os::unix::fs::MetadataExt::dev(&of)).unwrap(), inode);
    share.mount_again();
    assert_eq!(fs::read(share.at("file")).unwrap(), b"x");
    share.abort();
    assert_eq!(errno(fs::read(share.at("file"))), Errno::ENOTCONN);
    assert_eq!(errno(fs::metadata(share.path())), Errno::ENOTCONN);
    share.mount_again();
    assert_eq!(fs::read(share.at("file")).unwrap(), b"x");
}

#[test]
fn dropping_the_share_frees_who_hangs_on_it_and_unmounts() {
    let share = mounted(Options::default());
    fs::write(share.at("file"), b"x").unwrap();
    share.hang(Ops::ALL);
    let mut hanging = shell("exec cat file", share.path());
    share.wait_hung(Ops::ALL, 1);
    let mountpoint = share.path().display().to_string();
    drop(share);
    assert!(!hanging.wait().unwrap().success());
    assert!(!fs::read_to_string("/proc/self/mountinfo").unwrap().contains(&mountpoint));
}

#[test]
fn a_server_that_is_killed_leaves_nobody_hanging() {
    let share = mounted(Options::default());
    fs::write(share.at("file"), b"x").unwrap();
    share.hang(Ops::ALL);
    let mut hanging = shell("exec cat file", share.path());
    share.wait_hung(Ops::ALL, 1);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(share.pid() as i32), nix::sys::signal::SIGKILL).unwrap();
    assert!(!hanging.wait().unwrap().success());
}

#[test]
fn a_parent_that_is_killed_leaves_no_mount() {
    let folders = tempfile::tempdir().unwrap();
    let me = std::env::current_exe().unwrap();
    let mut parent = Command::new(me)
        .args(["--ignored", "--exact", "--nocapture", "remounting::mounts_and_waits_to_be_killed"])
        .env("FAULTFS_FOLDERS", folders.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let named = folders.path().display().to_string();
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap().matches(&named).count();
    until("it is mounted", mounts, |count| *count == 1);
    until("it works", || folders.path().join("share/ready").exists(), |ready| *ready);
    parent.kill().unwrap();
    parent.wait().unwrap();
    until("it is gone", mounts, |count| *count == 0);
}

#[test]
#[ignore = "no test: the process that another test kills"]
fn mounts_and_waits_to_be_killed() {
    let Some(folders) = std::env::var_os("FAULTFS_FOLDERS").map(std::path::PathBuf::from) else {
        return;
    };
    fs::create_dir(folders.join("backing")).unwrap();
    fs::create_dir(folders.join("share")).unwrap();
    fs::write(folders.join("backing/ready"), b"").unwrap();
    let _share = Share::mount(folders.join("backing"), folders.join("share"), Options::default());
    loop {
        std::thread::park();
    }
}

#[test]
fn the_program_serves_by_itself_and_is_told_by_hand() {
    let folders = tempfile::tempdir().unwrap();
    for folder in ["backing", "share"] {
        fs::create_dir(folders.path().join(folder)).unwrap();
    }
    let faultfs = env!("CARGO_BIN_EXE_faultfs");
    let mut server = Command::new(faultfs)
        .args(["backing", "share", "--control", "control", "--options", r#"{"direct_io": true}"#])
        .current_dir(folders.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(server.stdout.as_mut().unwrap()), &mut line).unwrap();
    assert_eq!(line, "faultfs: ready\n");
    let file = folders.path().join("share/file");
    fs::write(&file, b"x").unwrap();
    let ask = |question: &str| {
        let asked =
            Command::new(faultfs).arg("ask").arg(folders.path().join("control")).arg(question).output().unwrap();
        String::from_utf8(asked.stdout).unwrap()
    };
    let rule = r#"{"Add": {"fault": {"Error": 5}, "ops": ["open"], "under": "", "skip": 0, "times": null}}"#;
    assert_eq!(ask(rule), "\"Done\"\n");
    assert_eq!(errno(fs::read(&file)), Errno::EIO);
    assert_eq!(ask("\"Heal\""), "\"Done\"\n");
    assert_eq!(fs::read(&file).unwrap(), b"x");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(server.id() as i32), nix::sys::signal::SIGTERM).unwrap();
    assert!(server.wait().unwrap().success());
    assert!(!file.exists());
}
