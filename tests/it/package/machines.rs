//! Create, stop, start, restart, reset, capture: on machines that really boot.

use super::{REQUEST, on_share, request, requested, runs, settle, with_package};
use crate::support::{Machine, Place, SHARE, SUITES, wait_until};

/// Waits to be asked to end, and says so.
const PATIENT: &str = "trap 'echo ended in order; exit 0' TERM\necho begun\nsleep infinity & wait\n";

fn failed_units(machine: &Machine) -> String {
    machine.run(["systemctl", "--failed", "--no-legend", "--plain"]).stdout
}

/// A machine in the middle of its creation script.
fn in_creation(suite: &str) -> Machine {
    let mut machine = requested(suite, PATIENT, "echo started\n");
    machine.boot();
    wait_until("the script's first line on the share", || {
        let logs = on_share(&machine, "ci-1", "creation", "output.log");
        if logs == ["begun\n"] {
            Ok(())
        } else {
            Err((logs, machine.run(["systemctl", "status", "ci-setup-agent"]).stdout))
        }
    });
    machine
}

#[test]
fn a_new_instance_runs_creation_then_startup_and_every_later_start_only_startup() {
    for suite in SUITES {
        let mut machine = requested(suite, "echo created $CI_NAME\n", "echo started $CI_NAME\n");
        let mut expected = vec!["creationScript succeeded ci-1", "startupScript succeeded ci-1"];
        machine.boot();
        settle(&machine);
        assert_eq!(runs(&machine), expected, "{suite}: create");
        assert_eq!(failed_units(&machine), "", "{suite}");

        machine.stop();
        machine.boot();
        settle(&machine);
        expected.push("startupScript succeeded ci-1");
        assert_eq!(runs(&machine), expected, "{suite}: stop and start");

        machine.run(["systemctl", "--no-block", "reboot"]);
        machine.wait_until_off();
        machine.boot();
        settle(&machine);
        expected.push("startupScript succeeded ci-1");
        assert_eq!(runs(&machine), expected, "{suite}: restart");

        machine.kill();
        machine.boot();
        settle(&machine);
        expected.push("startupScript succeeded ci-1");
        assert_eq!(runs(&machine), expected, "{suite}: reset");
        assert_eq!(on_share(&machine, "ci-1", "creation", "output.log"), ["created ci-1\n"], "{suite}");
        assert_eq!(on_share(&machine, "ci-1", "startup", "output.log"), ["started ci-1\n"; 4], "{suite}");
    }
}

#[test]
fn the_request_is_kept_for_later_boots_of_the_machine() {
    let mut machine = requested("bookworm", "echo created\n", "echo started\n");
    machine.boot();
    settle(&machine);
    machine.run(["rm", REQUEST]).ok();
    machine.stop();
    machine.boot();
    settle(&machine);
    assert_eq!(on_share(&machine, "ci-1", "startup", "output.log").len(), 2);
}

#[test]
fn stopping_the_machine_ends_the_script_in_order_and_records_it() {
    for suite in SUITES {
        let mut machine = in_creation(suite);
        machine.stop();
        let logs = on_share(&machine, "ci-1", "creation", "output.log");
        assert_eq!(logs, ["begun\nended in order\n"], "{suite}: {}", machine.console());
        let outcomes = on_share(&machine, "ci-1", "creation", "outcome.json");
        assert!(outcomes[0].contains("\"state\": \"interrupted\""), "{suite}: {}", outcomes[0]);
        assert!(outcomes[0].contains("\"code\": \"stopped\""), "{suite}: {}", outcomes[0]);

        machine.boot();
        settle(&machine);
        assert_eq!(runs(&machine), ["creationScript interrupted ci-1"], "{suite}: nothing runs twice");
        assert_eq!(failed_units(&machine), "", "{suite}");
    }
}

#[test]
fn a_run_that_another_service_called_is_ended_in_order_as_well() {
    for suite in SUITES {
        let mut machine = with_package(suite);
        machine.boot();
        machine.write("/root/request.json", request("ci-1", PATIENT, "true\n"), 0o600);
        let _run = machine.spawn(["ci-setup-agent", "run", "/root/request.json"]);
        wait_until("the script's first line on the share", || {
            let logs = on_share(&machine, "ci-1", "creation", "output.log");
            if logs == ["begun\n"] { Ok(()) } else { Err(logs) }
        });
        machine.stop();
        let outcomes = on_share(&machine, "ci-1", "creation", "outcome.json");
        let log = machine.read("/var/log/ci-setup-agent/agent.log");
        assert!(
            outcomes[0].contains("\"state\": \"interrupted\""),
            "{suite}: {outcomes:?}\n{log:?}\n{}",
            machine.console()
        );
    }
}

