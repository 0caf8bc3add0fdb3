//! Once means once (CONTRACT 9).

use serde_json::Value;

use crate::support::{
    Place, Room, SHARE,
    setup::{
        Form, IDENTITY, Request, assert_error_and_hint, mirrors, outcomes, run, run_call, run_json, run_with, runs,
    },
    wait_until,
};

/// Both scripts leave a mark whenever they run.
fn both() -> Request {
    Request::creation("echo c >> /root/marks; echo creation")
        .inline("startupScript", "echo s >> /root/marks; echo startup")
}

fn marks(room: &Room) -> String {
    room.read("/root/marks").unwrap_or_default().replace('\n', "")
}

#[test]
fn creation_runs_once_and_startup_once_a_boot() {
    let mut room = Room::new("bookworm");
    assert_eq!(run(&room, &both()).ok(), "creation\nstartup\n");
    let again = run(&room, &both());
    assert_eq!((again.code, again.stdout.as_str()), (0, ""), "{again:?}");
    assert_eq!(marks(&room), "cs");
    room.reset();
    // Without a request: the accepted one is kept, with the identity.
    assert_eq!(room.run(["ci-setup-agent", "run"]).ok(), "startup\n");
    assert_eq!(marks(&room), "css");
    room.reset();
    assert_eq!(run(&room, &both()).ok(), "startup\n");
    assert_eq!((marks(&room).as_str(), mirrors(&room, "creation").len()), ("csss", 1));
}

#[test]
fn what_ran_is_told_again_with_its_outcome_and_exit_code() {
    let room = Room::new("bookworm");
    let request = Request::creation("echo c >> /root/marks; exit 42");
    let (code, first) = run_json(&room, &request, &[]);
    let (again, second) = run_json(&room, &request, &[]);
    assert_eq!((code, again, first), (42, 42, second));
    let ran = run(&room, &request);
    assert_eq!((ran.code, ran.stdout.as_str()), (42, ""), "{ran:?}");
    assert_error_and_hint(&ran);
    // A corrected request changes nothing: it has had its turn.
    assert_eq!(run(&room, &Request::creation("echo c >> /root/marks")).code, 42);
    assert_eq!((marks(&room).as_str(), runs(&room).len()), ("c", 1));
}

