//! Each rule has a text that it is told of and one that is like it and fine.

use ci_setup_agent::{check::RULES, error::Code};
use serde_json::{Value, json};

use super::check;
use crate::support::setup::{Request, base64};

/// What `run` refuses only when it looks at the machine or does its work: nothing that `check` could know.
const ON_THE_MACHINE: [Code; 27] = [
    Code::NotRecorded,
    Code::ScriptNotFound,
    Code::IsAFolder,
    Code::NotARegularFile,
    Code::CannotStart,
    Code::ShareNotMounted,
    Code::ShareNotAnswering,
    Code::MissingIdentity,
    Code::NoSuchUser,
    Code::NotRoot,
    Code::WritableByOthers,
    Code::NoRequest,
    Code::RequestUnreadable,
    Code::UnknownConfigKey,
    Code::BadConfig,
    Code::BadOption,
    Code::StateNotWritable,
    Code::StateNewer,
    Code::AbsoluteSudo,
    Code::NestedRun,
    Code::NoSuchRun,
    Code::Internal,
    Code::NotRecorded,
    Code::ScriptFailed,
    Code::ScriptKilled,
    Code::TimedOut,
    Code::Stopped,
];

fn script(member: &str, value: Value) -> String {
    let script = json!({"scriptSource": "workspaceStorage", "scriptData": "Users/a.sh"});
    Request::new(crate::support::setup::Form::Fragment).script("creationScript", script).with(member, value).text()
}

fn inline(data: &[u8]) -> String {
    Request::creation(data).text()
}

fn startup(text: &str) -> String {
    Request::startup(text).text()
}

fn resource(member: &str, value: Value) -> String {
    let mut inner = json!({"vmSize": "STANDARD_DS3_V2"});
    inner[member] = value;
    json!({"name": "ci-1", "properties": {"computeType": "ComputeInstance", "properties": inner}}).to_string()
}

fn schedule(schedule: Value) -> String {
    resource("schedules", json!({"computeStartStop": [schedule]}))
}

fn cron(expression: &str, zone: &str) -> String {
    schedule(json!({"action": "Stop", "triggerType": "Cron", "cron": {"expression": expression, "timeZone": zone}}))
}

fn recurrence(hours: u32) -> String {
    let recurrence = json!({"frequency": "Day", "interval": 1, "schedule": {"hours": [hours], "minutes": [0]}});
    schedule(json!({"action": "Stop", "triggerType": "Recurrence", "recurrence": recurrence}))
}

fn block(line: &str) -> String {
    format!("set -e\nsudo -u azureuser -i <<'EOF'\nset -e\n{line}\nEOF\n")
}

fn assigned(object: &str, with_script: Value) -> String {
    let user = json!({"objectId": object, "tenantId": "00000000-0000-0000-0000-00000000000b"});
    let inner = json!({"personalComputeInstanceSettings": {"assignedUser": user}, "setupScripts": {"scripts": {"startupScript": with_script}}});
    json!({"name": "ci-1", "properties": {"computeType": "ComputeInstance", "properties": inner}}).to_string()
}

fn named(id: &str, name: &str) -> String {
    let id = format!(
        "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/{id}/providers/Microsoft.MachineLearningServices/workspaces/wks/computes/ci-1"
    );
    json!({"id": id, "name": name, "properties": {"computeType": "ComputeInstance", "properties": {}}}).to_string()
}

