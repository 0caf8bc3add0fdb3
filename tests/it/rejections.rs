//! Every row of CONTRACT 11: what is refused, how that is told, and that nothing ran.

use serde_json::{Value, json};

use crate::support::{
    Place, Room, SHARE,
    call::Ran,
    setup::{
        Form, IDENTITY, Request, assert_error_and_hint, assert_valid, base64, mirrors, outcome_in, outcomes, run, runs,
    },
};

/// Would leave a trace if anything ran.
const TRACE: &str = "touch /root/trace /tmp/trace";

struct Row {
    what: &'static str,
    request: Vec<u8>,
    code: &'static str,
    exit: i32,
    /// What the two lines must hold.
    holds: &'static [&'static str],
}

fn row(what: &'static str, request: impl Into<Vec<u8>>, code: &'static str, holds: &'static [&'static str]) -> Row {
    let exit = match code {
        "script-not-found" => 127,
        "is-a-folder" | "not-a-regular-file" | "unreadable" | "cannot-start" => 126,
        _ => 125,
    };
    Row { what, request: request.into(), code, exit, holds }
}

/// A request whose second script is as given; its first one would leave a trace.
fn beside(script: Value) -> Vec<u8> {
    Request::creation(TRACE).script("startupScript", script).text().into()
}

fn inline(text: impl AsRef<[u8]>) -> Vec<u8> {
    beside(json!({"scriptSource": "inline", "scriptData": base64(text.as_ref())}))
}

fn with(member: &str, value: impl Into<Value>) -> Vec<u8> {
    beside(json!({"scriptSource": "inline", "scriptData": base64(TRACE.as_bytes()), member: value.into()}))
}

fn on_share(path: &str) -> Vec<u8> {
    Request::creation_at(path).text().into()
}

fn source(source: &str, data: &str) -> Vec<u8> {
    beside(json!({"scriptSource": source, "scriptData": data}))
}

