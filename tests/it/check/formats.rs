use super::check;

const STARTUP: &str = r#"{"setupScripts": {"scripts": {
  "startupScript": {"scriptSource": "inline", "scriptData": "cmVib290Cg==", "timeout": "inf"}}}}"#;

#[test]
fn a_clean_file_exits_with_0_and_says_nothing() {
    let checked = check(&["code-server.sh"], "");
    assert_eq!((checked.code, checked.stdout.as_str(), checked.stderr.as_str()), (0, "", ""));
}

#[test]
fn a_warning_has_place_rule_and_hint_and_exits_with_1() {
    let checked = check(&["-"], "#!/bin/bash\n  reboot\n");
    assert_eq!(checked.code, 1);
    let lines: Vec<_> = checked.stdout.lines().collect();
    assert!(lines[0].starts_with("-:2:3: warning: ") && lines[0].ends_with(" [reboot]"), "{}", checked.stdout);
    assert!(lines[1].starts_with("hint: ") && lines.len() == 2, "{}", checked.stdout);
}

#[test]
fn an_error_exits_with_2_also_beside_warnings() {
    let checked = check(&["careless.sh", "-"], "if\n");
    assert_eq!(checked.code, 2);
    assert!(
        checked.stdout.contains("-:1:1: error: ") || checked.stdout.contains("[syntax-error]"),
        "{}",
        checked.stdout
    );
    assert!(checked.stdout.contains("careless.sh:16:1: warning: "), "{}", checked.stdout);
}

#[test]
fn an_inline_script_is_told_with_its_own_lines() {
    let checked = check(&["-"], STARTUP);
    assert!(checked.stdout.contains("-#startupScript:1:1: warning: "), "{}", checked.stdout);
    assert!(checked.stdout.contains("-:2:88: warning: "), "{}", checked.stdout);
}

#[test]
fn json_holds_the_same_findings() {
    let checked = check(&["--json", "-"], STARTUP);
    let json: serde_json::Value = serde_json::from_str(&checked.stdout).expect("JSON");
    assert_eq!((checked.code, &json["warnings"], &json["errors"]), (1, &2.into(), &0.into()));
    let inside = &json["findings"][1];
    assert_eq!(inside["rule"], "reboot");
    assert_eq!(
        (&inside["script"], &inside["line"], &inside["scriptAt"]["line"]),
        (&"startupScript".into(), &1.into(), &2.into())
    );
    assert_eq!(check(&["--format", "json", "-"], STARTUP).stdout, checked.stdout);
}

#[test]
fn github_annotations_stand_in_the_file() {
    let checked = check(&["--format", "github", "-"], STARTUP);
    assert!(
        checked.stdout.contains("::warning file=-,line=2,col=61,title=reboot::startupScript 1:1: "),
        "{}",
        checked.stdout
    );
    assert!(checked.stdout.contains("%0Ahint: "), "{}", checked.stdout);
}

#[test]
fn schedules_are_explained_with_five_times() {
    let resource = r#"{"name": "ci-1", "properties": {"computeType": "ComputeInstance", "properties": {"schedules": {"computeStartStop": [
      {"action": "Stop", "triggerType": "Cron", "cron": {"timeZone": "UTC", "expression": "0 18 * * 1-5"}}]}}}}"#;
    let checked = check(&["--explain", "-"], resource);
    assert_eq!(checked.code, 0, "{}", checked.stdout);
    assert!(
        checked.stdout.starts_with("-:2:7: note: schedule 1: Stop at `0 18 * * 1-5` in UTC\n"),
        "{}",
        checked.stdout
    );
    assert_eq!(checked.stdout.matches(" 18:00:00 +00:00\n").count(), 5, "{}", checked.stdout);
}

#[test]
fn a_file_that_is_not_there_is_an_error_and_the_others_are_checked() {
    let checked = check(&["none.sh", "startup.sh"], "");
    assert_eq!(checked.code, 2);
    assert!(checked.stdout.starts_with("none.sh:1:1: error: cannot read `none.sh`"), "{}", checked.stdout);
    assert!(checked.stdout.contains("startup.sh:3:1: warning: "), "{}", checked.stdout);
}

#[test]
fn shellcheck_adds_its_findings_where_it_is_installed() {
    let checked = check(&["--shellcheck", "-"], "#!/bin/bash\nsudo -u azureuser bash <<'EOF'\ncd /tmp\necho\nEOF\n");
    match checked.code {
        1 => assert!(
            checked.stdout.starts_with("-:3:1: warning: ") && checked.stdout.contains("[SC2164]"),
            "{}",
            checked.stdout
        ),
        code => assert!(code == 125 && checked.stderr.contains("shellcheck is not installed"), "{}", checked.stderr),
    }
}
