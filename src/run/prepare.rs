//! One script from its request to the fork: found, checked, given its place, its environment, its files.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use nix::sys::signal::Signal;
use tracing::{info, warn};

use super::{
    Context,
    environment::{Environment, Parts},
    front, internal,
    job::Job,
    preflight,
    recording::{Ground, Recording},
    refuse,
    start::Invocation,
};
use crate::{
    error::{Code, Error, Result},
    log::seconds,
    output::{
        mirror::{Mirror, Target},
        spool::Spool,
    },
    record::{
        Outcome,
        history::{History, Started},
        outcome::{self, ScriptKind, SourceKind},
        state::{Durability, RunDir, RunLock, private, timestamp},
    },
    request::{Request, ScriptRequest, SharePath, Source, Timeout, Warning},
    script::{Checked, Script, share::NotFound},
    settings::StepsMode,
    sys::{
        bell::Bell,
        signals::{self, code_of_signal},
        users::User,
    },
};

/// The inline scripts of a request, checked before anything runs.
#[derive(Debug, Default)]
pub struct Inline {
    creation: Option<Checked>,
    startup: Option<Checked>,
}

impl Inline {
    /// The script, where it is inline.
    pub fn take(&mut self, kind: ScriptKind) -> Option<Checked> {
        match kind {
            ScriptKind::CreationScript => self.creation.take(),
            ScriptKind::StartupScript => self.startup.take(),
        }
    }
}

/// Checks what needs no share, for all scripts of the request.
///
/// # Errors
/// What is wrong with the text of an inline script, and with whose.
pub fn check_inline(request: &Request) -> Result<Inline, (ScriptKind, Error)> {
    let check = |kind: ScriptKind, script: Option<&ScriptRequest>| match script.map(|script| &script.source) {
        Some(Source::Inline(text)) => Checked::new(text.clone(), "inline").map(Some).map_err(|error| (kind, error)),
        Some(Source::WorkspaceStorage(_)) | None => Ok(None),
    };
    Ok(Inline {
        creation: check(ScriptKind::CreationScript, request.creation.as_ref())?,
        startup: check(ScriptKind::StartupScript, request.startup.as_ref())?,
    })
}

/// Executes a script that is due and returns its final outcome, refusals included.
pub fn execute(
    context: &Context,
    kind: ScriptKind,
    request: &ScriptRequest,
    checked: Option<Checked>,
    warnings: &[Warning],
    lock: &mut Option<RunLock>,
) -> Outcome {
    let run = match context.state.create_run(kind.word(), SystemTime::now()) {
        Ok(run) => run,
        Err(error) => return refuse::outcome_of(&error, Outcome::blank("", Some(kind), Some(context.instance()))),
    };
    let mut outcome = Outcome::blank(run.id(), Some(kind), Some(context.instance()));
    outcome.source = Some(source_of(&request.source));
    outcome.arguments = Some(request.arguments.clone());
    outcome.timeout = Some(timeout_of(&request.timeout));
    outcome.warnings.extend_from_slice(warnings);
    // Retention and `sync` leave it alone from now on.
    let claim = run.claim();
    match try_execute(context, request, checked, &run, &mut outcome, claim.as_ref(), lock) {
        Ok(outcome) => outcome,
        Err(error) => refuse::record(context, &run, &error, outcome),
    }
}

