//! Where a script finds itself: folder, name, neighbours, first line, descriptors, signals (CONTRACT 3.1, 4).

use std::os::unix::process::CommandExt;
use std::process::Stdio;

use crate::support::{
    Place, Room, SHARE, SUITES,
    call::Ran,
    setup::{IDENTITY, Request, mirrors, only, outcome_in, run, run_call, run_with, runs},
};

const VIEW: &str = "/home/azureuser/cloudfiles/code";

fn share_script(room: &Room, name: &str, text: impl AsRef<[u8]>) -> Request {
    room.write(format!("{SHARE}/Users/admin/{name}"), text, 0o644);
    Request::creation_at(&format!("Users/admin/{name}"))
}

/// Runs that text as a script on the share.
fn on_share(room: &Room, text: impl AsRef<[u8]>) -> Ran {
    run(room, &share_script(room, "setup.sh", text))
}

#[test]
fn a_script_starts_in_its_own_folder_and_finds_its_neighbours() {
    let room = Room::new("bookworm");
    room.write(format!("{SHARE}/Users/admin/lib.sh"), "greet() { echo hello from $(basename \"$1\"); }\n", 0o644);
    let text = "pwd; echo $PWD; readlink /proc/$$/cwd; echo $0; echo ${BASH_SOURCE[0]}\n\
                . \"$(dirname \"$0\")/lib.sh\"; greet \"$0\"; . ./lib.sh; cat /proc/$$/cmdline | tr '\\0' ' '";
    let folder = format!("{SHARE}/Users/admin");
    let expected = format!(
        "{folder}\n{folder}\n{folder}\n{folder}/setup.sh\n{folder}/setup.sh\nhello from setup.sh\n\
         /bin/bash {folder}/setup.sh "
    );
    assert_eq!(on_share(&room, text).ok(), expected);
}

#[test]
fn the_users_spelling_is_used_where_it_is_the_same_folder() {
    let room = Room::new("bookworm");
    room.bash(&format!("mkdir -p {VIEW} && mount --bind {SHARE} {VIEW}")).ok();
    let folder = format!("{VIEW}/Users/admin");
    assert_eq!(on_share(&room, "pwd; echo $PWD; echo $0").ok(), format!("{folder}\n{folder}\n{folder}/setup.sh\n"));
}

#[test]
fn the_users_spelling_is_ignored_where_it_is_another_folder() {
    let room = Room::new("bookworm");
    room.write(format!("{VIEW}/Users/admin/setup.sh"), "touch /root/trace", 0o644);
    let output = on_share(&room, "pwd; echo $0").ok();
    assert_eq!(output, format!("{SHARE}/Users/admin\n{SHARE}/Users/admin/setup.sh\n"));
    // Nor where only the folder on the way is another one.
    room.bash(&format!("rm -r {VIEW}; ln -s /tmp {VIEW}")).ok();
    let request = Request::creation_at("Users/admin/setup.sh");
    assert_eq!(run_with(&room, &request, &["--rerun"]).ok(), output);
    assert_eq!(room.read("/root/trace"), None);
}

#[test]
fn an_inline_script_starts_in_the_folder_of_all_users() {
    let room = Room::new("bookworm");
    room.bash(&format!("mkdir -p {SHARE}/Users {VIEW} && mount --bind {SHARE} {VIEW}")).ok();
    assert_eq!(run(&room, &Request::creation("pwd; echo $PWD")).ok(), format!("{SHARE}/Users\n{SHARE}/Users\n"));
}

