//! Requests in every form are accepted, run, and leave log, outcome and exit code (CONTRACT 3, 6, 8).

use serde_json::{Value, json};

use crate::support::{
    Place, Room, SHARE,
    call::Ran,
    setup::{FORMS, Form, IDENTITY, Request, assert_valid, base64, mirrors, only, outcome_in, run, run_with, runs},
};

/// Prints bytes that are no text, to both outputs, and fails.
const SCRIPT: &str = "echo out; echo err >&2; printf '\\000\\377\\r 50%%\\n'; id -un; exit 3\n";
const OUTPUT: &[u8] = b"out\nerr\n\0\xff\r 50%\nroot\n";

fn share_script(room: &Room, text: impl AsRef<[u8]>) {
    room.write(format!("{SHARE}/Users/admin/setup.sh"), text, 0o644);
}

/// What is promised of every run, in both places.
fn assert_left(room: &Room, word: &str, ran: &Ran) -> Value {
    assert_eq!((ran.code, ran.bytes.as_slice()), (3, OUTPUT), "{ran:?}");
    let local = only(runs(room));
    let mirror = only(mirrors(room, word));
    for folder in [&local, &mirror] {
        let log = std::fs::read(room.path(format!("{folder}/output.log"))).expect("a log");
        assert_eq!(log, OUTPUT, "{folder}");
    }
    let outcome = outcome_in(room, &local);
    assert_eq!(outcome, outcome_in(room, &mirror), "the copy on the share");
    assert_valid(room, "outcome", std::slice::from_ref(&outcome));
    let stamp = mirror.rsplit('/').next().expect("a stamp");
    let id = format!("{word}-{stamp}");
    assert!(local.ends_with(&format!("/{id}")), "{local} {mirror}");
    let expected = json!({
        "schemaVersion": 1, "agentVersion": "0.1.0", "runId": id, "script": format!("{word}Script"),
        "state": "failed", "exitCode": 3, "scriptExit": {"code": 3, "signal": null},
        "instance": {"resourceGroup": "my-rg", "workspace": "my-ws", "name": "ci-1", "user": "azureuser"},
        "timeout": {"given": null, "seconds": 900.0},
    });
    for (name, value) in expected.as_object().expect("an object") {
        assert_eq!(&outcome[name], value, "{name} of {outcome:#}");
    }
    assert_eq!(outcome["error"]["code"], "script-failed");
    assert_eq!(outcome["bootId"], room.read("/proc/sys/kernel/random/boot_id").expect("a boot").trim());
    assert_eq!(outcome["output"]["bytes"], OUTPUT.len());
    assert_eq!(outcome["output"]["mirroredBytes"], OUTPUT.len());
    assert_eq!((&outcome["output"]["mirror"], &outcome["output"]["droppedBytes"]), (&json!("current"), &json!(0)));
    let mode =
        room.bash(&format!("stat -c %a {local}/output.log /var/lib/ci-setup-agent; sha256sum < {local}/script.sh"));
    let mode = mode.ok();
    assert!(mode.starts_with("600\n700\n"), "{mode}");
    assert_eq!(
        outcome["source"]["sha256"],
        mode.lines().nth(2).and_then(|line| line.split(' ').next()).expect("a hash")
    );
    assert_eq!(outcome["source"]["bytes"], SCRIPT.len());
    assert!(room.path(format!("{mirror}/script.sh")).is_file(), "the script as it ran");
    outcome
}

#[test]
fn an_inline_script_runs_in_every_form_of_request() {
    for (form, word) in FORMS.into_iter().zip(["creation", "startup", "creation"]) {
        let room = Room::new("bookworm");
        let request = Request::new(form).inline(&format!("{word}Script"), SCRIPT).with("scriptArguments", "gpu 'a b'");
        let outcome = assert_left(&room, word, &run(&room, &request));
        assert_eq!(outcome["source"]["kind"], "inline", "{form:?}");
        assert_eq!(outcome["arguments"], json!(["gpu", "a b"]));
    }
}

#[test]
fn a_script_on_the_share_runs_in_every_form_of_request() {
    for (form, word) in FORMS.into_iter().zip(["startup", "creation", "startup"]) {
        let room = Room::new("bookworm");
        share_script(&room, SCRIPT);
        let request = Request::new(form).at(&format!("{word}Script"), "Users/admin/setup.sh");
        let outcome = assert_left(&room, word, &run(&room, &request));
        assert_eq!(outcome["source"]["kind"], "workspaceStorage", "{form:?}");
        assert_eq!(outcome["source"]["path"], "Users/admin/setup.sh");
    }
}

#[test]
fn a_whole_resource_brings_its_identity_along() {
    let room = Room::new("bookworm");
    room.write("/root/request.json", Request::new(Form::Resource).inline("creationScript", "env").text(), 0o644);
    let output = room.run(["ci-setup-agent", "run", "/root/request.json"]).ok();
    for line in ["CI_RESOURCE_GROUP=my-rg", "CI_WORKSPACE=my-ws", "CI_NAME=ci-1", "CI_LOCAL_UBUNTU_USER=azureuser"] {
        assert!(output.lines().any(|found| found == line), "{line} in {output}");
    }
}

#[test]
fn every_spelling_of_a_path_on_the_share_names_the_same_script() {
    for path in [
        "Users/admin/setup.sh",
        "/Users/admin/setup.sh",
        "Users\\admin\\setup.sh",
        "/home/azureuser/cloudfiles/code/Users/admin/setup.sh",
        "/mnt/batch/tasks/shared/LS_root/mounts/clusters/ci-1/code/Users/admin/setup.sh",
    ] {
        let room = Room::new("bookworm");
        share_script(&room, "echo ran");
        for source in ["workspaceStorage", "workspace", "WORKSPACESTORAGE"] {
            let script = json!({"scriptSource": source, "scriptData": path});
            let ran = run_with(&room, &Request::new(Form::Fragment).script("creationScript", script), &["--rerun"]);
            assert_eq!((ran.code, ran.stdout.as_str()), (0, "ran\n"), "{source} {path}: {ran:?}");
        }
    }
}

