//! Steps as `run` and `try` tell of them: which source, and why there are none (CONTRACT 7).

use serde_json::Value;

use super::recorded_run;
use crate::support::{
    Place, Room, SUITES,
    call::Ran,
    setup::{Request, outcomes, run_call, run_json},
    wait_until,
};

const SCRIPT: &str = "echo\nsudo -u azureuser -i <<'EOF'\ncd\nnosuch create\ntrue\nEOF\nfalse\necho end\n";

fn failed(outcome: &Value) -> Vec<String> {
    let list = outcome["failedCommands"].as_array().expect("a list").iter();
    list.map(|failed| {
        let block = failed["block"]["line"].as_u64().map(|line| format!("({line})")).unwrap_or_default();
        format!("{}{block} {} -> {}", failed["line"], failed["command"].as_str().expect("text"), failed["exitCode"])
    })
    .collect()
}

fn rehearsed(room: &Room, options: &[&str]) -> (Ran, Value) {
    room.write("/home/datasci/setup.sh", SCRIPT, 0o644);
    let words = ["ci-setup-agent", "try", "--json"].into_iter().chain(options.iter().copied()).chain(["setup.sh"]);
    let call = room.call(words.map(str::to_owned)).folder("/home/datasci").env("HOME", "/home/datasci");
    let ran = call.user("datasci").run();
    let outcome = outcomes(&ran).remove(0);
    (ran, outcome)
}

#[test]
fn without_root_a_rehearsal_records_by_the_hook_and_sees_into_blocks() {
    for suite in SUITES {
        let room = Room::without_sudo(suite);
        let (ran, outcome) = rehearsed(&room, &[]);
        assert_eq!((ran.code, &outcome["steps"]["unavailable"]), (0, &Value::Null), "{suite}: {outcome:#}");
        assert_eq!(failed(&outcome), ["4(2) nosuch create -> 127", "7 false -> 1"], "{suite}: {outcome:#}");
        assert_eq!(outcome["steps"]["count"], 7, "{suite}: {outcome:#}");
    }
    let room = Room::without_sudo("bookworm");
    let (_, outcome) = rehearsed(&room, &["--steps", "off"]);
    assert_eq!((outcome["steps"]["unavailable"].as_str(), failed(&outcome).len()), (Some("`--steps off`"), 0));
    let (_, outcome) = rehearsed(&room, &["--steps", "hook"]);
    assert_eq!(failed(&outcome).len(), 2);
}

#[test]
fn where_nothing_can_be_watched_a_run_records_nothing_and_says_why_and_a_rehearsal_takes_the_hook() {
    let room = Room::new("bookworm");
    room.bash("umount /sys/kernel/tracing").ok();
    let without = |options: &[&str]| {
        let words = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", "ci-setup-agent"];
        let call = room.call(words.into_iter().chain(options.iter().copied()).map(str::to_owned));
        outcomes(&call.input(Request::creation(SCRIPT).text()).run()).remove(0)
    };
    let identity = ["--resource-group", "rg", "--workspace", "wks", "--name", "ci-1"];
    let outcome = without(&[&["run", "--json", "-"], &identity[..]].concat());
    let why = outcome["steps"]["unavailable"].as_str().expect("a reason");
    assert!(why.starts_with("tracefs cannot be opened: "), "{why}");
    assert_eq!((outcome["state"].as_str(), failed(&outcome).len()), (Some("succeeded"), 0));

    room.write("/root/setup.sh", SCRIPT, 0o644);
    assert_eq!(failed(&without(&["try", "--json", "/root/setup.sh"])).len(), 2);
}

