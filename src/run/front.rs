//! The front: the process that the caller sees. It forks the others, passes signals on, and waits for the
//! result. If the supervisor dies under it, it ends the run itself.

use std::{
    fs::File,
    io::Read,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, ppoll},
    sys::{
        signal::Signal,
        wait::{WaitPidFlag, waitpid},
    },
};
use tracing::{error, info};

use super::{
    Context,
    board::Board,
    cgroup::{self, Leaf},
    internal,
    job::{Job, Notice, Order, is_leaf_name, leaf_name},
    passthrough::{Passthrough, View},
    recover, supervise,
    terminate::Tree,
};
use crate::{
    error::Result,
    record::{Outcome, state::RunLock},
    show::progress::{Manner, Output},
    sys::{
        bell::Bell,
        channel::{self, Channel, Received},
        descriptors, fork, signals,
    },
};

/// How much longer than the flush wait the whole end may take.
const SLACK: Duration = Duration::from_millis(600);

/// Executes a job and returns its final outcome.
///
/// # Errors
/// `internal` where no process or descriptor can be had; nothing has run then.
pub fn execute(context: &Context, mut job: Job, log: File, lock: &mut Option<RunLock>) -> Result<Outcome> {
    // If the supervisor dies, its children fall to this process and not to init.
    nix::sys::prctl::set_child_subreaper(true).map_err(|errno| internal("cannot become a subreaper", errno.into()))?;
    let view = view(context, &mut job, log).map_err(|error| internal("cannot make a descriptor", error))?;
    let (run, started, history) = (job.run.clone(), job.started.clone(), job.history.clone());
    let (mirror, flush_wait, grace) = (job.mirror.pid().as_raw(), job.flush_wait, job.grace);
    let (front, theirs) = channel::pair::<Order, Notice>().map_err(|error| internal("cannot make a channel", error))?;
    let forked = fork::spawn(|| {
        descriptors::close_inherited(front.as_fd());
        i32::from(supervise::supervise(job, theirs, lock.take()).is_err())
    });
    let supervisor = forked.map_err(|error| internal("cannot start the supervisor", error))?;
    let passthrough = view.and_then(|view| Passthrough::start(view).ok());
    // While the others are at work.
    let _ = cgroup::sweep(is_leaf_name);
    let mut watch = Watch { context, front, passthrough, flush_wait, concluded: None, outcome: None };
    if watch.until_the_end() {
        watch.finish_passthrough();
        let _ = waitpid(supervisor, Some(WaitPidFlag::WNOHANG));
        return Ok(watch.outcome.or_else(|| run.outcome()).unwrap_or_else(|| lost(&run)));
    }
    error!(run = run.id(), supervisor = supervisor.as_raw(), "supervisor lost");
    // The supervisor is gone, and nobody but us knows its children now.
    let _ = waitpid(supervisor, None);
    let apart: Vec<i32> =
        [Some(mirror), watch.passthrough.as_ref().map(|pass| pass.pid().as_raw())].into_iter().flatten().collect();
    let mut tree = Tree::of_orphans(Leaf::find(&leaf_name(&started)), &started.token, &apart);
    recover::end_orphans(&mut tree, run.id(), grace.min(Duration::from_secs(1)));
    watch.finish_passthrough();
    Ok(recover::interrupted(&run, history.as_ref(), "the agent's supervisor was killed while the script was running"))
}

/// What the caller sees meanwhile: output and progress, progress alone, or nothing.
fn view(context: &Context, job: &mut Job, log: File) -> std::io::Result<Option<View>> {
    let print = context.print;
    if print.json {
        return Ok(None);
    }
    let (log, output) = if print.quiet { (None, Output::Idle) } else { (Some(log), Output::Passed) };
    let (bell, board) = (Bell::new()?, Board::new()?);
    if log.is_some() {
        job.bells.push(bell.try_clone()?);
    }
    job.board = Some(board.try_clone()?);
    Ok(Some(View { log, bell, board, manner: Manner::of(print.terminal, output) }))
}

struct Watch<'a> {
    context: &'a Context,
    front: Channel<Order, Notice>,
    passthrough: Option<Passthrough>,
    flush_wait: Duration,
    concluded: Option<Instant>,
    outcome: Option<Outcome>,
}

impl Watch<'_> {
    /// Passes signals on until the run has ended. Returns whether the supervisor said so.
    fn until_the_end(&mut self) -> bool {
        loop {
            while let Some((signal, sender)) = signals::next(&self.context.signals) {
                match signal {
                    Signal::SIGTERM | Signal::SIGINT => {
                        info!(signal = signal.as_str(), sender, "signal received");
                        self.front.send(&Order::Stop(signal as i32), None);
                    }
                    // A child's end is seen through its channel; a dropped session ends nothing.
                    _ => {}
                }
            }
            match self.front.receive() {
                Received::Message(Notice::Concluded(since), tail) => {
                    // Its record may have taken long; no caller waits for that and then for a slow reader as well.
                    self.concluded = Instant::now().checked_sub(since);
                    if let Some(passthrough) = &self.passthrough {
                        passthrough.end(tail.map(File::from).as_ref());
                    }
                }
                Received::Message(Notice::Ended, outcome) => {
                    self.outcome = outcome.and_then(|file| read_outcome(file.into()));
                    return true;
                }
                Received::Closed => return false,
                Received::Nothing => {
                    let mut polls = [
                        PollFd::new(self.context.signals.as_fd(), PollFlags::POLLIN),
                        PollFd::new(self.front.as_fd(), PollFlags::POLLIN),
                    ];
                    let _ = ppoll(&mut polls, None, None);
                }
            }
        }
    }

    /// Gives a slow reader the rest of the flush wait for the rest of the output, and no more.
    fn finish_passthrough(&mut self) {
        let Some(passthrough) = self.passthrough.take() else { return };
        if self.concluded.is_none() {
            passthrough.end(None);
        }
        let until = self.concluded.unwrap_or_else(Instant::now) + self.flush_wait + SLACK;
        let left = until.saturating_duration_since(Instant::now());
        let mut polls = [PollFd::new(passthrough.poll_fd(), PollFlags::POLLIN)];
        let _ = ppoll(&mut polls, Some(left.into()), None);
        passthrough.stop();
    }
}

fn read_outcome(mut file: File) -> Option<Outcome> {
    let mut text = Vec::new();
    file.read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Where not even the outcome could be handed over, the least that can be said.
fn lost(run: &crate::record::state::RunDir) -> Outcome {
    let error = internal("the supervisor handed no outcome over", std::io::Error::other("see the state directory"));
    super::refuse::outcome_of(&error, Outcome::blank(run.id(), None, None))
}
