//! Work done aside: in a process of its own that can be left behind.
//!
//! A thread in an uninterruptible wait keeps its whole process from ending. So whatever may hang in the
//! kernel (a dead share, a lock) is done by a child that shares nothing with its parent but a channel.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, ppoll},
    sys::{
        signal::Signal,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    channel::{self, Channel, Received, Sent},
    descriptors, fork, signals,
};

/// What came of work done aside.
#[derive(Debug)]
pub enum Answer<T> {
    /// Its result, and the descriptor it sent along.
    Done(T, Option<OwnedFd>),
    /// Time was up first; the process is left behind.
    TooLate,
    /// `stop` became readable first; the process is left behind.
    StopAsked,
    /// It ended without a result.
    Died,
}

/// What a job hands back: a small result, and a file for what is large.
pub type Result<T> = (T, Option<File>);

/// Does `job` in a process of its own and waits for its result, at most `patience`, or until `stop` is
/// readable.
///
/// # Errors
/// Where no process can be made.
pub fn ask<T: Serialize + DeserializeOwned>(
    name: &std::ffi::CStr,
    patience: Option<Duration>,
    stop: Option<BorrowedFd<'_>>,
    job: impl FnOnce() -> Result<T>,
) -> io::Result<Answer<T>> {
    ask_with(name, patience, stop, &[], job)
}

/// As [`ask`], for a job that needs some of this process's descriptors.
///
/// # Errors
/// Where no process can be made.
pub fn ask_with<T: Serialize + DeserializeOwned>(
    name: &std::ffi::CStr,
    patience: Option<Duration>,
    stop: Option<BorrowedFd<'_>>,
    kept: &[BorrowedFd<'_>],
    job: impl FnOnce() -> Result<T>,
) -> io::Result<Answer<T>> {
    let (answers, question): (Channel<(), T>, Channel<T, ()>) = channel::pair()?;
    let pid = fork::spawn(|| {
        descriptors::close_all_but(&[&[question.as_fd()], kept].concat());
        detach(name);
        let (result, file) = job();
        question.send(&result, file.as_ref().map(AsFd::as_fd));
        0
    })?;
    drop(question);
    let answer = wait(&answers, patience.map(|patience| Instant::now() + patience), stop);
    if !matches!(answer, Ok(Answer::Done(..) | Answer::Died)) {
        // It may not die of this before what it waits for lets go of it.
        let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
    }
    reap(pid);
    answer
}

fn wait<T: DeserializeOwned>(
    answers: &Channel<(), T>,
    deadline: Option<Instant>,
    stop: Option<BorrowedFd<'_>>,
) -> io::Result<Answer<T>> {
    let mut stop_is_asked = false;
    loop {
        match answers.receive() {
            Received::Message(result, file) => return Ok(Answer::Done(result, file)),
            Received::Closed => return Ok(Answer::Died),
            Received::Nothing if stop_is_asked => return Ok(Answer::StopAsked),
            Received::Nothing => {}
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Ok(Answer::TooLate);
        }
        let mut polls = vec![PollFd::new(answers.as_fd(), PollFlags::POLLIN)];
        polls.extend(stop.map(|stop| PollFd::new(stop, PollFlags::POLLIN)));
        match ppoll(&mut polls, left.map(Into::into), None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        stop_is_asked = polls.get(1).is_some_and(|poll| poll.any() == Some(true));
    }
}

/// Does `job` for each of `items` in a process of its own. `None` for one that takes longer than `patience`: that
/// process is killed, and another one goes on behind it. After the second such one there is no more patience.
pub fn each<T: Serialize + DeserializeOwned>(
    name: &std::ffi::CStr,
    items: &[i32],
    patience: Duration,
    job: impl Fn(i32) -> T,
) -> Vec<Option<T>> {
    const MOST_LATE: u32 = 2;
    let mut results = Vec::with_capacity(items.len());
    let mut late = 0;
    while results.len() < items.len() && late < MOST_LATE {
        let rest = &items[results.len()..];
        let Ok((answers, question)) = channel::pair::<(), T>() else { break };
        let made = fork::spawn(|| {
            descriptors::close_all_but(&[question.as_fd()]);
            detach(name);
            for item in rest {
                let result = job(*item);
                while question.send(&result, None) == Sent::Full {
                    let mut polls = [PollFd::new(question.as_fd(), PollFlags::POLLOUT)];
                    let _ = ppoll(&mut polls, None, None);
                }
            }
            0
        });
        let Ok(pid) = made else { break };
        drop(question);
        let is_through = loop {
            if results.len() == items.len() {
                break true;
            }
            match wait(&answers, Some(Instant::now() + patience), None) {
                Ok(Answer::Done(result, _)) => results.push(Some(result)),
                Ok(Answer::TooLate | Answer::StopAsked | Answer::Died) | Err(_) => break false,
            }
        };
        if !is_through {
            late += 1;
            results.push(None);
            let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
        }
        reap_soon(pid);
    }
    results.resize_with(items.len(), || None);
    results
}

/// Collects the exit status of a child that was killed or is done, and gives up on one that cannot die.
fn reap_soon(pid: Pid) {
    const LONGEST: Duration = Duration::from_millis(200);
    let until = Instant::now() + LONGEST;
    while matches!(waitpid(pid, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive)) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Does `body` in a process that is nobody's child: it is adopted by the nearest subreaper, who may meet its
/// end in a `wait`. Of the caller's descriptors it holds `kept` alone, and it is deaf to the signals that
/// stop the agent.
///
/// # Errors
/// Where no process can be made.
pub fn leave(name: &std::ffi::CStr, kept: &[BorrowedFd<'_>], body: impl FnOnce()) -> io::Result<()> {
    let between = fork::spawn(|| {
        let made = fork::spawn(|| {
            descriptors::close_all_but(kept);
            detach(name);
            for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGPIPE] {
                signals::ignore(signal);
            }
            body();
            0
        });
        i32::from(made.is_err())
    })?;
    waitpid(between, None)?;
    Ok(())
}

/// A process of the agent's that may outlive its parent: without the caller's terminal and pipes, so that
/// nobody waits for it, and under a name that `ps` shows.
pub fn detach(name: &std::ffi::CStr) {
    let _ = nix::sys::prctl::set_name(name);
    let _ = nix::unistd::setsid();
    let _ = nix::unistd::chdir("/");
    if let Ok(null) = descriptors::null() {
        let _ = descriptors::install_stdio([null.as_fd(); 3]);
    }
}

/// Collects the exit status of a child that ends in the next moment, and does not wait for one that hangs.
fn reap(pid: Pid) {
    let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
}
