//! The script's output on the agent's own standard output, as it comes.
//!
//! A process of its own reads the spool and writes to the caller: a caller that stops reading, or whose
//! output is a file on a dead share, holds up nobody but this process. It tells progress, too: whoever writes
//! to a terminal is the one who can draw a line below what it has written.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::FileExt,
    },
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll, ppoll},
    sys::{signal::Signal, signalfd::SignalFd, wait::WaitPidFlag},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

use super::board::Board;
use crate::{
    show::progress::{Manner, Progress},
    sys::{
        bell::Bell,
        channel::{self, Channel, Received},
        descriptors, fork, signals,
    },
};

/// The process that writes to the caller, as the front sees it.
#[derive(Debug)]
pub struct Passthrough {
    pid: Pid,
    channel: Channel<Order, Done>,
    manner: Manner,
}

/// What the process is to pass through and to tell.
#[derive(Debug)]
pub struct View {
    /// The spool; `None` where the output is not wanted.
    pub log: Option<File>,
    /// Rings when the spool has grown.
    pub bell: Bell,
    /// Shows how far the run is.
    pub board: Board,
    /// How progress is told.
    pub manner: Manner,
}

#[derive(Debug, Serialize, Deserialize)]
enum Order {
    /// There will be no more output than this; the descriptor that comes along is the tail of too long a one.
    End,
    /// The run is over: make way.
    Leave,
}

/// All of the output was written.
#[derive(Debug, Serialize, Deserialize)]
struct Done {}

/// How long a terminal may take to lose its line.
const LEAVING: Duration = Duration::from_millis(200);

/// On a terminal, output is printed in pieces of so much time, each with the line below it.
const FRAME: Duration = Duration::from_millis(30);

impl Passthrough {
    /// Starts passing the log through to standard output, and telling progress on standard error.
    ///
    /// # Errors
    /// Where no process can be made.
    pub fn start(view: View) -> io::Result<Self> {
        let (ours, theirs) = channel::pair::<Order, Done>()?;
        let manner = view.manner;
        let pid = fork::spawn(|| {
            let kept = [theirs.as_fd(), view.bell.as_fd(), view.board.as_fd()];
            descriptors::close_all_but(&[&kept[..], view.log.as_ref().map(AsFd::as_fd).as_slice()].concat());
            let _ = nix::sys::prctl::set_name(c"ci-setup:pass");
            // Ctrl-C is for the front to answer: the output goes on until the run has ended.
            for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
                signals::ignore(signal);
            }
            // A reader that is gone ends this process, and nothing else.
            i32::from(Passing::new(view, theirs).and_then(Passing::pass).is_err())
        })?;
        Ok(Self { pid, channel: ours, manner })
    }

    /// Says that the log has reached its end, and how it goes on in the tail.
    pub fn end(&self, tail: Option<&File>) {
        self.channel.send(&Order::End, tail.map(AsFd::as_fd));
    }

    /// The process.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Readable when everything was written or the reader is gone.
    pub fn poll_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    /// Has the terminal cleared, and ends the process if it does not end by itself: the caller would wait for
    /// the end of the output otherwise.
    pub fn stop(self) {
        if let Manner::Live(..) = self.manner {
            while let Received::Message(..) = self.channel.receive() {}
            self.channel.send(&Order::Leave, None);
            let mut polls = [PollFd::new(self.channel.as_fd(), PollFlags::POLLIN)];
            let _ = ppoll(&mut polls, Some(LEAVING.into()), None);
        }
        let _ = nix::sys::signal::kill(self.pid, Signal::SIGKILL);
        let _ = nix::sys::wait::waitpid(self.pid, Some(WaitPidFlag::WNOHANG));
    }
}

/// The process itself.
struct Passing {
    log: Option<File>,
    bell: Bell,
    board: Board,
    channel: Channel<Done, Order>,
    /// SIGWINCH: the terminal has another size.
    resized: SignalFd,
    progress: Progress,
    at: u64,
    is_complete: bool,
    buffer: Vec<u8>,
    rests_until: Option<Instant>,
}

impl Passing {
    fn new(view: View, channel: Channel<Done, Order>) -> io::Result<Self> {
        let View { log, bell, board, manner } = view;
        let resized = signals::listen(&[Signal::SIGWINCH])?;
        Ok(Self {
            log,
            bell,
            board,
            channel,
            resized,
            progress: Progress::new(manner),
            at: 0,
            is_complete: false,
            buffer: vec![0; 64 * 1024],
            rests_until: None,
        })
    }

    fn pass(mut self) -> io::Result<()> {
        let passed = self.pass_all();
        self.progress.end();
        passed
    }

    fn pass_all(&mut self) -> io::Result<()> {
        loop {
            // First the notice, then the look: what comes in between rings again.
            self.bell.hush();
            let end = match self.channel.receive() {
                Received::Message(Order::End, tail) => Some(tail),
                Received::Nothing => None,
                // Or the front is gone, and with it whoever wanted to see this.
                Received::Message(Order::Leave, _) | Received::Closed => return Ok(()),
            };
            if signals::next(&self.resized).is_some() {
                self.progress.look_again();
            }
            if let Some(tail) = end {
                while self.print_piece()? {}
                if let (Some(tail), Some(_)) = (tail, &self.log) {
                    (self.log, self.at) = (Some(tail.into()), 0);
                    while self.print_piece()? {}
                }
                self.is_complete = true;
                self.progress.look_again();
                self.channel.send(&Done {}, None);
            }
            let rests = self.rests_until.is_some_and(|until| Instant::now() < until);
            let is_more = !self.is_complete && !rests && self.print_piece()?;
            if self.progress.is_due()
                && let Some(course) = self.board.look()
            {
                self.progress.tell(&course);
            }
            if !is_more {
                self.wait()?;
            }
        }
    }

    fn wait(&self) -> io::Result<()> {
        let rest = self.rests_until.map(|until| until.saturating_duration_since(Instant::now()));
        let rest = rest.filter(|rest| !rest.is_zero());
        let mut polls = vec![
            PollFd::new(self.channel.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.resized.as_fd(), PollFlags::POLLIN),
        ];
        if !self.is_complete && rest.is_none() {
            polls.push(PollFd::new(self.bell.as_fd(), PollFlags::POLLIN));
        }
        let longest = [rest, self.progress.pause()].into_iter().flatten().min();
        match ppoll(&mut polls, longest.map(Into::into), None) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Prints a piece of what the log has, if that is more than was printed. Returns whether there may be more.
    fn print_piece(&mut self) -> io::Result<bool> {
        let Some(log) = &self.log else { return Ok(false) };
        let count = log.read_at(&mut self.buffer, self.at)?;
        if count == 0 {
            return Ok(false);
        }
        self.progress.make_way();
        write_all(&self.buffer[..count])?;
        self.progress.printed(&self.buffer[..count]);
        self.at += count as u64;
        let is_more = count == self.buffer.len();
        if self.progress.shares_a_terminal() && !is_more {
            self.rests_until = Some(Instant::now() + FRAME);
        }
        Ok(is_more)
    }
}

fn write_all(mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        match nix::unistd::write(io::stdout().as_fd(), rest) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::EINTR) => {}
            // The caller made its end non-blocking: wait as a blocking write would.
            Err(Errno::EAGAIN) => {
                let stdout = io::stdout();
                let _ = poll(&mut [PollFd::new(stdout.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE);
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}
