//! The maintainer scripts in every way in which dpkg calls them (Debian policy, chapter 6).

use std::path::Path;
use std::process::{Command, Output};

use super::{deb, differences, dpkg_offline, host, listing, with_package};
use crate::support::{Machine, Place};

/// Runs a program on the disk of a machine that is off.
fn offline(machine: &Machine, words: &[&str]) -> Output {
    let mut command = Command::new("chroot");
    command.arg(machine.disk().root()).args(words).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    // deb-systemd-helper wants to be called by dpkg.
    command.env("DPKG_MAINTSCRIPT_PACKAGE", "ci-setup-agent");
    command.output().expect("chroot")
}

#[test]
fn every_call_of_a_maintainer_script_is_answered_and_those_of_an_upgrade_change_nothing() {
    let machine = with_package("bookworm");
    let before = listing(&machine.disk().root());
    let call = |words: &str| {
        let (script, arguments) = words.split_once(' ').unwrap_or((words, ""));
        let path = format!("/var/lib/dpkg/info/ci-setup-agent.{script}");
        let words: Vec<&str> = std::iter::once(path.as_str()).chain(arguments.split_whitespace()).collect();
        offline(&machine, &words)
    };
    for words in [
        "preinst install",
        "preinst install 0.1.0 0.2.0",
        "preinst upgrade 0.1.0 0.2.0",
        "preinst abort-upgrade 0.2.0",
        "prerm upgrade 0.2.0",
        "prerm failed-upgrade 0.1.0 0.2.0",
        "prerm deconfigure in-favour other 1 removing third 1",
        "prerm remove",
        "prerm remove in-favour other 1",
        "postrm upgrade 0.2.0",
        "postrm failed-upgrade 0.1.0 0.2.0",
        "postrm abort-install",
        "postrm abort-install 0.1.0 0.2.0",
        "postrm abort-upgrade 0.1.0 0.2.0",
        "postrm disappear other 1",
        "postrm remove",
        "postinst configure",
        "postinst configure 0.1.0",
        "postinst abort-upgrade 0.2.0",
        "postinst abort-remove",
        "postinst abort-remove in-favour other 1",
        "postinst abort-deconfigure in-favour other 1 removing third 1",
    ] {
        let output = call(words);
        let said = (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned());
        assert_eq!(said, (Some(0), String::new()), "{words}");
    }
    // `preinst install` makes room for the rules that dpkg would unpack next.
    machine.write("/etc/sudoers.d/zzz-ci-setup-agent", include_str!("../../../packaging/sudoers"), 0o440);
    assert_eq!(differences(&before, &listing(&machine.disk().root())), [""; 0]);
    for script in ["preinst", "postinst", "prerm", "postrm"] {
        for words in [script.to_owned(), format!("{script} nonsense")] {
            let output = call(&words);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.code() == Some(1) && said.contains("unknown argument"), "{words}: {said}");
        }
    }
}

/// The package under test as version 99, in which those lines are put into a maintainer script.
fn newer(machine: &Machine, script: &str, lines: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let tree = folder.path().join("tree");
    host(Command::new("dpkg-deb").arg("--raw-extract").arg(deb()).arg(&tree));
    let edit = "sed -i 's/^Version: .*/Version: 99/' \"$0/DEBIAN/control\"; sed -i \"2i $2\" \"$0/DEBIAN/$1\"";
    host(Command::new("sh").args(["-c", edit]).arg(&tree).args([script, lines]));
    let package = folder.path().join("newer.deb");
    host(Command::new("dpkg-deb").args(["-Zgzip", "--root-owner-group", "--build"]).arg(&tree).arg(&package));
    machine.install(&package, "/var/tmp/newer.deb", 0o644);
}

fn version_and_state(machine: &Machine) -> String {
    dpkg_offline(machine, &["-s", "ci-setup-agent"])
        .lines()
        .filter_map(|line| line.strip_prefix("Version: ").or(line.strip_prefix("Status: ")))
        .collect::<Vec<_>>()
        .join(", ")
}

#[test]
fn what_fails_half_way_leaves_the_old_package_or_the_new_one_but_never_none() {
    const INSTALLED: &str = "install ok installed";
    let machine = with_package("bookworm");
    let own = std::fs::read_to_string("Cargo.toml").expect("Cargo.toml");
    let own = own.lines().find_map(|line| line.strip_prefix("version = \"")).expect("a version").trim_end_matches('"');
    let works = |machine: &Machine| {
        assert!(offline(machine, &["ci-setup-agent", "--version"]).status.success());
        assert!(Path::new(&machine.path("/etc/sudoers.d/zzz-ci-setup-agent")).exists());
        assert!(machine.path("/etc/systemd/system/multi-user.target.wants/ci-setup-agent.service").is_symlink());
        assert_eq!(dpkg_offline(machine, &["--audit"]), "");
    };
    let before = listing(&machine.disk().root());

    // The newer one refuses: abort-upgrade.
    newer(&machine, "preinst", "exit 1");
    assert!(!offline(&machine, &["dpkg", "-i", "/var/tmp/newer.deb"]).status.success());
    assert_eq!(version_and_state(&machine), format!("{INSTALLED}, {own}"));
    // A removal that fails: abort-remove.
    let prerm = "/var/lib/dpkg/info/ci-setup-agent.prerm";
    let good = machine.read(prerm).expect("a prerm");
    machine.write(prerm, "#!/bin/sh\nexit 1\n", 0o755);
    assert!(!offline(&machine, &["dpkg", "-r", "ci-setup-agent"]).status.success());
    assert_eq!(version_and_state(&machine), format!("{}, {own}", INSTALLED.replacen("install", "deinstall", 1)));
    offline(&machine, &["sh", "-c", "echo ci-setup-agent install | dpkg --set-selections"]);
    works(&machine);
    assert_eq!(differences(&before, &listing(&machine.disk().root())), [""; 0]);

    // What the old one cannot do, the newer one does for it: failed-upgrade.
    newer(&machine, "prerm", "true");
    dpkg_offline(&machine, &["-i", "/var/tmp/newer.deb"]);
    assert_eq!(version_and_state(&machine), format!("{INSTALLED}, 99"));
    works(&machine);
    assert_ne!(machine.read(prerm).as_deref(), Some(good.as_str()));
    // And back again.
    dpkg_offline(&machine, &["-i", "/var/tmp/agent.deb"]);
    assert_eq!(version_and_state(&machine), format!("{INSTALLED}, {own}"));
    works(&machine);
}
