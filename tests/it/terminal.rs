//! What a terminal shows while a run is on its way (CONTRACT 2).

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{
    Place, Room, Terminal,
    call::Call,
    setup::{IDENTITY, Request},
    wait_until,
};

/// Prints a line, waits for a file, prints more.
const GATED: &str = "echo one\nuntil [ -e /run/gate ]; do sleep 0.05; done\necho two\n";

/// A call of the agent on a terminal of that kind. The request waits in a file: the keyboard is no request.
fn call(room: &Room, script: &str, options: &[&str], term: &str) -> Call {
    room.write("/root/request.json", Request::creation(script).text(), 0o600);
    let _ = std::fs::remove_file(room.path("/run/gate"));
    let words =
        ["ci-setup-agent", "run", "/root/request.json"].into_iter().chain(IDENTITY).chain(options.iter().copied());
    room.call(words.map(str::to_owned)).env("TERM", term)
}

fn is_line(row: &str) -> bool {
    row.contains(" left") && row.contains('[')
}

/// The rows once there is one line, right below that output: on a busy machine it is drawn before the script prints.
fn rows_with_line(terminal: &Terminal, below: Option<&str>) -> Vec<String> {
    wait_until("the line", || {
        let rows = terminal.rows();
        let at: Vec<usize> = (0..rows.len()).filter(|row| is_line(&rows[*row])).collect();
        match at[..] {
            [at] if at.checked_sub(1).map(|above| rows[above].as_str()) == below => Ok(rows),
            _ => Err(rows),
        }
    })
}

/// Lets the script go on: after the line was drawn, or after a time in which it would have been.
fn open_gate_when_drawn(room: &Room, terminal: &Terminal, has_line: bool, below: Option<&str>) {
    if has_line {
        rows_with_line(terminal, below);
    } else {
        std::thread::sleep(Duration::from_secs(1));
    }
    room.write("/run/gate", "", 0o644);
}

/// The rows at the end: no line is left.
#[track_caller]
fn assert_clean(terminal: &Terminal, output: &[&str]) {
    let rows = terminal.rows();
    assert!(!rows.iter().any(|row| is_line(row) || row.contains('#')), "{rows:?}");
    assert_eq!(rows[..output.len()], *output, "{rows:?}");
}

