use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::*;

fn checked(document: &str) -> Checked {
    check(document.as_bytes(), Asked::default()).unwrap()
}

fn rules(document: &str) -> Vec<String> {
    checked(document).findings.into_iter().map(|finding| finding.rule.into_owned()).collect()
}

fn instance(inner: &Value) -> String {
    json!({"name": "ci-1", "properties": {"computeType": "ComputeInstance", "properties": inner}}).to_string()
}

fn of_script(script: &Value) -> Vec<String> {
    rules(&json!({"setupScripts": {"scripts": {"creationScript": script}}}).to_string())
}

#[test]
fn all_problems_of_a_request_are_told_with_their_places() {
    let document = r#"{"setupScripts": {"scripts": {
  "creationScript": {"scriptSource": "workspaceStorage", "scriptData": "Users/a.sh", "timeout": "PT20M", "args": "x"},
  "startupScript": {}}}}"#;
    let found: Vec<_> = checked(document).findings.into_iter().map(|f| (f.line, f.rule.into_owned())).collect();
    assert_eq!(found, [(2, "bad-timeout".into()), (2, "unknown-member".into()), (3, "empty-script-data".to_owned())]);
}

#[test]
fn a_good_request_is_clean_and_no_json_is_not() {
    let script = json!({"scriptSource": "workspaceStorage", "scriptData": "Users/a.sh", "scriptArguments": "gpu 'a b'", "timeout": "25m"});
    assert!(of_script(&script).is_empty());
    assert_eq!(rules("{\"a\": 1,}"), ["not-json"]);
    assert_eq!(rules("{}"), ["no-setup-scripts"]);
}

#[test]
fn what_is_allowed_and_hardly_meant_is_a_warning() {
    let script =
        |member: &str, value: &str| json!({"scriptSource": "workspaceStorage", "scriptData": "a.sh", member: value});
    assert_eq!(of_script(&script("scriptArguments", "bash a.sh")), ["arguments-begin-with-bash"]);
    assert_eq!(of_script(&script("scriptArguments", "--password s3cretpw")), ["secret"]);
    assert!(of_script(&script("scriptArguments", "bashful")).is_empty());
    for timeout in ["inf", "0", "2d"] {
        assert_eq!(of_script(&script("timeout", timeout)), ["long-timeout"]);
    }
    assert!(of_script(&script("timeout", "24h")).is_empty());
    assert_eq!(of_script(&script("timeout", "Nonem")), ["timeout-nonem"]);
    let same = json!({"scriptSource": "workspaceStorage", "scriptData": "a.sh"});
    let twice = json!({"setupScripts": {"scripts": {"creationScript": same, "startupScript": same}}});
    assert_eq!(rules(&twice.to_string()), ["same-script-twice"]);
}

#[test]
fn inline_scripts_are_checked_with_places_inside() {
    let data = STANDARD.encode("#!/bin/bash\nreboot\necho x >> /etc/hosts\n");
    let document =
        json!({"setupScripts": {"scripts": {"startupScript": {"scriptSource": "inline", "scriptData": data}}}});
    let found = checked(&document.to_string()).findings;
    assert_eq!(
        (found[0].rule.as_ref(), found[0].line, found[0].script.as_deref()),
        ("reboot", 2, Some("startupScript"))
    );
    assert_eq!(found[0].script_at.unwrap().line, 1);
    assert_eq!((found[1].rule.as_ref(), found[1].line), ("appends-again", 3));
    let long = json!({"scriptSource": "inline", "scriptData": STANDARD.encode("echo\n".repeat(1000))});
    assert_eq!(of_script(&long), ["inline-length"]);
}

