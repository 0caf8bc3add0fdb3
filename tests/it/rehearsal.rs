//! `try`: the rehearsal, by an ordinary user of a computer without sudo and without `azureuser` (CONTRACT 2).

use serde_json::Value;

use crate::support::{
    Place, Room,
    call::{Call, Ran},
    setup::{Request, assert_error_and_hint, assert_valid, outcomes, run, run_json},
};

/// A computer as anybody may have one.
fn computer() -> Room {
    let room = Room::without_sudo("bookworm");
    room.bash("userdel -r azureuser 2>/dev/null; mkdir /home/datasci/work; chown datasci: /home/datasci/work").ok();
    room
}

fn script(room: &Room, text: &str) {
    room.write("/home/datasci/work/setup.sh", text, 0o644);
}

fn call(room: &Room, options: &[&str], arguments: &[&str]) -> Call {
    let words = ["ci-setup-agent", "try"].into_iter().chain(options.iter().copied()).chain(["setup.sh"]);
    let call = room.call(words.chain(arguments.iter().copied()).map(str::to_owned));
    call.user("datasci").folder("/home/datasci/work").env("HOME", "/home/datasci").env("SECRET", "x")
}

fn rehearse(room: &Room, text: &str) -> Ran {
    script(room, text);
    call(room, &[], &[]).run()
}

fn assert_nothing_left(room: &Room) {
    let left =
        room.bash("find /tmp /var/tmp /dev/shm /var/lib/ci-setup-agent /home/datasci -mindepth 1 -newer /root/before");
    assert_eq!(left.stdout, "", "{left:?}");
}

#[test]
fn a_rehearsal_runs_the_script_and_says_first_that_it_really_does() {
    let room = computer();
    script(
        &room,
        "echo out $1; echo err >&2; id -un; echo $CI_NAME $CI_LOCAL_UBUNTU_USER $SECRET; umask; cat | wc -c; exit 3",
    );
    room.bash("touch /root/before").ok();
    let ran = call(&room, &[], &["a b", "--option", "-x"]).input("typed").run();
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (3, "out a b\nerr\ndatasci\nrehearsal azureuser\n0022\n0\n"),
        "{ran:?}"
    );
    let first = ran.stderr.lines().next().unwrap_or_default();
    assert!(first.contains("commands really run") && first.contains("as datasci"), "{first}");
    assert_error_and_hint(&ran);
    assert_nothing_left(&room);
}

#[test]
fn a_rehearsal_exits_as_run_does() {
    let room = computer();
    for (text, options, code) in [
        ("exit 0", &[][..], 0),
        ("exit 255", &[], 255),
        ("kill -9 $$", &[], 137),
        ("sleep 60", &["--timeout", "0.2"], 124),
        ("exit 5", &["--timeout", "0"], 5),
        ("", &[], 125),
        ("#!/no/such/thing\n", &[], 126),
        ("true", &["--timeout", "PT5M"], 125),
    ] {
        script(&room, text);
        room.bash("touch /root/before").ok();
        let ran = call(&room, options, &[]).run();
        assert_eq!(ran.code, code, "{text}: {ran:?}");
        if code != 0 {
            assert_error_and_hint(&ran);
        }
        assert!(room.processes().is_empty());
        assert_nothing_left(&room);
    }
    for (name, code) in [("none.sh", 127), (".", 126), ("/etc/passwd", 125), ("/dev/null", 126), ("x.sh/", 127)] {
        let ran = room.call(["ci-setup-agent", "try", name]).user("datasci").folder("/home/datasci/work").run();
        assert_eq!(ran.code, code, "{name}: {ran:?}");
        assert_error_and_hint(&ran);
    }
}

#[test]
fn the_stand_in_for_sudo_gives_a_block_its_environment_and_home() {
    let room = computer();
    let ran = rehearse(
        &room,
        "export LEAK=yes\nhere=$PWD\n\
         sudo -u azureuser -i <<'EOF'\necho 1 [$LEAK] $USER $CI_NAME; [ $PWD = $HOME ] && echo home; [ \"$HOME\" != /home/datasci ] && echo own\nEOF\n\
         sudo -u azureuser bash <<'EOF'\necho 2 [$LEAK] $USER ${PWD##*/}\nEOF\n\
         sudo -E -u azureuser bash -c 'echo 3 $LEAK $USER'\n\
         sudo -u azureuser -i bash -c 'sudo -u root bash -c \"echo 4 \\$USER; sudo id -un\"'\n\
         sudo A=1 env | grep ^A=; sudo -n true && echo 5; sudo -l >/dev/null && echo 6\n\
         sudo -u azureuser -H -- bash -c 'exit 9'; echo 7 $?\n\
         sudo -u azureuser -i echo 'a  b' '$HOME' | grep -c 'a  b /'\n\
         sudo no-such-command; echo 8 $?\n",
    );
    let expected = "1 [] azureuser rehearsal\nhome\nown\n2 [] azureuser try\n3 yes azureuser\n4 azureuser\ndatasci\nA=1\n5\n6\n7 9\n1\n\
                    sudo: no-such-command: command not found\n8 1\n";
    assert_eq!((ran.code, ran.stdout.as_str()), (0, expected), "{ran:?}");
}

