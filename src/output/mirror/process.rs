//! What the mirror process does from its start to its end.

use std::{
    fs::File,
    io,
    os::fd::AsFd,
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, ppoll};

use super::{
    Order, Report,
    folder::{Folder, Rights, Target, is_blocked},
    pace::{Backoff, Pace},
    stream::{PIECE, Stream},
};
use crate::{
    request::Warning,
    sys::{
        bell::Bell,
        channel::{Channel, Received, Sent},
    },
};

/// The mirror's own state.
pub(super) struct Process {
    target: Target,
    channel: Option<Channel<Report, Order>>,
    bell: Bell,
    folder: Option<Folder>,
    rights: Rights,
    known: Option<String>,
    avoid: Vec<String>,
    streams: Vec<Stream>,
    documents: Vec<(String, File)>,
    buffer: Vec<u8>,
    is_finishing: bool,
    generation: u64,
    pace: Pace,
    backoff: Backoff,
    is_failing: bool,
    warned: bool,
}

/// What there is to do next.
enum Next {
    /// More, at once.
    Now,
    /// More, but not before this time has passed.
    After(Duration),
    /// Nothing until something new comes.
    Nothing,
}

impl Process {
    pub(super) fn new(target: Target, channel: Channel<Report, Order>, log: File, bell: Bell) -> Self {
        Self {
            known: target.resume.clone(),
            target,
            channel: Some(channel),
            bell,
            folder: None,
            rights: Rights::Users,
            avoid: Vec::new(),
            streams: vec![Stream::new("output.log", log)],
            documents: Vec::new(),
            buffer: Vec::new(),
            is_finishing: false,
            generation: 0,
            pace: Pace::default(),
            backoff: Backoff::default(),
            is_failing: false,
            warned: false,
        }
    }

    /// Runs until the supervisor is gone and nothing is left to do, or until the share fails after that.
    pub(super) fn run(&mut self) {
        loop {
            self.take_orders();
            let next = match self.work() {
                Ok(next) => next,
                Err(error) if self.may_try_as_root(&error) => continue,
                Err(error) => {
                    self.fail(&error);
                    if self.channel.is_none() {
                        return;
                    }
                    let pause = self.backoff.next();
                    self.pause(pause);
                    continue;
                }
            };
            match next {
                Next::Now => {}
                Next::After(time) => self.wait(Some(time)),
                Next::Nothing if self.channel.is_none() => return,
                Next::Nothing => self.wait(None),
            }
        }
    }

    /// One operation on the share at the most, in the order in which readers need things.
    fn work(&mut self) -> io::Result<Next> {
        if self.folder.is_none() {
            self.open_folder()?;
        }
        let mut later: Option<Duration> = None;
        for index in 0..self.streams.len() {
            let pending = self.streams[index].pending()?;
            if pending == 0 {
                continue;
            }
            let turn = self.pace.wait();
            // What is asked for at the end does not wait for its turn: the exit waits for it.
            if pending < PIECE && !turn.is_zero() && !self.is_finishing {
                later = Some(later.map_or(turn, |other| other.min(turn)));
                continue;
            }
            self.write_stream(index, pending)?;
            return Ok(Next::Now);
        }
        if !self.documents.is_empty() {
            self.write_document()?;
            return Ok(Next::Now);
        }
        if let Some(time) = later {
            return Ok(Next::After(time));
        }
        if self.is_finishing {
            return self.look_at_it();
        }
        Ok(Next::Nothing)
    }