#[test]
fn a_machine_that_lost_its_power_records_what_it_was_doing() {
    for suite in SUITES {
        let mut machine = in_creation(suite);
        machine.kill();
        machine.boot();
        settle(&machine);
        assert_eq!(runs(&machine), ["creationScript interrupted ci-1"], "{suite}");
        assert_eq!(failed_units(&machine), "", "{suite}");
        machine.run(["ci-setup-agent", "sync"]).ok();
        // The last: where the plug was pulled before the agent had written down where its copy is, there is a second one.
        let outcome = on_share(&machine, "ci-1", "creation", "outcome.json").pop().expect("an outcome");
        assert!(outcome.contains("\"state\": \"interrupted\""), "{suite}: {outcome}");
    }
}

#[test]
fn an_instance_made_from_a_captured_disk_runs_its_own_creation_script() {
    for suite in SUITES {
        let mut original = requested(suite, "echo created $CI_NAME\n", "echo started $CI_NAME\n");
        original.boot();
        settle(&original);
        original.stop();
        let mut copy = original.capture();
        copy.write(REQUEST, request("ci-2", "echo created $CI_NAME\n", "echo started $CI_NAME\n"), 0o600);
        copy.write("/etc/ci-setup-agent/config.toml", format!("share = \"{SHARE}\"\n"), 0o644);
        copy.boot();
        settle(&copy);
        let expected = ["creationScript", "startupScript"].map(|script| format!("{script} succeeded ci-2"));
        assert_eq!(runs(&copy), expected, "{suite}: its own, and not those of before");
        assert_eq!(on_share(&copy, "ci-2", "creation", "output.log"), ["created ci-2\n"], "{suite}");
        let environment = copy.read("/etc/environment").expect("/etc/environment");
        assert!(environment.contains("CI_NAME=\"ci-2\"") && !environment.contains("ci-1"), "{environment}");
        copy.run(["ci-setup-agent", "sync"]).ok();
        assert!(!copy.share().join("Logs/ci-1").exists(), "{suite}: the old identity's runs are left alone");
    }
}

#[test]
fn a_copy_that_is_behind_is_finished_at_the_next_boot_and_by_the_timer() {
    let read_only = format!("echo out; mount --bind {SHARE} {SHARE}; mount -o remount,ro,bind {SHARE}\n");
    let mut machine = requested("bookworm", &read_only, "echo started\n");
    machine.write("/etc/ci-setup-agent/config.toml", "flush-wait = \"1s\"\n", 0o644);
    let timer = |machine: &Machine, lines: &str| {
        let drop_in = "/etc/systemd/system/ci-setup-agent-sync.timer.d/test.conf";
        machine.write(drop_in, format!("[Timer]\nRandomizedDelaySec=0\n{lines}"), 0o644);
    };
    let standing = |machine: &Machine, script: &str| {
        let text = machine.bash(&format!("cat /var/lib/ci-setup-agent/runs/{script}-*/outcome.json")).ok();
        let outcome: serde_json::Value = serde_json::from_str(&text).expect("one outcome");
        outcome["output"]["mirror"].as_str().expect("a word").to_owned()
    };
    let wait_until_current = |machine: &Machine, script: &str| {
        wait_until("the copy to be complete", || match standing(machine, script) {
            word if word == "current" => Ok(()),
            word => Err((word, machine.bash("systemctl list-timers; journalctl -u ci-setup-agent-sync").stdout)),
        });
        let public = on_share(machine, "ci-1", script, "outcome.json").pop().expect("an outcome");
        assert!(public.contains("\"mirror\": \"current\""), "{public}");
    };
    timer(&machine, "");
    machine.boot();
    settle(&machine);
    assert_eq!(standing(&machine, "creation"), "behind");
    machine.stop();
    // What the script mounted is gone.
    machine.boot();
    wait_until_current(&machine, "creation");
    assert_eq!(on_share(&machine, "ci-1", "creation", "output.log"), ["out\n"]);
    // While it is up: not every few minutes but every few seconds.
    settle(&machine);
    machine.bash("rm -r /var/lib/ci-setup-agent/runs/startup-*").ok();
    machine.bash(&read_only).ok();
    machine.bash("ci-setup-agent run --only startup --rerun").ok();
    assert_eq!(standing(&machine, "startup"), "none");
    machine.bash(&format!("mount -o remount,rw,bind {SHARE}")).ok();
    timer(&machine, "OnCalendar=*:*:0/2\n");
    machine.bash("systemctl daemon-reload; systemctl restart ci-setup-agent-sync.timer").ok();
    wait_until_current(&machine, "startup");
    assert_eq!(on_share(&machine, "ci-1", "startup", "output.log").last().map(String::as_str), Some("started\n"));
}

