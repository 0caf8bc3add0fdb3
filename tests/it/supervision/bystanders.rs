//! What is not the script's lives on, whatever happens to the run (CONTRACT 5).

use std::fs;

use super::{holding, in_time, outcome, prepare, run_with, wait_for, wait_for_none, wait_or_end};
use crate::support::{Machine, Place, Process, SUITES};

/// What others are asked to start on the script's behalf, and a child of the script's own.
const SCRIPT: &str = "
    systemd-run --quiet --unit=by-manager hold bystander-of-systemd-run
    systemctl start by-unit.service
    echo 'exec hold bystander-of-at' | at now
    printf '* * * * * root exec /usr/local/bin/hold bystander-of-cron\\n' > /etc/cron.d/test
    sudo -u azureuser -i hold victim-in-a-session &
    su - azureuser -c 'hold victim-in-a-scope' &
    hold victim &
    sleep 10000
";

const BYSTANDERS: [&str; 6] = [
    "bystander-of-systemd-run",
    "bystander-of-a-unit",
    "bystander-of-at",
    "bystander-in-the-scope",
    "bystander-of-the-caller",
    "bystander-of-the-user",
];

const VICTIMS: [&str; 3] = ["victim ", "victim-in-a-session", "victim-in-a-scope"];

/// The script, when it has started all that; `None` if it ends first.
fn with_bystanders(machine: &Machine, timeout: &str) -> Option<crate::support::call::Spawned> {
    prepare(machine, SCRIPT, timeout);
    let unit = "[Service]\nExecStart=/usr/local/bin/hold bystander-of-a-unit\n";
    machine.write("/etc/systemd/system/by-unit.service", unit, 0o644);
    let caller = format!("hold bystander-of-the-caller & {}", run_with(&[]).join(" "));
    let mut running = machine.spawn(["bash", "-c", &caller]);
    let victims: Option<Vec<i32>> = VICTIMS.iter().map(|mark| wait_or_end(machine, mark, &mut running)).collect();
    // Somebody else in the very scope that pam_systemd made for the script's own session.
    let victim = *victims?.last()?;
    let scope = Process::of(victim).and_then(|victim| victim.cgroup())?;
    assert!(scope.to_string_lossy().contains("session-"));
    let within = scope.to_string_lossy().split_once("/payload").expect("a machine's cgroup").1.to_owned();
    machine.bash(&format!(
        "setsid bash -c 'echo $$ > /sys/fs/cgroup{within}/cgroup.procs; exec hold bystander-in-the-scope' > /dev/null 2>&1 &"
    ));
    machine.bash("setsid su - azureuser -c 'hold bystander-of-the-user' > /dev/null 2>&1 &");
    BYSTANDERS.iter().all(|mark| wait_or_end(machine, mark, &mut running).is_some()).then_some(running)
}

#[test]
fn a_timeout_ends_the_script_and_nobody_else() {
    for suite in SUITES {
        let machine = Machine::booted(suite);
        let running = in_time(&machine, ["6s", "60s"], |timeout| {
            machine.bash("systemctl stop by-manager by-unit; pkill -f '^bystander'");
            with_bystanders(&machine, timeout)
        });
        assert_eq!(running.wait().code, 124, "{suite}");
        assert!(holding(&machine, "victim").is_empty(), "{suite}: {:?}", holding(&machine, "victim"));
        assert_eq!(outcome(&machine)["state"], "timedOut");
        for mark in BYSTANDERS {
            assert_eq!(holding(&machine, mark).len(), 1, "{suite}: {mark}");
        }
    }
}

#[test]
fn what_a_crash_left_of_a_script_is_ended_at_the_next_start_and_nobody_else() {
    for suite in SUITES {
        let machine = Machine::booted(suite);
        let running = with_bystanders(&machine, "1000s").expect("a script that goes on");
        // All of the agent at once, as a crash takes it: none sees the end of another.
        machine.bash("all=$(pgrep -f '^ci-setup-agent|^ci-setup:'); kill -STOP $all; kill -KILL $all").ok();
        running.wait();
        assert_eq!(holding(&machine, "victim").len(), 3, "{suite}");
        let again = machine.run(run_with(&[]));
        assert_eq!(again.code, 137, "{suite}: {again:?}");
        wait_for_none(&machine, "victim");
        for mark in BYSTANDERS {
            assert_eq!(holding(&machine, mark).len(), 1, "{suite}: {mark}");
        }
        assert_eq!(outcome(&machine)["state"], "interrupted");
    }
}

#[test]
fn a_job_of_cron_that_the_script_asked_for_runs_after_it_and_is_left_alone() {
    let machine = Machine::booted("bookworm");
    // In a minute cron runs it, while the script still does.
    prepare(&machine, &SCRIPT.replace("by-unit.service", "cron.service"), "80s");
    let mut running = machine.spawn(run_with(&[]));
    wait_for(&machine, "bystander-of-cron", &mut running);
    assert_eq!(running.wait().code, 124);
    assert!(!holding(&machine, "bystander-of-cron").is_empty());
    assert!(holding(&machine, "victim").is_empty(), "{:?}", holding(&machine, "victim"));
    fs::metadata(machine.path("/etc/cron.d/test")).expect("the table is there");
}
