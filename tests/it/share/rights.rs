//! With whose rights the share is written.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use faultfs::Options;

use super::bench::Bench;
use crate::support::{Place, wait_until};

/// Effective user of the mirror's process, from its first and only line in /proc that tells.
fn euid_of_mirror(bench: &Bench) -> u32 {
    wait_until("a mirror", || {
        let processes = bench.room.processes();
        let statuses = processes.iter().map(|process| format!("/proc/{}/status", process.pid));
        let statuses: Vec<String> = statuses.filter_map(|path| fs::read_to_string(path).ok()).collect();
        let status = statuses.iter().find(|status| status.starts_with("Name:\tci-setup:mirror"));
        let uids = status.and_then(|status| status.lines().find_map(|line| line.strip_prefix("Uid:")));
        uids.and_then(|uids| uids.split_whitespace().nth(1)?.parse().ok()).ok_or("none")
    })
}

fn uid_of(bench: &Bench, user: &str) -> u32 {
    bench.room.run(["id", "-u", user]).ok().trim().parse().expect("a number")
}

/// A run that has printed a line which is on the share, and then waits for `/run/gate`.
fn started(bench: &Bench) -> crate::support::call::Spawned {
    bench.inline("echo one; until [ -e /run/gate ]; do sleep 0.01; done", "60s");
    let agent = bench.agent(&[]).spawn();
    wait_until("the first line on the share", || {
        let found = super::table::find(bench.share.backing());
        if found == "one\n" { Ok(()) } else { Err((found, agent.stderr())) }
    });
    agent
}

#[test]
fn the_mirror_is_the_user_where_that_suffices() {
    let bench = Bench::with(Options { default_permissions: true, ..Options::default() });
    let agent = started(&bench);
    let azureuser = uid_of(&bench, "azureuser");
    assert_eq!(euid_of_mirror(&bench), azureuser);
    bench.room.write("/run/gate", "", 0o600);
    let ran = agent.wait();
    assert_eq!((ran.code, bench.outcome()["warnings"].as_array().map(Vec::len)), (0, Some(0)), "{:#}", bench.outcome());
    bench.assert_mirrored("as the user");
    let folder = bench.outcome()["output"]["mirrorPath"].as_str().expect("a path").to_owned();
    let log = fs::metadata(bench.share.backing().join(folder).join("output.log")).expect("the log");
    assert_eq!((log.uid(), log.mode() & 0o777), (azureuser, 0o644));
}

#[test]
fn the_mirror_is_root_where_the_user_may_not_write_and_says_so_once() {
    let bench = Bench::with(Options { default_permissions: true, ..Options::default() });
    fs::set_permissions(bench.share.backing(), fs::Permissions::from_mode(0o755)).expect("chmod");
    let agent = started(&bench);
    assert_eq!(euid_of_mirror(&bench), 0);
    bench.room.write("/run/gate", "", 0o600);
    assert_eq!(agent.wait().code, 0);
    let warnings = bench.outcome()["warnings"].clone();
    assert_eq!((&warnings[0]["code"], warnings.as_array().map(Vec::len)), (&"mirror-as-root".into(), Some(1)));
    bench.assert_mirrored("as root");
}