#[test]
fn a_machine_without_a_request_is_left_alone() {
    for suite in SUITES {
        let mut machine = with_package(suite);
        for _boot in 0..2 {
            machine.boot();
            machine.run(["systemctl", "start", "ci-setup-agent-sync.service"]).ok();
            let units = ["ci-setup-agent.service", "ci-setup-agent-sync.service", "ci-setup-agent-sync.timer"];
            let states = machine.run(["systemctl", "is-active"].into_iter().chain(units)).stdout;
            assert_eq!(states, "inactive\ninactive\nactive\n", "{suite}");
            assert_eq!(failed_units(&machine), "", "{suite}");
            assert_eq!(machine.run(["find", "/var/lib/ci-setup-agent", SHARE, "-mindepth", "1"]).ok(), "", "{suite}");
            assert_eq!(machine.read("/etc/environment").as_deref(), Some(""), "{suite}");
            machine.stop();
        }
    }
}

#[test]
fn a_failed_script_does_not_degrade_the_machine_and_a_bad_request_does() {
    for suite in SUITES {
        let mut machine = requested(suite, "exit 7\n", "echo started\n");
        machine.boot();
        settle(&machine);
        assert_eq!(runs(&machine), ["creationScript failed ci-1"], "{suite}");
        assert_eq!(failed_units(&machine), "", "{suite}");
        let words = machine.run(["journalctl", "--unit=ci-setup-agent", "--output=cat"]).stdout;
        assert!(words.contains("error: the script exited with code 7"), "{suite}: {words}");

        machine.write(REQUEST, "{}", 0o600);
        machine.stop();
        machine.boot();
        settle(&machine);
        assert!(failed_units(&machine).contains("ci-setup-agent.service"), "{suite}");
    }
}

#[test]
fn cron_jobs_and_login_shells_know_the_instance() {
    for suite in SUITES {
        let mut machine = requested(suite, "true\n", "true\n");
        let job = |user: &str| format!("@reboot {user} echo $CI_NAME $CI_LOCAL_UBUNTU_USER > /tmp/cron-of-{user}\n");
        machine.write("/etc/cron.d/test", job("root") + &job("azureuser"), 0o644);
        machine.boot();
        settle(&machine);
        for login in ["su - azureuser -c", "su - -c"] {
            let words = machine.bash(&format!("{login} 'echo $CI_NAME $CI_RESOURCE_GROUP'")).ok();
            assert_eq!(words, "ci-1 rg\n", "{suite}: {login}");
        }
        // Before this boot the variables were not there yet.
        machine.stop();
        machine.boot();
        for user in ["root", "azureuser"] {
            let file = format!("/tmp/cron-of-{user}");
            wait_until("a cron job", || match machine.read(&file) {
                Some(text) if text == "ci-1 azureuser\n" => Ok(()),
                other => Err((suite, user, other)),
            });
        }
    }
}

#[test]
fn daemons_of_a_script_outlive_the_service() {
    for suite in SUITES {
        let mut machine = requested(suite, "setsid sleep 4711 > /dev/null 2>&1 &\n", "true\n");
        machine.boot();
        settle(&machine);
        machine.run(["systemctl", "stop", "ci-setup-agent"]).ok();
        let daemons = machine.processes().into_iter().filter(|process| process.command == "sleep 4711").count();
        assert_eq!(daemons, 1, "{suite}");
    }
}

#[test]
fn the_units_are_understood_by_every_release() {
    for suite in SUITES {
        let mut machine = with_package(suite);
        machine.boot();
        let units = ["ci-setup-agent.service", "ci-setup-agent-sync.service", "ci-setup-agent-sync.timer"];
        let folder = units.map(|unit| format!("/lib/systemd/system/{unit}"));
        // Man pages are not in the test images, and systemd asks man for them.
        let arguments = ["systemd-analyze", "verify", "--man=no"].map(str::to_owned).into_iter().chain(folder);
        let ran = machine.run(arguments);
        let ours: Vec<&str> = ran.stderr.lines().filter(|line| line.contains("ci-setup")).collect();
        assert!(ran.code == 0 && ours.is_empty(), "{suite}: {ran:?}");
        machine.run(["systemd-tmpfiles", "--create", "ci-setup-agent.conf"]).ok();
    }
}
