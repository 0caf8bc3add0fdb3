//! `status`, `logs` and `sync` (CONTRACT 2).

use serde_json::Value;

use crate::steps::recorded_run;
use crate::support::{
    Place, Room, SHARE,
    setup::{Request, assert_error_and_hint, mirrors, only, outcome_in, run, run_call, run_with, runs},
    wait_until,
};

fn id_of(folder: &str) -> String {
    folder.rsplit('/').next().expect("a name").to_owned()
}

/// A room in which creation succeeded and startup failed.
fn room() -> Room {
    let room = Room::new("bookworm");
    let request = Request::creation("echo creation; printf '\\377'").inline("startupScript", "echo startup; exit 6");
    assert_eq!(run(&room, &request).code, 6);
    room
}

#[test]
fn status_lists_all_runs_and_tells_of_one() {
    let room = room();
    let [creation, startup] = &runs(&room)[..] else { panic!("{:?}", runs(&room)) };
    let table = room.run(["ci-setup-agent", "status"]).ok();
    for (folder, words) in [(creation, "succeeded"), (startup, "failed")] {
        let row = table.lines().find(|line| line.starts_with(&id_of(folder))).expect("a row");
        assert!(row.contains(words), "{table}");
    }
    let all: Value = serde_json::from_str(&room.run(["ci-setup-agent", "status", "--json"]).ok()).expect("JSON");
    assert_eq!(all, serde_json::json!([outcome_in(&room, creation), outcome_in(&room, startup)]));
    let one: Value =
        serde_json::from_str(&room.run(["ci-setup-agent", "status", "--json", &id_of(startup)]).ok()).expect("JSON");
    assert_eq!(one, outcome_in(&room, startup));
    let detail = room.run(["ci-setup-agent", "status", &id_of(startup)]).ok();
    assert!(detail.contains("failed, exit code 6") && detail.contains("hint"), "{detail}");
    for row in ["error ", "printed     | startup", "next        ci-setup-agent run --rerun --only startup"] {
        assert!(detail.lines().any(|line| line.starts_with(row)), "{row}: {detail}");
    }
    let waited = room.run(["ci-setup-agent", "status", "--wait"]);
    assert_eq!(waited.code, 6, "{waited:?}");
}

