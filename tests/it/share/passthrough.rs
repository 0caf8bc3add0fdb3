//! The script's output on the agent's own standard output: a reader holds nobody up.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;
use std::time::{Duration, Instant};

use faultfs::Ops;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::bench::{Bench, SHARE};
use crate::support::{Place, assert_within, wait_until};

/// Prints far more than any pipe holds, and says on the disk when it is through.
const CHATTY: &str = "seq 1 300000; touch /run/over; exit 9";

fn expected() -> String {
    (1..=300_000).map(|n| format!("{n}\n")).collect()
}

#[test]
fn a_reader_that_stops_reading_holds_up_neither_script_nor_exit() {
    assert_within("the end", Duration::from_secs(1 + 1), || {
        let bench = Bench::new();
        bench.inline(CHATTY, "60s");
        let mut agent = bench.agent(&["--flush-wait", "1s"]).command();
        let mut child = agent.stdout(Stdio::piped()).spawn().expect("it starts");
        wait_until("the script's end", || bench.room.read("/run/over").ok_or("not yet"));
        let over = Instant::now();
        assert_eq!(child.wait().expect("wait").code(), Some(9));
        let took = over.elapsed();
        assert!(bench.spool() == expected().as_bytes());
        bench.wait_until_nobody_records();
        assert_eq!(bench.sync().code, 0);
        bench.assert_mirrored("nobody reads");
        took
    });
}

#[test]
fn a_reader_that_stops_reading_does_not_move_the_deadline() {
    assert_within("the deadline", Duration::from_secs_f64(2.0 + 0.5 + 1.0 + 1.0), || {
        let bench = Bench::new();
        bench.inline("trap '' TERM; yes", "2s");
        let begun = Instant::now();
        let mut agent = bench.agent(&["--flush-wait", "1s", "--grace", "0.5s"]).command();
        let mut child = agent.stdout(Stdio::piped()).spawn().expect("it starts");
        assert_eq!(child.wait().expect("wait").code(), Some(124));
        begun.elapsed()
    });
}

#[test]
fn a_slow_reader_gets_all_of_it_in_order() {
    let bench = Bench::new();
    bench.inline(CHATTY, "60s");
    let mut child = bench.agent(&[]).command().stdout(Stdio::piped()).spawn().expect("it starts");
    let (mut pipe, mut read, mut chunk) = (child.stdout.take().expect("a pipe"), Vec::new(), vec![0; 8192]);
    loop {
        let count = pipe.read(&mut chunk).expect("read");
        if count == 0 {
            break;
        }
        read.extend_from_slice(&chunk[..count]);
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(child.wait().expect("wait").code(), Some(9));
    assert!(read == expected().as_bytes(), "{} bytes", read.len());
}

#[test]
fn a_reader_that_goes_away_is_nobodys_loss_but_its_own() {
    let bench = Bench::new();
    bench.inline(CHATTY, "60s");
    let mut child = bench.agent(&[]).command().stdout(Stdio::piped()).spawn().expect("it starts");
    let mut pipe = child.stdout.take().expect("a pipe");
    pipe.read_exact(&mut [0; 10]).expect("some of it");
    drop(pipe);
    assert_eq!(child.wait().expect("wait").code(), Some(9));
    bench.assert_mirrored("nobody is there");
    assert!(bench.spool() == expected().as_bytes());
}

#[test]
fn a_pipe_that_does_not_block_still_gets_all_of_it() {
    let bench = Bench::new();
    bench.inline(CHATTY, "60s");
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    fcntl(writer.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("fcntl");
    let mut command = bench.agent(&[]).command();
    let mut child = command.stdout(Stdio::from(OwnedFd::from(writer))).spawn().expect("it starts");
    drop(command);
    let mut read = Vec::new();
    reader.read_to_end(&mut read).expect("read");
    assert_eq!(child.wait().expect("wait").code(), Some(9));
    assert!(read == expected().as_bytes(), "{} bytes", read.len());
}

#[test]
fn a_closed_standard_output_is_no_reason_not_to_run() {
    let bench = Bench::new();
    bench.inline(CHATTY, "60s");
    let agent = "ci-setup-agent run /root/request.json --resource-group rg --workspace wks --name ci-2";
    for (redirection, rerun) in [(">&-", ""), (">&- 2>&- <&-", "--rerun"), ("> /dev/full", "--rerun")] {
        let ran = bench.room.bash(&format!("{agent} {rerun} {redirection}"));
        assert_eq!(ran.code, 9, "{redirection}: {}", ran.stderr);
        assert!(bench.spool() == expected().as_bytes(), "{redirection}");
    }
}

#[test]
fn a_standard_output_on_a_share_that_dies_holds_up_neither_script_nor_record() {
    let bench = Bench::new();
    bench.inline("cd /; echo one; until [ -e /run/gate ]; do sleep 0.01; done; seq 1 100000; touch /run/over", "60s");
    let agent = format!(
        "ci-setup-agent run /root/request.json --resource-group rg --workspace wks --name ci-2 --flush-wait 1s > {SHARE}/out"
    );
    let mut caller = bench.room.spawn(["bash", "-c", &agent]);
    wait_until("the first line there", || {
        let text = std::fs::read_to_string(bench.share.backing().join("out")).unwrap_or_default();
        if text == "one\n" && super::table::find(bench.share.backing()) == "one\n" { Ok(()) } else { Err(text) }
    });
    bench.share.hang(Ops::ALL);
    bench.room.write("/run/gate", "", 0o600);
    wait_until("the script's end", || bench.room.read("/run/over").ok_or("not yet"));
    wait_until("the record", || {
        let outcome = bench.outcome();
        if outcome["state"] == "succeeded" { Ok(()) } else { Err(outcome) }
    });
    assert!(caller.is_running() || caller.wait().code == 0);
    bench.share.heal();
    bench.wait_until_nobody_records();
    assert_eq!(bench.sync().code, 0);
    bench.assert_mirrored("stdout on the share");
}
