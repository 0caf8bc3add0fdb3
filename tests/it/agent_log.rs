//! The agent's own log: what it says, where, and that it is never in the way.

use faultfs::{Errno, Fault, Ops};

use crate::share::bench::Bench;
use crate::support::setup::{Request, run, run_call, run_with, runs};
use crate::support::{Machine, Place, Room, wait_until};

const LOG: &str = "/var/log/ci-setup-agent/agent.log";

/// One line, taken apart.
#[derive(Debug)]
struct Line {
    level: String,
    /// What happened, and the fields, as they stand.
    text: String,
}

impl Line {
    /// What happened.
    fn event(&self) -> &str {
        let fields = self.text.split(' ').find(|word| word.contains('=')).map(|word| format!(" {word}"));
        fields.and_then(|fields| self.text.find(&fields)).map_or(&self.text, |at| &self.text[..at])
    }

    /// A field's value, where it is one word.
    fn field(&self, name: &str) -> Option<&str> {
        self.text.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }
}

fn lines_of(place: &impl Place, path: &str) -> Vec<Line> {
    let text = place.read(path).unwrap_or_default();
    let parse = |line: &str| {
        let mut words = line.splitn(2, " [");
        let (time, level) = words.next()?.trim_end().split_once(' ')?;
        let (pid, text) = words.next()?.split_once("] ")?;
        assert!(time.ends_with('Z') && pid.parse::<i32>().is_ok(), "{line}");
        Some(Line { level: level.to_owned(), text: text.to_owned() })
    };
    text.lines().map(|line| parse(line).unwrap_or_else(|| panic!("{line}"))).collect()
}

fn lines(place: &impl Place) -> Vec<Line> {
    lines_of(place, LOG)
}

/// What happened, the mirror's own pace left out: where its first lines stand is chance.
fn events(lines: &[Line]) -> Vec<&str> {
    lines.iter().map(Line::event).filter(|event| *event != "mirror has a folder").collect()
}

/// Those of the lines since the last call.
fn news(place: &impl Place, seen: &mut usize) -> Vec<Line> {
    let all = lines(place);
    let news = all.into_iter().skip(*seen).collect::<Vec<_>>();
    *seen += news.len();
    news
}

#[track_caller]
fn the<'a>(lines: &'a [Line], event: &str) -> &'a Line {
    let found: Vec<&Line> = lines.iter().filter(|line| line.event() == event).collect();
    assert_eq!(found.len(), 1, "`{event}` in {lines:#?}");
    found[0]
}

