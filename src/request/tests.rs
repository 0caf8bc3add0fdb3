//! Whole documents: forms, types, members, and the first thing that is wrong.

use std::time::Duration;

use super::*;
use crate::error::{Code, Error};

const ID: &str =
    "/subscriptions/0/resourceGroups/RG/providers/Microsoft.MachineLearningServices/workspaces/wks/computes/ci-1";

/// A request of form 1 with this creation script.
fn with_script(script: &str) -> String {
    format!(r#"{{"setupScripts": {{"scripts": {{"creationScript": {script}}}}}}}"#)
}

/// The same with members beside a valid source.
fn with_members(members: &str) -> String {
    with_script(&format!(r#"{{"scriptSource": "workspaceStorage", "scriptData": "Users/x.sh"{members}}}"#))
}

fn creation(document: &str) -> ScriptRequest {
    parse(document.as_bytes()).unwrap().creation.unwrap()
}

fn refusal(document: impl AsRef<[u8]>) -> Error {
    let document = document.as_ref();
    parse(document).expect_err(&String::from_utf8_lossy(document))
}

#[track_caller]
fn assert_refused(document: impl AsRef<[u8]>, code: Code, message: &str, hint: &str) {
    let error = refusal(document);
    assert_eq!(error.code, code, "{}", error.chain());
    assert!(error.chain().contains(message), "{}", error.chain());
    assert!(error.hint().contains(hint), "{}", error.hint());
}

#[test]
fn the_three_forms_ask_for_the_same() {
    let scripts = r#"{"scripts": {"creationScript": {"scriptSource": "workspaceStorage", "scriptData": "Users/admin/x.sh",
        "scriptArguments": "gpu 'a b'", "timeout": "1.5m"}, "startupScript": {"scriptSource": "inline", "scriptData": "bHMK"}}}"#;
    let instance = format!(r#"{{"vmSize": "STANDARD_DS3_V2", "setupScripts": {scripts}, "schedules": null}}"#);
    let resource = format!(
        r#"{{"id": "{ID}", "name": "ci-1", "type": "x", "location": "westeurope", "tags": {{"a": "b"}},
        "properties": {{"computeType": "ComputeInstance", "properties": {instance}, "isAttachedCompute": false}}}}"#
    );
    let compute = format!(r#"{{"properties": {{"computeType": "ComputeInstance", "setupScripts": {scripts}}}}}"#);
    for document in [&format!(r#"{{"setupScripts": {scripts}}}"#), &instance, &resource, &compute] {
        let request = parse(document.as_bytes()).unwrap();
        let creation = request.creation.unwrap();
        let Source::WorkspaceStorage(path) = &creation.source else { panic!("{creation:?}") };
        assert_eq!(path.as_str(), "Users/admin/x.sh");
        assert_eq!(creation.arguments, ["gpu", "a b"]);
        assert_eq!(creation.timeout, Timeout { given: Some("1.5m".into()), limit: Some(Duration::from_secs(90)) });
        let startup = request.startup.unwrap();
        assert_eq!(
            startup,
            ScriptRequest { source: Source::Inline(b"ls\n".into()), arguments: vec![], timeout: Timeout::default() }
        );
        assert_eq!(request.warnings, []);
        if document == &resource {
            assert_eq!(request.id.unwrap().resource_group, "RG");
            assert_eq!(request.name.as_deref(), Some("ci-1"));
        } else {
            assert_eq!((request.id, request.name), (None, None));
        }
    }
}

#[test]
fn a_missing_or_null_script_is_none() {
    for scripts in ["{}", r#"{"creationScript": null}"#, r#"{"startupScript": null, "creationScript": null, "x": {}}"#]
    {
        let request = parse(format!(r#"{{"setupScripts": {{"scripts": {scripts}}}}}"#).as_bytes()).unwrap();
        assert_eq!(request, Request::default());
    }
}

#[test]
#[rustfmt::skip] // a table
fn a_full_path_may_begin_with_the_share_option() {
    let document = with_script(r#"{"scriptSource": "workspace", "scriptData": "/srv/share/Users/x.sh"}"#);
    for (share, expected) in [(Some("/srv/share"), "Users/x.sh"), (None, "srv/share/Users/x.sh")] {
        let request = parse_with_share(document.as_bytes(), share).unwrap();
        assert_eq!(request.creation.unwrap().source, Source::WorkspaceStorage(SharePath::parse(expected, None).unwrap()));
    }
}

#[test]
#[rustfmt::skip] // a table
fn what_is_not_json_is_refused_with_line_and_column() {
    for (document, message, hint) in [
        ("", "request is empty", "give a JSON object"),
        (" \n", "request is empty", "give a JSON object"),
        ("{\n  \"a\": 1,\n}", "request is not JSON: trailing comma at line 3 column 1", "take away the comma"),
        ("{\n  'a': 1}", "at line 2 column 3", "double quotes only"),
        ("{\n // x\n}", "at line 2 column 2", "no comments"),
        ("{\"a\": [1,\n2", "EOF while parsing a list at line 2 column 1", "the end is missing"),
        ("{} x", "trailing characters at line 1 column 4", "correct it there"),
        ("{\"a\": \"\\ud800\"}", "at line 1", "correct it there"),
        ("{\"a\": \"x\ny\"}", "at line 2 column 0", "correct it there"),
        ("setupScripts: {}", "expected value at line 1 column 1", "correct it there"),
    ] {
        assert_refused(document, Code::NotJson, message, hint);
    }
}

#[test]
fn what_is_not_utf_8_is_refused_and_a_byte_order_mark_is_not() {
    assert_refused(
        b"{\n \"a\": \"\xff\"}",
        Code::NotJson,
        "request is not UTF-8 at line 2 column 8",
        "save it as UTF-8",
    );
    assert_refused(b"\xff\xfe{\0}\0", Code::NotJson, "request is not UTF-8 at line 1 column 1", "it is UTF-16");
    let marked = format!("\u{feff}{}", with_members(""));
    assert!(parse(marked.as_bytes()).unwrap().creation.is_some());
    assert_refused("\u{feff}{x", Code::NotJson, "at line 1 column 2", "correct it there");
}

#[test]
fn a_request_may_have_4_mib_and_no_byte_more() {
    let mut document = with_members("").into_bytes();
    document.resize(MAX_REQUEST_BYTES, b' ');
    assert!(parse(&document).is_ok());
    document.push(b' ');
    assert_refused(
        &document,
        Code::TooLarge,
        "request is 4194305 bytes, more than 4194304",
        "put the script on the share",
    );
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    let deep = "[".repeat(MAX_REQUEST_BYTES - 10);
    assert_refused(&deep, Code::NotJson, "recursion limit exceeded", "127 deep");
    assert_refused("{\"a\":".repeat(500), Code::NotJson, "recursion limit exceeded", "127 deep");
}

#[test]
fn a_member_given_twice_is_refused_with_both_lines() {
    let document = "{\"setupScripts\": {\"scripts\": {\"creationScript\": {\n\"timeout\": \"5m\",\n\"scriptData\": \"x.sh\",\n\"timeo\\u0075t\": \"6m\"}}}}";
    assert_refused(
        document,
        Code::NotJson,
        "`setupScripts.scripts.creationScript` has `timeout` twice: at line 2 and at line 4",
        "take one",
    );
    assert_refused(
        r#"{"setupScripts": null, "setupScripts": {}}"#,
        Code::NotJson,
        "`request` has `setupScripts` twice",
        "take one",
    );
    // Elsewhere members are not looked at.
    assert!(parse(br#"{"tags": {"a": 1, "a": 2}, "setupScripts": {"scripts": {}}}"#).is_ok());
}

#[test]
#[rustfmt::skip] // a table
fn a_wrong_type_is_refused_with_the_path_of_the_member() {
    let path = "setupScripts.scripts.creationScript";
    for (document, message, hint) in [
        ("[]".to_owned(), "`request`: expected an object, found an array", "one resource"),
        ("\"x\"".into(), "`request`: expected an object, found a string", "setupScripts"),
        (r#"{"setupScripts": []}"#.into(), "`setupScripts`: expected an object, found an array", "braces"),
        (r#"{"setupScripts": {"scripts": "x"}}"#.into(), "`setupScripts.scripts`: expected an object, found a string", "braces"),
        (r#"{"properties": 5}"#.into(), "`properties`: expected an object, found a number", "braces"),
        (r#"{"properties": {"properties": true}}"#.into(), "`properties.properties`: expected an object, found a boolean", "braces"),
        (r#"{"id": 5, "setupScripts": {"scripts": {}}}"#.into(), "`id`: expected a string, found a number", "\"5\""),
        (with_script("true"), &format!("`{path}`: expected an object, found a boolean"), "braces"),
        (with_members(r#", "timeout": 900"#), &format!("`{path}.timeout`: expected a string, found a number"), "put it in quotes: `\"900\"`"),
        (with_members(r#", "timeout": ["5m"]"#), &format!("`{path}.timeout`: expected a string, found an array"), "give one string"),
        (with_members(r#", "scriptArguments": 7"#), &format!("`{path}.scriptArguments`: expected a string or an array of strings, found a number"), "`\"7\"`"),
        (with_members(r#", "scriptArguments": {"a": 1}"#), "found an object", "give one string"),
        (with_members(r#", "scriptArguments": ["a", 1]"#), &format!("`{path}.scriptArguments[1]`: expected a string, found a number"), "`\"1\"`"),
        (with_members(r#", "scriptArguments": [null]"#), &format!("`{path}.scriptArguments[0]`: expected a string, found null"), "take it away"),
        (with_script(r#"{"scriptSource": 1, "scriptData": "x.sh"}"#), &format!("`{path}.scriptSource`: expected a string, found a number"), "quotes"),
        (with_script(r#"{"scriptSource": "inline", "scriptData": {}}"#), &format!("`{path}.scriptData`: expected a string, found an object"), "give one string"),
    ] {
        assert_refused(document, Code::WrongType, message, hint);
    }
    let document = format!(r#"{{"properties": {{"properties": {}}}}}"#, with_members(r#", "timeout": 1"#));
    assert_refused(document, Code::WrongType, "`properties.properties.setupScripts.scripts.creationScript.timeout`", "quotes");
}

#[test]
#[rustfmt::skip] // a table
fn a_document_without_setup_scripts_is_refused_with_what_it_is_instead() {
    for (document, hint) in [
        ("{}", "or the whole resource"),
        (r#"{"setupScripts": null}"#, "scripts"),
        (r#"{"setupScripts": {}}"#, "scripts"),
        (r#"{"setupScripts": {"scripts": null}}"#, "scripts"),
        (r#"{"properties": {"computeType": "ComputeInstance", "properties": {"setupScripts": null}}}"#, "scripts"),
        (r#"{"properties": {"computeType": "ComputeInstance", "properties": null}}"#, "or the whole resource"),
        (r#"{"properties": {"computeType": "AmlCompute", "properties": {}}}"#, "it is of type `AmlCompute`"),
        (r#"{"SetupScripts": {}}"#, "write `setupScripts` for `SetupScripts`"),
        (r#"{"Properties": {}}"#, "write `properties` for `Properties`"),
        (r#"{"properties": {"properties": {"setupscripts": {}}}}"#, "write `setupScripts` for `setupscripts`"),
        (r#"{"scripts": {}}"#, "give `{\"setupScripts\": {\"scripts\""),
        (r#"{"creationScript": {}}"#, "give `{\"setupScripts\": {\"scripts\""),
        (r#"{"scriptData": "x.sh"}"#, "give `{\"setupScripts\": {\"scripts\""),
        (r#"{"$schema": "x", "resources": []}"#, "it is a template"),
        (r#"{"value": [{}]}"#, "it is a list"),
    ] {
        assert_refused(document, Code::NoSetupScripts, "setupScripts", hint);
    }
}

#[test]
fn an_empty_script_is_refused_in_the_services_own_words() {
    for script in ["{}", r#"{"scriptData": null}"#, r#"{"scriptSource": "inline", "scriptData": ""}"#] {
        assert_refused(
            with_script(script),
            Code::EmptyScriptData,
            "creationScript.scriptData cannot be null or empty",
            "leave `creationScript` out",
        );
    }
    let startup = r#"{"setupScripts": {"scripts": {"startupScript": {}}}}"#;
    assert_refused(startup, Code::EmptyScriptData, "startupScript.scriptData cannot be null or empty", "");
}

#[test]
#[rustfmt::skip] // a table
fn an_unknown_member_of_a_script_is_refused_with_the_nearest_known_one() {
    for (member, hint) in [
        ("Timeout", "only its case is wrong: write `timeout`"),
        ("scriptdata", "only its case is wrong: write `scriptData`"),
        ("timout", "did you mean `timeout`?"),
        ("scriptArgument", "did you mean `scriptArguments`?"),
        ("arguments", "did you mean `scriptArguments`?"),
        ("args", "did you mean `scriptArguments`?"),
        ("data", "did you mean `scriptData`?"),
        ("source", "did you mean `scriptSource`?"),
        ("scriptTimeout", "did you mean `timeout`?"),
        ("path", "it is the Python SDK's word: write `scriptData`"),
        ("command", "it is the Python SDK's word: write `scriptArguments`"),
        ("timeout_minutes", "it is the Python SDK's word: write `timeout`"),
        ("#", "a script has `scriptSource`, `scriptData`, `scriptArguments`, `timeout`"),
    ] {
        let message = format!("unknown member `{member}` in `setupScripts.scripts.creationScript`");
        assert_refused(with_members(&format!(r#", "{member}": null"#)), Code::UnknownMember, &message, hint);
    }
}

#[test]
fn a_scripts_name_in_the_wrong_case_is_refused_and_a_near_miss_is_a_warning() {
    let document = r#"{"setupScripts": {"scripts": {"CreationScript": {}}}}"#;
    assert_refused(
        document,
        Code::UnknownMember,
        "unknown member `CreationScript` in `setupScripts.scripts`",
        "write `creationScript`",
    );
    assert_refused(
        r#"{"setupScripts": {"Scripts": {}}}"#,
        Code::UnknownMember,
        "unknown member `Scripts`",
        "write `scripts`",
    );
    let request = parse(br#"{"setupScripts": {"scripts": {"creationScripts": {}, "other": 1}}}"#).unwrap();
    let [warning] = &request.warnings[..] else { panic!("{request:?}") };
    assert_eq!(warning.code, "member-ignored");
    assert_eq!(warning.hint, "did you mean `creationScript`?");
}

#[test]
fn a_timeout_that_was_not_given_is_15_minutes() {
    for members in ["", r#", "timeout": null"#, r#", "timeout": """#] {
        assert_eq!(
            creation(&with_members(members)).timeout,
            Timeout { given: None, limit: Some(Duration::from_secs(900)) }
        );
    }
    let request = parse(with_members(r#", "timeout": "Nonem""#).as_bytes()).unwrap();
    let timeout = request.creation.unwrap().timeout;
    assert_eq!(timeout, Timeout { given: Some("Nonem".into()), limit: Some(Duration::from_secs(900)) });
    assert_eq!(request.warnings[0].code, "timeout-nonem");
    assert_eq!(
        creation(&with_members(r#", "timeout": "0""#)).timeout,
        Timeout { given: Some("0".into()), limit: None }
    );
}

#[test]
fn a_bad_timeout_and_bad_arguments_are_refused() {
    assert_refused(
        with_members(r#", "timeout": "PT20M""#),
        Code::BadTimeout,
        "`creationScript.timeout` is not a duration: `PT20M`",
        "write `20m`",
    );
    assert_refused(with_members(r#", "timeout": "nonem""#), Code::BadTimeout, "`nonem`", "such as `90s`");
    assert_refused(
        with_members(r#", "scriptArguments": "it's""#),
        Code::UnclosedQuote,
        "single quote at character 3",
        "JSON array",
    );
    assert_refused(with_members(r#", "scriptArguments": "\u0000""#), Code::BadArguments, "NUL", "");
    assert_refused(with_members(r#", "scriptArguments": ["a", "\u0000"]"#), Code::BadArguments, "NUL", "");
}

#[test]
#[rustfmt::skip] // a table
fn arguments_are_one_string_or_an_array_taken_as_it_is() {
    for (given, expected) in [
        ("null", &[][..]), (r#""""#, &[]), ("[]", &[]), (r#""a '' 'b c'""#, &["a", "", "b c"]), (r#"["a b", "", "'$x'"]"#, &["a b", "", "'$x'"]),
    ] {
        assert_eq!(creation(&with_members(&format!(r#", "scriptArguments": {given}"#))).arguments, expected);
    }
}

#[test]
fn an_id_that_is_not_that_of_a_compute_and_a_name_that_contradicts_are_warnings() {
    let read = |id: &str, name: &str| {
        let document = format!(r#"{{"id": "{id}", "name": "{name}", "setupScripts": {{"scripts": {{}}}}}}"#);
        parse(document.as_bytes()).unwrap()
    };
    assert_eq!(read(ID, "CI-1").warnings, []);
    let request = read("/x", "ci-1");
    assert_eq!((request.id, request.warnings[0].code.as_str()), (None, "id-ignored"));
    let request = read(ID, "other");
    assert_eq!((request.id.unwrap().name.as_str(), request.warnings[0].code.as_str()), ("ci-1", "name-ignored"));
}

#[test]
fn one_reading_gives_every_problem_with_its_place() {
    let document = "{\"setupScripts\": {\"scripts\": {\n \"creationScript\": {\"scriptSource\": \"inline\",\n  \"scriptData\": \"x.sh\",\n  \"timeout\": \"5M\", \"foo\": 1},\n \"startupScript\": {}}}}";
    let reading = read(document.as_bytes(), None);
    let found: Vec<_> = reading
        .problems
        .iter()
        .map(|problem| (problem.position.line, problem.position.column, problem.error.code))
        .collect();
    assert_eq!(
        found,
        [
            (4, 20, Code::UnknownMember),
            (3, 17, Code::BadScriptData),
            (4, 14, Code::BadTimeout),
            (5, 19, Code::EmptyScriptData),
        ]
    );
}

/// 1 MB of what would make a careless reader take minutes or gigabytes.
#[test]
fn hostile_documents_cost_little_and_give_at_most_100_problems() {
    let start = std::time::Instant::now();
    let many = |member: &str| vec![member; 1_000_000 / (member.len() + 1)].join(",");
    for document in [
        format!(r#"{{{}}}"#, many(r#""a":1"#)),
        with_script(&format!("{{{}}}", many(r#""a":1"#))),
        with_script(&format!(r#"{{"scriptArguments": [{}]}}"#, many("1"))),
        with_script(&format!(r#"{{"{}": 1}}"#, "t".repeat(1_000_000))),
        format!(r#"{{"setupScripts": {{"scripts": {{"{}": 1}}}}}}"#, "t".repeat(1_000_000)),
        with_script(&format!(r#"{{"scriptData": "x", "scriptSource": "{}"}}"#, "t".repeat(1_000_000))),
        with_members(&format!(r#", "timeout": "{}""#, "1h".repeat(500_000))),
        with_members(&format!(r#", "timeout": {}"#, "1".repeat(1_000_000))),
        with_members(&format!(r#", "timeout": "{}min""#, "1".repeat(1_000_000))),
        with_members(&format!(r#", "timeout": "0x{}p""#, "1".repeat(1_000_000))),
        with_members(&format!(r#", "scriptArguments": "{}'""#, "a ".repeat(500_000))),
        format!(r#"{{"setupScripts": {{"scripts": {{}}}}, "id": "{}"}}"#, "/".repeat(1_000_000)),
    ] {
        let reading = read(document.as_bytes(), None);
        assert!(reading.problems.len() <= 100);
        for Problem { error, .. } in &reading.problems {
            assert!(error.chain().len() < 1000 && error.hint().len() < 1000);
        }
    }
    // About 1 s unoptimised; one that is quadratic takes hours.
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}
