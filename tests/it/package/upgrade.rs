//! A newer package arrives.

use std::path::Path;
use std::process::Command;

use super::{deb, host, on_share, requested, runs, settle, with_package};
use crate::support::{Machine, Place, SUITES, wait_until};

/// Puts the package under test on the machine once more, as a newer one with another program.
fn offer_newer(machine: &Machine) -> &'static str {
    let folder = tempfile::tempdir().expect("a folder");
    let tree = folder.path().join("tree");
    host(Command::new("dpkg-deb").arg("--raw-extract").arg(deb()).arg(&tree));
    let newer =
        "sed -i 's/^Version: .*/Version: 99/' \"$0/DEBIAN/control\"; printf newer >> \"$0/usr/bin/ci-setup-agent\"";
    host(Command::new("sh").args(["-c", newer]).arg(&tree));
    let package = folder.path().join("newer.deb");
    host(Command::new("dpkg-deb").args(["-Zgzip", "--root-owner-group", "--build"]).arg(&tree).arg(&package));
    machine.install(&package, "/var/tmp/newer.deb", 0o644);
    "/var/tmp/newer.deb"
}

#[test]
fn an_upgrade_leaves_a_running_script_alone() {
    let script = "echo begun\nuntil test -e /root/go-on; do sleep 0.05; done\necho ended\n";
    for suite in SUITES {
        let mut machine = requested(suite, script, "echo started\n");
        machine.boot();
        wait_until("the script", || match on_share(&machine, "ci-1", "creation", "output.log") {
            logs if logs == ["begun\n"] => Ok(()),
            logs => Err(logs),
        });
        let agents = |machine: &Machine| -> Vec<String> {
            let mut processes = machine.processes();
            processes.retain(|process| process.command.starts_with("/usr/bin/ci-setup-agent run"));
            let of = |pid: i32| std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            processes.iter().map(|process| format!("{} {}", process.pid, of(process.pid).display())).collect()
        };
        let before = agents(&machine);
        assert!(!before.is_empty(), "{suite}: {:?}", machine.processes());
        let newer = offer_newer(&machine);
        machine.run(["dpkg", "-i", newer]).ok();
        let after = agents(&machine);
        // Front, supervisor and mirror; others come and go.
        assert!(after.len() >= 3, "{suite}: {after:?}");
        for after in &after {
            let same =
                after.strip_suffix(" (deleted)").is_some_and(|after| before.iter().any(|before| before == after));
            assert!(same, "{suite}: {after} is none of {before:?} under the old program");
        }
        machine.write("/root/go-on", "", 0o644);
        settle(&machine);
        let expected = ["creationScript succeeded ci-1", "startupScript succeeded ci-1"];
        assert_eq!(runs(&machine), expected, "{suite}");
        assert_eq!(on_share(&machine, "ci-1", "creation", "output.log"), ["begun\nended\n"], "{suite}");
        machine.stop();
        machine.boot();
        settle(&machine);
        assert_eq!(runs(&machine).len(), 3, "{suite}: the newer one knows what has run");
    }
}

#[test]
fn an_upgrade_respects_what_the_administrator_has_decided() {
    for suite in SUITES {
        let mut machine = with_package(suite);
        machine.boot();
        machine.run(["systemctl", "disable", "--now", "ci-setup-agent.service", "ci-setup-agent-sync.timer"]).ok();
        machine.write("/etc/ci-setup-agent/config.toml", "grace = \"3s\"\n", 0o644);
        let newer = offer_newer(&machine);
        machine.run(["dpkg", "-i", newer]).ok();
        let states = machine.run(["systemctl", "is-enabled", "ci-setup-agent.service", "ci-setup-agent-sync.timer"]);
        assert_eq!(states.stdout, "disabled\ndisabled\n", "{suite}");
        assert_eq!(machine.read("/etc/ci-setup-agent/config.toml").as_deref(), Some("grace = \"3s\"\n"), "{suite}");
        assert!(Path::new(&machine.path("/etc/sudoers.d/zzz-ci-setup-agent")).exists(), "{suite}");
    }
}