/// Of each rule: what it is told of, and what is like it and fine.
fn cases() -> Vec<(&'static str, String, String)> {
    let text = |text: &str| text.to_owned();
    let uuid = "00000000-0000-0000-0000-00000000000a";
    let two = |one: &str, other: &str| {
        let script = |data: &str| json!({"scriptSource": "workspaceStorage", "scriptData": data});
        let form = Request::new(crate::support::setup::Form::Fragment);
        form.script("creationScript", script(one)).script("startupScript", script(other)).text()
    };
    let service = |kind: &str| {
        let endpoint = json!({"protocol": "http", "target": 8787, "published": 8787});
        let image = json!({"type": kind, "reference": "rocker/rstudio"});
        resource("customServices", json!([{"name": "rstudio", "image": image, "endpoints": [endpoint]}]))
    };
    let ssh = |key: &str| resource("sshSettings", json!({"sshPublicAccess": "Enabled", "adminPublicKey": key}));
    let utf16: Vec<u8> = "echo\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let utf16 = [b"\xff\xfe".as_slice(), &utf16].concat();
    vec![
        ("appends-again", startup("echo x >> /etc/hosts\n"), startup("echo x > /etc/motd\n")),
        (
            "arguments-begin-with-bash",
            script("scriptArguments", "bash a.sh".into()),
            script("scriptArguments", "bashful a.sh".into()),
        ),
        ("asks-a-question", text("apt-get install jq\n"), text("apt-get install -y jq\n")),
        ("assigned-user", assigned("me", Value::Null), assigned(uuid, Value::Null)),
        ("background-job", text("python3 server.py &\n"), text("python3 server.py > /var/log/s.log 2>&1 &\n")),
        ("bad-name", resource("vmSize", "x".into()).replace("ci-1", "1ci"), resource("vmSize", "x".into())),
        ("block-arguments", block("echo \"$1\""), block("set -- a\necho \"$1\"")),
        ("block-expands", text("sudo -u azureuser -i <<EOF\nset -e\nx=1\necho $x\nEOF\n"), block("x=1\necho $x")),
        ("block-variable", format!("name=x\n{}", block("echo $name")), block("name=x\necho $name")),
        (
            "block-without-set-e",
            text("sudo -u azureuser -i <<'EOF'\npip install x\npip install y\nEOF\n"),
            block("pip install x\npip install y"),
        ),
        ("byte-order-mark", text("\u{feff}echo a\n"), text("echo a\n")),
        (
            "compute-type",
            resource("vmSize", "x".into()).replace("ComputeInstance", "AmlCompute"),
            resource("vmSize", "x".into()),
        ),
        (
            "conda-before-profile",
            block("conda install -y x"),
            block("source /anaconda/etc/profile.d/conda.sh\nconda install -y x"),
        ),
        ("crlf", text("echo a\r\necho b\r\n"), text("echo a\necho b\n")),
        ("cron-expression", cron("0 25 * * *", "UTC"), cron("0,30 8-18/2 * * Mon-Fri", "UTC")),
        ("custom-services", service("podman"), service("docker")),
        ("eats-heredoc", block("ssh host true\necho"), block("ssh host true < /dev/null\necho")),
        ("id-ignored", named("rg", "ci-1").replace("/providers/", "/"), named("rg", "ci-1")),
        (
            "idle-time",
            resource("idleTimeBeforeShutdown", "PT5M".into()),
            resource("idleTimeBeforeShutdown", "PT30M".into()),
        ),
        ("inline-length", inline("echo\n".repeat(1000).as_bytes()), inline(b"echo\n")),
        ("long-timeout", script("timeout", "inf".into()), script("timeout", "24h".into())),
        ("member-ignored", resource("vmSzie", "x".into()), resource("vmSize", "x".into())),
        ("name-ignored", named("rg", "ci-2"), named("rg", "CI-1")),
        ("needless-sudo", text("sudo apt-get update\n"), text("sudo -u azureuser id\n")),
        (
            "no-compute-instance",
            json!({"$schema": "s", "contentVersion": "1.0.0.0", "resources": []}).to_string(),
            resource("vmSize", "x".into()),
        ),
        ("read-without-input", text("read -r name\n"), text("read -r name < /etc/hostname\n")),
        ("reboot", text("reboot\n"), text("echo reboot\n")),
        ("recurrence", recurrence(24), recurrence(23)),
        ("relative-path", block("bash setup/more.sh"), block("bash ~/cloudfiles/code/Users/me/setup/more.sh")),
        ("same-script-twice", two("a.sh", "a.sh"), two("a.sh", "b.sh")),
        (
            "schedules",
            schedule(json!({"action": "Pause", "triggerType": "Cron", "cron": {"expression": "0 8 * * *"}})),
            schedule(json!({"action": "Start", "triggerType": "Cron", "cron": {"expression": "0 8 * * *"}})),
        ),
        ("secret", text("git clone https://me:hunter22@github.com/a/b\n"), text("git clone https://github.com/a/b\n")),
        (
            "single-sign-on",
            assigned(uuid, json!({"scriptSource": "workspace", "scriptData": "a.sh"})),
            assigned(uuid, Value::Null),
        ),
        ("ssh-settings", ssh("ssh-ed25519 A"), ssh("ssh-rsa AAAA me")),
        ("syntax-error", text("if true\nthen\n"), text("if true\nthen echo\nfi\n")),
        ("time-zone", cron("0 8 * * *", "Europe/Berlin"), cron("0 8 * * *", "W. Europe Standard Time")),
        ("timeout-nonem", script("timeout", "Nonem".into()), script("timeout", Value::Null)),
        ("unterminated-heredoc", text("cat <<EOF\na\n"), text("cat <<EOF\na\nEOF\n")),
        // What `run` refuses without looking at the machine.
        ("not-json", text("{\"a\": 1,}"), script("timeout", "1m".into())),
        ("wrong-type", script("timeout", json!([])), script("timeout", "90".into())),
        ("no-setup-scripts", text("{}"), script("timeout", "1m".into())),
        ("unknown-member", script("args", "x".into()), script("scriptArguments", "x".into())),
        (
            "unknown-script-source",
            script("scriptSource", "git".into()),
            script("scriptSource", "WorkspaceStorage".into()),
        ),
        ("empty-script-data", script("scriptData", Value::Null), script("scriptData", "a.sh".into())),
        (
            "bad-script-data",
            script("scriptData", "https://x.blob.core.windows.net/a.sh?sv=1".into()),
            script("scriptData", "/Users/a.sh".into()),
        ),
        ("not-base64", inline(b"echo\n").replace(&base64(b"echo\n"), "ZWNobwo*"), inline(b"echo\n")),
        ("too-large", inline(&vec![b'#'; (1 << 20) + 1]), inline(b"#\n")),
        ("empty-script", text(" \n"), text(":\n")),
        ("not-text", text("a\0b"), text("a=b\n")),
        ("utf16", inline(&utf16), inline("echo ü\n".as_bytes())),
        ("outside-share", script("scriptData", "../a.sh".into()), script("scriptData", "./a.sh".into())),
        ("not-sh", script("scriptData", "a.py".into()), script("scriptData", "a.sh".into())),
        ("unreadable", text(""), text(":\n")),
        ("bad-timeout", script("timeout", "PT20M".into()), script("timeout", "20m".into())),
        ("unclosed-quote", script("scriptArguments", "'a".into()), script("scriptArguments", "'a'".into())),
        ("bad-arguments", script("scriptArguments", "a\0b".into()), script("scriptArguments", "a b".into())),
        ("bad-identity", named("r g", "ci-1"), named("r.g", "ci-1")),
    ]
}