#[test]
fn below_the_output_one_line_tells_time_bar_and_step_until_the_end() {
    let room = Room::new("bookworm");
    // On a busy machine the kernel may need longer for the probes than a run waits: then once more.
    let (terminal, agent, rows) = wait_until("a run whose step is seen", || {
        let terminal = Terminal::new(24, 100);
        let agent = terminal.start(&call(&room, GATED, &["--rerun"], "xterm"));
        let rows = rows_with_line(&terminal, Some("one"));
        assert_eq!(rows.len(), 2, "{rows:?}");
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(15) {
            let rows = terminal.rows();
            if rows.last().is_some_and(|row| row.contains("line 2 for ")) {
                return Ok((terminal, agent, rows));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        room.write("/run/gate", "", 0o644);
        terminal.wait(agent);
        Err(terminal.rows())
    });
    assert!(rows[1].starts_with("[--") && rows[1].contains(": until [ -e /run/gate ]"), "{rows:?}");
    // Its time goes on while nothing is printed.
    let first = rows[1].clone();
    wait_until("another time", || if terminal.rows()[1] == first { Err(first.clone()) } else { Ok(()) });
    room.write("/run/gate", "", 0o644);
    assert_eq!(terminal.wait(agent), Some(0));
    assert_clean(&terminal, &["one", "two"]);
    let last = terminal.rows().pop().expect("a row");
    assert!(last.contains("succeeded after"), "{last}");
}

#[test]
fn a_progress_bar_of_the_output_s_own_stays_as_it_is() {
    let room = Room::new("bookworm");
    let script = "seq 30\nprintf '\\e[32m10 %%\\r20 %%'\nuntil [ -e /run/gate ]; do sleep 0.05; done\n\
                  printf '\\r30 %%\\e[0m\\nend'\n";
    let terminal = Terminal::new(10, 60);
    let agent = terminal.start(&call(&room, script, &[], "xterm"));
    rows_with_line(&terminal, Some("20 %"));
    room.write("/run/gate", "", 0o644);
    assert_eq!(terminal.wait(agent), Some(0));
    let numbers: Vec<String> = (1..=30).map(|number| number.to_string()).collect();
    let expected: Vec<&str> = numbers.iter().map(String::as_str).chain(["30 %", "end"]).collect();
    assert_clean(&terminal, &expected);
}

#[test]
fn of_a_flood_of_output_no_byte_is_missing() {
    let room = Room::new("bookworm");
    let terminal = Terminal::new(24, 100);
    let script =
        "for n in 1 2 3; do seq $n 30000; sleep 0.1; done; until [ -e /run/gate ]; do sleep 0.05; done; seq 4 30000";
    let agent = terminal.start(&call(&room, script, &[], "xterm"));
    wait_until("the line", || {
        let received = String::from_utf8_lossy(&terminal.received()).into_owned();
        if received.contains(" left") { Ok(()) } else { Err(received.len()) }
    });
    room.write("/run/gate", "", 0o644);
    assert_eq!(terminal.wait(agent), Some(0));
    let text = String::from_utf8(terminal.received()).expect("text");
    // Each drawing and each erasing, from what goes before it to where the cursor is brought back.
    let drawn = text.split("\x1b8").map(|piece| {
        let end = piece.find("\r\x1b7").or(piece.find("\x0b\x1b[A\x1b7")).unwrap_or(piece.len());
        &piece[..end]
    });
    let output = drawn.collect::<String>().replace("\r\n", "\n");
    let expected: String = (1..=4).flat_map(|n| n..=30000).map(|number| format!("{number}\n")).collect();
    assert!(output.starts_with(&expected), "{} bytes of {}", output.len(), expected.len());
}

#[test]
fn a_terminal_that_becomes_narrow_gets_a_line_that_fits() {
    let room = Room::new("bookworm");
    let mut terminal = Terminal::new(24, 100);
    let agent = terminal.start(&call(&room, GATED, &[], "xterm"));
    rows_with_line(&terminal, Some("one"));
    terminal.resize(24);
    let rows = wait_until("a shorter line", || {
        let rows = terminal.rows();
        match &rows[..] {
            [one, line] if one == "one" && line.contains("left") && line.len() <= 21 => Ok(rows),
            _ => Err(rows),
        }
    });
    assert!(!rows[1].contains('['), "no room for a bar: {rows:?}");
    room.write("/run/gate", "", 0o644);
    assert_eq!(terminal.wait(agent), Some(0));
    assert_clean(&terminal, &["one", "two"]);
}

#[test]
fn ctrl_c_ends_the_run_and_leaves_a_clean_terminal() {
    let room = Room::new("bookworm");
    let terminal = Terminal::new(24, 100);
    let call = call(&room, GATED, &[], "xterm");
    // In a session that owns the terminal, so that its keys are signals.
    let agent = terminal.start(&call.owning_its_terminal());
    rows_with_line(&terminal, Some("one"));
    terminal.press("\x03");
    assert_eq!(terminal.wait(agent), Some(130));
    assert_clean(&terminal, &["one"]);
    assert!(terminal.rows().iter().any(|row| row.starts_with("error: the run was stopped by SIGINT")));
}

#[test]
fn what_the_environment_and_the_options_ask_for_is_respected() {
    let room = Room::new("bookworm");
    // (TERM, NO_COLOR, options, is there a line, are there colours)
    for (term, no_color, options, has_line, has_colours) in [
        ("xterm", "", &[][..], true, true),
        ("xterm", "1", &["--rerun"], true, false),
        ("dumb", "", &["--rerun"], false, false),
        ("xterm", "", &["--rerun", "--quiet"], true, true),
        ("xterm", "", &["--rerun", "--json"], false, false),
    ] {
        let terminal = Terminal::new(24, 100);
        let call = call(&room, GATED, options, term).env("NO_COLOR", no_color);
        let agent = terminal.start(&call);
        let passes = !options.iter().any(|option| ["--quiet", "--json"].contains(option));
        open_gate_when_drawn(&room, &terminal, has_line, passes.then_some("one"));
        assert_eq!(terminal.wait(agent), Some(0));
        let text = String::from_utf8_lossy(&terminal.received()).into_owned();
        let case = format!("{term} {no_color} {options:?}: {text:?}");
        assert_eq!(text.contains(" left"), has_line, "{case}");
        assert_eq!(text.contains("\x1b[32m"), has_colours, "{case}");
        assert_eq!(text.contains('\x1b'), has_line, "{case}");
        assert_eq!(text.contains("one\r\n"), passes, "{case}");
    }
}

#[test]
fn output_in_a_file_leaves_the_terminal_to_the_line_and_a_pipe_may_lead_back_to_it() {
    let room = Room::new("bookworm");
    for (is_file, options) in [(true, &[][..]), (false, &["--rerun"])] {
        let terminal = Terminal::new(24, 100);
        let mut command = call(&room, GATED, options, "xterm").command();
        command.stdin(Stdio::null()).stderr(terminal.stdio());
        let out = room.path("/root/out");
        let code = if is_file {
            let mut agent = command.stdout(std::fs::File::create(&out).expect("a file")).spawn().expect("it starts");
            open_gate_when_drawn(&room, &terminal, true, None);
            agent.wait().expect("wait").code()
        } else {
            let agent = command.stdout(Stdio::piped()).spawn().expect("it starts");
            open_gate_when_drawn(&room, &terminal, false, None);
            let output = agent.wait_with_output().expect("wait");
            std::fs::write(&out, output.stdout).expect("write");
            output.status.code()
        };
        assert_eq!(code, Some(0));
        assert_eq!(room.read("/root/out").as_deref(), Some("one\ntwo\n"));
        terminal.wait(room.call(["true"]).command().spawn().expect("true"));
        let text = String::from_utf8_lossy(&terminal.received()).into_owned();
        assert_eq!(text.contains(" left"), is_file, "{text:?}");
        assert_clean(&terminal, &[]);
    }
}

#[test]
fn output_that_goes_elsewhere_does_not_wait_for_a_terminal_that_was_stopped() {
    let room = Room::new("bookworm");
    let script = format!("{GATED}until [ -e /run/over ]; do sleep 0.05; done\n");
    let terminal = Terminal::new(24, 100);
    let mut command = call(&room, &script, &[], "xterm").command();
    let out = std::fs::File::create(room.path("/root/out")).expect("a file");
    let agent = command.stdin(Stdio::null()).stdout(out).stderr(terminal.stdio()).spawn().expect("it starts");
    rows_with_line(&terminal, None);
    terminal.press("\x13");
    room.write("/run/gate", "", 0o644);
    wait_until("the output", || room.read("/root/out").filter(|out| out == "one\ntwo\n").ok_or("not yet"));
    terminal.press("\x11");
    room.write("/run/over", "", 0o644);
    assert_eq!(terminal.wait(agent), Some(0));
    assert_clean(&terminal, &[]);
}

#[test]
fn in_a_log_there_is_a_sentence_after_half_a_minute_on_a_line_of_its_own() {
    let room = Room::new("bookworm");
    let mut command = call(&room, "printf one\nsleep 34\necho two\n", &[], "xterm").command();
    let log = std::fs::File::create(room.path("/root/log")).expect("a file");
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log);
    assert_eq!(command.status().expect("it runs").code(), Some(0));
    let log = room.read("/root/log").expect("the log");
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!((lines[0], lines[2], lines.len()), ("one", "two", 4), "{log}");
    assert!(lines[1].starts_with("note: still running after 3") && lines[1].contains(" left"), "{log}");
    let told = room.run(["ci-setup-agent", "status", "--json"]).ok();
    // On a busy machine the kernel may need longer for the probes than a run waits.
    assert!(
        lines[1].contains(" left: line 2 `sleep 34` for ") || told.contains("the kernel took too long"),
        "{log}{told}"
    );
}

#[test]
fn a_line_is_drawn_while_status_waits_and_ctrl_c_takes_it_away() {
    let room = Room::new("bookworm");
    let runs = call(&room, GATED, &["--quiet"], "dumb").spawn();
    let status = || room.call(["ci-setup-agent", "status", "--wait"]).env("TERM", "xterm");
    wait_until("the run", || {
        let text = room.run(["ci-setup-agent", "status", "--json"]).stdout;
        let all: Value = serde_json::from_str(&text).unwrap_or_default();
        if all[0]["state"] == "running" { Ok(()) } else { Err(text) }
    });
    let [stopped, waiting] = [Terminal::new(24, 100), Terminal::new(24, 100)];
    let stopping = stopped.start(&status().owning_its_terminal());
    let agent = waiting.start(&status());
    for terminal in [&stopped, &waiting] {
        let rows = rows_with_line(terminal, None);
        assert_eq!(rows.len(), 1, "{rows:?}");
    }
    stopped.press("\x03");
    assert_eq!(stopped.wait(stopping), Some(130));
    assert_clean(&stopped, &[]);
    room.write("/run/gate", "", 0o644);
    assert_eq!((runs.wait().code, waiting.wait(agent)), (0, Some(0)));
    let rows = waiting.rows();
    assert!(rows[0].starts_with("RUN ") && rows.len() == 2, "{rows:?}");
}
