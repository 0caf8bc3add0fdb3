//! How often the mirror writes, and how soon a line is there for another client.

use std::fs;
use std::time::{Duration, Instant};

use faultfs::{Kept, Ops, Options, Record};

use super::bench::Bench;
use crate::support::{Place, wait_until};

const SECOND: Duration = Duration::from_secs(1);

/// The writes of the steady state: without the first second, in which the run makes itself known, and
/// without the end, where the exit waits for what is missing.
fn steady(bench: &Bench, until: Duration) -> Vec<Record> {
    let mut writes = bench.share.records(Ops::WRITE, "Logs");
    let Some(first) = writes.first().map(|record| record.at) else { return writes };
    writes.retain(|record| record.at > first + SECOND && record.at < until);
    writes
}

fn told(writes: &[Record]) -> String {
    let name = |record: &Record| record.path.file_name().map(|name| name.to_string_lossy().into_owned());
    let line = |record: &Record| {
        format!(
            "{:.3} {} {}+{}\n",
            record.at.as_secs_f64(),
            name(record).unwrap_or_default(),
            record.offset,
            record.bytes
        )
    };
    writes.iter().map(line).collect()
}

/// Of the clock that the share's records carry.
fn now() -> Duration {
    let text = fs::read_to_string("/proc/uptime").expect("/proc/uptime");
    Duration::from_secs_f64(text.split(' ').next().and_then(|word| word.parse().ok()).expect("seconds"))
}

#[test]
fn a_million_short_lines_are_at_most_two_writes_a_second() {
    let bench = Bench::new();
    // Not faster than 2 MiB a second: beyond that it is one write for each full MiB.
    let script =
        "for ((i = 0; i < 1000000; i++)); do echo $i; ((i % 2000)) || sleep 0.02; done; touch /run/over; sleep 0.2";
    bench.inline(script, "100s");
    let agent = bench.agent(&["--quiet"]).spawn();
    wait_until("the end of a million lines", || bench.room.read("/run/over").ok_or("not yet"));
    let end = now();
    assert_eq!(agent.wait().code, 0);
    let writes = steady(&bench, end);
    let busiest = faultfs::busiest(&writes, SECOND);
    println!("{} writes in the steady state, at most {busiest} within a second", writes.len());
    assert!(busiest <= 2, "{}", told(&writes));
    bench.assert_mirrored("a million lines");
}