#[test]
fn a_whole_resource_that_follows_the_documentation_is_clean() {
    let document = instance(&json!({
        "VMSize": "STANDARD_D2_V3", "idleTimeBeforeShutdown": "PT30M", "applicationSharingPolicy": "Personal",
        "sshSettings": {"sshPublicAccess": "Enabled", "adminPublicKey": "ssh-rsa AAAA me"},
        "personalComputeInstanceSettings": {"assignedUser": {"objectId": "00000000-0000-0000-0000-00000000000a", "tenantId": "00000000-0000-0000-0000-00000000000b"}},
        "schedules": {"computeStartStop": [
            {"action": "Stop", "status": "Enabled", "triggerType": "Cron", "cron": {"startTime": "2026-11-21T00:00:00", "timeZone": "W. Europe Standard Time", "expression": "0 18 * * 1-5"}},
            {"action": "Start", "triggerType": "Recurrence", "recurrence": {"frequency": "Week", "interval": 1, "timeZone": "UTC", "schedule": {"hours": [8], "minutes": [0], "weekDays": ["Monday"]}}}]},
        "customServices": [{"name": "rstudio", "image": {"type": "docker", "reference": "rocker/rstudio"}, "endpoints": [{"protocol": "http", "target": 8787, "published": 8787}], "volumes": [{"type": "bind", "source": "/a", "target": "/b"}]}]
    }));
    assert_eq!(rules(&document), [""; 0]);
}

#[test]
#[rustfmt::skip] // a table
fn each_rule_of_a_resource_is_told() {
    let cron = |member: &str, value: Value| {
        let mut cron = json!({"expression": "0 18 * * *", "timeZone": "UTC"});
        cron[member] = value;
        json!({"schedules": {"computeStartStop": [{"action": "Stop", "triggerType": "Cron", "cron": cron}]}})
    };
    let schedule = |schedule: Value| json!({"schedules": {"computeStartStop": [schedule]}});
    let recurrence = |recurrence: Value| schedule(json!({"action": "Stop", "triggerType": "Recurrence", "recurrence": recurrence}));
    let service = |service: Value| json!({"customServices": [service]});
    let image = json!({"type": "docker", "reference": "x"});
    let uuid = "00000000-0000-0000-0000-00000000000a";
    let script = json!({"scripts": {"creationScript": {"scriptSource": "workspace", "scriptData": "a.sh"}}});
    for (inner, rule) in [
        (json!({"idleTimeBeforeShutdown": "30m"}), "idle-time"),
        (json!({"idleTimeBeforeShutdown": "PT5M"}), "idle-time"),
        (json!({"idleTimeBeforeShutdown": 30}), "wrong-type"),
        (json!({"vmSzie": "x"}), "member-ignored"),
        (json!({"sshSettings": {"sshPublicAccess": "Enabled"}}), "ssh-settings"),
        (json!({"sshSettings": {"sshPublicAccess": "On", "adminPublicKey": ""}}), "ssh-settings"),
        (json!({"sshSettings": {"sshPublicAccess": "Disabled", "adminPublicKey": "ssh-rsa A"}}), "ssh-settings"),
        (json!({"sshSettings": {"sshPublicAccess": "Enabled", "adminPublicKey": "ssh-ed25519 A"}}), "ssh-settings"),
        (json!({"personalComputeInstanceSettings": {"assignedUser": {"objectId": uuid}}}), "assigned-user"),
        (json!({"personalComputeInstanceSettings": {"assignedUser": {"objectId": "me", "tenantId": uuid}}}), "assigned-user"),
        (json!({"personalComputeInstanceSettings": {"assignedUser": {"objectId": uuid, "tenantId": uuid}}, "setupScripts": script}), "single-sign-on"),
        (cron("expression", json!("0 25 * * *")), "cron-expression"), (cron("expression", json!("0 8 1 * 1")), "cron-expression"),
        (cron("timeZone", json!("Europe/Berlin")), "time-zone"), (cron("startTime", json!("tomorrow")), "schedules"),
        (schedule(json!({"triggerType": "Cron", "cron": {"expression": "0 8 * * *"}})), "schedules"),
        (schedule(json!({"action": "Pause", "triggerType": "Cron", "cron": {"expression": "0 8 * * *"}})), "schedules"),
        (schedule(json!({"action": "Stop", "status": "On", "triggerType": "Cron", "cron": {"expression": "0 8 * * *"}})), "schedules"),
        (schedule(json!({"action": "Stop", "triggerType": "Cron", "recurrence": {}})), "schedules"),
        (schedule(json!({"action": "Stop", "cron": {"expression": "0 8 * * *"}})), "schedules"),
        (recurrence(json!({"frequency": "Year"})), "recurrence"), (recurrence(json!({"frequency": "Day", "interval": 0})), "recurrence"),
        (recurrence(json!({"frequency": "Day", "schedule": {"hours": [24]}})), "recurrence"),
        (recurrence(json!({"frequency": "Day", "schedule": {"weekDays": ["Monday"]}})), "recurrence"),
        (service(json!({"image": image})), "custom-services"), (service(json!({"name": "x"})), "custom-services"),
        (service(json!({"name": "x", "image": {"type": "podman", "reference": "x"}})), "custom-services"),
        (service(json!({"name": "x", "image": image, "endpoints": [{"target": 80, "published": 8080}]})), "custom-services"),
        (service(json!({"name": "x", "image": image, "volumes": [{"type": "nfs"}]})), "custom-services"),
    ] {
        assert_eq!(rules(&instance(&inner)), [rule], "{inner}");
    }
    let five: Vec<Value> = (0..5).map(|hour| json!({"action": "Stop", "triggerType": "Cron", "cron": {"expression": format!("0 {hour} * * *")}})).collect();
    assert_eq!(rules(&instance(&json!({"schedules": {"computeStartStop": five}}))), ["schedules"]);
    assert_eq!(rules(&instance(&json!({})).replace("ci-1", "1ci")), ["bad-name"]);
    assert_eq!(rules(&instance(&json!({})).replace("ComputeInstance", "AmlCompute")), ["no-setup-scripts", "compute-type"]);
}

