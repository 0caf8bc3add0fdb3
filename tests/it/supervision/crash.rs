//! The agent is killed, all of it or parts, and what the next start makes of that (CONTRACT 9).

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{holding, outcome, outcomes, prepare, run_with, start, wait_for_none};
use crate::support::call::Spawned;
use crate::support::{Machine, Place, Process, Room, wait_until};

/// Counts its executions, prints, and leaves processes everywhere.
const SCRIPT: &str = "
    echo executed >> /root/executions
    echo output so far
    hold victim-child &
    setsid hold victim-session &
    (setsid env -i /usr/local/bin/hold victim-daemon < /dev/null > /dev/null 2>&1 &)
    sudo -u azureuser -i bash -c 'setsid hold victim-block > /dev/null 2>&1 &'
    exec -a victim sleep 10000
";

/// The agent's own processes, by what `ps` shows of them.
fn agents(place: &impl Place) -> Vec<(String, i32)> {
    let name = |process: &Process| {
        let comm = std::fs::read_to_string(format!("/proc/{}/comm", process.pid)).unwrap_or_default();
        comm.trim_end().to_owned()
    };
    let all = place.processes().into_iter().map(|process| (name(&process), process.pid));
    all.filter(|(name, _)| name.starts_with("ci-setup")).collect()
}

fn kill_agents(place: &impl Place, names: &[&str]) {
    let all = agents(place);
    let pid_of = |name: &&str| {
        let found = all.iter().find(|(found, _)| found == name);
        Pid::from_raw(found.unwrap_or_else(|| panic!("no {name} in {all:?}")).1)
    };
    let pids: Vec<Pid> = names.iter().map(pid_of).collect();
    // The supervisor stands still first and dies last: the others shall not have the time to see its end.
    if names.len() > 1 {
        let _ = kill(pids[0], Signal::SIGSTOP);
    }
    for pid in pids.iter().rev() {
        let _ = kill(*pid, Signal::SIGKILL);
    }
}

fn started(place: &impl Place) -> Spawned {
    prepare(place, SCRIPT, "1000s");
    let running = start(place, &[]);
    wait_until("the output and all processes", || match holding(place, "victim").len() {
        5 if !running.stdout().is_empty() => Ok(()),
        count => Err(count),
    });
    running
}

/// Whatever happened: nobody is left, the state is known, the output is kept, nothing runs twice.
fn assert_interrupted_for_good(place: &impl Place) {
    let again = place.run(run_with(&[]));
    assert_eq!(again.code, 137, "{again:?}");
    wait_for_none(place, "victim");
    assert_eq!(place.read("/root/executions").as_deref(), Some("executed\n"));
    let outcome = outcome(place);
    assert_eq!((&outcome["state"], &outcome["exitCode"]), (&"interrupted".into(), &137.into()), "{outcome:#}");
    assert_eq!(outcome["error"]["code"], "interrupted");
    let run = outcome["runId"].as_str().expect("a run");
    let log = place.read(format!("/var/lib/ci-setup-agent/runs/{run}/output.log"));
    // bash may still have said that a command of its own was `Terminated`.
    assert!(log.as_deref().is_some_and(|log| log.starts_with("output so far\n")), "{log:?}");
    wait_until("the end of the agent", || match agents(place) {
        all if all.is_empty() => Ok(()),
        all => Err(all),
    });
}

const FRONT: &str = "ci-setup-agent";
const SUPERVISOR: &str = "ci-setup:run";
const MIRROR: &str = "ci-setup:mirror";
const PASS: &str = "ci-setup:pass";

#[test]
fn when_the_front_is_killed_the_supervisor_ends_the_run() {
    let room = Room::new("bookworm");
    let running = started(&room);
    kill_agents(&room, &[FRONT]);
    running.wait();
    wait_for_none(&room, "victim");
    assert_interrupted_for_good(&room);
}

#[test]
fn when_the_supervisor_is_killed_the_front_ends_the_run() {
    let room = Room::new("bookworm");
    let running = started(&room);
    kill_agents(&room, &[SUPERVISOR]);
    let ran = running.wait();
    assert_eq!((ran.code, &ran.stdout[..]), (137, "output so far\n"), "{ran:?}");
    assert!(holding(&room, "victim").is_empty(), "{:?}", holding(&room, "victim"));
    assert_interrupted_for_good(&room);
}

#[test]
fn when_all_are_killed_at_once_the_next_start_ends_the_run() {
    for suite in ["bullseye", "bookworm", "trixie"] {
        let machine = Machine::booted(suite);
        let running = started(&machine);
        kill_agents(&machine, &[SUPERVISOR, FRONT, MIRROR, PASS]);
        running.wait();
        assert_eq!(holding(&machine, "victim").len(), 5, "{suite}");
        assert_interrupted_for_good(&machine);
        let rerun = machine.spawn(run_with(&["--rerun"]));
        wait_until("the second execution", || match machine.read("/root/executions").as_deref() {
            Some("executed\nexecuted\n") => Ok(()),
            other => Err(other.map(str::to_owned)),
        });
        rerun.signal(Signal::SIGTERM);
        assert_eq!(rerun.wait().code, 143);
        assert_eq!(outcomes(&machine).len(), 2);
    }
}