/// The same lines with real sudo on an instance and with the stand-in on a computer that has none.
#[test]
fn the_stand_in_does_in_every_spelling_what_sudo_does() {
    let tell = "echo $USER $LOGNAME ${HOME##*/} ${MAIL##*/} ${PWD##*/} [$LEAK$OTHER] [$A] $0 $SUDO_USER; shopt -q login_shell && echo login; \
                echo $PATH | grep -c sbin";
    let block = format!("<<'EOF'\n{tell}\nEOF");
    let mut script = "export LEAK=yes OTHER=o A=outer; mkdir -p Users/at; cd Users/at\n".to_owned();
    let mut add = |line: String| {
        let name = line.lines().next().unwrap_or_default().replace('\'', "");
        script += &format!("echo '== {name}'\n{line}\necho $?\n");
    };
    for call in [
        "sudo -u azureuser -i",
        "sudo -iu azureuser",
        "sudo -u azureuser bash",
        "sudo -Hu azureuser bash",
        "sudo -nu azureuser bash",
        "sudo --user=azureuser --login",
        "sudo --user azureuser bash",
        "sudo -u azureuser -s",
        "sudo -u azureuser -i -- bash",
        "sudo -E -u azureuser bash",
        "sudo -EHu azureuser bash",
        "sudo -u azureuser --preserve-env=LEAK,A bash",
        "sudo --preserve-env=LEAK --preserve-env=OTHER bash",
        "sudo --preserve-env bash",
        "sudo -u azureuser A=1 bash",
        "sudo -u azureuser -i A=1 bash",
        "sudo -u azureuser env A=1 bash",
        "sudo bash",
        "sudo -i",
        "sudo -s",
        "sudo -k bash",
        "sudo su - azureuser",
        "sudo su -l azureuser -s /bin/bash",
        "sudo su azureuser",
        "sudo -u azureuser sudo -u azureuser bash",
    ] {
        // What su makes of MAIL, and whom sudo names behind su, is nothing that a script asks for.
        let hide = if call.contains("su ") && !call.contains("sudo -") { "unset MAIL SUDO_USER; " } else { "" };
        add(format!("{call} {}", block.replacen("\n", &format!("\n{hide}"), 1)));
    }
    for line in [
        "sudo -u azureuser -i printf '[%s]' 'a  b' '$A' ';' '*' \"it's\"",
        "sudo su - azureuser -c 'echo $USER; exit 6'",
        "sudo su -c 'echo $USER $LEAK' azureuser",
        "sudo -u azureuser sh -c 'exit 7'",
        "sudo -u azureuser -i no-such-command 2>/dev/null",
        "sudo -u azureuser no-such-command 2>&1",
        "sudo -u azureuser /etc 2>&1",
        "sudo -k",
        "sudo -K",
        "sudo -v",
        "sudo -l >/dev/null",
        "sudo -h >/dev/null",
        "sudo 2>/dev/null",
        "sudo -u 2>/dev/null",
        "sudo --nonsense 2>/dev/null",
        "sudo -Z 2>/dev/null",
        "sudo -D / true 2>/dev/null",
        "sudo --chdir=/ true 2>/dev/null",
        "sudo -C 5 true 2>/dev/null",
        "sudo -T 5 true 2>/dev/null",
        "echo in | sudo -u azureuser cat",
        "echo 'echo $1' | sudo -u azureuser bash -s x",
        "sudo -u azureuser -- A=3 true 2>&1",
        "sudo sh -c umask",
    ] {
        add(line.to_owned());
    }
    let real = run(&Room::new("bookworm"), &Request::creation(&script)).ok();
    let played = rehearse(&computer(), &script).ok();
    let mut played = played.lines();
    let mut about = "";
    for line in real.lines() {
        about = if line.starts_with("== ") { line } else { about };
        assert_eq!(played.next(), Some(line), "{about}");
    }
    assert_eq!(played.next(), None);
}

#[test]
fn sudo_by_an_absolute_path_is_refused() {
    let room = computer();
    let ran = rehearse(&room, "touch /tmp/trace\n/usr/bin/sudo id\n");
    assert_eq!((ran.code, ran.stdout.as_str()), (125, ""), "{ran:?}");
    assert_error_and_hint(&ran);
    assert!(ran.stderr.contains("line 2"), "{ran:?}");
    assert_eq!(room.read("/tmp/trace"), None);
}

