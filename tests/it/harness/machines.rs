use std::fs;

use super::{is_victim, kill_a_test, remains, wait_for_death};
use crate::support::{Machine, Place, SHARE, SUITES, wait_until};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

#[test]
fn every_release_boots_without_a_failed_unit() {
    for suite in SUITES {
        let machine = Machine::booted(suite);
        let failed = machine.run(["systemctl", "--failed", "--no-legend"]).stdout;
        assert_eq!(failed, "", "{suite}");
        let version = machine.bash(". /etc/os-release; echo $VERSION_CODENAME; hostname").ok();
        assert_eq!(version, format!("{suite}\nci-1\n"));
        machine.run(["systemctl", "is-active", "cron", "atd", "systemd-logind", "dbus"]).ok();
    }
}

#[test]
fn a_call_runs_in_the_cgroup_of_a_service_as_under_azures_agent() {
    for suite in SUITES {
        let cgroup = Machine::booted(suite).run(["grep", "^0:", "/proc/self/cgroup"]).ok();
        assert_eq!(cgroup, "0::/system.slice/walinuxagent.service\n", "{suite}");
    }
}

#[test]
fn sudo_i_moves_a_block_into_a_session_scope_where_its_pam_service_asks_for_one() {
    let service = "/system.slice/walinuxagent.service";
    for suite in SUITES {
        let machine = Machine::booted(suite);
        let block = "sudo -u azureuser -i <<'EOF'\ngrep ^0: /proc/self/cgroup; pwd; echo $XDG_SESSION_ID\nEOF";
        let output = machine.bash(block).ok();
        let [cgroup, folder, session] = output.lines().collect::<Vec<_>>()[..] else { panic!("{suite}: {output}") };
        // Debian's sudo has had a service `sudo-i`, with pam_systemd, since 1.9.13. Bullseye's and Ubuntu 20.04's have
        // `sudo` alone, which has not.
        let scope = format!("/user.slice/user-1000.slice/session-{session}.scope");
        let expected = if suite == "bullseye" { service } else { &scope };
        assert_eq!(cgroup, format!("0::{expected}"), "{suite}");
        assert_eq!(folder, "/home/azureuser");
        let plain = ["sudo", "-u", "azureuser", "grep", "^0:", "/proc/self/cgroup"];
        assert_eq!(machine.run(plain).ok(), format!("0::{service}\n"), "{suite}");
        // `su -` opens a session everywhere.
        let login = machine.run(["su", "-", "azureuser", "-c", "grep ^0: /proc/self/cgroup"]).ok();
        assert!(login.starts_with("0::/user.slice/user-1000.slice/session-"), "{suite}: {login}");
    }
}

#[test]
fn cron_at_and_systemd_run_start_programs() {
    for suite in SUITES {
        let mut machine = Machine::new(suite);
        machine.write("/etc/cron.d/test", "@reboot root grep ^0: /proc/self/cgroup > /root/by-cron\n", 0o644);
        machine.boot();
        machine.bash("echo 'grep ^0: /proc/self/cgroup > /root/by-at' | at now").ok();
        for (file, service) in [("/root/by-cron", "cron.service"), ("/root/by-at", "atd.service")] {
            wait_until(file, || match machine.read(file) {
                Some(text) if text.contains(service) => Ok(()),
                other => Err((suite, other, machine.run(["systemctl", "status", service]).stdout)),
            });
        }
        let scope = machine.run(["systemd-run", "--scope", "--unit=own", "grep", "^0:", "/proc/self/cgroup"]).ok();
        assert_eq!(scope, "0::/system.slice/own.scope\n", "{suite}");
    }
}

#[test]
fn stopping_is_orderly_and_pulling_the_plug_is_not() {
    for suite in SUITES {
        let mut machine = Machine::new(suite);
        let unit = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c 'echo up >> /root/log'\n\
                    ExecStop=/bin/sh -c 'echo down >> /root/log'\n[Install]\nWantedBy=multi-user.target\n";
        machine.write("/etc/systemd/system/diary.service", unit, 0o644);
        machine.write("/etc/systemd/system-preset/00-diary.preset", "enable diary.service\n", 0o644);
        machine.boot();
        machine.run(["systemctl", "enable", "--now", "diary"]).ok();
        let first = machine.read(BOOT_ID).expect("a boot id");
        let sleeper = machine.spawn(["sleep", "infinity"]);
        machine.stop();
        assert_ne!(sleeper.wait().code, 0);
        assert_eq!(machine.read("/root/log").as_deref(), Some("up\ndown\n"), "{suite}");

        machine.boot();
        assert_ne!(machine.read(BOOT_ID).expect("a boot id"), first);
        machine.kill();
        assert!(machine.processes().is_empty());
        assert_eq!(machine.read("/root/log").as_deref(), Some("up\ndown\nup\n"), "{suite}");
    }
}

#[test]
fn a_machine_may_switch_itself_off() {
    let mut machine = Machine::booted("bookworm");
    for verb in ["reboot", "poweroff"] {
        // Its exit code means nothing: the shutdown it asks for may be faster than its own end.
        machine.run(["systemctl", "--no-block", verb]);
        machine.wait_until_off();
        machine.boot();
    }
}

#[test]
fn a_captured_disk_boots_with_what_was_on_it_and_apart_from_the_original() {
    let mut original = Machine::booted("bookworm");
    original.bash("echo both > /root/both; rm /etc/cron.daily/dpkg; rm -r /var/lib/at; mkdir /var/lib/at").ok();
    original.stop();
    let mut copy = original.capture();
    original.boot();
    copy.boot();
    original.bash("echo original > /root/own").ok();
    assert_eq!(copy.read("/root/own"), None);
    assert_eq!(copy.read("/root/both").as_deref(), Some("both\n"));
    copy.bash("test ! -e /etc/cron.daily/dpkg; test -z \"$(ls /var/lib/at)\"").ok();
    assert_ne!(copy.read(BOOT_ID), original.read(BOOT_ID));
    let machine_ids = [&copy, &original].map(|machine| machine.read("/etc/machine-id"));
    assert_eq!(machine_ids[0], machine_ids[1]);
}

#[test]
fn a_machine_has_the_devices_share_and_tracefs_of_an_instance() {
    for suite in SUITES {
        let machine = Machine::booted(suite);
        fs::write(machine.share().join("notebook"), "from the share").expect("the share");
        assert_eq!(machine.run(["cat", &format!("{SHARE}/notebook")]).ok(), "from the share");
        machine.call(["touch", &format!("{SHARE}/by-user")]).user("azureuser").run().ok();
        machine.call(["bash", "-c", "exec 3<> /dev/fuse"]).user("datasci").run().ok();
        machine.bash("test -w /sys/kernel/tracing/uprobe_events && mount -t tmpfs none /mnt").ok();
    }
}

#[test]
fn nothing_is_left_of_a_machine_that_was_dropped() {
    let machine = Machine::booted("bookworm");
    machine.bash("sudo -u azureuser -i setsid sleep infinity > /dev/null 2>&1 &").ok();
    let name = machine.disk().name.clone();
    assert!(remains(&name).len() > 5, "{:?}", remains(&name));
    drop(machine);
    assert_eq!(remains(&name), [""; 0]);
}

#[test]
fn nothing_is_left_of_a_machine_whose_test_was_killed() {
    if is_victim() {
        wait_for_death(&Machine::booted("bookworm"));
    }
    kill_a_test("harness::machines::nothing_is_left_of_a_machine_whose_test_was_killed");
}