#[test]
fn what_tools_do_to_text_is_put_right_and_said() {
    let room = Room::new("bookworm");
    let text = b"\xef\xbb\xbf#!/bin/bash\r\nset -eu\r\nif true; then\r\n  echo \"[$0]\" $LINENO\r\nfi\r\necho last";
    let ran = on_share(&room, text);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, format!("[{SHARE}/Users/admin/setup.sh] 4\nlast\n").as_str()));
    assert_eq!(ran.stderr.matches("warning: ").count(), 2, "{ran:?}");
    let outcome = outcome_in(&room, &only(runs(&room)));
    let codes: Vec<&str> =
        outcome["warnings"].as_array().expect("warnings").iter().filter_map(|one| one["code"].as_str()).collect();
    assert_eq!(codes, ["byte-order-mark", "crlf"]);
    assert_eq!(outcome["source"]["bytes"], text.len(), "{outcome:#}");
}

#[test]
fn the_first_line_names_the_interpreter_and_otherwise_it_is_bash() {
    let room = Room::new("bookworm");
    room.write("/usr/local/bin/tell", "#!/bin/bash\nprintf '(%s)' \"$@\"\n", 0o755);
    let own = format!("{SHARE}/Users/admin/setup.sh");
    for (text, expected) in [
        ("[[ x == x ]] && echo ${BASH##*/}", "bash\n".to_owned()),
        ("# a comment first\n#!/bin/sh\necho ${BASH##*/}\n", "bash\n".into()),
        ("#!/bin/sh\necho sh=$BASH", "sh=\n".into()),
        ("#!/usr/bin/env bash\necho $BASH_VERSION | cut -c1", "5\n".into()),
        ("#!/bin/bash -eu\nfalse\necho no", String::new()),
        ("#!/usr/bin/env -S bash -e\necho $0 $2\nfalse\necho no", format!("{own} y z\n")),
        // A copy in which the line ends were put right still is the script by its name.
        ("#!/bin/bash\r\n[[ ${BASH_SOURCE[0]} == $0 ]] && echo $BASH_SOURCE\r\n", format!("{own}\n")),
        ("#!/usr/bin/env -S bash -e\r\necho $0 $2\r\nfalse\r\necho no", format!("{own} y z\n")),
        ("#!/bin/sh -e\r\necho $0 $2\r\nfalse\r\necho no", format!("{own} y z\n")),
        ("#!/usr/bin/env sh\r\ntrap 'echo bye' EXIT\r\necho $0 $2; exit 3\r\n", format!("{own} y z\nbye\n")),
        ("#! /usr/local/bin/tell  a b \n", format!("(a b)({own})(x)(y z)")),
        ("#!/usr/bin/perl\nprint \"perl $0 @ARGV\"", format!("perl {own} x y z")),
        ("#!/bin/bash\r\necho ok\r\n", "ok\n".into()),
        ("#!\necho bare", "bare\n".into()),
    ] {
        let request = share_script(&room, "setup.sh", text).with("scriptArguments", "x 'y z'");
        let ran = run_with(&room, &request, &["--rerun"]);
        assert_eq!(ran.stdout, expected, "{text}: {ran:?}");
    }
}

#[test]
fn neither_an_execute_bit_nor_an_exec_mount_is_needed() {
    let room = Room::new("bookworm");
    room.bash(&format!("mount -o remount,bind,noexec {SHARE}")).ok();
    assert_eq!(on_share(&room, "#!/bin/bash\necho ran").ok(), "ran\n");
    assert_eq!(room.bash(&format!("stat -c %a {SHARE}/Users/admin/setup.sh")).ok(), "644\n");
}

#[test]
fn a_script_that_changes_under_the_run_is_reported() {
    let room = Room::new("bookworm");
    let ran =
        on_share(&room, "echo more >> \"$0.new\"; cat \"$0.new\" >> \"$0.other\"; mv \"$0.other\" \"$0\"; exit 0");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(outcome_in(&room, &only(runs(&room))).to_string().contains("script-changed"), "{ran:?}");
}

