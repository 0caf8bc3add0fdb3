//! What the mirror process does from its start to its end.

use std::{
    fs::File,
    io,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, ppoll};

use super::{
    Order, Report,
    documents::{Documents, Place},
    folder::{Above, Folder, Rights, Target, is_blocked},
    pace::{Backoff, Pace},
    stream::{Stream, Want},
};
use crate::{
    error::reason,
    record::names::INDEX,
    request::Warning,
    script::share::Ground,
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
    documents: Documents,
    buffer: Vec<u8>,
    is_finishing: bool,
    generation: u64,
    pace: Pace,
    backoff: Backoff,
    is_failing: bool,
    warned: bool,
    /// Whether it was told that the list of runs is not written.
    told_of_list: bool,
    /// What the share was last asked for, to know what a failure casts doubt on.
    doing: Doing,
}

#[derive(Clone, Copy)]
enum Doing {
    Folder,
    Stream(usize),
    Document,
    Look,
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
            documents: Documents::default(),
            buffer: Vec::new(),
            is_finishing: false,
            generation: 0,
            pace: Pace::default(),
            backoff: Backoff::default(),
            is_failing: false,
            warned: false,
            told_of_list: false,
            doing: Doing::Folder,
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
            self.doing = Doing::Folder;
            self.open_folder()?;
        }
        let mut later: Option<Duration> = None;
        if let Some(document) = self.documents.next()
            && !self.is_finishing
            && !document.is_first
            && self.pace.document_waits(document.since).is_zero()
        {
            // Output that would take each turn is not let.
            self.doing = Doing::Document;
            self.write_document()?;
            return Ok(Next::Now);
        }
        for index in 0..self.streams.len() {
            let want = self.streams[index].want()?;
            let turn = match want {
                Want::Nothing => continue,
                Want::WriteAtOnce => Duration::ZERO,
                // Looked at again before the turn comes where a whole piece, or many, may be there by then.
                Want::WriteWhole(pieces) => self.pace.whole_waits(pieces).min(self.streams[index].fills_after()?),
                Want::Write => self.pace.output_waits().min(self.streams[index].fills_after()?),
                // What is asked for at the end does not wait for its turn: the exit waits for it.
                Want::Sync if self.is_finishing => Duration::ZERO,
                Want::Sync => self.pace.sync_waits(),
            };
            if turn.is_zero() {
                self.doing = Doing::Stream(index);
                self.serve(index, want)?;
                return Ok(Next::Now);
            }
            later = Some(later.map_or(turn, |other| other.min(turn)));
        }
        if let Some(document) = self.documents.next() {
            let at_once = self.is_finishing || document.is_first;
            let turn = if at_once { Duration::ZERO } else { self.pace.document_waits(document.since) };
            if turn.is_zero() {
                self.doing = Doing::Document;
                self.write_document()?;
                return Ok(Next::Now);
            }
            later = Some(later.map_or(turn, |other| other.min(turn)));
        }
        if self.is_finishing {
            self.doing = Doing::Look;
            return self.look_at_it();
        }
        Ok(later.map_or(Next::Nothing, Next::After))
    }

    /// Writes the next piece of a stream, or has the share take note of those before.
    fn serve(&mut self, index: usize, want: Want) -> io::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let stream = &mut self.streams[index];
        let channel = self.channel.as_ref();
        let alive = || {
            channel.map(|channel| channel.send(&Report::Looking, None));
        };
        // Large pieces follow each other; the share is asked what it has as often as with small ones.
        let is_large = matches!(want, Want::WriteAtOnce | Want::WriteWhole(_));
        let is_turn = !is_large || self.pace.sync_waits().is_zero();
        if is_turn {
            stream.doubt_if_resized()?;
        }
        let written = stream.write(folder, &mut self.buffer, &alive);
        // Counted from its end: on its way to the share it may have been held up.
        match want {
            Want::WriteWhole(_) => self.pace.whole(),
            Want::WriteAtOnce | Want::Write => self.pace.output(),
            Want::Sync | Want::Nothing => {}
        }
        written?;
        if is_turn {
            self.pace.sync();
            // Another client of the share sees what its server has.
            stream.sync()?;
        }
        self.succeed();
        self.report_progress();
        Ok(())
    }

    fn write_document(&mut self) -> io::Result<()> {
        let (Some(folder), Some(document)) = (&self.folder, self.documents.next()) else { return Ok(()) };
        let written = document.write(folder);
        self.pace.document();
        let is_last_try = self.target.user.is_none() || self.rights == Rights::Roots;
        let written = match written {
            // What is at the list's name is in nobody's way but its own.
            Err(error)
                if document.place() == Place::Instance
                    && (is_blocked(&error) || is_last_try && error.kind() == io::ErrorKind::PermissionDenied) =>
            {
                document.settle();
                Above::NotOurs
            }
            result => result?,
        };
        if written == Above::NotOurs && !self.told_of_list {
            self.told_of_list = true;
            let path = format!("Logs/{}/{}", self.target.name, INDEX);
            self.send(&Report::Warning(Warning::new(
                "list-not-written",
                format!("the list of runs is not written: `{path}` on the share is somebody else's"),
                format!("rename or remove `{path}`"),
            )));
        }
        self.succeed();
        self.report_progress();
        Ok(())
    }

    /// At the end: everything is synced, and looked at through the share's names.
    fn look_at_it(&mut self) -> io::Result<Next> {
        for stream in &mut self.streams {
            stream.sync()?;
        }
        // By its names from the top, in case the folder itself was replaced.
        let fresh = Folder::open(&self.target, self.rights, self.known.as_deref(), &self.avoid)?;
        let channel = self.channel.as_ref();
        let alive = || {
            channel.map(|channel| channel.send(&Report::Looking, None));
        };
        let mut is_right = true;
        for stream in &mut self.streams {
            is_right = is_right && stream.verify(&fresh, &alive)?;
        }
        is_right &= self.documents.verify(&fresh)?;
        self.folder = Some(fresh);
        if !is_right {
            return Ok(Next::Now);
        }
        let report = Report::Complete { generation: self.generation, bytes: self.bytes() };
        if self.send(&report) == Sent::Full {
            return Ok(Next::After(Duration::from_millis(10)));
        }
        self.is_finishing = false;
        self.succeed();
        Ok(Next::Now)
    }

    fn open_folder(&mut self) -> io::Result<()> {
        let folder = Folder::open(&self.target, self.rights, self.known.as_deref(), &self.avoid)?;
        if folder.is_on_mount {
            self.target.ground = Ground::Mount;
        }
        if self.known.as_ref().is_some_and(|known| *known != folder.path) {
            self.streams.iter_mut().for_each(Stream::doubt);
        }
        self.known = Some(folder.path.clone());
        self.folder = Some(folder);
        if !self.is_failing {
            self.report_progress();
        }
        Ok(())
    }

    /// Bytes of the output that are on the share: of the spool and of its tail.
    fn bytes(&self) -> u64 {
        self.streams.iter().map(Stream::known).sum()
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
            self.streams.iter_mut().for_each(Stream::doubt);
            self.documents.doubt();
        }
        self.folder = None;
        self.rights = Rights::Users;
        match self.doing {
            // What is open stays so; whether it is still good is seen at its next use.
            Doing::Folder | Doing::Document => {}
            Doing::Stream(index) => self.streams[index].doubt(),
            Doing::Look => self.streams.iter_mut().for_each(Stream::doubt),
        }
        if !self.is_failing {
            self.is_failing = true;
            self.send(&Report::Failing { why: reason(error) });
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
                    self.finish();
                }
                Received::Message(order, file) => {
                    self.generation += 1;
                    match (order, file) {
                        (Order::Document(name), Some(file)) => self.documents.take(name, Place::Run, file.into()),
                        (Order::List, Some(file)) => {
                            self.documents.take(INDEX.into(), Place::Instance, file.into());
                        }
                        (Order::Stream(name), Some(file)) => {
                            // Output that leftovers wrote after the end makes another tail.
                            self.streams.retain(|stream| stream.name != name);
                            self.streams.push(Stream::new(&name, file.into()));
                        }
                        (Order::Finish, _) => self.finish(),
                        (Order::Document(_) | Order::List | Order::Stream(_), None) => {}
                    }
                }
            }
        }
    }

    fn finish(&mut self) {
        self.is_finishing = true;
        self.streams.iter_mut().for_each(Stream::set_goal);
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
