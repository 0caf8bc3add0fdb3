//! Progress: one line below the output on a terminal, a sentence now and then in a log (CONTRACT 2).
//!
//! It goes to standard error. Whoever draws it is also the one that prints the output, if that goes to the
//! same terminal, so that neither comes into the middle of the other. No cursor is hidden and no mode is set:
//! a process that is killed leaves nothing to be put right but the line itself.

mod below;
mod course;
mod trail;

use std::{
    io,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::stat::{SFlag, fstat},
};

use self::below::{Below, Size};
pub use self::course::{Colours, Course, CurrentStep, Phase, cut, place};
use crate::cli::Terminal;

/// How progress is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Manner {
    /// One line on a terminal, kept up to date.
    Live(Colours, Stage),
    /// A sentence at intervals, for a log.
    Sentences,
    /// Not at all.
    Silent,
}

/// Whose the terminal is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// The output's, below which there is the line.
    Shared,
    /// The line's alone. What goes elsewhere does not wait for it.
    Own,
}

/// What standard output is used for meanwhile.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Output {
    /// The script's output.
    Passed,
    /// Nothing, or not before progress has ended.
    Idle,
}

impl Manner {
    /// What suits standard error, and what the environment says of it.
    pub fn of(terminal: Terminal, output: Output) -> Self {
        let stderr = io::stderr();
        let is_terminal = nix::unistd::isatty(&stderr).unwrap_or(false);
        let stage = match output {
            Output::Passed if nix::unistd::isatty(io::stdout()).unwrap_or(false) => Stage::Shared,
            Output::Passed | Output::Idle => Stage::Own,
        };
        // Whoever reads the pipe may print to this very terminal: `run | tee log`.
        let is_shared = output == Output::Passed && is_pipe(io::stdout());
        match terminal {
            Terminal::Coloured if is_terminal && !is_shared => Self::Live(Colours::Yes, stage),
            Terminal::Plain if is_terminal && !is_shared => Self::Live(Colours::No, stage),
            Terminal::Coloured | Terminal::Plain | Terminal::Dumb => Self::Sentences,
        }
    }
}

fn is_pipe(descriptor: impl AsFd) -> bool {
    let kind = fstat(descriptor).map_or(SFlag::empty(), |stat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT);
    kind == SFlag::S_IFIFO || kind == SFlag::S_IFSOCK
}

/// Before that no line is drawn: what is over at once needs none, nor does a copy that is made at once.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often the line is drawn anew, its times being in seconds.
const TICK: Duration = Duration::from_secs(1);

/// Progress as it is told.
#[derive(Debug)]
pub struct Progress {
    manner: Manner,
    since: Instant,
    below: Below,
    /// When the line was last drawn.
    drawn: Option<Instant>,
    /// What the run was last seen at, and since when.
    phase: (Phase, Instant),
    /// When the next sentence is due, counted from the script's start; `None` before the first look.
    due: Option<Duration>,
    /// When that is, or when to look again.
    look_at: Instant,
    /// Whether the output's last line, where there are sentences, has not ended.
    is_within_a_line: bool,
}

impl Progress {
    /// Begins. Nothing is printed yet.
    pub fn new(manner: Manner) -> Self {
        let now = Instant::now();
        Self {
            manner,
            since: now,
            below: Below::new(),
            drawn: None,
            phase: (Phase::Pending, now),
            due: None,
            look_at: now,
            is_within_a_line: false,
        }
    }

    /// Makes room for output. Call it before output is printed.
    pub fn make_way(&mut self) {
        if self.shares_a_terminal() {
            self.erase();
        }
    }

    fn erase(&mut self) {
        self.leave_if_behind();
        let erased = self.below.erase();
        self.print(&erased);
        self.drawn = None;
    }

    /// Takes note of output that was printed.
    pub fn printed(&mut self, output: &[u8]) {
        match self.manner {
            Manner::Live(_, Stage::Shared) => self.below.take(output),
            Manner::Sentences => self.is_within_a_line = output.last().is_some_and(|last| *last != b'\n'),
            Manner::Live(_, Stage::Own) | Manner::Silent => {}
        }
    }

    /// Tells what is due. Call it when something has happened, and after [`Progress::pause`].
    pub fn tell(&mut self, course: &Course) {
        if self.phase.0 != course.phase {
            self.phase = (course.phase, Instant::now());
            self.drawn = None;
        }
        match self.manner {
            Manner::Live(colours, _) => self.draw(course, colours),
            Manner::Sentences => self.say(course),
            Manner::Silent => {}
        }
    }

    /// Whether it is time for a look at how far the run is.
    pub fn is_due(&self) -> bool {
        match self.manner {
            Manner::Silent => false,
            Manner::Live(..) => self.drawn.is_none_or(|drawn| drawn.elapsed() >= TICK),
            Manner::Sentences => self.look_at <= Instant::now(),
        }
    }

