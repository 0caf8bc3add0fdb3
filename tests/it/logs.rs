//! `logs`: the output of a run, all of it or the part that is wanted (CONTRACT 2).

use serde_json::Value;

use crate::steps::recorded_run;
use crate::support::{
    Place, Room, SHARE, Terminal,
    call::Ran,
    setup::{Request, assert_error_and_hint, only, run, run_call, runs},
    wait_until,
};

fn logs(room: &Room, options: &[&str]) -> Ran {
    room.run(
        ["ci-setup-agent", "logs"].into_iter().chain(options.iter().copied()).map(str::to_owned).collect::<Vec<_>>(),
    )
}

/// The times and the texts of lines that begin with their times.
fn stamped(text: &str) -> Vec<(std::time::SystemTime, &str)> {
    let line = |line| {
        let (time, text) = str::split_once(line, ' ').expect("a time");
        assert_eq!(time.len(), "2026-11-21T20:59:57.147Z".len(), "{line}");
        (humantime::parse_rfc3339(time).unwrap_or_else(|error| panic!("{time}: {error}")), text)
    };
    text.lines().map(line).collect()
}

#[test]
fn lines_have_their_times_and_the_output_can_be_had_from_a_time_on() {
    let room = Room::new("bookworm");
    let before = std::time::SystemTime::now();
    let script = "echo one; printf 'two '; sleep 0.3; echo words; sleep 0.3; echo three";
    assert_eq!(run(&room, &Request::creation(script)).code, 0);
    let text = logs(&room, &["-t"]).ok();
    let lines = stamped(&text);
    let [one, two, three] = lines[..] else { panic!("{text}") };
    assert_eq!([one.1, two.1, three.1], ["one", "two words", "three"]);
    assert!(one.0 >= before - std::time::Duration::from_secs(1) && one.0 <= two.0, "{text}");
    let paused = three.0.duration_since(two.0).expect("later").as_secs_f64();
    assert!(paused > 0.5, "a line came when it began: {text}");

    let time = humantime::format_rfc3339_millis(three.0).to_string();
    assert_eq!(logs(&room, &["--since", &time]).ok(), "three\n");
    let begun = humantime::format_rfc3339_millis(two.0 + std::time::Duration::from_millis(100)).to_string();
    assert_eq!(logs(&room, &["--since", &begun]).ok(), "two words\nthree\n", "a line that goes on is whole");
    assert_eq!(logs(&room, &["--since", "1h", "--lines", "2"]).ok(), "two words\nthree\n");
    assert_eq!(logs(&room, &["--since", "0"]).ok(), "");
    assert_eq!(logs(&room, &["-n1"]).ok(), "three\n");
    assert_eq!(logs(&room, &["-f", "-n0"]).ok(), "");

    let json = logs(&room, &["--json"]).ok();
    let objects: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((objects.len(), &objects[1]["text"]), (3, &"two words".into()), "{json}");
    assert_eq!(objects[2]["at"], Value::from(text.lines().last().and_then(|line| line.split(' ').next())));

    for options in [&["--since", "yesterday"][..], &["--since", "2026-11-21T20:59:57"], &["--lines", "-1"]] {
        let ran = logs(&room, options);
        assert_eq!(ran.code, 125, "{ran:?}");
        assert_error_and_hint(&ran);
    }
    // The copy on the share has the output and no times.
    for options in [&["-t"][..], &["--since", "1h"], &["--failed"]] {
        let words = ["ci-setup-agent", "logs"].into_iter().chain(options.iter().copied());
        let ran = room.call(words.map(str::to_owned)).user("datasci").run();
        assert_eq!((ran.code, ran.stdout.as_str()), (125, ""), "{options:?}: {ran:?}");
        assert_error_and_hint(&ran);
        assert!(ran.stderr.contains("as root"), "{ran:?}");
    }
    let ran = room.call(["ci-setup-agent", "logs", "-n", "2", "--json"]).user("datasci").run().ok();
    assert_eq!(ran, "{\"at\":null,\"text\":\"two words\"}\n{\"at\":null,\"text\":\"three\"}\n");
}

