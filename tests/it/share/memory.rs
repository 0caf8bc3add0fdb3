//! How much memory all of the agent's processes take together.

use std::fs;
use std::time::Duration;

use super::bench::Bench;
use crate::support::{Place, Process};

/// Resident and proportional kilobytes of a process.
fn size_of(process: &Process) -> Option<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", process.pid)).ok()?;
    let field =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
    Some((field("Rss:")?, field("Pss:")?))
}

#[test]
fn the_agent_stays_small_however_much_is_printed() {
    let gib: u64 = std::env::var("MEMORY_GIB").ok().map_or(1, |text| text.parse().expect("a number"));
    let bench = Bench::new();
    bench.inline(&format!("yes 0123456789abcdef | head -c {gib}G; exit 3"), "1h");
    let mut agent = bench.agent(&["--output-limit", "64M"]).command();
    let mut child = agent.stdout(fs::File::create("/dev/null").expect("/dev/null")).spawn().expect("it starts");
    let (mut resident, mut proportional, mut processes) = (0, 0, String::new());
    while child.try_wait().expect("wait").is_none() {
        let mut ours = bench.room.processes();
        ours.retain(|process| process.command.starts_with("ci-setup-agent run"));
        let sizes: Vec<_> = ours.iter().filter_map(size_of).collect();
        let now = sizes.iter().map(|size| size.0).sum();
        if now > resident {
            (resident, processes) = (now, format!("{sizes:?}"));
        }
        proportional = proportional.max(sizes.iter().map(|size| size.1).sum());
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(child.wait().expect("wait").code(), Some(3));
    println!(
        "{gib} GiB: at most {resident} KiB resident in all, {proportional} KiB proportional; at that time {processes}"
    );
    // A build without optimisation is a few times larger.
    assert!(proportional <= if std::env::var_os("SETUP_TESTS_BINARY").is_some() { 12 << 10 } else { 40 << 10 });
    bench.assert_mirrored("much");
}