    /// The longest time until the next look.
    pub fn pause(&self) -> Option<Duration> {
        /// Where the last look gave nothing to be told.
        const SHORT: Duration = Duration::from_millis(100);
        match (self.manner, self.drawn) {
            (Manner::Silent, _) => None,
            (Manner::Live(..), Some(drawn)) => Some(TICK.saturating_sub(drawn.elapsed())),
            (Manner::Live(..), None) => Some(PATIENCE.saturating_sub(self.since.elapsed()).max(SHORT)),
            (Manner::Sentences, _) => Some(self.look_at.saturating_duration_since(Instant::now()).max(SHORT)),
        }
    }

    /// Whether progress and output share a terminal, so that output is better printed in larger pieces.
    pub fn shares_a_terminal(&self) -> bool {
        matches!(self.manner, Manner::Live(_, Stage::Shared))
    }

    /// Draws the line anew at the next look: the terminal has another size, or the run is at something else.
    pub fn look_again(&mut self) {
        self.drawn = None;
    }

    /// Takes the line away for good.
    pub fn end(&mut self) {
        if let Manner::Live(..) = self.manner {
            self.leave_if_behind();
            let ended = self.below.end();
            self.print(&ended);
        }
    }

    fn draw(&mut self, course: &Course, colours: Colours) {
        let (phase, since) = self.phase;
        if phase == Phase::Copying && since.elapsed() < PATIENCE {
            return self.erase();
        }
        if self.since.elapsed() < PATIENCE || self.drawn.is_some_and(|drawn| drawn.elapsed() < TICK) {
            return;
        }
        self.drawn = Some(Instant::now());
        if self.leave_if_behind() {
            return;
        }
        let size = size();
        // Room for the `^C` that the terminal may echo.
        let line = course.line(size.columns.saturating_sub(3), colours);
        let drawn = self.below.draw(&line, size);
        self.print(&drawn);
    }

    /// Somebody may have stopped the terminal, with Ctrl-S.
    fn print(&self, text: &str) {
        if self.shares_a_terminal() || can_take_a_line() {
            print(text);
        }
    }

    /// Leaves the terminal alone where this process is in the background: a shell and its prompt own it then.
    fn leave_if_behind(&mut self) -> bool {
        let is_behind = nix::unistd::tcgetpgrp(io::stderr()).is_ok_and(|group| group != nix::unistd::getpgrp());
        if is_behind {
            self.below.forget();
        }
        is_behind
    }

    fn say(&mut self, course: &Course) {
        let due = *self.due.get_or_insert_with(|| next_mark(course.elapsed));
        self.look_at = Instant::now() + due.saturating_sub(course.elapsed);
        if course.elapsed < due {
            return;
        }
        if let Some(sentence) = course.sentence().filter(|_| can_take_a_line()) {
            // In a log that both share, a sentence has a line of its own.
            let line_end = if self.is_within_a_line && is_one_file() { "\n" } else { "" };
            super::eprintln(&format!("{line_end}note: {sentence}"));
        }
        let next = next_mark(course.elapsed);
        (self.due, self.look_at) = (Some(next), Instant::now() + next.saturating_sub(course.elapsed));
    }
}

/// The next time that is worth a sentence.
fn next_mark(elapsed: Duration) -> Duration {
    const FIRST: [u64; 3] = [30, 60, 120];
    const EVERY: u64 = 300;
    let seconds = elapsed.as_secs();
    let mark = FIRST.into_iter().find(|mark| *mark > seconds).unwrap_or((seconds / EVERY + 1) * EVERY);
    Duration::from_secs(mark)
}

/// Whether standard error takes a line without making us wait: whoever reads it may have stopped.
fn can_take_a_line() -> bool {
    let stderr = io::stderr();
    let mut polls = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    poll(&mut polls, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// Whether standard output and standard error are the same.
fn is_one_file() -> bool {
    let [out, err] = [fstat(io::stdout()), fstat(io::stderr())].map(|stat| stat.map(|stat| (stat.st_dev, stat.st_ino)));
    out.is_ok() && out == err
}

fn size() -> Size {
    let size = terminal_size::terminal_size_of(io::stderr()).map(|(columns, rows)| (columns.0, rows.0));
    // A serial line does not know.
    let (columns, rows) = size.filter(|(columns, rows)| *columns > 0 && *rows > 0).unwrap_or((80, 24));
    Size { columns: columns.into(), rows: rows.into() }
}

/// A terminal that has gone away is no reason to stop.
fn print(text: &str) {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let stderr = io::stderr();
        match nix::unistd::write(&stderr, rest) {
            Ok(count) => rest = &rest[count..],
            Err(nix::errno::Errno::EINTR) => {}
            Err(nix::errno::Errno::EAGAIN) => {
                let _ = poll(&mut [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE);
            }
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_come_at_sensible_intervals() {
        let mut marks = vec![Duration::ZERO];
        while marks.len() < 8 {
            marks.push(next_mark(*marks.last().unwrap()));
        }
        let seconds: Vec<u64> = marks.iter().map(Duration::as_secs).collect();
        assert_eq!(seconds, [0, 30, 60, 120, 300, 600, 900, 1200]);
        assert_eq!(next_mark(Duration::from_secs_f64(59.9)).as_secs(), 60);
        assert_eq!(next_mark(Duration::from_secs(3601)).as_secs(), 3900);
    }
}