#[test]
fn other_shells_run_unrecorded_and_another_bash_is_recorded() {
    let room = Room::new("bookworm");
    room.bash("cp /bin/bash /opt/bash").ok();
    for (first, source, expected) in [
        ("#!/bin/sh", "auto", Err("only bash scripts are recorded")),
        ("#!/usr/bin/python3", "hook", Err("only bash scripts are recorded")),
        ("#!/opt/bash", "auto", Ok(())),
        ("#!/opt/bash -e", "hook", Ok(())),
        ("#!/usr/bin/env bash", "auto", Ok(())),
        ("#!/usr/bin/env bash", "hook", Ok(())),
        // bash reads no `BASH_ENV` then.
        ("#!/bin/bash --posix", "hook", Err("the script's bash did not read the hook")),
    ] {
        let script = format!("{first}\nsudo -u azureuser bash <<'EOF'\nfalse\ntrue\nEOF\nfalse\ntrue\n");
        let (_, outcome) = recorded_run(&room, &Request::creation(script), source, &[]);
        match (outcome["steps"]["unavailable"].as_str(), expected) {
            (Some(why), Err(expected)) => assert_eq!(why, expected, "{first} {source}"),
            (None, Ok(())) => assert_eq!(failed(&outcome).len(), 2, "{first} {source}: {outcome:#}"),
            (found, expected) => panic!("{first} {source}: {found:?} and not {expected:?}: {outcome:#}"),
        }
    }
}

#[test]
fn two_runs_with_the_hook_at_once_do_not_see_each_other() {
    let room = Room::new("bookworm");
    // Each waits for the other one before its block, so that both are under way then.
    let script = |own: &str, other: &str| {
        format!(
            "touch /tmp/{own}\nuntil [ -e /tmp/{other} ]; do sleep 0.01; done\nsudo -u azureuser bash <<'EOF'\ntrue\nnosuch-{own}\ntrue\nEOF\ntouch /tmp/{own}.done\nuntil [ -e /tmp/{other}.done ]; do sleep 0.01; done\n"
        )
    };
    let running = [("one", "two"), ("two", "one")].map(|(own, other)| {
        let state = format!("/var/lib/{own}");
        let options = ["--state", &state, "--steps", "hook", "--json"];
        (own, run_call(&room, &Request::creation(script(own, other)), &options).spawn())
    });
    for (own, running) in running {
        let outcome = outcomes(&running.wait()).remove(0);
        assert_eq!(failed(&outcome), [format!("5(2) nosuch-{own} -> 127")], "{outcome:#}");
    }
    assert_eq!(left_of_hooks(&room), "");
}

#[test]
fn the_next_start_removes_what_a_killed_run_with_the_hook_left() {
    let room = Room::new("bookworm");
    let running = run_call(&room, &Request::creation("echo up\nsleep 1000\n"), &["--steps", "hook"]).spawn();
    wait_until("the script", || if running.stdout() == "up\n" { Ok(()) } else { Err(running.stderr()) });
    assert!(
        left_of_hooks(&room).contains("/etc/sudoers.d/zzz-ci-setup-agent-steps-creation-"),
        "{}",
        left_of_hooks(&room)
    );
    kill_all(&room);
    drop(running);
    assert!(left_of_hooks(&room).contains("/var/lib/ci-setup-agent-steps."));
    // Killed a moment earlier, it would have left a draft of its rules.
    room.bash("for rules in /etc/sudoers.d/zzz-ci-setup-agent-steps-*; do cp $rules $rules.new; done").ok();
    // Not by a run with the hook alone, and nothing of anybody else's.
    room.bash("mkdir /var/lib/ci-setup-agent-steps.others; chown azureuser /var/lib/ci-setup-agent-steps.others").ok();
    let (_, outcomes) = run_json(&room, &Request::creation("true\n"), &["--rerun"]);
    assert_eq!(outcomes[0]["state"], "succeeded");
    assert_eq!(left_of_hooks(&room), "/var/lib/ci-setup-agent-steps.others\n");
}