#[test]
fn a_template_is_understood_as_far_as_its_parameters_are_known() {
    let template = |timeout: &str, data: &str| {
        json!({"$schema": "s", "contentVersion": "1.0.0.0",
            "parameters": {"name": {"type": "string", "defaultValue": "ci-1"}, "script": {"type": "string"}, "idle": {"type": "string", "defaultValue": "30m"}},
            "resources": [{"type": "Microsoft.MachineLearningServices/workspaces/computes", "name": "[concat('ws/', parameters('name'))]",
                "properties": {"computeType": "ComputeInstance", "properties": {"setupScripts": {"scripts": {"creationScript":
                    {"scriptSource": "inline", "scriptData": data, "timeout": timeout}}}}}}]})
        .to_string()
    };
    assert_eq!(rules(&template("15m", "[parameters('script')]")), [""; 0]);
    assert_eq!(rules(&template("[parameters('idle')]", "[base64('echo')]")), [""; 0]);
    assert_eq!(rules(&template("15m", "[base64('reboot')]")), ["reboot"]);
    assert_eq!(rules(&template("PT15M", "[parameters('script')]")), ["bad-timeout"]);
    assert_eq!(rules(r#"{"$schema": "s", "resources": []}"#), ["no-compute-instance"]);
    // What a program fills in is unknown as well.
    assert_eq!(rules(&template("15m", "[base64('echo {name}')]").replace("ci-1", "{name}")), [""; 0]);
    // Outside a template nobody evaluates it.
    let script = json!({"scriptSource": "inline", "scriptData": "[parameters('script')]"});
    assert_eq!(of_script(&script), ["bad-script-data"]);
}

#[test]
fn schedules_are_explained_where_that_is_asked_for() {
    let document = instance(&json!({"schedules": {"computeStartStop": [
        {"action": "Stop", "status": "Disabled", "triggerType": "Cron", "cron": {"timeZone": "UTC", "expression": "0 18 * * 1-5"}}]}}));
    let asked = Asked { shellcheck: false, now: Some("2026-11-21T12:00:00Z".parse().unwrap()) };
    let explained = check(document.as_bytes(), asked).unwrap().explained;
    assert_eq!(explained[0].1.what, "schedule 1: Stop at `0 18 * * 1-5` in UTC, disabled");
    assert_eq!(explained[0].1.times[0], "Mon 2026-11-23 18:00:00 +00:00");
    assert_eq!(explained[0].1.times.len(), 5);
}

#[test]
fn a_document_is_told_from_a_script() {
    for text in ["{\"a\": 1}", " \n{ }", "[{}]", "{", "\u{feff}{\"a\":1}"] {
        assert!(is_document(text.as_bytes()), "{text}");
    }
    for text in ["#!/bin/bash\n", "{ echo a; }", "[ -f x ] && y", "[[ -f x ]] && y", "echo {}", ""] {
        assert!(!is_document(text.as_bytes()), "{text}");
    }
}