/// Waits until nothing of the agent is left: its last lines come after the caller has been answered.
fn settle(place: &impl Place) {
    wait_until("the agent to be gone", || {
        let left: Vec<_> = place.processes().into_iter().filter(|it| it.command.contains("ci-setup-agent")).collect();
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

#[test]
fn each_change_of_state_is_one_line_and_secrets_are_in_none() {
    let room = Room::new("bookworm");
    room.write("/etc/ci-setup-agent/config.toml", "[environment]\nTOKEN = \"s3cret-variable\"\n", 0o600);
    let script = "echo s3cret-output; : s3cret-text; sleep 1000 > /dev/null 2>&1 < /dev/null &\nexit 3";
    let request = Request::creation(script).with("scriptArguments", "s3cret-argument b");
    let mut seen = 0;
    assert_eq!(run(&room, &request).code, 3);
    let id = runs(&room)[0].rsplit('/').next().expect("a name").to_owned();
    room.bash("pkill -x sleep").ok();
    settle(&room);
    let ran = news(&room, &mut seen);
    assert_eq!(
        events(&ran),
        [
            "request accepted",
            "script found",
            "script started",
            "script exited",
            "processes left behind",
            "run ended",
            "mirror complete",
        ],
        "{ran:#?}"
    );
    for line in &ran[1..] {
        assert_eq!(line.field("run"), Some(id.as_str()), "{line:?}");
    }
    let accepted = the(&ran, "request accepted");
    assert_eq!((accepted.field("instance"), accepted.field("creation")), (Some("ci-1"), Some("inline")));
    assert_eq!(accepted.field("sha256").map(str::len), Some(64), "{accepted:?}");
    let found = the(&ran, "script found");
    assert_eq!((found.field("arguments"), found.field("timeout_seconds")), (Some("2"), Some("900.0")), "{found:?}");
    assert!(the(&ran, "script started").field("pid").is_some_and(|pid| pid.parse::<i32>().is_ok()));
    assert_eq!(the(&ran, "script exited").field("code"), Some("3"));
    assert_eq!(the(&ran, "processes left behind").field("processes"), Some("1"));
    let ended = the(&ran, "run ended");
    let told = ["state", "exit_code", "code", "output_bytes"].map(|name| ended.field(name).unwrap_or_default());
    assert_eq!((ended.level.as_str(), told), ("WARN", ["failed", "3", "script-failed", "14"]), "{ended:?}");

    assert_eq!(run(&room, &request).code, 3);
    let again = news(&room, &mut seen);
    assert_eq!(events(&again), ["request accepted", "has run already"]);
    assert_eq!(the(&again, "has run already").field("run"), Some(id.as_str()));

    let mut bad = Request::creation("true").with("scriptArguments", "'s3cret-argument");
    assert_eq!(run(&room, &bad).code, 125);
    bad = Request::new(crate::support::setup::Form::Fragment).script(
        "creationScript",
        serde_json::json!({"scriptSource": "inline", "scriptData": "echo s3cret-text; true"}),
    );
    assert_eq!(run(&room, &bad).code, 125);
    let refused = news(&room, &mut seen);
    let codes: Vec<_> = refused.iter().filter_map(|line| line.field("code")).collect();
    assert_eq!(codes, ["unclosed-quote", "bad-script-data"], "{refused:#?}");

    // What reads, and what rehearses, is no change of the instance's state.
    room.write("/root/setup.sh", "true\n", 0o644);
    for call in [["ci-setup-agent", "try", "/root/setup.sh"], ["ci-setup-agent", "status", id.as_str()]] {
        room.run(call).ok();
    }
    let text = room.read(LOG).expect("a log");
    assert_eq!(news(&room, &mut seen).len(), 0, "{text}");
    assert!(!text.contains("s3cret"), "{text}");
    let mode = room.bash("stat -c '%a %U' /var/log/ci-setup-agent /var/log/ci-setup-agent/agent.log").ok();
    assert_eq!(mode, "700 root\n600 root\n");
}

#[test]
fn stops_deadlines_kills_and_losses_are_told_with_their_numbers() {
    let room = Room::new("bookworm");
    let mut seen = 0;
    let stubborn = "trap '' TERM; setsid sleep 1000 & : > /root/ready; while :; do sleep 1000; done";
    let request = Request::creation(stubborn).with("timeout", "0.5s");
    assert_eq!(run_with(&room, &request, &["--grace", "0.2s"]).code, 124);
    settle(&room);
    let late = news(&room, &mut seen);
    let events_of_end = ["deadline reached", "asked to end", "all have ended", "run ended", "mirror complete"];
    assert_eq!(events(&late)[3..], events_of_end, "{late:#?}");
    assert_eq!(the(&late, "asked to end").field("processes"), Some("3"), "{late:#?}");
    assert!(the(&late, "all have ended").field("kill_rounds").is_some_and(|rounds| rounds != "0"), "{late:#?}");
    assert_eq!(the(&late, "run ended").field("state"), Some("timedOut"));

    let start = || {
        room.bash("rm -f /root/ready").ok();
        let request = Request::creation(stubborn).with("timeout", "1000s");
        let agent = run_call(&room, &request, &["--grace", "0.2s", "--rerun"]).spawn();
        wait_until("the script", || room.read("/root/ready").map(drop).ok_or_else(|| agent.stderr()));
        agent
    };
    let agent = start();
    room.bash("kill -TERM $(pgrep -of 'ci-setup-agent run')").ok();
    assert_eq!(agent.wait().code, 143);
    settle(&room);
    let stopped = news(&room, &mut seen);
    assert_eq!(the(&stopped, "signal received").field("signal"), Some("SIGTERM"), "{stopped:#?}");
    assert_eq!(the(&stopped, "run ended").field("code"), Some("stopped"), "{stopped:#?}");

    let agent = start();
    let waiting = run_call(&room, &Request::creation("true"), &[]).spawn();
    wait_until("the other one", || if waiting.stderr().contains("waiting") { Ok(()) } else { Err(waiting.stderr()) });
    room.bash("kill -KILL $(pgrep -x ci-setup:run)").ok();
    assert_eq!(agent.wait().code, 137);
    assert_eq!(waiting.wait().code, 137);
    settle(&room);
    let lost = news(&room, &mut seen);
    for event in ["waiting for another run", "supervisor lost", "ending what is left of a run", "run interrupted"] {
        the(&lost, event);
    }
    assert_eq!(the(&lost, "has run already").field("state"), Some("interrupted"), "{lost:#?}");
}

#[test]
fn an_outage_of_the_share_is_told_when_it_begins_and_when_it_ends() {
    let bench = Bench::new();
    let until = |file: &str| format!("until [ -e /run/{file} ]; do sleep 0.01; done");
    bench.inline(&format!("cd /; echo one; {}; echo two; {}", until("two"), until("end")), "100s");
    let agent = bench.agent(&["--flush-wait", "10s"]).spawn();
    wait_until("the first line on the share", || {
        let there = lines(&bench.room).iter().any(|line| line.event() == "mirror has a folder");
        if there { Ok(()) } else { Err(agent.stderr()) }
    });
    bench.share.fault(Fault::Error(Errno::EIO), Ops::WRITE);
    bench.room.write("/run/two", "", 0o600);
    // Tried again and again, by name and by size: 4 refusals at the least.
    bench.share.wait_for(Ops::WRITE, "", bench.share.counts().of(Ops::WRITE) + 4);
    bench.share.heal();
    wait_until("the end of the outage", || {
        let all = lines(&bench.room);
        if events(&all).contains(&"mirror resumed") { Ok(()) } else { Err(all) }
    });
    bench.room.write("/run/end", "", 0o600);
    assert_eq!(agent.wait().code, 0);
    bench.wait_until_nobody_records();
    let all = lines(&bench.room);
    assert!(the(&all, "mirror failing").text.contains("why=\"input/output error"), "{all:#?}");
    the(&all, "mirror resumed");
    assert_eq!(
        events(&all)[3..],
        ["mirror failing", "mirror resumed", "script exited", "run ended", "mirror complete"]
    );

    // A share that is away for good: sync, which a timer calls, does not repeat that.
    bench.inline("cd /; echo three", "100s");
    bench.share.fault(Fault::Error(Errno::EIO), Ops::WRITE);
    let ran = bench.agent(&["--rerun", "--flush-wait", "0.3s"]).run();
    assert_eq!(ran.code, 0, "{ran:?}");
    bench.wait_until_nobody_records();
    let before = lines(&bench.room).len();
    assert_eq!(the(&lines(&bench.room)[all.len()..], "mirror failing").level, "WARN");
    for _ in 0..2 {
        assert_eq!(bench.room.run(["ci-setup-agent", "sync", "--flush-wait", "0.3s"]).code, 1);
    }
    assert_eq!(lines(&bench.room).len(), before, "{:#?}", lines(&bench.room));
    bench.share.heal();
    assert_eq!(bench.sync().code, 0);
    let after = lines(&bench.room);
    assert_eq!(events(&after[before..]), ["mirror complete, by sync"], "{after:#?}");
}

#[test]
fn another_state_directory_keeps_its_log_to_itself() {
    let room = Room::new("bookworm");
    assert_eq!(run_with(&room, &Request::creation("true"), &["--state", "/var/tmp/state/"]).code, 0);
    settle(&room);
    assert_eq!(lines(&room).len(), 0);
    assert!(room.read("/var/log/ci-setup-agent").is_none());
    the(&lines_of(&room, "/var/tmp/state/log/agent.log"), "run ended");
}

#[test]
fn a_run_goes_on_where_its_log_cannot() {
    for obstacle in [
        "mount -t tmpfs -o ro none /var/log",
        "mount -t tmpfs -o size=4k none /var/log && mkdir -m 700 /var/log/ci-setup-agent && ! cat /dev/zero > /var/log/full",
        "rm -rf /var/log && ln -s /nowhere /var/log",
        "mkdir -p /var/log/ci-setup-agent && ln -s /etc/passwd /var/log/ci-setup-agent/agent.log",
    ] {
        let room = Room::new("bookworm");
        room.bash(&format!("exec 2> /dev/null; {obstacle}")).ok();
        let users = room.read("/etc/passwd");
        let ran = run(&room, &Request::creation("echo ran; exit 4"));
        assert_eq!((ran.code, ran.stdout.as_str()), (4, "ran\n"), "{obstacle}: {ran:?}");
        assert!(!ran.stderr.contains("log/"), "{obstacle}: {ran:?}");
        assert_eq!(room.read("/etc/passwd"), users, "{obstacle}");
    }
}

#[test]
fn the_journal_of_a_machine_has_the_same_lines_with_their_fields() {
    let machine = Machine::booted("bookworm");
    assert_eq!(run(&machine, &Request::creation("exit 3")).code, 3);
    let id = runs(&machine)[0].rsplit('/').next().expect("a name").to_owned();
    let ended = wait_until("the end in the journal", || {
        let call = ["journalctl", "-t", "ci-setup-agent", "-o", "json", "SETUP_EVENT=run ended"];
        let text = machine.run(call).stdout;
        serde_json::from_str::<serde_json::Value>(&text).map_err(|error| format!("{error}: {text}"))
    });
    assert_eq!(ended["SETUP_RUN"], id.as_str(), "{ended:#}");
    assert_eq!((&ended["SETUP_STATE"], &ended["PRIORITY"]), (&"failed".into(), &"4".into()), "{ended:#}");
    assert!(ended["MESSAGE"].as_str().is_some_and(|text| text.starts_with("run ended run=creation-")), "{ended:#}");
    // In a scope of its own, and findable by it.
    let started = the(&lines(&machine), "script started").field("cgroup").expect("a leaf").to_owned();
    assert_eq!(ended["_SYSTEMD_UNIT"], format!("{started}.scope"), "{ended:#}");
    let of_run = machine.run(["journalctl", "-o", "cat", &format!("SETUP_RUN={id}")]).ok();
    assert!(of_run.lines().count() >= 5, "{of_run}");
}