#[test]
fn a_recording_that_breaks_in_mid_run_stops_and_delays_nothing() {
    let room = Room::new("bookworm");
    // The process that keeps the probes is killed, and so are all the instances that can be.
    let script = "for p in /proc/[0-9]*; do grep -qs ci-setup:probe $p/comm && kill -KILL ${p#/proc/}; done\n\
                  sleep 0.2\nrmdir /sys/kernel/tracing/instances/*$PPID* 2>/dev/null\numount -l /sys/kernel/tracing\nfalse\necho end\n";
    let (code, outcome) = recorded_run(&room, &Request::creation(script), "auto", &[]);
    assert_eq!((code, outcome["state"].as_str()), (0, Some("succeeded")), "{outcome:#}");
    assert!(outcome["elapsedSeconds"].as_f64().expect("seconds") < 10.0, "{outcome:#}");
    let by_hook = "rm -rf /var/lib/ci-setup-agent-steps.*\nfalse\necho end\n";
    let (code, outcome) = recorded_run(&room, &Request::creation(by_hook), "hook", &[]);
    assert_eq!((code, outcome["state"].as_str()), (0, Some("succeeded")), "{outcome:#}");
    let log = format!("/var/lib/ci-setup-agent/runs/{}/output.log", outcome["runId"].as_str().expect("an id"));
    assert_eq!(room.read(log).as_deref(), Some("end\n"));
}

#[test]
fn where_sudo_leads_a_shell_without_a_token_nobody_can_lay_anything_out() {
    let room = Room::new("bookworm");
    let script = "file=$(sed 's/.*env_file=//' /etc/sudoers.d/zzz-ci-setup-agent-steps-*)\n\
                  path=$(unset CI_SETUP_RUN; . \"$file\"; echo \"$BASH_ENV\")\n\
                  sudo -u azureuser sh -c 'mkdir ${1%/*}; echo echo planted > $1' sh \"$path\" 2>/dev/null\n\
                  env -u CI_SETUP_RUN sudo bash -c true\necho \"${path##*/}\"\n";
    let (code, outcome) = recorded_run(&room, &Request::creation(script), "hook", &[]);
    assert_eq!(code, 0, "{outcome:#}");
    let log = format!("/var/lib/ci-setup-agent/runs/{}/output.log", outcome["runId"].as_str().expect("an id"));
    assert_eq!(room.read(log).as_deref(), Some("block\n"));
}

/// Kills everything in a room, as if at once: nobody sees another one die.
fn kill_all(room: &Room) {
    let pids: Vec<String> = room.processes().iter().map(|process| process.pid_inside.to_string()).collect();
    let all = pids.join(" ");
    room.bash(&format!("kill -STOP {all}; kill -KILL {all}"));
    wait_until("everybody to be dead", || match room.processes() {
        left if left.is_empty() => Ok(()),
        left => Err(left),
    });
}

/// Folders and rules that the hook needs while a run is under way.
fn left_of_hooks(room: &Room) -> String {
    room.bash("ls -d /var/lib/ci-setup-agent-steps.* /etc/sudoers.d/zzz-ci-setup-agent-* 2>/dev/null").stdout
}

#[test]
fn a_block_by_the_hook_finds_nothing_of_it_but_its_shells_own_variables() {
    let room = Room::new("bookworm");
    let script = "sudo -u azureuser bash <<'EOF'\nenv | grep -e BASH_ENV -e __ci\nEOF\nsudo env | grep -e BASH_ENV -e __ci\n\
                  env | grep -e BASH_ENV -e __ci\nsudo -u azureuser -i env | grep -e BASH_ENV -e __ci\nsudo -u azureuser -i <<'EOF'\ntrap | wc -l\nEOF\nid -un\n";
    let (_, outcomes) = run_json(&room, &Request::creation(script), &["--steps", "hook"]);
    let log = format!("/var/lib/ci-setup-agent/runs/{}/output.log", outcomes[0]["runId"].as_str().expect("an id"));
    assert_eq!(room.read(log).expect("a log"), "0\nroot\n");
}