/// The rules that each of these texts breaks, by one call for all of them.
fn found<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<Vec<String>> {
    let folder = tempfile::tempdir().expect("a folder");
    let paths: Vec<String> = texts
        .enumerate()
        .map(|(index, text)| {
            let path = folder.path().join(index.to_string());
            std::fs::write(&path, text).expect("a file");
            path.to_str().expect("text").to_owned()
        })
        .collect();
    let mut words = vec!["--json"];
    words.extend(paths.iter().map(String::as_str));
    let checked = check(&words, "");
    let json: Value = serde_json::from_str(&checked.stdout).unwrap_or_else(|_| panic!("{}", checked.stderr));
    let findings = json["findings"].as_array().expect("a list");
    let of = |path: &String| findings.iter().filter(|finding| finding["file"] == **path).cloned().collect::<Vec<_>>();
    let rules = |finding: Value| finding["rule"].as_str().expect("a name").to_owned();
    paths.iter().map(|path| of(path).into_iter().map(rules).collect()).collect()
}

#[test]
fn each_rule_is_told_where_it_is_broken_and_not_where_it_is_kept() {
    // A file that cannot be read has no text.
    assert!(check(&["--json", "/no/such/file"], "").stdout.contains("\"unreadable\""));
    let mut cases = cases();
    cases.retain(|(rule, ..)| *rule != "unreadable");
    let bad = found(cases.iter().map(|(_, bad, _)| bad));
    let good = found(cases.iter().map(|(.., good)| good));
    let mut wrong = Vec::new();
    for (((rule, breaks, keeps), bad), good) in cases.iter().zip(bad).zip(good) {
        if !bad.iter().any(|found| found == rule) {
            wrong.push(format!("{rule} is not told of {breaks}: {bad:?}"));
        }
        if !good.is_empty() {
            wrong.push(format!("{rule}: {keeps} is fine, and told is {good:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn no_rule_lacks_a_text_that_breaks_it_and_one_that_keeps_it() {
    let cases = cases();
    let has = |rule: &str| cases.iter().any(|(name, ..)| *name == rule);
    let on_machine = |code: &Code| ON_THE_MACHINE.contains(code) || *code == Code::Interrupted;
    let codes = Code::ALL.iter().filter(|code| !on_machine(code)).map(ToString::to_string);
    let lacking: Vec<String> = RULES.map(str::to_owned).into_iter().chain(codes).filter(|rule| !has(rule)).collect();
    assert_eq!(lacking, [""; 0], "each of these wants a line in `cases`");
}
