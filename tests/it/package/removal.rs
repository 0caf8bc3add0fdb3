//! Removed, installed again, purged; and sudo, which nothing may break.

use super::{bare, deb, differences, dpkg_offline, listing, on_share, request, requested, runs, settle, with_package};
use crate::support::{Machine, Place, SUITES, wait_until};

const SUDOERS: &str = "/etc/sudoers.d/zzz-ci-setup-agent";

#[test]
fn a_purge_leaves_the_disk_as_it_was_before() {
    for suite in SUITES {
        let mut machine = bare(suite);
        machine.install(&deb(), "/var/tmp/agent.deb", 0o644);
        // Where the file was: an own line of somebody else's.
        machine.write("/etc/environment", "EDITOR=vi\n", 0o644);
        machine.boot();
        machine.stop();
        let before = listing(&machine.disk().root());
        machine.boot();
        machine.run(["dpkg", "-i", "/var/tmp/agent.deb"]).ok();
        machine.write(super::REQUEST, request("ci-1", "echo created\n", "echo started\n"), 0o600);
        machine.run(["systemctl", "start", "ci-setup-agent"]).ok();
        settle(&machine);
        assert_eq!(runs(&machine).len(), 2, "{suite}");
        assert!(machine.read("/etc/environment").is_some_and(|text| text.contains("CI_NAME")), "{suite}");

        machine.run(["dpkg", "-r", "ci-setup-agent"]).ok();
        assert!(machine.read("/usr/bin/ci-setup-agent").is_none(), "{suite}");
        let records = machine.bash("ls /var/lib/ci-setup-agent/runs | wc -l").ok();
        assert_eq!(records, "2\n", "{suite}: removing leaves the records");
        let log = machine.read("/var/log/ci-setup-agent/agent.log").unwrap_or_default();
        assert_eq!(log.matches("run ended").count(), 2, "{suite}: and the agent's own log: {log}");
        assert_eq!(machine.run(["systemctl", "--failed", "--no-legend"]).stdout, "", "{suite}");

        machine.run(["dpkg", "-i", "/var/tmp/agent.deb"]).ok();
        machine.run(["ci-setup-agent", "run"]).ok();
        assert_eq!(runs(&machine).len(), 2, "{suite}: installed again, it knows what has run");

        for _twice in 0..2 {
            machine.run(["dpkg", "-P", "ci-setup-agent"]).ok();
        }
        machine.run(["sudo", "-u", "azureuser", "true"]).ok();
        machine.stop();
        assert!(!machine.path("/var/log/ci-setup-agent").exists(), "{suite}");
        assert_eq!(differences(&before, &listing(&machine.disk().root())), [""; 0], "{suite}");
        assert_eq!(
            on_share(&machine, "ci-1", "creation", "output.log"),
            ["created\n"],
            "{suite}: the share is not ours"
        );
    }
}

#[test]
fn it_comes_and_goes_in_the_making_of_an_image() {
    for suite in SUITES {
        let machine = bare(suite);
        let before = listing(&machine.disk().root());
        machine.install(&deb(), "/var/tmp/agent.deb", 0o644);
        for _twice in 0..2 {
            dpkg_offline(&machine, &["-i", "/var/tmp/agent.deb"]);
        }
        let wanted = "/etc/systemd/system/multi-user.target.wants/ci-setup-agent.service";
        assert!(machine.path(wanted).is_symlink(), "{suite}");
        dpkg_offline(&machine, &["-r", "ci-setup-agent"]);
        dpkg_offline(&machine, &["-P", "ci-setup-agent"]);
        assert_eq!(differences(&before, &listing(&machine.disk().root())), [""; 0], "{suite}");
    }
}