#[test]
fn logs_prints_a_run_s_output_byte_for_byte() {
    let room = room();
    let creation = id_of(&runs(&room)[0]);
    assert_eq!(room.run(["ci-setup-agent", "logs"]).ok(), "startup\n");
    assert_eq!(room.run(["ci-setup-agent", "logs", &creation]).bytes, b"creation\n\xff");
    assert_eq!(room.run(["ci-setup-agent", "logs", "-f", &creation]).bytes, b"creation\n\xff");
    for words in [&["logs", "creation-1"][..], &["status", "../../etc"]] {
        let ran = room.run(["ci-setup-agent"].iter().chain(words).map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(ran.code, 125, "{ran:?}");
        assert_error_and_hint(&ran);
        assert!(ran.stderr.contains(&id_of(&runs(&room)[1])), "{ran:?}");
    }
}

#[test]
fn status_and_logs_without_root_read_the_share() {
    let room = room();
    // What root's config holds may be nobody else's business.
    room.write("/etc/ci-setup-agent/config.toml", "[environment]\nPROXY = 'http://user:password@proxy'\n", 0o600);
    for options in [&[][..], &["--name", "ci-1"]] {
        let call = |word: &str| {
            let words = ["ci-setup-agent", word].into_iter().chain(options.iter().copied());
            room.call(words.map(str::to_owned)).user("datasci").run()
        };
        assert_eq!(call("logs").ok(), "startup\n", "{options:?}");
        let table = call("status").ok();
        assert!(table.contains("creation-") && table.contains("startup-"), "{table}");
    }
    let other = room.call(["ci-setup-agent", "status", "--share", "/srv"]).user("datasci").run();
    assert_eq!(other.code, 125, "{other:?}");
    assert_error_and_hint(&other);
}

#[test]
fn before_any_run_there_is_none() {
    let room = Room::new("bookworm");
    room.run(["ci-setup-agent", "status"]).ok();
    assert_eq!(room.run(["ci-setup-agent", "status", "--json"]).ok(), "[]\n");
    let ran = room.run(["ci-setup-agent", "logs"]);
    assert_eq!(ran.code, 125, "{ran:?}");
    assert!(ran.stderr.contains("no run yet"), "{ran:?}");
    assert!(!room.path("/var/lib/ci-setup-agent").exists(), "looking makes nothing");
}

#[test]
fn logs_follows_a_run_to_its_end_and_status_waits_for_it() {
    let room = Room::new("bookworm");
    let request = Request::creation("echo one; until [ -e /root/go ]; do sleep 0.02; done; echo two; exit 3");
    let running = run_call(&room, &request, &["--quiet"]).spawn();
    wait_until("the run's record", || {
        let outcome = runs(&room).first().and_then(|folder| room.read(format!("{folder}/outcome.json")));
        outcome.ok_or(running.stderr())
    });
    let by_root = room.spawn(["ci-setup-agent", "logs", "-f"]);
    wait_until("the first line", || if by_root.stdout() == "one\n" { Ok(()) } else { Err(by_root.stderr()) });
    wait_until("the mirror", || if mirrors(&room, "creation").is_empty() { Err(()) } else { Ok(()) });
    let by_user = wait_until("a reader of the share", || {
        let call = room.call(["ci-setup-agent", "logs"]).user("datasci").run();
        if call.stdout == "one\n" {
            Ok(room.call(["ci-setup-agent", "logs", "-f"]).user("datasci").spawn())
        } else {
            Err(call)
        }
    });
    let late = room.run(["ci-setup-agent", "status", "--wait", "--timeout", "0.1"]);
    assert_eq!(late.code, 124, "{late:?}");
    assert!(late.stdout.contains("running"), "{late:?}");
    let waiting = room.spawn(["ci-setup-agent", "status", "--wait"]);
    room.write("/root/go", "", 0o644);
    assert_eq!((running.wait().code, waiting.wait().code), (3, 3));
    assert_eq!((by_root.wait().ok(), by_user.wait().ok()), ("one\ntwo\n".into(), "one\ntwo\n".into()));
}

#[test]
fn sync_finishes_what_a_run_could_not_bring_to_the_share() {
    let room = Room::new("bookworm");
    // A script that takes the share away while it runs, and leaves it away.
    let request = Request::creation(format!("cd /; umount -l {SHARE}; sleep 0.3; echo after"));
    room.bash(&format!("mkdir -p /srv/behind; mount --bind {SHARE} /srv/behind")).ok();
    let ran = run_with(&room, &request, &["--flush-wait", "0.3"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "after\n"), "{ran:?}");
    room.bash(&format!("mountpoint -q {SHARE} || mount --bind /srv/behind {SHARE}")).ok();
    room.run(["ci-setup-agent", "sync"]).ok();
    let mirror = only(mirrors(&room, "creation"));
    assert_eq!(room.read(format!("{mirror}/output.log")).as_deref(), Some("after\n"));
    let outcome = outcome_in(&room, &only(runs(&room)));
    assert_eq!((&outcome["output"]["mirror"], &outcome["output"]["mirroredBytes"]), (&"current".into(), &6.into()));
}

#[test]
fn steps_and_the_times_of_the_output_are_kept_beside_it() {
    let room = Room::new("bookworm");
    let script = "echo one\nsudo -u azureuser -i <<'END'\nnosuch\nEND\nfalse || echo two\n";
    let (code, outcome) = recorded_run(&room, &Request::creation(script), "auto", &[]);
    assert_eq!(code, 0);
    let folder = format!("/var/lib/ci-setup-agent/runs/{}", outcome["runId"].as_str().expect("an id"));
    let list: Value = serde_json::from_str(&room.read(format!("{folder}/steps.json")).expect("steps")).expect("JSON");
    let told: Vec<String> = list["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .map(|step| format!("{} {} {} {}", step["line"], step["block"]["line"], step["exitCode"], step["hasFailed"]))
        .collect();
    assert_eq!(told, ["1 null 0 false", "3 1 127 true", "2 null 127 false", "5 null 0 false"], "{list:#}");
    assert_eq!(list["count"], 4);

    let times = std::fs::read(room.path(format!("{folder}/output.times"))).expect("times");
    let bytes = outcome_in(&room, &folder)["output"]["bytes"].as_u64().expect("bytes");
    assert_eq!(times.len() % 16, 0);
    assert_eq!(times[times.len() - 8..], bytes.to_le_bytes(), "the last record is of the whole output");
}

#[test]
fn status_tells_the_command_that_failed_what_it_printed_and_what_to_do() {
    let room = Room::new("bookworm");
    let script = "echo one\nsleep 1\nsudo -u azureuser -i <<'END'\nnosuch\nEND\nsleep 1\necho three\nexit 3\n";
    assert_eq!(run(&room, &Request::creation(script)).code, 3);
    let id = id_of(&only(runs(&room)));
    let table = room.run(["ci-setup-agent", "status"]).ok();
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows[0].starts_with("RUN ") && rows[0].ends_with(" WHY") && rows.len() == 2, "{table}");
    assert!(rows[1].starts_with(&format!("{id}  failed ")) && rows[1].contains(" ago "), "{table}");
    assert!(rows[1].ends_with(" line 4 (azureuser 1): nosuch (127)"), "{table}");

    let detail = room.run(["ci-setup-agent", "status", &id]).ok();
    for begin in [
        "why         line 4 (azureuser 1): `nosuch` failed with 127 after ",
        "failed      line 4 (azureuser 1): `nosuch` with 127",
        "script      inline, ",
        "took        ",
        "copy        complete in Logs/ci-1/creation/",
        &format!("next        ci-setup-agent logs {id} --failed"),
        "next        ci-setup-agent run --rerun --only creation",
    ] {
        assert!(detail.lines().any(|line| line.starts_with(begin)), "{begin}: {detail}");
    }
    let printed: Vec<&str> = detail.lines().filter(|line| line.contains("| ")).collect();
    assert_eq!(printed.len(), 1, "only what that command printed: {detail}");
    assert!(printed[0].starts_with("printed     | ") && printed[0].ends_with("nosuch: command not found"), "{detail}");

    // Who only sees the share is told what is there.
    let detail = room.call(["ci-setup-agent", "status", &id]).user("datasci").run().ok();
    assert!(detail.contains("\nfailed      line 4 (azureuser 1): `nosuch` with 127\n"), "{detail}");
    assert!(
        detail.contains("\n            | three\n") && detail.contains(&format!("sudo ci-setup-agent logs {id}")),
        "{detail}"
    );
}

#[test]
fn at_a_timeout_status_names_the_command_and_the_processes() {
    let room = Room::new("bookworm");
    let request = Request::creation("echo one\nsleep 1000\n").with("timeout", "0.5");
    assert_eq!(run(&room, &request).code, 124);
    let id = id_of(&only(runs(&room)));
    let table = room.run(["ci-setup-agent", "status"]).ok();
    assert!(table.ends_with(" line 2: sleep 1000\n"), "{table}");
    let detail = room.run(["ci-setup-agent", "status", &id]).ok();
    for holds in ["timedOut, exit code 124", "why         line 2: `sleep 1000` was ended after ", "root sleep 1000, "] {
        assert!(detail.contains(holds), "{holds}: {detail}");
    }
}

#[test]
fn in_a_log_waiting_says_a_sentence_now_and_then() {
    let room = room();
    let folder = runs(&room).pop().expect("a run");
    let mut outcome = outcome_in(&room, &folder);
    // As a run leaves it that has been at it for some time.
    let began = std::time::SystemTime::now() - std::time::Duration::from_millis(118_500);
    outcome["state"] = "running".into();
    outcome["startedAt"] = humantime::format_rfc3339_millis(began).to_string().into();
    outcome["steps"]["current"] =
        serde_json::json!({"line": 42, "block": null, "command": "pip install torch", "seconds": 70.0});
    room.write(format!("{folder}/outcome.json"), outcome.to_string(), 0o600);
    let waiting = room.spawn(["ci-setup-agent", "status", "--wait", &id_of(&folder)]);
    let said = wait_until("a sentence", || Some(waiting.stderr()).filter(|said| !said.is_empty()).ok_or("none"));
    assert!(said.starts_with("note: still running after 2m, 13m left: line 42 `pip install torch` for 1m "), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    waiting.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(waiting.wait().code, 143);
}