    fn write_stream(&mut self, index: usize, pending: u64) -> io::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let stream = &mut self.streams[index];
        let is_turn = pending < PIECE || self.pace.wait().is_zero();
        if is_turn {
            stream.doubt_if_resized()?;
        }
        stream.write(folder, &mut self.buffer)?;
        if is_turn {
            self.pace.count();
            // Another client of the share sees what its server has.
            stream.sync()?;
        }
        self.succeed();
        self.report_progress();
        Ok(())
    }

    fn write_document(&mut self) -> io::Result<()> {
        let (Some(folder), Some((name, file))) = (&self.folder, self.documents.first()) else { return Ok(()) };
        let mut content = vec![0; file.metadata()?.len() as usize];
        file.read_exact_at(&mut content, 0)?;
        folder.replace(name, &content)?;
        self.documents.remove(0);
        self.succeed();
        Ok(())
    }

    /// At the end: everything is synced, and looked at through the share's names.
    fn look_at_it(&mut self) -> io::Result<Next> {
        for stream in &mut self.streams {
            stream.sync()?;
        }
        // By its names from the top, in case the folder itself was replaced.
        let fresh = Folder::open(&self.target, self.rights, self.known.as_deref(), &self.avoid)?;
        for stream in &mut self.streams {
            if !stream.verify(&fresh)? {
                self.folder = Some(fresh);
                return Ok(Next::Now);
            }
        }
        self.folder = Some(fresh);
        let report = Report::Complete { generation: self.generation, bytes: self.bytes() };
        if self.send(&report) == Sent::Full {
            return Ok(Next::After(Duration::from_millis(10)));
        }
        self.is_finishing = false;
        Ok(Next::Nothing)
    }

    fn open_folder(&mut self) -> io::Result<()> {
        let folder = Folder::open(&self.target, self.rights, self.known.as_deref(), &self.avoid)?;
        self.known = Some(folder.path.clone());
        self.folder = Some(folder);
        self.report_progress();
        Ok(())
    }

    /// Bytes of the output that are on the share: of the spool and of its tail.
    fn bytes(&self) -> u64 {
        self.streams.iter().map(|stream| stream.at).sum()
    }

    fn report_progress(&mut self) {
        if let Some(folder) = self.known.clone() {
            self.send(&Report::Progress { bytes: self.bytes(), folder });
        }
    }

    /// The user's rights come first at each new try; where they do not suffice, root's follow at once.
    fn may_try_as_root(&mut self, error: &io::Error) -> bool {
        let refused = error.kind() == io::ErrorKind::PermissionDenied;
        if !refused || self.target.user.is_none() || self.rights == Rights::Roots {
            return false;
        }
        self.rights = Rights::Roots;
        self.folder = None;
        self.streams.iter_mut().for_each(Stream::close);
        true
    }

    fn succeed(&mut self) {
        if self.rights == Rights::Roots && !self.warned {
            self.warned = true;
            self.send(&Report::Warning(Warning::new(
                "mirror-as-root",
                "the rights of the instance's user do not suffice to write logs to the share; root's are used",
                "let the user write to `Logs` on the share",
            )));
        }
        self.is_failing = false;
        self.backoff = Backoff::default();
    }

    fn fail(&mut self, error: &io::Error) {
        if is_blocked(error)
            && let Some(folder) = self.folder.take()
        {
            // Somebody put something in our way, in our own folder: a new one, and all of it again.
            self.avoid.push(folder.path);
            self.known = None;
        }
        self.folder = None;
        self.rights = Rights::Users;
        for stream in &mut self.streams {
            stream.doubt();
        }
        if !self.is_failing {
            self.is_failing = true;
            self.send(&Report::Failing { why: error.to_string() });
        }
    }

    /// Tells the supervisor. Progress that does not fit is left out: the next one says more.
    fn send(&self, report: &Report) -> Sent {
        self.channel.as_ref().map_or(Sent::Closed, |channel| channel.send(report, None))
    }

    fn take_orders(&mut self) {
        self.bell.hush();
        while let Some(channel) = &self.channel {
            match channel.receive() {
                Received::Nothing => return,
                Received::Closed => {
                    self.channel = None;
                    self.is_finishing = true;
                }
                Received::Message(order, file) => {
                    self.generation += 1;
                    match (order, file) {
                        (Order::Document(name), Some(file)) => {
                            self.documents.retain(|(waiting, _)| *waiting != name);
                            self.documents.push((name, file.into()));
                        }
                        (Order::Stream(name), Some(file)) => self.streams.push(Stream::new(&name, file.into())),
                        (Order::Finish, _) => self.is_finishing = true,
                        (Order::Document(_) | Order::Stream(_), None) => {}
                    }
                }
            }
        }
    }

    /// Waits for news, at most `longest`.
    fn wait(&self, longest: Option<Duration>) {
        let mut polls = vec![PollFd::new(self.bell.as_fd(), PollFlags::POLLIN)];
        polls.extend(self.channel.as_ref().map(|channel| PollFd::new(channel.as_fd(), PollFlags::POLLIN)));
        if longest.is_some() {
            // The turn comes with time; what has grown meanwhile is written then.
            polls.remove(0);
        }
        let _ = ppoll(&mut polls, longest.map(Into::into), None);
    }

    /// Waits out a pause, and ends it early only when the supervisor is gone.
    fn pause(&mut self, pause: Duration) {
        let end = Instant::now() + pause;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || self.channel.is_none() {
                return;
            }
            self.wait(Some(left));
            self.take_orders();
        }
    }
}
