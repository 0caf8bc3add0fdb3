//! What a real SMB server does through FUSE, so that what is tested against ours is not a dream.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt};

use faultfs::Errno;
use faultfs::smb::Samba;

use crate::support::errno;

#[test]
fn a_real_smb_share_behaves_as_its_module_says() {
    let samba = Samba::start().expect("samba, smbclient, smbnetfs and iproute2 are installed, and this is root");
    let (at, behind) = (|name: &str| samba.path().join(name), |name: &str| samba.backing().join(name));
    fs::create_dir_all(at("Logs/ci-1/creation")).unwrap();
    let mut log = File::create_new(at("Logs/ci-1/creation/output.log")).unwrap();
    log.write_all(b"a line\n").unwrap();
    assert_eq!(fs::read(behind("Logs/ci-1/creation/output.log")).unwrap(), b"a line\n");
    log.sync_all().unwrap();
    let large = vec![b'x'; (1 << 20) + 1];
    log.write_all_at(&large, 7).unwrap();
    assert_eq!(log.metadata().unwrap().len(), (1 << 20) + 8);
    log.set_len(7).unwrap();
    assert_eq!(fs::read(behind("Logs/ci-1/creation/output.log")).unwrap(), b"a line\n");

    fs::write(at("outcome"), b"old").unwrap();
    fs::write(at("outcome.new"), b"new").unwrap();
    let open = File::open(at("outcome")).unwrap();
    assert_eq!(errno(fs::rename(at("outcome.new"), at("outcome"))), Errno::EBUSY);
    assert_eq!(errno(fs::rename(at("outcome"), at("moved"))), Errno::EBUSY);
    assert_eq!(errno(fs::remove_file(at("outcome"))), Errno::EBUSY);
    drop(open);
    // The client hears of the close later than `close` returns.
    crate::support::until("the rename is done", || fs::rename(at("outcome.new"), at("outcome")).is_ok(), |done| *done);
    assert_eq!(fs::read(behind("outcome")).unwrap(), b"new");

    fs::set_permissions(at("outcome"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_ne!(fs::metadata(at("outcome")).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fs::hard_link(at("outcome"), at("hard")).is_err());
    assert!(std::os::unix::fs::symlink("outcome", at("soft")).is_err());
    let appended = OpenOptions::new().append(true).open(at("outcome")).and_then(|mut file| file.write_all(b"!"));
    assert_eq!(errno(appended), Errno::EIO);
}