#[test]
fn removing_it_ends_a_running_script_in_order() {
    let mut machine = requested(
        "bookworm",
        "trap 'echo ended in order; exit 0' TERM\n>/root/ready\nsleep infinity & wait\n",
        "true\n",
    );
    machine.boot();
    wait_until("the script's trap", || machine.read("/root/ready").map(drop).ok_or("not set"));
    machine.run(["dpkg", "-r", "ci-setup-agent"]).ok();
    let logs = on_share(&machine, "ci-1", "creation", "output.log");
    let told =
        || machine.bash("cat /var/lib/ci-setup-agent/runs/*/*.{log,json} /var/log/ci-setup-agent/agent.log").stdout;
    assert_eq!(logs, ["ended in order\n"], "{}", told());
    let outcome = on_share(&machine, "ci-1", "creation", "outcome.json");
    assert!(outcome[0].contains("\"interrupted\""), "{outcome:?}");
}

#[test]
fn a_script_on_a_machine_may_remove_the_package_that_runs_it() {
    let script = "dpkg -r ci-setup-agent && echo removed\n";
    let mut machine = requested("bookworm", script, "true\n");
    machine.boot();
    settle(&machine);
    let logs = on_share(&machine, "ci-1", "creation", "output.log");
    assert!(logs[0].ends_with("removed\n"), "{logs:?}");
    let outcome = on_share(&machine, "ci-1", "creation", "outcome.json");
    assert!(outcome[0].contains("\"succeeded\""), "{outcome:?}");
    let audit = machine.run(["dpkg", "--audit"]).ok();
    assert_eq!(audit, "");
}

#[test]
fn purging_spares_what_others_wrote_around_and_into_the_block() {
    let machine = with_package("bookworm");
    let begin = "# BEGIN ci-setup-agent (written before each setup script; removed by purge)";
    // The end marker is lost, and the file is a link.
    let text = format!("A=1\n{begin}\nCI_NAME=\"ci-1\"\nB=2\nCI_OTHER=3\n");
    machine.write("/etc/default/variables", text, 0o640);
    let file = machine.path("/etc/environment");
    std::fs::remove_file(&file).expect("rm");
    std::os::unix::fs::symlink("default/variables", &file).expect("a link");
    dpkg_offline(&machine, &["-P", "ci-setup-agent"]);
    assert!(file.is_symlink());
    assert_eq!(machine.read("/etc/default/variables").as_deref(), Some("A=1\nB=2\nCI_OTHER=3\n"));
}

#[test]
fn rules_that_the_agent_wrote_itself_become_the_packages() {
    for suite in SUITES {
        let machine = bare(suite);
        machine.install(&deb(), "/var/tmp/agent.deb", 0o644);
        // An older agent's text: dpkg would ask whether to keep it, and nobody is there to answer.
        machine.write(SUDOERS, "# Made by ci-setup-agent, long ago\nDefaults:root env_keep += \"CI_NAME\"\n", 0o440);
        dpkg_offline(&machine, &["-i", "/var/tmp/agent.deb"]);
        let rules = machine.read(SUDOERS).expect("the rules");
        assert_eq!(rules, include_str!("../../../packaging/sudoers"), "{suite}");
        let mode = host_mode(&machine, SUDOERS);
        assert_eq!(mode, 0o440, "{suite}");
        // Written by the agent after a removal, say.
        dpkg_offline(&machine, &["-r", "ci-setup-agent"]);
        machine.write(SUDOERS, &rules, 0o440);
        dpkg_offline(&machine, &["-P", "ci-setup-agent"]);
        assert!(!machine.path(SUDOERS).exists(), "{suite}");
    }
}

#[test]
fn rules_that_sudo_does_not_understand_are_put_aside() {
    for suite in SUITES {
        let mut machine = with_package(suite);
        machine.boot();
        machine.write(SUDOERS, "Defaults:root nonsense here\n", 0o440);
        let again = machine.run(["dpkg", "--force-confold", "-i", "/var/tmp/agent.deb"]);
        assert!(again.stderr.contains("warning: sudo does not accept"), "{suite}: {again:?}");
        assert!(machine.path(format!("{SUDOERS}.disabled")).exists() && !machine.path(SUDOERS).exists(), "{suite}");
        assert_eq!(machine.run(["sudo", "-u", "azureuser", "whoami"]).ok(), "azureuser\n", "{suite}");
    }
}

fn host_mode(machine: &Machine, path: &str) -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(machine.path(path)).expect("a file").mode() & 0o7777
}