#[test]
fn base64_may_be_broken_into_lines_and_lack_its_padding() {
    let room = Room::new("bookworm");
    let whole = base64(b"echo ran\n");
    let unpadded = whole.trim_end_matches('=');
    for data in [&whole, unpadded, &format!("{}\r\n {}\n", &whole[..5], &whole[5..])] {
        let script = json!({"scriptSource": "Inline", "scriptData": data});
        let ran = run_with(&room, &Request::new(Form::Fragment).script("startupScript", script), &["--rerun"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (0, "ran\n"), "{data}: {ran:?}");
    }
}

#[test]
fn no_shell_ever_sees_the_arguments() {
    let room = Room::new("bookworm");
    let request = Request::creation("printf '[%s]' \"$@\"").with(
        "scriptArguments",
        r#"$HOME "$(touch /root/trace)" * ; '' "a  b" \; `id` ~ {1,2} -x "q\"q" é > /root/trace"#,
    );
    let expected = "[$HOME][$(touch /root/trace)][*][;][][a  b][;][`id`][~][{1,2}][-x][q\"q][é][>][/root/trace]";
    assert_eq!(run(&room, &request).ok(), expected);
    let request = request.with("scriptArguments", json!(["two words", "", "$x", "\n"]));
    assert_eq!(run_with(&room, &request, &["--rerun"]).ok(), "[two words][][$x][\n]");
    assert_eq!(room.read("/root/trace"), None);
}

#[test]
fn the_creation_script_runs_before_the_startup_script() {
    let room = Room::new("bookworm");
    let request =
        Request::creation("echo creation $1").inline("startupScript", "echo startup").with("scriptArguments", "x");
    let ran = run(&room, &request);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "creation x\nstartup\n"), "{ran:?}");
    assert_eq!((mirrors(&room, "creation").len(), mirrors(&room, "startup").len()), (1, 1));
}

#[test]
fn a_literal_nonem_is_the_default_timeout_and_a_warning() {
    let room = Room::new("bookworm");
    let ran = run_with(&room, &Request::creation("true").with("timeout", "Nonem"), &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.stderr.matches("warning: ").count(), 1, "{ran:?}");
    let outcome = outcome_in(&room, &only(runs(&room)));
    assert_eq!(outcome["timeout"]["seconds"], 900.0);
    assert_eq!(outcome["warnings"].as_array().map(Vec::len), Some(1), "{outcome:#}");
}

#[test]
fn output_goes_on_to_stdout_unless_quiet_or_json_was_asked_for() {
    let room = Room::new("bookworm");
    let request = Request::creation("echo out; echo err >&2");
    let ran = run_with(&room, &request, &["--quiet"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{ran:?}");
    let ran = run_with(&room, &request, &["--rerun", "--json"]);
    assert_eq!((ran.code, ran.stdout.lines().count(), ran.stderr.as_str()), (0, 1, ""), "{ran:?}");
    let ran = run_with(&room, &request, &["--rerun"]);
    assert_eq!(ran.stdout, "out\nerr\n", "{ran:?}");
}

#[test]
fn options_outrank_variables_and_these_the_request_and_that_the_config_file() {
    let room = Room::new("bookworm");
    let config =
        "resource-group = 'cfg-rg'\nworkspace = 'cfg-ws'\nname = 'cfg-1'\n[environment]\nADDED = 'by config'\n";
    room.write("/etc/ci-setup-agent/config.toml", config, 0o644);
    let share = ["--share", SHARE];
    let script = "echo $CI_RESOURCE_GROUP $CI_WORKSPACE $CI_NAME $ADDED";
    let call = |form, options: &[&str]| {
        let words = ["ci-setup-agent", "run", "-"].into_iter().chain(share).chain(options.iter().copied());
        room.call(words.map(str::to_owned)).input(Request::new(form).inline("creationScript", script).text())
    };
    assert_eq!(call(Form::Fragment, &[]).run().ok(), "cfg-rg cfg-ws cfg-1 by config\n");
    assert_eq!(call(Form::Resource, &[]).run().ok(), "my-rg my-ws ci-1 by config\n");
    let by_variable = call(Form::Resource, &[]).env("CI_SETUP_NAME", "env-1").env("CI_NAME", "old-1");
    assert_eq!(by_variable.run().ok(), "my-rg my-ws env-1 by config\n");
    let by_option = call(Form::Resource, &["--name", "opt-1"]).env("CI_SETUP_NAME", "env-1");
    assert_eq!(by_option.run().ok(), "my-rg my-ws opt-1 by config\n");
    // A variable that is set to nothing says nothing.
    let mut nothing = call(Form::Resource, &["--rerun"]);
    for name in ["NAME", "USER", "STATE", "GRACE", "ONLY", "STEPS", "OUTPUT_LIMIT", "JSON", "QUIET"] {
        nothing = nothing.env(&format!("CI_SETUP_{name}"), "");
    }
    assert_eq!(nothing.run().ok(), "my-rg my-ws ci-1 by config\n");
    assert_eq!(IDENTITY.len(), 6);
}

#[test]
fn requests_judged_by_the_schema_are_judged_alike_by_run() {
    let room = Room::new("bookworm");
    let documents: Vec<Value> = FORMS
        .into_iter()
        .map(|form| serde_json::from_str(&Request::new(form).inline("creationScript", "true").text()).expect("JSON"))
        .collect();
    assert_valid(&room, "request", &documents);
}