#[test]
fn a_script_gets_no_input_a_session_of_its_own_and_umask_022() {
    let room = Room::new("bookworm");
    let script = "readlink /proc/$$/fd/0; cat | wc -c; umask; ulimit -c\n\
                  [ $(ps -o sid= $$) = $$ ] && [ $(ps -o pgid= $$) = $$ ] && echo own; [ -t 1 ] || echo no terminal";
    let words = [
        "bash",
        "-c",
        "mkdir -m 755 /var/lib/ci-setup-agent; umask 077; ulimit -c 0; exec ci-setup-agent run /root/request.json \"$@\"",
        "-",
    ];
    room.write("/root/request.json", Request::creation(script).text(), 0o600);
    let call = room.call(words.into_iter().chain(IDENTITY).map(str::to_owned)).input("typed");
    assert_eq!(call.run().ok(), "/dev/null\n0\n0022\n0\nown\nno terminal\n");
    // What the caller's mask says is nothing to those who read the share.
    let folder = only(mirrors(&room, "creation"));
    let modes =
        room.bash(&format!("stat -c %a /var/lib/ci-setup-agent {folder} {folder}/output.log {folder}/outcome.json"));
    assert_eq!(modes.ok(), "700\n755\n644\n644\n");
}

#[test]
fn what_the_caller_ignores_and_leaves_open_does_not_reach_the_script() {
    let room = Room::new("bookworm");
    let script = "sed -n '/^Sig[BIC]/p' /proc/self/status; ls -1 /proc/$$/fd | tr '\\n' ' '; \
                  yes 2>/dev/null | head -1; echo ${PIPESTATUS[0]}";
    let words = [
        "bash",
        "-c",
        "trap '' PIPE HUP INT TERM USR1 CHLD; exec 5</etc/passwd 9>/tmp/x 77</etc/group; exec \"$@\"",
        "-",
        "env",
        "--block-signal=USR2",
        "ci-setup-agent",
        "run",
        "/root/request.json",
    ];
    room.write("/root/request.json", Request::creation(script).text(), 0o600);
    let output = room.call(words.into_iter().chain(IDENTITY).map(str::to_owned)).run().ok();
    let zeros = "0000000000000000";
    // Bash has its script open at 255.
    assert_eq!(output, format!("SigBlk:\t{zeros}\nSigIgn:\t{zeros}\nSigCgt:\t{zeros}\n0 1 2 255 y\n141\n"));
}

#[test]
fn stdout_and_stderr_are_one_stream_that_blocks_of_other_users_may_open() {
    let script = "echo 1; echo 2 >&2; sudo -u azureuser bash <<'EOF'\necho 3 > /dev/stderr\necho 4 > /dev/stdout\n\
                  echo 5 >> /dev/stderr\necho 6 > /dev/fd/2\nEOF\nsudo -u azureuser -i <<'EOF'\necho 7 > /dev/stderr\nEOF\n\
                  echo 8 > /dev/stderr; echo 9\nsudo -u datasci cat /proc/self/fd/1 2>/dev/null || echo unreadable";
    for suite in SUITES {
        let ran = run(&Room::new(suite), &Request::creation(script));
        assert_eq!(ran.stdout, "1\n2\n3\n4\n5\n6\n7\n8\n9\nunreadable\n", "{ran:?}");
    }
}

#[test]
fn a_reader_that_goes_away_holds_nothing_up() {
    let room = Room::new("bookworm");
    let request = Request::creation("for i in {1..20000}; do echo line $i; done; touch /root/done; exit 4");
    let mut command = run_call(&room, &request, &[]).command();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn().expect("nsenter");
    let mut input = child.stdin.take().expect("a pipe");
    std::io::Write::write_all(&mut input, request.text().as_bytes()).expect("the request");
    drop((input, child.stdout.take()));
    assert_eq!(child.wait().expect("wait").code(), Some(4));
    assert!(room.read("/root/done").is_some());
    let log = room.read(format!("{}/output.log", only(runs(&room)))).expect("a log");
    assert_eq!((log.lines().count(), log.lines().last()), (20000, Some("line 20000")));
}
