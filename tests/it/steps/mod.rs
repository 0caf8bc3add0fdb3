//! Steps recorded from outside, on real bash and real tracefs (root needed).

mod blocks;
mod corpus;
mod costs;
mod differs;
mod hook;
mod leaves;
mod locked;
mod machines;
mod runs;
mod sees;

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use ci_setup_agent::steps::{Recorder, Starting, Step, Summary, Watch, hook::Hook};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::Value;

use crate::support::{
    Place,
    setup::{Request, run_json},
    wait_until,
};

/// What a recorded script left.
pub struct Recorded {
    /// What the recorder says.
    pub summary: Summary,
    /// What the script printed, both streams in one file.
    pub output: String,
    /// How it ended.
    pub status: ExitStatus,
}

/// Runs a creation script in a place until its steps could be recorded: on a busy machine the kernel may need
/// longer for the probes than a run waits.
pub fn recorded_run(place: &impl Place, request: &Request, source: &str, options: &[&str]) -> (i32, Value) {
    wait_until("a run that is recorded", || {
        let (code, mut outcomes) = run_json(place, request, &[&["--rerun", "--steps", source], options].concat());
        let outcome = outcomes.remove(0);
        let is_late = outcome["steps"]["unavailable"] == "the kernel took too long to put the probes in";
        if is_late { Err(outcome) } else { Ok((code, outcome)) }
    })
}

/// Starts a recorder for `script`, by `bash`.
pub fn recorder(bash: &str, script: &str) -> Recorder {
    let watch = Watch { run_id: "test-20261121T205957Z", interpreter: Path::new(bash), script: script.as_bytes() };
    let starting = Starting::new(watch).unwrap();
    starting.finish(Instant::now() + Duration::from_secs(10)).unwrap()
}

/// Runs a script under a recorder, as the supervisor does; `each` sees the recorder at every turn.
pub fn record_with(script: &str, each: impl FnMut(&Recorder, &mut std::process::Child)) -> Recorded {
    record_by(Source::Probes, script, each)
}

/// Where the steps come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Probes,
    Hook,
}

/// The same by either source.
pub fn record_by(source: Source, script: &str, mut each: impl FnMut(&Recorder, &mut std::process::Child)) -> Recorded {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = folder.path().join("setup.sh");
    std::fs::write(&path, script).unwrap();
    let output = folder.path().join("output");
    let file = File::options().append(true).create(true).open(&output).unwrap();
    let mut recorder = match source {
        Source::Probes => recorder("/bin/bash", script),
        Source::Hook => Recorder::of_hook(Hook::new(&folder.path().join("steps"), &[0]).unwrap(), script.as_bytes()),
    };
    let variable = recorder.hook().map(|hook| ("BASH_ENV", hook.variable()));
    let mut child = Command::new("/bin/bash")
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(file.try_clone().unwrap())
        .stderr(file)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .envs(variable)
        .spawn()
        .unwrap();
    recorder.set_root(child.id());
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        wait_for_events(&recorder);
        recorder.pump();
        each(&recorder, &mut child);
    };
    Recorded {
        summary: recorder.finish(status.code()),
        output: std::fs::read_to_string(&output).unwrap_or_default(),
        status,
    }
}

/// Runs a script under a recorder.
pub fn record(script: &str) -> Recorded {
    record_with(script, |_, _| {})
}

/// Waits until the recorder wants to be pumped, or a moment for the child's end.
pub fn wait_for_events(recorder: &Recorder) {
    let pause = PollTimeout::from(10_u8);
    match recorder.poll_fd() {
        Some(fd) => drop(poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], pause)),
        None => drop(poll(&mut [], pause)),
    }
}

/// A step in one line: where, what, how it ended.
pub fn told(step: &Step) -> String {
    let block = step.block.as_ref().map(|block| format!("({}:{})", block.user, block.line)).unwrap_or_default();
    let code = step.exit_code.map_or("running".to_owned(), |code| code.to_string());
    format!("{}{block} {} -> {code}", step.line, step.command.lines().next().unwrap_or_default())
}

/// All of them.
pub fn all_told(steps: &[Step]) -> Vec<String> {
    steps.iter().map(told).collect()
}
