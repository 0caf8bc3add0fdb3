//! Once with a real SMB server, mounted through FUSE.

use std::fs;
use std::time::Duration;

use faultfs::smb::Samba;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::Value;

use crate::support::{Place, Room, SHARE};

#[test]
fn a_run_on_a_real_smb_share_is_mirrored_byte_for_byte() {
    // The room first: its thread has mounts of its own from then on.
    let room = Room::new("bookworm");
    let samba = Samba::start().expect("samba, smbclient, smbnetfs and iproute2 are installed, and this is root");
    mount(Some(&samba.path()), &room.share(), None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("a bind mount");
    fs::create_dir(samba.backing().join("Users")).expect("a folder");
    let script = "echo hello; seq 1 50000; head -c 3000000 /dev/urandom; sleep 6; echo last; exit 3";
    fs::write(samba.backing().join("Users/setup.sh"), script).expect("the script");
    let request = r#"{"setupScripts": {"scripts": {"creationScript":
        {"scriptSource": "workspaceStorage", "scriptData": "Users/setup.sh", "timeout": "60s"}}}}"#;
    room.write("/root/request.json", request, 0o600);
    let line = format!(
        "ci-setup-agent run /root/request.json --quiet --resource-group rg --workspace wks --name ci-1 --share {SHARE}"
    );
    let begun = std::time::Instant::now();
    let ran = room.bash(&line);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    let runs: Vec<_> = fs::read_dir(room.path("/var/lib/ci-setup-agent/runs")).expect("runs").flatten().collect();
    let local = runs[0].path();
    let outcome: Value = serde_json::from_slice(&fs::read(local.join("outcome.json")).expect("it")).expect("JSON");
    assert_eq!(outcome["output"]["mirror"], "current", "{outcome:#}");
    assert_eq!(outcome["warnings"].as_array().map(Vec::len), Some(0), "{outcome:#}");
    let copy = samba.backing().join(outcome["output"]["mirrorPath"].as_str().expect("a path"));
    for name in ["output.log", "script.sh"] {
        let (here, there) =
            (fs::read(local.join(name)).expect("local"), fs::read(copy.join(name)).expect("on the share"));
        assert!(here == there, "{name}: {} and {} bytes", here.len(), there.len());
    }
    let public: Value = serde_json::from_slice(&fs::read(copy.join("outcome.json")).expect("it")).expect("JSON");
    assert_eq!((&public["state"], &public["output"]["mirror"]), (&"failed".into(), &"current".into()));
    let mut names: Vec<_> = fs::read_dir(copy).expect("it").flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    assert_eq!(names, ["details.html", "outcome.json", "output.log", "script.sh"]);
    umount2(&room.share(), MntFlags::MNT_DETACH).expect("umount");
}