#[test]
fn neighbours_come_along_and_are_thrown_away_with_what_the_script_wrote() {
    let room = computer();
    room.write("/home/datasci/work/lib/a.sh", "echo from lib", 0o644);
    room.write("/home/datasci/work/tool", "#!/bin/sh\necho tool", 0o755);
    script(
        &room,
        ". \"$(dirname \"$0\")/lib/a.sh\"; ./tool; echo x > made; echo y > ~/made; mkdir -p ~/ro/dir; chmod -R a-w ~/ro; rm lib/a.sh",
    );
    room.bash("touch /root/before").ok();
    let ran = call(&room, &[], &[]).run();
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "from lib\ntool\n"), "{ran:?}");
    assert_nothing_left(&room);
    assert!(room.read("/home/datasci/work/lib/a.sh").is_some());
}

#[test]
fn a_rehearsal_has_the_same_outcome_as_a_run() {
    let shape = |outcome: &Value| -> Vec<String> { outcome.as_object().expect("an object").keys().cloned().collect() };
    let room = computer();
    script(&room, "echo x; exit 4");
    let ran = call(&room, &["--json"], &["a"]).run();
    let rehearsed = outcomes(&ran).remove(0);
    assert!(ran.stderr.contains("commands really run"), "{ran:?}");
    assert_valid(&room, "outcome", std::slice::from_ref(&rehearsed));
    let (code, real) =
        run_json(&Room::new("bookworm"), &Request::creation("echo x; exit 4").with("scriptArguments", "a"), &[]);
    assert_eq!((code, ran.code), (4, 4));
    assert_eq!(shape(&rehearsed), shape(&real[0]));
    for member in ["schemaVersion", "script", "state", "exitCode", "arguments", "timeout", "scriptExit"] {
        assert_eq!(rehearsed[member], real[0][member], "{member}");
    }
    // What is refused before it is a script on a share has an outcome, too.
    let ran = room.call(["ci-setup-agent", "try", "--json", "/none.sh"]).user("datasci").run();
    assert_eq!((ran.code, outcomes(&ran)[0]["error"]["code"].as_str()), (127, Some("script-not-found")), "{ran:?}");
    script(&room, "true");
    let ran = call(&room, &["--json", "--timeout", "1m30s"], &[]).run();
    assert_eq!((ran.code, outcomes(&ran)[0]["error"]["code"].as_str()), (125, Some("bad-timeout")), "{ran:?}");
}

#[test]
fn a_rehearsal_that_is_stopped_leaves_nothing_either() {
    let room = computer();
    script(&room, "echo up; sleep 1000 & wait");
    room.bash("touch /root/before").ok();
    let running = call(&room, &[], &[]).spawn();
    crate::support::wait_until(
        "the script",
        || if running.stdout() == "up\n" { Ok(()) } else { Err(running.stderr()) },
    );
    running.signal(nix::sys::signal::Signal::SIGINT);
    assert_eq!(running.wait().code, 130);
    assert!(room.processes().is_empty(), "{:?}", room.processes());
    assert_nothing_left(&room);
}

#[test]
fn a_rehearsal_finds_a_place_where_programs_can_be_started() {
    let room = computer();
    room.bash("mount -t tmpfs -o noexec,mode=1777 tmpfs /tmp; mkdir -m 1777 \"/srv/it's a place\"").ok();
    room.write("/home/datasci/work/tool", "#!/bin/sh\necho tool", 0o755);
    script(&room, "./tool; sudo -u azureuser -i <<< 'echo $USER ${HOME%%/ci-setup*}'");
    room.bash("touch /root/before").ok();
    assert_eq!(call(&room, &[], &[]).run().ok(), "tool\nazureuser /var/tmp\n");
    let by_variable = call(&room, &[], &[]).env("TMPDIR", "/srv/it's a place").run();
    assert_eq!(by_variable.ok(), "tool\nazureuser /srv/it's a place\n");
    assert_nothing_left(&room);
}

#[test]
fn root_may_rehearse_too_and_no_state_of_the_machine_is_touched() {
    let room = Room::new("bookworm");
    room.write(
        "/root/setup.sh",
        "id -un; sudo -u azureuser id -un; echo $HOME | grep -c /root$; [ $HOME != /root ] && echo own",
        0o644,
    );
    let before = room.read("/etc/environment");
    let ran = room.run(["ci-setup-agent", "try", "/root/setup.sh"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "root\nroot\n1\nown\n"), "{ran:?}");
    assert_eq!(room.read("/etc/environment"), before);
    assert!(!room.path("/var/lib/ci-setup-agent").exists() && !room.path("/etc/sudoers.d/zzz-ci-setup-agent").exists());
}