fn rows() -> Vec<Row> {
    let utf16: Vec<u8> = TRACE.encode_utf16().flat_map(u16::to_le_bytes).collect();
    vec![
        row("not JSON", "{\n  \"setupScripts\": {,\n", "not-json", &["line 2", "column"]),
        row("nothing at all", "", "not-json", &[]),
        row("not UTF-8", b"{\"a\": \"\xff\"}".to_vec(), "not-json", &[]),
        row("too large a request", " ".repeat(4 << 20) + "{}", "too-large", &[]),
        row(
            "a wrong type",
            r#"{"setupScripts": {"scripts": {"creationScript": []}}}"#,
            "wrong-type",
            &["creationScript"],
        ),
        row("a wrong type of a member", with("timeout", 5), "wrong-type", &["timeout"]),
        row("a list", "[]", "wrong-type", &[]),
        row("no setupScripts", r#"{"vmSize": "x"}"#, "no-setup-scripts", &["setupScripts"]),
        row("an unknown scriptSource", source("git", "x.sh"), "unknown-script-source", &["git"]),
        row("an unknown member", with("timeOut", "5m"), "unknown-member", &["`timeOut`", "`timeout`"]),
        row(
            "an empty script",
            beside(json!({})),
            "empty-script-data",
            &["startupScript.scriptData cannot be null or empty"],
        ),
        row("empty scriptData", source("inline", ""), "empty-script-data", &["cannot be null or empty"]),
        row("not base64", source("inline", "ZWNobyBoa=="), "not-base64", &[]),
        row("plain text for base64", source("inline", "#!/bin/bash\necho hi"), "bad-script-data", &[]),
        row("a path for base64", source("inline", "Users/admin/setup.sh"), "bad-script-data", &["workspaceStorage"]),
        row(
            "a URL",
            source("workspaceStorage", "https://x.blob.core.windows.net/s.sh?sig=SECRET"),
            "bad-script-data",
            &[],
        ),
        row("an ARM expression", source("inline", "[base64('echo')]"), "bad-script-data", &[]),
        row("base64 for a path", source("workspaceStorage", &base64(TRACE.as_bytes())), "bad-script-data", &["inline"]),
        row("too large a script", inline(vec![b'#'; (1 << 20) + 1]), "too-large", &[]),
        row("white space", inline(" \n"), "empty-script", &[]),
        row("a NUL byte", inline("touch /root/trace\n\0"), "not-text", &["line 2"]),
        row("a program", inline("\x7fELF\x02\x01"), "not-text", &[]),
        row("UTF-16", inline(utf16), "utf16", &["UTF-16"]),
        row("a path that climbs", source("workspace", "Users/../../x.sh"), "outside-share", &[]),
        row("a link that leads out", on_share("Users/admin/out.sh"), "outside-share", &["/root/evil.sh"]),
        row(
            "a missing script",
            on_share("Users/admin/set-up.sh"),
            "script-not-found",
            &["did you mean `Users/admin/setup.sh`"],
        ),
        row("a path on the machine", on_share("/etc/x.sh"), "script-not-found", &["etc"]),
        row("a link to nowhere", on_share("Users/admin/dangling.sh"), "script-not-found", &["a link to `gone.sh`"]),
        row("a link to itself", on_share("Users/admin/loop.sh"), "script-not-found", &["a link to `loop.sh`"]),
        row("a name that cannot be", on_share(&format!("{}.sh", "x".repeat(300))), "script-not-found", &[]),
        row(
            "a signed path",
            source("workspace", "Users/x.sh?sv=1&sig=SECRET"),
            "bad-script-data",
            &["nothing is downloaded"],
        ),
        row("a missing folder", on_share("Users/nobody/x.sh"), "script-not-found", &["Users/nobody"]),
        row("a folder", on_share("Users/admin/folder.sh"), "is-a-folder", &[]),
        row("a FIFO", on_share("Users/admin/fifo.sh"), "not-a-regular-file", &[]),
        row("not .sh", source("workspace", "Users/admin/setup.py"), "not-sh", &[]),
        row("an empty file", on_share("Users/admin/empty.sh"), "empty-script", &[]),
        row(
            "no interpreter",
            inline("#!/no/such/bash\ntouch /root/trace"),
            "cannot-start",
            &["/no/such/bash", ": no such file or directory\n"],
        ),
        row("ISO 8601", with("timeout", "PT20M"), "bad-timeout", &["20m"]),
        row("two units", with("timeout", "1m30s"), "bad-timeout", &[]),
        row("a word", with("timeout", "20min"), "bad-timeout", &["20m"]),
        row("a negative time", with("timeout", "-5"), "bad-timeout", &[]),
        row("an unclosed quote", with("scriptArguments", "a 'b"), "unclosed-quote", &[]),
        row("a NUL argument", with("scriptArguments", "a\0b"), "bad-arguments", &[]),
    ]
}

/// One share for all rows.
fn room() -> Room {
    let room = Room::new("bookworm");
    room.write(format!("{SHARE}/Users/admin/setup.sh"), TRACE, 0o644);
    room.write(format!("{SHARE}/Users/admin/empty.sh"), "", 0o644);
    room.write("/root/evil.sh", TRACE, 0o755);
    room.bash(&format!(
        "cd {SHARE}/Users/admin && mkdir folder.sh && mkfifo fifo.sh && ln -s /root/evil.sh out.sh &&\
         ln -s gone.sh dangling.sh && ln -s loop.sh loop.sh"
    ))
    .ok();
    room
}

fn call(room: &Room, request: &[u8], options: &[&str]) -> Ran {
    let words = ["ci-setup-agent", "run", "-"].into_iter().chain(options.iter().copied());
    room.call(words.map(str::to_owned)).input(request).run()
}

fn assert_nothing_ran(room: &Room, what: &str) {
    assert_eq!((room.read("/root/trace"), room.read("/tmp/trace")), (None, None), "{what}");
}

#[track_caller]
fn assert_rejected(outcome: &Value, code: &str, exit: i32, what: &str) {
    assert_eq!(outcome["state"], "rejected", "{what}: {outcome:#}");
    assert_eq!(outcome["error"]["code"], code, "{what}: {outcome:#}");
    assert_eq!(outcome["exitCode"], exit, "{what}: {outcome:#}");
    assert_eq!(outcome["scriptExit"], Value::Null, "{what}: {outcome:#}");
}

#[test]
fn every_bad_request_is_refused_in_all_the_places_where_that_is_told() {
    let room = room();
    let mut seen = Vec::new();
    for Row { what, request, code, exit, holds } in rows() {
        let before = (runs(&room).len(), room.bash(&format!("ls -d {SHARE}/Logs/ci-1/*/* | wc -l")).stdout);
        let ran = call(&room, &request, &IDENTITY);
        assert_eq!((ran.code, ran.stdout.as_str()), (exit, ""), "{what}: {ran:?}");
        assert_error_and_hint(&ran);
        for part in holds {
            assert!(ran.stderr.contains(part), "{what}: {part} in {}", ran.stderr);
        }
        assert!(!ran.stderr.contains("SECRET"), "{what}: {}", ran.stderr);
        assert_nothing_ran(&room, what);
        let folders = runs(&room);
        assert_eq!(folders.len(), before.0 + 1, "{what}");
        let newest = room.bash("cd /var/lib/ci-setup-agent/runs && ls -td --time=birth * | head -1").ok();
        let local = outcome_in(&room, &format!("/var/lib/ci-setup-agent/runs/{}", newest.trim()));
        assert_rejected(&local, code, exit, what);
        let path = local["output"]["mirrorPath"].as_str().unwrap_or_else(|| panic!("{what}: {local:#}"));
        assert_rejected(&outcome_in(&room, &format!("{SHARE}/{path}")), code, exit, what);
        seen.push(local);
        let ran = call(&room, &request, &[&IDENTITY[..], &["--json"]].concat());
        assert_eq!(ran.code, exit, "{what}");
        assert_error_and_hint(&ran);
        assert_rejected(&outcomes(&ran)[0], code, exit, what);
    }
    assert_valid(&room, "outcome", &seen);
}

#[test]
fn a_missing_or_bad_identity_is_refused() {
    let room = room();
    let request: Vec<u8> = Request::creation(TRACE).text().into();
    let long = "a".repeat(91);
    for (options, code, holds) in [
        (&[][..], "missing-identity", "resource group"),
        (&IDENTITY[..4], "missing-identity", "name"),
        (&["--resource-group", "my-rg", "--workspace", "my-ws", "--name", "9x"], "bad-identity", "9x"),
        (&["--resource-group", "my-rg", "--workspace", "my-ws", "--name", "../x"], "bad-identity", "../x"),
        (&["--resource-group", "my-rg", "--workspace", "my-ws", "--name", "ci-"], "bad-identity", "ci-"),
        (&["--resource-group", "my-rg", "--workspace", "w", "--name", "ci-1"], "bad-identity", "`w`"),
        (&["--resource-group", &long, "--workspace", "my-ws", "--name", "ci-1"], "bad-identity", "90"),
        (&["--resource-group", "a b", "--workspace", "my-ws", "--name", "ci-1"], "bad-identity", "a b"),
    ] {
        let ran = call(&room, &request, options);
        assert_eq!(ran.code, 125, "{options:?}: {ran:?}");
        assert_error_and_hint(&ran);
        assert!(ran.stderr.contains(holds), "{options:?}: {}", ran.stderr);
        let ran = call(&room, &request, &[options, &["--json"]].concat());
        assert_rejected(&outcomes(&ran)[0], code, 125, holds);
        assert_nothing_ran(&room, holds);
    }
    // Variables of a captured disk are no identity.
    let by_disk = room.call(["ci-setup-agent", "run", "-"]).input(request.clone());
    let ran = by_disk.env("CI_NAME", "ci-1").env("CI_WORKSPACE", "my-ws").env("CI_RESOURCE_GROUP", "my-rg").run();
    assert_eq!(ran.code, 125, "{ran:?}");
}

#[test]
fn a_machine_without_the_user_is_refused_before_anything_ran() {
    let room = room();
    let request = Request::creation(TRACE).text();
    // A number is nobody's name, even where somebody has it as user id.
    for user in ["nobody-here", "1000", "-x", ""] {
        let user = format!("--user={user}");
        let ran = call(&room, request.as_bytes(), &[&IDENTITY[..], &[user.as_str(), "--json"]].concat());
        assert_rejected(&outcomes(&ran)[0], "no-such-user", 125, &user);
    }
    assert!(!mirrors(&room, "request").is_empty(), "told on the share");
    assert_nothing_ran(&room, "no user");
}

#[test]
fn another_user_than_root_is_refused_and_told_what_to_do() {
    let room = room();
    let words = ["ci-setup-agent", "run", "-", "--state", "/tmp/state", "--json"].into_iter().chain(IDENTITY);
    let ran = room.call(words.map(str::to_owned)).user("datasci").input(Request::creation(TRACE).text()).run();
    assert_eq!(ran.code, 125, "{ran:?}");
    assert_rejected(&outcomes(&ran)[0], "not-root", 125, "not root");
    assert!(outcomes(&ran)[0]["error"]["hint"].as_str().is_some_and(|hint| hint.contains("try")), "{ran:?}");
    assert_nothing_ran(&room, "not root");
}

#[test]
fn a_request_or_config_that_others_may_write_is_refused() {
    let room = room();
    let request = Request::new(Form::Resource).inline("creationScript", TRACE).text();
    let file = "/etc/ci-setup-agent/request.json";
    let refused = |what: &str| {
        for words in [&["ci-setup-agent", "run"][..], &["ci-setup-agent", "run", file]] {
            let ran = room.call(words.iter().copied().chain(["--json"]).map(str::to_owned)).run();
            assert_eq!(ran.code, 125, "{what}: {ran:?}");
            assert_rejected(&outcomes(&ran)[0], "writable-by-others", 125, what);
            assert_nothing_ran(&room, what);
        }
    };
    for mode in [0o666, 0o664, 0o602] {
        room.write(file, &request, mode);
        refused("mode");
    }
    room.write(file, &request, 0o644);
    room.bash(&format!("chown azureuser {file}")).ok();
    refused("owner");
    room.bash(&format!("rm {file}; mkfifo -m 666 {file}")).ok();
    let writer = room.spawn(["bash", "-c", &format!("cat /root/evil.sh <> {file}")]);
    refused("a FIFO");
    drop(writer);
    room.bash(&format!("rm {file}")).ok();
    room.write(file, &request, 0o644);
    room.write("/etc/ci-setup-agent/config.toml", "user = 'azureuser'", 0o666);
    refused("config");
}

#[test]
fn a_config_file_with_an_unknown_key_or_a_bad_value_is_refused() {
    let room = room();
    for (config, code, holds) in [
        ("flush-wiat = '1s'\n", "unknown-config-key", "`flush-wait`"),
        ("[mirror]\nscripts = true\n", "unknown-config-key", "`script`"),
        ("\ngrace = 'PT5S'\n", "bad-config", "grace"),
        ("user = \n", "bad-config", "line 1"),
        ("leftovers = 'eat'\n", "bad-config", "leftovers"),
        ("[environment]\n'A B' = 'x'\n", "bad-config", "A B"),
        ("[environment]\nA = \"x\\u0000y\"\n", "bad-config", "environment.A"),
        ("name = 'no name'\n", "bad-identity", "no name"),
    ] {
        room.write("/etc/ci-setup-agent/config.toml", config, 0o644);
        let options = if code == "bad-identity" { &IDENTITY[..4] } else { &IDENTITY[..] };
        let ran = call(&room, Request::creation(TRACE).text().as_bytes(), options);
        assert_eq!(ran.code, 125, "{config}: {ran:?}");
        assert_error_and_hint(&ran);
        assert!(ran.stderr.contains(holds), "{config}: {}", ran.stderr);
        let ran = call(&room, Request::creation(TRACE).text().as_bytes(), &[options, &["--json"]].concat());
        assert_rejected(&outcomes(&ran)[0], code, 125, config);
        assert_nothing_ran(&room, config);
    }
}

#[test]
fn a_state_directory_that_is_newer_or_cannot_be_written_is_refused() {
    let room = room();
    room.write("/srv/newer/version", "99\n", 0o600);
    room.write("/srv/file", "", 0o600);
    room.bash("mkdir /srv/ro && mount -t tmpfs -o ro tmpfs /srv/ro").ok();
    room.bash("mkdir -m 700 /srv/theirs && chown azureuser /srv/theirs && mkdir -m 1777 /srv/wide").ok();
    let states = [
        ("/srv/newer", "state-newer"),
        ("/srv/file", "state-not-writable"),
        ("/srv/ro", "state-not-writable"),
        ("/srv/theirs", "writable-by-others"),
        ("/srv/wide", "writable-by-others"),
    ];
    for (state, code) in states {
        let options = [&IDENTITY[..], &["--state", state]].concat();
        let ran = call(&room, Request::creation(TRACE).text().as_bytes(), &options);
        assert_eq!(ran.code, 125, "{state}: {ran:?}");
        assert_error_and_hint(&ran);
        let ran = call(&room, Request::creation(TRACE).text().as_bytes(), &[&options[..], &["--json"]].concat());
        assert_rejected(&outcomes(&ran)[0], code, 125, state);
        let told = outcome_in(&room, mirrors(&room, "request").last().expect("told on the share"));
        assert_rejected(&told, code, 125, state);
        assert_nothing_ran(&room, state);
    }
    assert_eq!(
        room.bash("stat -c '%a %U' /srv/theirs /srv/wide; find /srv/theirs /srv/wide -name runs").ok(),
        "700 azureuser\n1777 root\n"
    );
}

#[test]
fn a_share_that_is_not_mounted_in_time_is_refused_and_its_empty_place_stays_empty() {
    let room = Room::new("bookworm");
    room.bash(&format!("umount {SHARE}")).ok();
    for request in [on_share("Users/admin/setup.sh"), Request::creation(TRACE).text().into(), b"{".to_vec()] {
        let ran = call(&room, &request, &[&IDENTITY[..], &["--share-wait", "0.2"]].concat());
        assert_eq!(ran.code, 125, "{ran:?}");
        assert_error_and_hint(&ran);
        let outcome = outcome_in(&room, runs(&room).last().expect("a run"));
        let code = if request == b"{" { "not-json" } else { "share-not-mounted" };
        assert_rejected(&outcome, code, 125, code);
        assert_eq!(room.bash(&format!("ls -A {SHARE}")).ok(), "");
    }
    assert_nothing_ran(&room, "no share");
}

#[test]
fn bad_options_are_refused_with_one_error_and_one_hint() {
    let room = room();
    for (options, hint) in [
        (&["--grace", "x"][..], "such as `90s`"),
        (&["--grace", "PT5S"], "write `5s`"),
        (&["--output-limit", "1X"], "such as 512M"),
        (&["--only", "both"], "`creation`, `startup`"),
        (&["--leftovers", "eat"], "`keep`, `kill`"),
        (&["--no-such-option"], ""),
        (&["--name"], ""),
        (&["one", "two"], ""),
        (&["--steps", "maybe"], "`auto`, `hook`, `off`"),
    ] {
        let options = [&IDENTITY[..], options].concat();
        let ran = call(&room, Request::creation(TRACE).text().as_bytes(), &options);
        assert_eq!((ran.code, ran.stdout.as_str()), (125, ""), "{options:?}: {ran:?}");
        assert_eq!(ran.stderr.lines().count(), 2, "{options:?}: {ran:?}");
        assert_error_and_hint(&ran);
        assert!(ran.stderr.lines().nth(1).is_some_and(|line| line.contains(hint)), "{options:?}: {ran:?}");
        let ran = call(&room, Request::creation(TRACE).text().as_bytes(), &[&["--json"], &options[..]].concat());
        assert_rejected(&outcomes(&ran)[0], "bad-option", 125, "an option");
        assert_nothing_ran(&room, "bad option");
    }
    let by_variable = room.call(["ci-setup-agent", "run", "-"]).env("CI_SETUP_GRACE", "soon").run();
    assert_eq!((by_variable.code, by_variable.stdout.as_str()), (125, ""), "{by_variable:?}");
    assert_error_and_hint(&by_variable);
    let json =
        room.call(["ci-setup-agent", "run", "-"]).env("CI_SETUP_GRACE", "soon").env("CI_SETUP_JSON", "true").run();
    assert_rejected(&outcomes(&json)[0], "bad-option", 125, "a variable");
    let unreadable = run(&room, &Request::creation("true")).code;
    assert_eq!(unreadable, 0);
    let missing = room.run(["ci-setup-agent", "run", "/root/none.json", "--json"]);
    assert_rejected(&outcomes(&missing)[0], "request-unreadable", 125, "no file");
}