fn try_execute(
    context: &Context,
    request: &ScriptRequest,
    checked: Option<Checked>,
    run: &RunDir,
    outcome: &mut Outcome,
    claim: Option<&File>,
    lock: &mut Option<RunLock>,
) -> Result<Outcome> {
    let kind = outcome.script.unwrap_or(ScriptKind::CreationScript);
    let mut clock = None;
    let began = Instant::now();
    let script = match (&request.source, checked) {
        (Source::WorkspaceStorage(path), _) => find(context, path)?,
        (Source::Inline(text), checked) => {
            let checked = checked.map_or_else(|| Checked::new(text.clone(), "inline"), Ok)?;
            let folder = inline_folder(context, request.timeout.limit, &mut clock, outcome)?;
            checked.placed(SourceKind::Inline, None, &folder, None)
        }
    };
    outcome.source = Some(script.source.clone());
    outcome.warnings.extend(script.warnings.iter().cloned());
    log_found(run, outcome, &script, began.elapsed());
    if context.rehearsal.is_none() {
        outcome.warnings.extend(preflight::missing(&script.text, &context.user));
        outcome.warnings.extend(preflight::wait_for_apt(context, run.id(), &script.text)?);
        outcome.warnings.extend(preflight::furnish(context));
    }
    let token = format!("{}.{}", run.id(), random_word());
    let mut environment = environment(context, &token);
    let ground = ground(context, &script.text, &token);
    let mut recording = Recording::prepare(context.settings.steps, &script, run.id(), &ground);
    outcome.warnings.extend(recording.adapt(&mut environment, &ground));
    for warning in &outcome.warnings {
        warn!(run = run.id(), code = warning.code, "warning");
    }
    let file = file_to_run(&script, run)?;
    let invocation = Invocation::new(&script, &file, &request.arguments, &environment)
        .map_err(|error| internal("cannot pass the arguments on", error))?;
    let boot_id = outcome.boot_id.clone();
    let started = Started { run_id: run.id().to_owned(), boot_id, token, at: timestamp(SystemTime::now()) };
    let spool =
        Spool::create(run, context.settings.output_limit).map_err(|error| internal("cannot make the spool", error))?;
    run.write_outcome(outcome, Durability::Relaxed).map_err(|error| internal("cannot write the outcome", error))?;
    let no_bell = |error| internal("cannot make an event descriptor", error);
    let bell = Bell::new().map_err(no_bell)?;
    let reader = || spool.reader().map_err(|error| internal("cannot read the spool", error));
    let mirror = Mirror::start(target(context, kind.word(), run), reader()?, bell.try_clone().map_err(no_bell)?)
        .map_err(|error| internal("cannot start the mirror", error))?;
    let original = match &request.source {
        Source::WorkspaceStorage(path) if context.rehearsal.is_none() => Some((context.share.clone(), path.clone())),
        Source::WorkspaceStorage(_) | Source::Inline(_) => None,
    };
    let log = reader()?;
    let job = Job {
        run: run.clone(),
        claim: claim.and_then(|claim| claim.try_clone().ok()),
        outcome: outcome.clone(),
        history: context.rehearsal.is_none().then(|| History::of(&context.state, &context.identity, kind)),
        started,
        invocation,
        limit: request.timeout.limit,
        clock,
        grace: context.settings.grace,
        flush_wait: context.settings.flush_wait,
        leftovers: context.settings.leftovers,
        state_limit: context.settings.state_limit,
        spool,
        recording,
        mirror,
        bells: vec![bell],
        board: None,
        redaction: context.settings.redaction,
        original,
        text: script.text,
        oom_score: context.oom_score.clone(),
        is_root: context.rehearsal.is_none(),
    };
    front::execute(context, job, log, lock)
}

fn log_found(run: &RunDir, outcome: &Outcome, script: &Script, looked_for: Duration) {
    let timeout = outcome.timeout.as_ref().and_then(|timeout| timeout.seconds);
    info!(
        run = run.id(),
        path = script.source.path.as_deref().unwrap_or("inline"),
        sha256 = script.source.sha256.as_deref(),
        bytes = script.source.bytes,
        interpreter = %script.interpreter.program.display(),
        arguments = outcome.arguments.as_ref().map_or(0, Vec::len),
        timeout_seconds = timeout,
        looked_for_seconds = seconds(looked_for),
        "script found"
    );
}

/// The script on the share, checked.
fn find(context: &Context, path: &SharePath) -> Result<Script> {
    let patience = context.settings.share_wait;
    let place = context.share.find_script(path, patience, Some(context.signals.as_fd())).map_err(|why| match why {
        NotFound::Refused(error) => error,
        NotFound::NotAnswering => context.share.not_answering(patience),
        NotFound::StopAsked => stopped_before(context),
    })?;
    let name = Path::new(path.as_str()).file_name().unwrap_or_default();
    let own_path = place.folder.join(name);
    let checked = Checked::new(place.text, path.as_str())?;
    if context.rehearsal.is_some() {
        crate::script::refuse_absolute_sudo(&checked.text)?;
    }
    Ok(checked.placed(SourceKind::WorkspaceStorage, Some(path.as_str()), &place.folder, Some(own_path)))
}

/// Where an inline script starts. It needs nothing of the share, so a share that hangs does not keep it from
/// running; but then its time runs while the share is waited for.
fn inline_folder(
    context: &Context,
    limit: Option<Duration>,
    clock: &mut Option<Instant>,
    outcome: &mut Outcome,
) -> Result<PathBuf> {
    const HANG: Duration = Duration::from_secs(5);
    let share = &context.share;
    let patience = context.settings.share_wait;
    let began = Instant::now();
    let stop = Some(context.signals.as_fd());
    // Not to wait for a late share is no reason not to hear a healthy one out.
    let hang = limit.map_or(HANG, |limit| HANG.min(limit / 4)).min(patience.max(Duration::from_millis(500)));
    match share.inline_folder(patience, hang, stop) {
        Ok(place) => Ok(place.folder),
        Err(NotFound::Refused(error)) => Err(error),
        Err(NotFound::StopAsked) => Err(stopped_before(context)),
        Err(NotFound::NotAnswering) => {
            *clock = Some(began);
            outcome.warnings.push(Warning::new(
                "share-not-answering",
                format!("share `{}` does not answer; the inline script starts in `/`", share.root.display()),
                "see whether the share's server can be reached",
            ));
            Ok(PathBuf::from("/"))
        }
    }
}

