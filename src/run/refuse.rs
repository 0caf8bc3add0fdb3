//! Refusals: nothing runs, nothing is used up, and the reason is told wherever somebody may look for it.

use std::{
    fs::File,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use nix::poll::{PollFd, PollFlags, ppoll};
use tracing::warn;

use super::{Context, prepare};
use crate::{
    cli::Call,
    error::{Code, Error},
    log,
    output::mirror::{Mirror, Target},
    page,
    record::{
        Outcome,
        names::DETAILS,
        outcome::{self, ErrorReport, Instance, ScriptKind, State},
        redaction::Redaction,
        state::{Durability, RunDir, StateDir, stamp, timestamp, to_json},
    },
    request::{Identity, Request},
    script::share::Share,
    settings::{Given, STATE, Settings},
    show,
    sys::{bell::Bell, descriptors::memory_file, users::User},
};

/// What is known when a request is refused: enough to tell the reason in the right place.
#[derive(Debug, Default)]
pub(super) struct Known {
    state: Option<std::path::PathBuf>,
    share: Option<std::path::PathBuf>,
    name: Option<String>,
    flush_wait: Option<Duration>,
    pub(super) identity: Option<Identity>,
    pub(super) user: Option<String>,
    pub(super) script: Option<ScriptKind>,
}

impl Known {
    /// What options and their variables say.
    pub(super) fn given(&mut self, given: &Given) {
        self.state = Some(given.state.clone().unwrap_or_else(|| STATE.into()));
        self.share.clone_from(&given.share);
        self.name.clone_from(&given.identity.name);
        self.flush_wait = given.flush_wait;
    }

    /// What is settled.
    pub(super) fn settled(&mut self, settings: &Settings) {
        self.state = Some(settings.state.clone());
        self.share.clone_from(&settings.share);
        self.name = self.name.take().or_else(|| settings.configured_identity.name.clone());
        self.flush_wait = Some(settings.flush_wait);
    }

    /// What the request says of the instance's name.
    pub(super) fn request(&mut self, request: &Request) {
        let by_id = request.id.as_ref().map(|id| id.name.clone());
        self.name = self.name.take().or(by_id).or_else(|| request.name.clone());
    }

    /// The instance's name, if it is one: it becomes the name of a folder.
    fn valid_name(&self) -> Option<String> {
        let name = self.identity.as_ref().map(|identity| identity.name().to_owned()).or_else(|| self.name.clone())?;
        Identity::new("any", "any", &name).is_ok().then_some(name)
    }
}

/// Tells a refusal of the request as a whole and returns the exit code.
pub(super) fn refuse(error: &Error, known: &Known, call: &Call) -> u8 {
    let word = known.script.map_or("request", ScriptKind::word);
    let user = known.user.clone().unwrap_or_else(|| "azureuser".into());
    let instance = known.identity.clone().map(|identity| Instance { identity, user: user.clone() });
    let state = known.state.as_ref().and_then(|state| StateDir::open(state).ok());
    let run = state.and_then(|state| state.create_run(word, SystemTime::now()).ok());
    // A state directory that cannot be written is no reason to keep it from the share.
    let stamp = run.as_ref().and_then(RunDir::stamp).map_or_else(|| stamp(SystemTime::now()), str::to_owned);
    let id = run.as_ref().map_or_else(|| format!("{word}-{stamp}"), |run| run.id().to_owned());
    let mut outcome = outcome_of(error, Outcome::blank(&id, known.script, instance));
    if let Some(run) = &run {
        let _ = run.write_outcome(&outcome, Durability::Relaxed);
        page::keep::keep(run, &outcome);
    }
    if let Some(name) = known.valid_name() {
        let share = Share::of(&name, &user, known.share.as_deref());
        let target = Target {
            ground: share.ground(),
            share: share.root,
            name,
            word: word.into(),
            stamp,
            resume: None,
            user: User::named(&user),
        };
        let patience = known.flush_wait.unwrap_or(Duration::from_secs(30));
        mirror(target, run.as_ref(), &mut outcome, None, patience);
    }
    // Where it was refused before anybody could say whose log it belongs to.
    log::start(known.state.as_deref().unwrap_or(Path::new(STATE)));
    warn!(run = id, code = %error.code, exit_code = error.exit_code(), "request refused");
    show::print_error(error);
    if call.print.json {
        let _ = show::print_json(&outcome);
    }
    outcome.exit_code.unwrap_or_else(|| error.exit_code())
}

/// Writes down that a script was refused, here and on the share, and returns the outcome.
pub(super) fn record(context: &Context, run: &RunDir, error: &Error, outcome: Outcome) -> Outcome {
    warn!(run = run.id(), code = %error.code, exit_code = error.exit_code(), "script refused");
    let mut outcome = outcome_of(error, outcome);
    let _ = run.write_outcome(&outcome, Durability::Synced);
    page::keep::keep(run, &outcome);
    let word = outcome.script.map_or("request", ScriptKind::word);
    let (target, settings) = (prepare::target(context, word, run), &context.settings);
    let redaction = Some(settings.redaction);
    mirror(target, Some(run), &mut outcome, redaction, settings.flush_wait);
    outcome
}

/// The outcome of a refusal.
pub(super) fn outcome_of(error: &Error, mut outcome: Outcome) -> Outcome {
    outcome.state = if error.code == Code::Stopped { State::Interrupted } else { State::Rejected };
    outcome.exit_code = Some(error.exit_code());
    outcome.error = Some(ErrorReport::from(error));
    outcome.ended_at = Some(timestamp(SystemTime::now()));
    outcome
}

/// Brings a refusal to the share. A share that does not take it at once is left to `sync`: nothing ran, and
/// the caller wants to know that now.
fn mirror(
    target: Target,
    run: Option<&RunDir>,
    outcome: &mut Outcome,
    redaction: Option<Redaction>,
    patience: Duration,
) {
    let Ok(bell) = Bell::new() else { return };
    let Ok(log) = memory_file(c"log", b"") else { return };
    if run.is_some_and(|run| write_empty_log(run).is_err()) {
        return;
    }
    let Ok(mut mirror) = Mirror::start(target, log, bell) else { return };
    outcome.output.mirror = outcome::Mirror::Current;
    let public = redaction.map_or_else(|| outcome.clone(), |redaction| redaction.of(outcome));
    if let Ok(file) = memory_file(c"outcome", &to_json(&public)) {
        mirror.document("outcome.json", file);
    }
    // Where no configuration could be read, nobody said that anything may be shown.
    let shows = redaction.unwrap_or(Redaction { shows_script: false, shows_arguments: false });
    if let Some(page) = page::keep::for_share(run, outcome, shows) {
        mirror.document(DETAILS, page);
    }
    let until = Instant::now() + patience;
    let is_there = finish(&mut mirror, until);
    outcome.output.mirror_path.clone_from(&mirror.folder);
    if !is_there {
        outcome.output.mirror = outcome::Mirror::None;
    } else if let Some(list) = run.and_then(|run| page::keep::list_for_share(run, outcome)) {
        // Only now is it known where it leads.
        mirror.list(list);
        finish(&mut mirror, until);
    }
    outcome.output.mirrored_bytes = mirror.bytes;
    if let Some(run) = run {
        let _ = run.write_outcome(outcome, Durability::Relaxed);
        page::keep::keep(run, outcome);
    }
    mirror.abandon();
}

/// Waits until the share has everything. Returns whether it has.
fn finish(mirror: &mut Mirror, until: Instant) -> bool {
    mirror.finish();
    while !mirror.is_complete() && mirror.is_alive() && mirror.failing.is_none() {
        let left = until.saturating_duration_since(Instant::now());
        let Some(fd) = mirror.poll_fd().filter(|_| !left.is_zero()) else { break };
        let _ = ppoll(&mut [PollFd::new(fd, PollFlags::POLLIN)], Some(left.into()), None);
        mirror.pump();
    }
    mirror.is_complete()
}

fn write_empty_log(run: &RunDir) -> std::io::Result<()> {
    let path = run.file(crate::output::spool::LOG);
    crate::record::state::private(&path).create(true).truncate(false).open(path).map(|_: File| ())
}