#[test]
fn when_the_mirror_is_killed_the_script_goes_on_and_the_mirror_is_not_called_complete() {
    let room = Room::new("bookworm");
    prepare(&room, "hold victim & until test -e /root/go; do sleep 0.1; done; echo end; kill %1", "1000s");
    let running = start(&room, &["--flush-wait", "1s"]);
    kill_agents(&room, &[MIRROR]);
    room.write("/root/go", "", 0o644);
    let ran = running.wait();
    assert_eq!((ran.code, &ran.stdout[..]), (0, "end\n"), "{ran:?}");
    assert_eq!(outcome(&room)["state"], "succeeded");
    assert_eq!(outcome(&room)["output"]["mirror"], "behind");
    room.run(["ci-setup-agent", "sync"]).ok();
    assert_eq!(outcome(&room)["output"]["mirror"], "current");
}

#[test]
fn when_the_pass_through_is_killed_the_script_goes_on() {
    let room = Room::new("bookworm");
    prepare(&room, "hold victim & until test -e /root/go; do sleep 0.1; done; echo end; kill %1", "1000s");
    let running = start(&room, &[]);
    kill_agents(&room, &[PASS]);
    room.write("/root/go", "", 0o644);
    let ran = running.wait();
    assert_eq!((ran.code, &ran.stdout[..]), (0, ""), "{ran:?}");
    assert_eq!(outcome(&room)["output"]["bytes"], 4);
}

#[test]
fn a_script_that_kills_its_parent_is_interrupted() {
    let room = Room::new("bookworm");
    prepare(&room, &SCRIPT.replace("exec -a", "kill -9 $PPID; exec -a"), "1000s");
    let ran = room.run(run_with(&[]));
    assert_eq!(ran.code, 137, "{ran:?}");
    assert_interrupted_for_good(&room);
}

#[test]
fn a_script_that_kills_all_that_is_called_like_the_agent_is_interrupted() {
    let machine = Machine::booted("bookworm");
    prepare(&machine, &SCRIPT.replace("exec -a", "pkill -9 ci-setup; exec -a"), "1000s");
    machine.run(run_with(&[]));
    assert_interrupted_for_good(&machine);
}

#[test]
fn when_everything_in_the_scope_is_killed_the_front_records_it() {
    let machine = Machine::booted("bookworm");
    let running = started(&machine);
    machine.bash("systemctl kill --signal=KILL 'ci-setup-creation*.scope'").ok();
    assert_eq!(running.wait().code, 137);
    assert_interrupted_for_good(&machine);
}

#[test]
fn a_reset_of_the_machine_interrupts_for_good() {
    let mut machine = Machine::booted("bookworm");
    drop(started(&machine));
    machine.kill();
    machine.boot();
    assert_interrupted_for_good(&machine);
}

#[test]
fn an_orderly_shutdown_is_an_interruption_and_no_failure() {
    for suite in ["bullseye", "bookworm", "trixie"] {
        for how in ["exec -a victim sleep 10000", "trap 'exit 3' TERM; hold victim & wait"] {
            let mut machine = Machine::booted(suite);
            prepare(&machine, how, "1000s");
            drop(start(&machine, &[]));
            machine.stop();
            machine.boot();
            let again = machine.run(run_with(&[]));
            let outcome = outcome(&machine);
            assert_eq!(outcome["state"], "interrupted", "{suite}: {how}: {outcome:#}");
            assert!([137, 143].contains(&again.code), "{suite}: {how}: {again:?}");
        }
    }
}

#[test]
fn the_agent_is_protected_from_the_oom_killer_and_the_script_is_not() {
    let room = Room::new("bookworm");
    prepare(&room, SCRIPT, "1000s");
    let caller = format!("echo 17 > /proc/self/oom_score_adj; exec {}", run_with(&[]).join(" "));
    let mut running = room.spawn(["bash", "-c", &caller]);
    super::wait_for(&room, "victim-block", &mut running);
    let score = |pid| std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).expect("a score");
    // Where the kernel allows root no more (this container has no CAP_SYS_RESOURCE), the agent goes without.
    let own = std::fs::read_to_string("/proc/self/status").expect("status");
    let capabilities = own.lines().find_map(|line| line.strip_prefix("CapEff:\t")).expect("capabilities");
    let may = u64::from_str_radix(capabilities, 16).expect("a number") & (1 << 24) != 0;
    let protected = if may { "-900\n" } else { "17\n" };
    for (name, pid) in agents(&room) {
        assert_eq!(score(pid), protected, "{name}");
    }
    for process in holding(&room, "victim") {
        assert_eq!(score(process.pid), "17\n", "{process:?}");
    }
}