/// The refusal where a stop was asked for before the script had started.
pub(super) fn stopped_before(context: &Context) -> Error {
    let signal = signals::next(&context.signals).map_or(Signal::SIGTERM, |(signal, _)| signal);
    let message = format!("the run was stopped by {signal} before the script had started");
    Error::new(Code::Stopped, message, "nothing was run; call `run` again").exiting_with(code_of_signal(signal))
}

fn environment(context: &Context, token: &str) -> Environment {
    let apt = context.state.path().join("apt.conf");
    let (home, login) = match &context.rehearsal {
        Some(room) => (room.home().to_string_lossy().into_owned(), room.login().to_owned()),
        None => ("/root".to_owned(), "root".to_owned()),
    };
    let mut environment = Environment::of_script(&Parts {
        identity: &context.identity,
        user: &context.user,
        configured: &context.settings.environment,
        token,
        apt_config: context.rehearsal.is_none().then_some(apt.as_path()),
        home: &home,
        login: &login,
    });
    if let Some(room) = &context.rehearsal {
        room.adapt(&mut environment);
    }
    environment
}

/// Where the hook inside bash would lie, and who would write to it.
fn ground<'a>(context: &Context, text: &[u8], token: &'a str) -> Ground<'a> {
    match &context.rehearsal {
        Some(room) => Ground::Room(room.hook()),
        // Looking users up takes time, and only the hook needs them.
        None if context.settings.steps == StepsMode::Hook => {
            let named = crate::script::sudo_users(text).into_iter().filter_map(|user| User::named(&user));
            let users = named.chain(context.account.clone()).map(|user| user.uid);
            Ground::Machine { token, users: [0].into_iter().chain(users).collect() }
        }
        None => Ground::Machine { token, users: Vec::new() },
    }
}

/// The file that the interpreter opens: the script on the share itself, or a copy in the run's folder for an
/// inline script and for one that had to be put right. A copy lies there in any case: it is what ran.
fn file_to_run(script: &Script, run: &RunDir) -> Result<PathBuf> {
    let copy = run.file("script.sh");
    let text = match &script.path {
        Some(path) if script.is_repaired => std::borrow::Cow::Owned(script.text_named(path)),
        _ => std::borrow::Cow::Borrowed(&script.text),
    };
    // The folder is new, and nobody reads there before the script starts.
    let write = || private(&copy).create_new(true).open(&copy)?.write_all(&text);
    write().map_err(|error: io::Error| internal("cannot write the script's copy", error))?;
    Ok(match &script.path {
        Some(path) if !script.is_repaired => path.clone(),
        _ => copy,
    })
}

/// Where a run's copy on the share goes.
pub fn target(context: &Context, word: &str, run: &RunDir) -> Target {
    Target {
        share: context.share.root.clone(),
        name: context.identity.name().to_owned(),
        word: word.to_owned(),
        stamp: run.stamp().unwrap_or_default().to_owned(),
        resume: None,
        user: context.account.clone(),
        ground: context.share.ground(),
    }
}

fn source_of(source: &Source) -> outcome::Source {
    match source {
        Source::WorkspaceStorage(path) => outcome::Source {
            kind: SourceKind::WorkspaceStorage,
            path: Some(path.as_str().to_owned()),
            sha256: None,
            bytes: None,
        },
        Source::Inline(text) => outcome::Source {
            kind: SourceKind::Inline,
            path: None,
            sha256: Some(crate::script::sha256(text)),
            bytes: Some(text.len() as u64),
        },
    }
}

fn timeout_of(timeout: &Timeout) -> outcome::Timeout {
    outcome::Timeout { given: timeout.given.clone(), seconds: timeout.limit.map(|limit| limit.as_secs_f64()) }
}

/// Eight hexadecimal digits that no other run has: two state directories may make the same run id.
fn random_word() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default();
    let word: String = text.chars().filter(char::is_ascii_hexdigit).take(8).collect();
    if word.is_empty() { format!("{:08x}", std::process::id()) } else { word }
}