#[test]
fn rerun_and_only_say_otherwise() {
    let room = Room::new("bookworm");
    run(&room, &both()).ok();
    assert_eq!(run_with(&room, &both(), &["--rerun"]).ok(), "creation\nstartup\n");
    assert_eq!(run_with(&room, &both(), &["--rerun", "--only", "startup"]).ok(), "startup\n");
    assert_eq!(run_with(&room, &both(), &["--rerun", "--only", "creation"]).ok(), "creation\n");
    assert_eq!(marks(&room), "cscssc");
    let ran = run_with(&room, &Request::creation("true"), &["--only", "startup"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{ran:?}");
}

#[test]
fn a_request_that_was_refused_uses_nothing_up() {
    let room = Room::new("bookworm");
    let bad = [
        both().with("timeout", "PT20M"),
        both().at("startupScript", "/etc/passwd"),
        both().inline("startupScript", "\0"),
        both().at("creationScript", "Users/none.sh"),
    ];
    for request in bad {
        let ran = run(&room, &request);
        assert!([125, 127].contains(&ran.code), "{ran:?}");
        assert_eq!(marks(&room), "", "{ran:?}");
    }
    assert_eq!(run(&room, &both()).ok(), "creation\nstartup\n");
}

#[test]
fn a_refused_request_is_not_kept_for_later_boots() {
    let mut room = Room::new("bookworm");
    run(&room, &both()).ok();
    assert_eq!(run(&room, &both().with("timeout", "x")).code, 125);
    room.reset();
    assert_eq!(room.run(["ci-setup-agent", "run"]).ok(), "startup\n");
}

#[test]
fn startup_does_not_run_until_creation_has_succeeded() {
    let mut room = Room::new("bookworm");
    let request = Request::creation("test -e /root/good").inline("startupScript", "echo startup");
    for _ in 0..2 {
        let ran = run(&room, &request);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:?}");
        room.reset();
    }
    assert_eq!(run_with(&room, &request, &["--best-effort"]).ok(), "");
    assert_eq!(run_with(&room, &request, &["--only", "startup"]).ok(), "startup\n");
    assert_eq!(run(&room, &request).code, 1, "creation still counts");
    room.write("/root/good", "", 0o644);
    room.reset();
    assert_eq!(run_with(&room, &request, &["--rerun", "--only", "creation"]).code, 0);
    assert_eq!(run(&room, &request).ok(), "startup\n");
}

#[test]
fn a_startup_that_failed_runs_again_at_the_next_boot() {
    let mut room = Room::new("bookworm");
    let request = Request::startup("echo s >> /root/marks; test -e /root/good");
    assert_eq!((run(&room, &request).code, run(&room, &request).code), (1, 1));
    room.write("/root/good", "", 0o644);
    assert_eq!(run(&room, &request).code, 1);
    room.reset();
    assert_eq!(run(&room, &request).code, 0);
    assert_eq!(marks(&room), "ss");
}

#[test]
fn creation_may_fetch_the_startup_script() {
    let room = Room::new("bookworm");
    let clone = format!("mkdir -p {SHARE}/Users/repo; echo 'echo fetched' > {SHARE}/Users/repo/start.sh");
    let request = Request::creation(clone).at("startupScript", "Users/repo/start.sh");
    assert_eq!(run(&room, &request).ok(), "fetched\n");
}

#[test]
fn a_captured_disk_under_another_name_is_another_instance() {
    let room = Room::new("bookworm");
    run(&room, &both()).ok();
    // The first one has something left for `sync`.
    let lost = ["--rerun", "--share", "/srv/lost", "--share-wait", "0", "--flush-wait", "0"];
    assert_eq!(run_with(&room, &Request::creation_at("x.sh"), &lost).code, 125);
    let words = ["ci-setup-agent", "run", "-", "--name", "ci-2", "--share", SHARE];
    let call = |words: &[&str]| {
        let words = words.iter().chain(&IDENTITY[..4]).map(|word| (*word).to_owned()).collect::<Vec<_>>();
        room.call(words).input(both().text()).run().ok()
    };
    assert_eq!(call(&words), "creation\nstartup\n");
    assert_eq!(call(&words), "");
    assert_eq!(room.run(["ci-setup-agent", "sync", "--json"]).ok(), "", "no run of the other instance");
    let listed = room.run(["ci-setup-agent", "status", "--json"]).ok();
    assert_eq!(listed.matches("\"runId\"").count(), 2, "{listed}");
    assert!(!listed.contains("\"ci-1\""), "{listed}");
    assert_eq!(run_with(&room, &both(), &["--share", SHARE]).ok(), "", "the first one is remembered");
}

#[test]
fn the_service_changes_the_case_of_names_and_that_changes_nothing() {
    let room = Room::new("bookworm");
    let request = Request::new(Form::Resource).inline("creationScript", "echo c >> /root/marks");
    let text = request.text();
    for text in [
        text.clone(),
        text.replace("my-rg", "MY-RG"),
        text.replace("my-ws", "My-Ws").replace("resourceGroups", "resourcegroups"),
    ] {
        room.call(["ci-setup-agent", "run", "-"]).input(text).run().ok();
    }
    assert_eq!(marks(&room), "c");
}

#[test]
fn callers_at_the_same_time_see_one_execution_and_one_result() {
    let room = Room::new("bookworm");
    let request = both().inline("creationScript", "echo c >> /root/marks; sleep 0.5; exit 9");
    let calls: Vec<_> = (0..20).map(|_| run_call(&room, &request, &["--json"]).spawn()).collect();
    let ran: Vec<_> = calls.into_iter().map(|call| call.wait()).collect();
    let results: Vec<(i32, Vec<Value>)> = ran.iter().map(|ran| (ran.code, outcomes(ran))).collect();
    assert!(results.iter().all(|result| *result == results[0]), "{results:#?}");
    assert_eq!((results[0].0, marks(&room).as_str(), runs(&room).len()), (9, "c", 1));
}

#[test]
fn a_second_caller_waits_for_the_first_and_a_signal_ends_its_wait_alone() {
    let room = Room::new("bookworm");
    let request = Request::creation("touch /root/up; until [ -e /root/go ]; do sleep 0.02; done; exit 5");
    let first = run_call(&room, &request, &[]).spawn();
    wait_until("the script", || room.read("/root/up").ok_or(first.stderr()));
    let second = run_call(&room, &request, &[]).spawn();
    let third = run_call(&room, &request, &[]).spawn();
    for caller in [&second, &third] {
        wait_until(
            "its note",
            || if caller.stderr().contains("note: another") { Ok(()) } else { Err(caller.stderr()) },
        );
    }
    third.signal(nix::sys::signal::Signal::SIGTERM);
    let third = third.wait();
    assert_eq!(third.code, 143, "{third:?}");
    room.write("/root/go", "", 0o644);
    assert_eq!((first.wait().code, second.wait().code), (5, 5));
}

#[test]
fn a_run_within_a_run_is_refused_instead_of_waiting_for_itself() {
    let room = Room::new("bookworm");
    let inner = Request::creation("echo c >> /root/marks").text();
    room.write("/root/inner.json", inner, 0o600);
    let call = format!("ci-setup-agent run /root/inner.json {}", IDENTITY.join(" "));
    // Through sudo, too; with a state directory of its own it is another matter.
    let script = format!(
        "{call} --json; echo $?; sudo {call} --json; echo $?; {call}; echo $?; {call} --state /root/other; echo $?\n\
         ci-setup-agent try /dev/null; echo $?\nsudo -u azureuser -i <<< 'sudo {call}; echo $?'"
    );
    let ran = run(&room, &Request::creation(script));
    let lines: Vec<&str> = ran.stdout.lines().filter(|line| !line.contains(':') || line.starts_with('{')).collect();
    for line in [lines[0], lines[2]] {
        let outcome: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{ran:?}"));
        assert_eq!((&outcome["state"], &outcome["error"]["code"]), (&"rejected".into(), &"nested-run".into()));
    }
    let codes = [lines[1], lines[3], lines[4], lines[5], lines[6], lines[7]];
    assert_eq!(codes, ["125", "125", "125", "0", "126", "125"], "{ran:?}");
    assert_eq!((ran.code, marks(&room).as_str()), (0, "c"), "{ran:?}");
}

#[test]
fn what_the_power_cut_short_is_interrupted_and_runs_again_only_when_told_to() {
    let mut room = Room::new("bookworm");
    let request = Request::creation("echo c >> /root/marks; echo up; test -e /root/good || sleep 1000");
    let running = run_call(&room, &request, &[]).spawn();
    wait_until("the script", || if running.stdout() == "up\n" { Ok(()) } else { Err(running.stderr()) });
    room.reset();
    for _ in 0..2 {
        let (code, outcomes) = run_json(&room, &request, &[]);
        assert_eq!((code, outcomes[0]["state"].as_str()), (137, Some("interrupted")), "{outcomes:#?}");
        assert_eq!(outcomes[0]["error"]["code"], "interrupted");
    }
    assert_eq!(marks(&room), "c");
    room.write("/root/good", "", 0o644);
    assert_eq!(run_with(&room, &request, &["--rerun"]).code, 0);
    assert_eq!((run(&room, &request).code, marks(&room).as_str()), (0, "cc"));
}

#[test]
fn without_a_request_the_waiting_one_is_read_and_then_the_kept_one() {
    let mut room = Room::new("bookworm");
    let ran = room.run(["ci-setup-agent", "run"]);
    assert_eq!(ran.code, 125, "{ran:?}");
    assert_error_and_hint(&ran);
    let waiting = "/etc/ci-setup-agent/request.json";
    room.write(waiting, Request::new(Form::Resource).inline("startupScript", "echo waiting").text(), 0o644);
    assert_eq!(room.run(["ci-setup-agent", "run"]).ok(), "waiting\n");
    room.bash(&format!("rm {waiting}")).ok();
    room.reset();
    assert_eq!(room.run(["ci-setup-agent", "run"]).ok(), "waiting\n");
    // User and share are remembered too.
    room.reset();
    let request = Request::startup("echo $ADMIN_USERNAME $PWD");
    room.bash("mkdir -p /srv/share/Users").ok();
    run_with(&room, &request, &["--user", "datasci", "--share", "/srv/share"]).ok();
    room.reset();
    assert_eq!(room.run(["ci-setup-agent", "run"]).ok(), "datasci /srv/share/Users\n");
    // A request that is named does not go where an earlier one went by an option.
    let refused = run_with(&room, &request, &["--rerun", "--share", "/nowhere", "--share-wait", "0"]);
    assert_eq!(refused.code, 125, "{refused:?}");
    assert_eq!(run_with(&room, &request, &["--rerun"]).ok(), format!("azureuser {SHARE}\n"));
}
