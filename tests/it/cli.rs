//! The command line as a whole: help, versions, schemas, and where the binary runs (CONTRACT 2).

use serde_json::Value;

use crate::support::{
    Place, Room, SUITES,
    setup::{Request, assert_error_and_hint, run},
};

#[test]
fn the_binary_runs_unchanged_on_every_release_and_needs_no_library() {
    for suite in SUITES {
        let room = Room::new(suite);
        assert_eq!(run(&room, &Request::creation("echo ran")).ok(), "ran\n", "{suite}");
        let linked = room.bash("ldd /usr/bin/ci-setup-agent 2>&1");
        assert!(linked.stdout.contains("statically linked") || linked.stdout.contains("not a dynamic"), "{linked:?}");
    }
}

#[test]
fn help_and_version_are_data() {
    let room = Room::new("bookworm");
    for word in ["--help", "-h", "--version", "-V"] {
        let ran = room.run(["ci-setup-agent", word]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
        assert!(ran.stdout.contains("ci-setup-agent"), "{ran:?}");
    }
    for command in ["run", "try", "status", "logs", "sync", "schema"] {
        let ran = room.run(["ci-setup-agent", command, "--help"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    }
    let help = room.run(["ci-setup-agent", "run", "--help"]).ok();
    for option in [
        "resource-group",
        "workspace",
        "name",
        "user",
        "share",
        "state",
        "only",
        "rerun",
        "grace",
        "share-wait",
        "flush-wait",
        "leftovers",
        "output-limit",
        "best-effort",
        "json",
        "quiet",
        "steps",
    ] {
        let variable = format!("CI_SETUP_{}", option.replace('-', "_").to_uppercase());
        assert!(help.contains(&format!("--{option}")) && help.contains(&variable), "{option} in {help}");
    }
}

#[test]
fn every_command_takes_state_and_where_it_prints_data_json() {
    let room = Room::new("bookworm");
    run(&room, &Request::creation("true")).ok();
    room.write("/root/x.sh", "true\n", 0o644);
    for words in [
        &["schema", "request", "--json"][..],
        &["schema", "outcome"],
        &["check", "/root/x.sh", "--json"],
        &["status", "--json"],
        &["sync", "--json"],
        &["logs"],
        &["try", "--json", "/root/x.sh"],
    ] {
        let begin = ["ci-setup-agent", words[0], "--state", "/var/lib/ci-setup-agent"];
        let ran = room.run([&begin, &words[1..]].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
    }
}

#[test]
fn a_command_line_that_makes_no_sense_is_refused_in_two_lines() {
    let room = Room::new("bookworm");
    for (words, holds) in [
        (&[][..], "no command"),
        (&["statu"], "`status`"),
        (&["try"], "<SCRIPT>"),
        (&["schema", "x"], "outcome"),
        (&["status", "--timeout", "5"], "--wait"),
    ] {
        let ran = room.run(["ci-setup-agent"].iter().chain(words).map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.lines().count()), (125, "", 2), "{words:?}: {ran:?}");
        assert_error_and_hint(&ran);
        assert!(ran.stderr.contains(holds), "{words:?}: {ran:?}");
    }
}

#[test]
fn schemas_are_json_schemas_and_name_every_error() {
    let room = Room::new("bookworm");
    for document in ["request", "outcome"] {
        let text = room.call(["ci-setup-agent", "schema", document]).user("datasci").run().ok();
        let schema: Value = serde_json::from_str(&text).expect("JSON");
        assert!(schema["$schema"].as_str().is_some_and(|name| name.contains("json-schema.org")), "{text}");
    }
    let text = room.run(["ci-setup-agent", "schema", "outcome"]).ok();
    for code in ["not-json", "script-not-found", "timed-out", "state-newer", "interrupted"] {
        assert!(text.contains(&format!("\"{code}\"")), "{code}");
    }
}

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let room = Room::new("bookworm");
    let ran =
        room.bash("ci-setup-agent schema outcome | true; echo ${PIPESTATUS[0]}; ci-setup-agent status >&-; echo $?");
    assert!(ran.stdout.starts_with("0\n"), "{ran:?}");
}

#[test]
fn switches_in_variables_are_on_and_off_as_people_write_it() {
    let room = Room::new("bookworm");
    for (value, is_on) in [("1", true), ("true", true), ("0", false), ("false", false), ("", false), ("no", false)] {
        let request = Request::startup("echo out; exit 8");
        let call = crate::support::setup::run_call(&room, &request, &["--rerun"]);
        let ran = call.env("CI_SETUP_QUIET", value).env("CI_SETUP_BEST_EFFORT", value).run();
        let expected = if is_on { (0, "") } else { (8, "out\n") };
        assert_eq!((ran.code, ran.stdout.as_str()), expected, "{value:?}: {ran:?}");
    }
}