#[test]
fn a_slow_drip_is_at_most_two_writes_a_second_and_each_line_is_there_soon() {
    let bench = Bench::with(Options { kept: Kept::AtFsync, ..Options::like_smb() });
    bench.inline(
        "while ! [ -e /run/enough ]; do read -r _ seconds < <(echo; date +%s.%N); date +%s.%N; sleep 0.05; done",
        "100s",
    );
    let agent = bench.agent(&["--quiet"]).spawn();
    let log = || {
        let runs = fs::read_dir(bench.share.backing().join("Logs/ci-2/creation")).into_iter().flatten().flatten();
        runs.map(|run| run.path().join("output.log")).next()
    };
    let log = wait_until("the log", || log().filter(|log| log.exists()).ok_or("none yet"));
    // What is behind the share, and has been flushed there, is what another client sees.
    let (mut delays, mut seen, begun) = (Vec::new(), 0, Instant::now());
    while begun.elapsed() < Duration::from_secs(12) {
        let text = fs::read_to_string(&log).unwrap_or_default();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        for line in text.lines().skip(seen) {
            let printed: f64 = line.parse().expect("seconds");
            delays.push(now.as_secs_f64() - printed);
            seen += 1;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let end = now();
    bench.room.write("/run/enough", "", 0o600);
    assert_eq!(agent.wait().code, 0);
    delays.sort_by(f64::total_cmp);
    let at = |part: f64| delays[((delays.len() - 1) as f64 * part) as usize];
    println!(
        "{} lines: visible after p50 {:.3} s, p99 {:.3} s, at most {:.3} s",
        delays.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
    let writes = steady(&bench, end);
    assert!(faultfs::busiest(&writes, SECOND) <= 2, "{}", told(&writes));
    assert!(at(0.5) < 1.0, "{delays:?}");
    bench.assert_mirrored("a drip");
}

/// Where the writes of a second are more than two, and more than the whole pieces and documents among them. Many
/// pieces at once may follow small ones.
fn too_many(writes: &[Record]) -> Option<String> {
    let is_document = |record: &&Record| !record.path.ends_with("output.log");
    (0..writes.len()).find_map(|first| {
        let second: Vec<Record> =
            writes[first..].iter().take_while(|record| record.at < writes[first].at + SECOND).cloned().collect();
        let is_whole = |record: &&Record| is_document(record) || record.bytes == 1 << 20;
        let whole = second.iter().filter(is_whole).count();
        // The end of the second may come in the middle of those many.
        let soon = writes[first..].iter().take_while(|record| record.at < writes[first].at + SECOND * 11 / 10);
        let are_many = soon.filter(is_whole).count() > 2;
        (second.len() > whole.max(2) + 2 * usize::from(are_many)).then(|| told(&second))
    })
}

#[test]
fn whatever_the_rhythm_it_is_two_writes_a_second_or_one_for_each_full_mebibyte() {
    let rhythms = [
        "for i in {1..7}; do head -c 1100000 /dev/zero; sleep 1; done",
        "for i in {1..12}; do head -c 1048577 /dev/zero; sleep 0.6; done",
        "for i in {1..2}; do head -c 5000000 /dev/zero; for i in {1..60}; do echo $i; sleep 0.05; done; done",
        "for i in {1..12}; do head -c 800000 /dev/zero; sleep 0.2; echo x; sleep 0.4; done",
    ];
    let follow = |rhythm: &str| {
        let bench = Bench::new();
        bench.inline(&format!("{rhythm}; touch /run/over; sleep 0.2"), "100s");
        let agent = bench.agent(&["--quiet"]).spawn();
        wait_until("the end of the rhythm", || bench.room.read("/run/over").ok_or("not yet"));
        let end = now();
        assert_eq!(agent.wait().code, 0);
        bench.assert_mirrored(rhythm);
        too_many(&steady(&bench, end)).map(|writes| format!("{rhythm}\n{writes}"))
    };
    let found: Vec<String> = std::thread::scope(|scope| {
        let threads = rhythms.map(|rhythm| scope.spawn(move || follow(rhythm)));
        threads.into_iter().filter_map(|thread| thread.join().expect("a rhythm")).collect()
    });
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn fast_output_is_one_write_for_each_full_mebibyte() {
    let bench = Bench::new();
    // An odd beginning: what follows would not begin on pages, and be two requests each.
    bench.inline("echo odd; sleep 1.5; head -c 64M /dev/zero | tr '\\0' x; touch /run/over; sleep 1", "100s");
    let ran = bench.agent(&["--quiet"]).run();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let log = format!("{}/output.log", bench.outcome()["output"]["mirrorPath"].as_str().expect("a path"));
    let writes = bench.share.records(Ops::WRITE, log);
    let full = writes.iter().filter(|record| record.bytes == 1 << 20).count();
    println!("{} writes of 64 MiB, {full} of them full", writes.len());
    // Some small ones where the writer had caught up.
    assert!(full >= 56, "{writes:#?}");
    assert!(writes.len() <= 64 + 8, "{writes:#?}");
    bench.assert_mirrored("64 MiB");
}

#[test]
fn whole_pieces_are_flushed_too_when_nothing_follows() {
    let bench = Bench::with(Options { kept: Kept::AtFsync, ..Options::like_smb() });
    bench.inline("head -c 8M /dev/zero; until [ -e /run/enough ]; do sleep 0.01; done", "100s");
    let agent = bench.agent(&["--quiet"]).spawn();
    wait_until("all of it behind the share", || {
        let runs = fs::read_dir(bench.share.backing().join("Logs/ci-2/creation")).into_iter().flatten().flatten();
        let length = runs.filter_map(|run| fs::metadata(run.path().join("output.log")).ok()).map(|log| log.len()).max();
        if length == Some(8 << 20) { Ok(()) } else { Err(length) }
    });
    bench.room.write("/run/enough", "", 0o600);
    assert_eq!(agent.wait().code, 0);
    bench.assert_mirrored("8 MiB");
}

#[test]
fn the_outcome_is_rewritten_on_the_share_every_five_seconds_and_no_more_often() {
    let bench = Bench::new();
    bench.inline("for i in {1..240}; do echo $i; sleep 0.05; done", "100s");
    assert_eq!(bench.agent(&["--quiet"]).run().code, 0);
    let renames = bench.share.records(Ops::RENAME, "Logs");
    let outcomes: Vec<_> = renames.iter().filter(|record| record.path.ends_with(".outcome.json.new")).collect();
    // Start, two or three in twelve seconds, the end, and the end with the mirror's own state.
    assert!((4..=7).contains(&outcomes.len()), "{outcomes:#?}");
}
