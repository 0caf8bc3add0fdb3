//! Who is said to have been running: all in the local outcome, no command lines on the share (CONTRACT 6.1, 8).

use serde_json::{Value, json};

use super::{in_time, outcome, prepare, run_with};
use crate::support::{Place, Room, SUITES};

/// One of root's, one of the user's with a secret, one in a block: each in a session of its own, and then of some age.
const SCRIPT: &str = "setsid hold victim-of-root &
    sudo -u azureuser bash -c 'setsid hold victim-of-user > /dev/null 2>&1 &'
    sudo -u azureuser -i <<'EOF'
(setsid sleep 12345 > /dev/null 2>&1 &)
EOF
    until [ $(pgrep -fc '^(victim-of-root|victim-of-user|sleep 12345)') = 3 ]; do sleep 0.1; done
    sleep 1.2\n";

/// The outcome on the share.
fn public(room: &Room) -> Value {
    let path = outcome(room)["output"]["mirrorPath"].as_str().expect("a mirror").to_owned();
    let text = std::fs::read_to_string(room.share().join(path).join("outcome.json")).expect("an outcome");
    serde_json::from_str(&text).expect("JSON")
}

/// Compares a list with who is expected: user, command line, the program's name; `least` is the least age.
fn assert_listed(room: &Room, what: &str, expected: &[(&str, &str, &str)], least: f64) {
    let (local, public) = (outcome(room)["processes"].clone(), public(room)["processes"].clone());
    let count = format!("{what}Count");
    assert_eq!(local[&count], expected.len(), "{local:#}");
    assert_eq!(public[&count], expected.len(), "{public:#}");
    let read = |processes: &Value| {
        let list = processes[what].as_array().expect("a list").clone();
        let mut who: Vec<(String, String, i64)> = Vec::new();
        for process in list {
            let seconds = process["seconds"].as_f64().expect("an age");
            assert!((least..60.0).contains(&seconds), "{processes:#}");
            let [user, command] = ["user", "command"].map(|name| process[name].as_str().expect("text").to_owned());
            who.push((user, command, process["pid"].as_i64().expect("a pid")));
        }
        who.sort();
        who
    };
    let (local, public) = (read(&local), read(&public));
    let of = |list: &[(String, String, i64)]| -> Vec<(String, String)> {
        list.iter().map(|(user, command, _)| (user.clone(), command.clone())).collect()
    };
    let sorted = |pick: fn(&(&str, &str, &str)) -> (String, String)| {
        let mut list: Vec<_> = expected.iter().map(pick).collect();
        list.sort();
        list
    };
    assert_eq!(of(&local), sorted(|(user, command, _)| ((*user).to_owned(), (*command).to_owned())));
    assert_eq!(of(&public), sorted(|(user, _, name)| ((*user).to_owned(), (*name).to_owned())));
    let pids = |list: &[(String, String, i64)]| {
        let mut pids: Vec<i64> = list.iter().map(|(.., pid)| *pid).collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    };
    assert_eq!(pids(&local), pids(&public));
    assert_eq!(pids(&local).len(), expected.len());
}

const LEFT: [(&str, &str, &str); 3] = [
    ("root", "victim-of-root 10000", "victim-of-root"),
    ("azureuser", "victim-of-user 10000", "victim-of-user"),
    ("azureuser", "sleep 12345", "sleep"),
];

#[test]
fn who_ran_at_the_deadline_is_listed_and_the_share_gets_only_names() {
    for suite in SUITES {
        let room = Room::new(suite);
        in_time(&room, ["3s", "30s"], |timeout| {
            prepare(&room, &format!("{SCRIPT}touch /root/ready; sleep 54321"), timeout);
            assert_eq!(room.run(run_with(&[])).code, 124);
            room.read("/root/ready")
        });
        let own = outcome(&room)["processes"]["atDeadline"].as_array().expect("a list").clone();
        // The script's own shell is the oldest of them.
        let shell = own[0]["command"].as_str().expect("text").to_owned();
        assert!(shell.contains("bash") && shell.contains("setup.sh"), "{suite}: {own:#?}");
        let mut expected = LEFT.to_vec();
        let name = shell.split(' ').next().expect("a name").rsplit('/').next().expect("a name").to_owned();
        expected.extend([("root", shell.as_str(), name.as_str()), ("root", "sleep 54321", "sleep")]);
        assert_listed(&room, "atDeadline", &expected, 0.5);
        assert_eq!(outcome(&room)["processes"]["left"], json!([]), "{suite}");
        let text = public(&room).to_string();
        assert!(!text.contains("12345") && !text.contains("10000"), "{suite}: {text}");
    }
}

#[test]
fn who_was_left_is_listed_and_the_share_gets_only_names() {
    for suite in SUITES {
        let room = Room::new(suite);
        prepare(&room, SCRIPT, "1000s");
        room.run(run_with(&[])).ok();
        assert_listed(&room, "left", &LEFT, 1.0);
        assert_eq!(outcome(&room)["processes"]["atDeadline"], json!([]), "{suite}");
    }
}

#[test]
fn a_crowd_at_the_deadline_is_counted_exactly_and_listed_in_part() {
    let room = Room::new("bookworm");
    in_time(&room, ["3s", "30s"], |timeout| {
        let script = "for i in $(seq 150); do hold victim-$i & done
            until [ $(pgrep -fc ^victim-) = 150 ]; do sleep 0.1; done; touch /root/ready; exec hold victim-0";
        prepare(&room, script, timeout);
        assert_eq!(room.run(run_with(&[])).code, 124);
        room.read("/root/ready")
    });
    let outcome = outcome(&room);
    assert_eq!(outcome["processes"]["atDeadlineCount"], 151, "{outcome:#}");
    assert_eq!(outcome["processes"]["atDeadline"].as_array().map(Vec::len), Some(100), "{outcome:#}");
}