#[test]
fn of_failed_commands_only_what_they_printed_is_shown() {
    let room = Room::new("bookworm");
    let script = "echo one\nsleep 1\nsudo -u azureuser -i <<'END'\nnosuch-command\nEND\nsleep 1\necho three\nsleep 1\nls /nowhere\n";
    let (code, outcome) = recorded_run(&room, &Request::creation(script), "auto", &[]);
    assert_eq!(code, 2);
    let message = outcome["error"]["message"].as_str().expect("a message");
    assert!(message.ends_with(": `ls /nowhere` failed in line 9 of the script"), "{message}");
    let ran = logs(&room, &["--failed"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{ran:?}");
    assert!(lines[0].ends_with("nosuch-command: command not found") && lines[1].contains("/nowhere"), "{ran:?}");
    let heads: Vec<&str> = ran.stderr.lines().collect();
    assert!(heads[0].starts_with("line 4 (azureuser 1): `nosuch-command` failed with 127 after "), "{ran:?}");
    assert!(heads[1].starts_with("line 9: `ls /nowhere` failed with 2 after ") && heads.len() == 2, "{ran:?}");
    let ran = logs(&room, &["--failed", "--json"]);
    let object: Value = serde_json::from_str(ran.stdout.lines().last().expect("a line")).expect("JSON");
    assert_eq!((&object["step"]["line"], &object["step"]["exitCode"]), (&9.into(), &2.into()), "{ran:?}");
    assert_eq!(ran.stderr, "");

    let room = Room::new("bookworm");
    assert_eq!(recorded_run(&room, &Request::creation("echo fine"), "auto", &[]).0, 0);
    let ran = logs(&room, &["--failed"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{ran:?}");
    assert!(ran.stderr.starts_with("note: no command of "), "{ran:?}");
}

#[test]
fn a_run_is_followed_from_before_its_log_exists_and_from_anywhere_in_it() {
    let room = Room::new("bookworm");
    room.bash(&format!("mkdir -p {SHARE}/Users /srv/away; mount --bind {SHARE} /srv/away; umount -l {SHARE}")).ok();
    let script = "cd /; for n in $(seq 20); do echo $n; done; until [ -e /run/gate ]; do sleep 0.05; done; echo end";
    room.write("/srv/away/Users/late.sh", script, 0o644);
    let running = run_call(&room, &Request::creation_at("Users/late.sh"), &["--quiet"]).spawn();
    let folder = wait_until("the run's folder", || runs(&room).pop().ok_or("none"));
    let id = folder.rsplit('/').next().expect("a name").to_owned();
    assert_eq!(room.read(format!("{folder}/outcome.json")), None, "the script is being looked for");
    let early = room.spawn(["ci-setup-agent", "logs", "-f", &id]);
    let newest = room.spawn(["ci-setup-agent", "logs", "-f"]);
    assert!(early.pid() != newest.pid());
    room.bash(&format!("mount --bind /srv/away {SHARE}")).ok();
    let all: String = (1..=20).map(|number| format!("{number}\n")).collect();
    wait_until(
        "the first lines",
        || if early.stdout() == all { Ok(()) } else { Err((early.stdout(), early.stderr())) },
    );
    let late = room.spawn(["ci-setup-agent", "logs", "--follow", "--lines", "2", "-t"]);
    wait_until("the last lines", || if late.stdout().lines().count() == 2 { Ok(()) } else { Err(late.stderr()) });
    room.write("/run/gate", "", 0o644);
    assert_eq!(running.wait().code, 0);
    let all = all + "end\n";
    assert_eq!((early.wait().ok(), newest.wait().ok()), (all.clone(), all));
    let late = late.wait().ok();
    let texts: Vec<&str> = stamped(&late).into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["19", "20", "end"]);
}

#[test]
fn on_a_terminal_a_log_has_its_colours_and_no_other_power() {
    let room = Room::new("bookworm");
    let script = r"printf '\e[31mred\e[0m\tplain\r\n\e[2J\e]0;title\a10%%\r20%%\n\xff\xc2\x9b\n'";
    assert_eq!(run(&room, &Request::creation(script)).code, 0);
    let piped = logs(&room, &[]);
    assert_eq!(piped.bytes, b"\x1b[31mred\x1b[0m\tplain\r\n\x1b[2J\x1b]0;title\x0710%\r20%\n\xff\xc2\x9b\n");
    for (no_color, first) in [("", "\x1b[31mred\x1b[0m\tplain"), ("1", "red\tplain")] {
        let terminal = Terminal::new(24, 80);
        let call = room.call(["ci-setup-agent", "logs"]).env("TERM", "xterm").env("NO_COLOR", no_color);
        assert_eq!(terminal.wait(terminal.start(&call)), Some(0));
        let expected = format!("{first}\r\n\\x1b[2J\\x1b]0;title\\x0710%\\r20%\r\n\\xff\\u{{9b}}\r\n");
        assert_eq!(String::from_utf8_lossy(&terminal.received()), expected);
    }
}

#[test]
fn of_a_huge_log_no_more_is_read_or_held_than_is_needed() {
    let room = Room::new("bookworm");
    assert_eq!(run(&room, &Request::creation("echo first")).code, 0);
    let log = format!("{}/output.log", only(runs(&room)));
    // A terabyte would take until tomorrow.
    room.bash(&format!("truncate -s 1T {log}; printf '\\nlast but one\\nlast\\n' >> {log}")).ok();
    let bounded = |words: &str| room.bash(&format!("ulimit -d 12000; {words}"));
    assert_eq!(bounded("ci-setup-agent logs --lines 2").ok(), "last but one\nlast\n");
    assert_eq!(
        bounded("ci-setup-agent logs -t | head -c 200 | tail -c 5 | od -An -c").ok().trim(),
        r"\0  \0  \0  \0  \0"
    );
    // One line of 24 MiB, each way that it can take.
    room.bash(&format!("truncate -s 0 {log}; truncate -s 24M {log}")).ok();
    for (options, length) in [("", 24 << 20), ("-t", (24 << 20) + 25), ("--json", 6 * (24 << 20))] {
        let count = bounded(&format!("set -o pipefail; ci-setup-agent logs {options} | wc -c")).ok();
        let count: u64 = count.trim().parse().expect("a number");
        assert!(count >= length && count < length + (1 << 20), "{options}: {count}");
    }
}
