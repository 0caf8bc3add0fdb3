//! A recording that is being set up.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, poll};

use super::keeper::{self, Keeper, PREFIX, Target};
use super::probes::Plan;
use super::recorder::Recorder;
use super::source::Source;
use super::timeline::Timeline;
use super::tracefs::Tracefs;
use super::{Unavailable, Watch};

/// The shell that sudo and most scripts start.
const USUAL_BASH: &str = "/bin/bash";

/// A recording that is being set up. The script should not start before [`Starting::finish`].
#[derive(Debug)]
pub struct Starting {
    /// Functions that a bash does not have.
    missing: Vec<&'static str>,
    keeper: Keeper,
    timeline: Timeline,
}

impl Starting {
    /// Finds the probes' places and has them put in, by a process of their own: that takes the kernel some
    /// 15 ms, in which the caller can do other things.
    pub fn new(watch: Watch) -> Result<Self, Unavailable> {
        let strings = has_command_strings(watch.script);
        let mut targets = vec![target(watch.interpreter, strings)?];
        // sudo's blocks run the usual bash, whatever the script's own is.
        if !same_file(Path::new(USUAL_BASH), watch.interpreter) {
            targets.extend(target(Path::new(USUAL_BASH), strings));
        }
        let tracefs = Tracefs::find().map_err(|error| Unavailable(format!("tracefs cannot be opened: {error}")))?;
        let name = instance_name(watch.run_id);
        let keeper = Keeper::start(&tracefs, &name, &targets)
            .map_err(|error| Unavailable(format!("cannot start the keeper of the probes: {error}")))?;
        let missing = targets.into_iter().flat_map(|target| target.plan.missing).collect();
        Ok(Self { missing, keeper, timeline: Timeline::new(watch.script) })
    }

    /// Waits until the probes are in, at most until `deadline`.
    pub fn finish(mut self, deadline: Instant) -> Result<Recorder, Unavailable> {
        let buffers = loop {
            match self.keeper.answer() {
                Some(Ok(buffers)) => break buffers,
                Some(Err(reason)) => return Err(Unavailable(reason)),
                None => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    let millis = u16::try_from(left.as_millis()).unwrap_or(u16::MAX);
                    let mut polled = [PollFd::new(self.keeper.poll_fd(), PollFlags::POLLIN)];
                    if let Ok(0) = poll(&mut polled, millis) {
                        return Err(Unavailable("the kernel took too long to put the probes in".to_owned()));
                    }
                }
            }
        };
        let Self { missing, keeper, mut timeline } = self;
        for missing in missing {
            timeline.record.note(&format!("this bash has no {missing}"));
        }
        Ok(Recorder::new(Source::Probes { buffers: Box::new(buffers), keeper }, timeline))
    }
}

fn target(bash: &Path, strings: bool) -> Result<Target, Unavailable> {
    let refuse = |reason: String| Unavailable(format!("`{}` cannot be watched: {reason}", bash.display()));
    let mut binary = File::open(bash).map_err(|error| refuse(error.to_string()))?;
    let mut bytes = Vec::new();
    binary.read_to_end(&mut bytes).map_err(|error| refuse(error.to_string()))?;
    let plan = Plan::new(&bytes).map_err(refuse)?;
    Ok(Target { binary, plan, strings })
}

fn same_file(one: &Path, other: &Path) -> bool {
    let inode = |path: &Path| path.metadata().map(|file| (file.dev(), file.ino())).ok();
    inode(one) == inode(other)
}

/// A name that no other recording on the machine has: not ours before this, whose keeper may be still at
/// work, and not one in another pid namespace, where our pid is somebody else's. So a time is in it.
/// Events' groups take 63 letters, digits and `_`.
fn instance_name(run_id: &str) -> String {
    let id: String =
        run_id.chars().take(20).map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect();
    format!("{PREFIX}{id}_{}_{:x}", std::process::id(), keeper::stamp())
}

/// Whether a text has anything like the option `-c`, also in a cluster such as `-lc`.
fn has_command_strings(script: &[u8]) -> bool {
    script.split(|byte| byte.is_ascii_whitespace()).any(|word| {
        let letters = word.strip_prefix(b"-").unwrap_or_default();
        letters.ends_with(b"c") && letters.iter().all(u8::is_ascii_alphabetic) || word == b"--command"
    })
}
