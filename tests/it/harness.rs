//! The harness itself: rooms and machines are what the other tests take them for.

mod machines;
mod rooms;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Place, Process, Room, wait_until};

/// What is left of a place: programs, its folder, its cgroup on the host, mounts that the host sees.
fn remains(name: &str) -> Vec<String> {
    let mut found: Vec<String> = programs_of(name).iter().map(|process| format!("{process:?}")).collect();
    let paths = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    found.extend(paths.lines().filter(|line| line.contains(name)).map(str::to_owned));
    let scratch = std::env::var("SETUP_TESTS_SCRATCH").unwrap_or("/var/tmp/ci-setup-agent-tests".into());
    let cgroups = paths.lines().filter(|line| line.contains(" - cgroup")).filter_map(|line| line.split(' ').nth(4));
    let cgroups = cgroups.map(|root| format!("{root}/ci-setup-agent-tests/{name}"));
    found.extend(cgroups.chain([format!("{scratch}/{name}")]).filter(|path| Path::new(path).exists()));
    found
}

/// Everything that runs in the place of that name, systemd-nspawn and the like included.
fn programs_of(name: &str) -> Vec<Process> {
    let inside = Path::new("/ci-setup-agent-tests").join(name);
    let mut processes = Process::all();
    processes.retain(|process| process.cgroup().is_some_and(|cgroup| cgroup.starts_with(&inside)));
    processes
}

/// Asserts that killing a test leaves no program behind, and that the next test clears up the rest.
///
/// `test` is run once more, in a process of its own, where it finds `$HARNESS_VICTIM` set and must call `wait_for_death`.
fn kill_a_test(test: &str) {
    let mut victim = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", test, "--nocapture"])
        .env("HARNESS_VICTIM", "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program");
    let lines = BufReader::new(victim.stdout.take().expect("a pipe")).lines();
    let name = lines.map_while(Result::ok).find_map(|line| Some(line.split_once("victim ")?.1.to_owned()));
    let name = name.expect("the victim's name");
    assert!(programs_of(&name).len() > 1, "{:?}", programs_of(&name));

    victim.kill().expect("SIGKILL");
    victim.wait().expect("wait");
    wait_until("everything in the place of a killed test to die", || match programs_of(&name) {
        left if left.is_empty() => Ok(()),
        left => Err(left),
    });
    let _next = Room::new("bookworm");
    assert_eq!(remains(&name), [""; 0]);
}

fn is_victim() -> bool {
    std::env::var_os("HARNESS_VICTIM").is_some()
}

fn wait_for_death(place: &impl Place) -> ! {
    let _running = place.spawn(["sleep", "infinity"]).pid();
    println!("\nvictim {}", place.disk().name);
    loop {
        std::thread::park();
    }
}
