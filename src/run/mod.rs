//! `run`: from a request to the exit code. The page to read first.
//!
//! ```text
//! accept    read config, request, identity; refuse what is wrong          (this file, refuse)
//! lock      become the one `run` that executes                            (record::state)
//! recover   write down what an earlier run could not                      (recover)
//! due       what has not run yet: creation once, startup once a boot      (this file, record::history)
//! prepare   find the script, look at the machine                          (prepare, preflight)
//! execute   fork mirror, supervisor and pass-through; wait for the result (front)
//!           in the supervisor: start, follow, end, record                 (supervise, terminate)
//! ```

pub mod board;
pub mod cgroup;
pub mod ending;
pub mod environment;
pub mod front;
pub mod job;
mod passthrough;
mod preflight;
pub mod prepare;
pub mod recording;
mod recover;
mod refuse;
mod scope;
pub mod start;
pub mod supervise;
pub mod terminate;
pub mod tree;

use std::{
    fs::File,
    io::{self, Read},
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{signal::Signal, signalfd::SignalFd},
};
use serde::{Deserialize, Serialize};
use tracing::info;

use self::{prepare::Inline, refuse::Known, start::OomScore};
use crate::{
    cli::{Call, Only},
    error::{Code, Error, Result},
    log,
    record::{
        Outcome,
        history::{Ended, History, Past, Started},
        outcome::{ErrorReport, Instance, ScriptKind, State},
        state::{RunLock, StateDir, boot_id, to_json},
    },
    request::{self, Identity, MAX_REQUEST_BYTES, PartialIdentity, Request, ScriptRequest, Source, Warning},
    script::share::Share,
    settings::{CONFIG, Config, Given, Settings, trusted},
    show,
    sys::{
        signals::{self, code_of_signal},
        users::User,
    },
};

/// Where a request waits for the next boot.
const REQUEST: &str = "/etc/ci-setup-agent/request.json";

/// Everything that stays the same over the scripts of one call.
#[derive(Debug)]
pub struct Context {
    /// Options, environment, config file.
    pub settings: Settings,
    /// For whom.
    pub identity: Identity,
    /// The instance's ordinary user.
    pub user: String,
    /// The user as this machine knows it; `None` in a rehearsal, which needs no such user.
    pub account: Option<User>,
    /// The share.
    pub share: Share,
    /// The state directory.
    pub state: StateDir,
    /// What the caller's memory protection was, before this process raised its own.
    pub oom_score: OomScore,
    /// SIGTERM and SIGINT to the front: readable when a stop is asked for.
    pub signals: SignalFd,
    /// What is different in a rehearsal.
    pub rehearsal: Option<crate::rehearsal::Room>,
    /// What is printed.
    pub print: crate::cli::PrintArgs,
}

/// For whom the kept request was accepted.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeptInstance {
    #[serde(flatten)]
    instance: Instance,
    share: Option<std::path::PathBuf>,
}

/// Runs what is due, tells about it, and returns the exit code.
pub fn run(given: Given, call: &Call) -> u8 {
    let mut known = Known::default();
    match try_run(given, call, &mut known) {
        Ok(code) => code,
        Err(error) => refuse::refuse(&error, &known, call),
    }
}

fn try_run(given: Given, call: &Call, known: &mut Known) -> Result<u8> {
    known.given(&given);
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::new(
            Code::NotRoot,
            "setup scripts run as root, and this is another user",
            "call it with sudo; to rehearse a script without root there is `ci-setup-agent try`",
        ));
    }
    let signals = listen_to_stops().map_err(|error| internal("cannot listen to signals", error))?;
    let settings = Settings::new(given, Config::read(CONFIG.as_ref())?)?;
    known.settled(&settings);
    log::start(&settings.state);
    let (context, request, document) = accept(settings, call, signals, known)?;
    let inline = prepare::check_inline(&request).map_err(|(kind, error)| {
        known.script = Some(kind);
        error
    })?;
    log_accepted(&context, call, &request, &document);
    let mut lock = Some(lock(&context, call)?);
    let instance = to_json(&KeptInstance { instance: context.instance(), share: context.settings.share.clone() });
    context.state.keep(&[("request.json", &document), ("instance.json", &instance)])?;
    recover::recover(&context);
    let warnings = request.warnings.clone();
    execute_due(&context, call, &request, inline, &warnings, &mut lock)
}

fn log_accepted(context: &Context, call: &Call, request: &Request, document: &[u8]) {
    let source = |script: Option<&ScriptRequest>| match script.map(|script| &script.source) {
        Some(Source::WorkspaceStorage(path)) => path.as_str().to_owned(),
        Some(Source::Inline(_)) => "inline".to_owned(),
        None => "none".to_owned(),
    };
    info!(
        resource_group = context.identity.resource_group(),
        workspace = context.identity.workspace(),
        instance = context.identity.name(),
        user = context.user,
        creation = source(request.creation.as_ref()),
        startup = source(request.startup.as_ref()),
        from = call.request.as_ref().map_or("default".into(), |path| path.to_string_lossy()).as_ref(),
        sha256 = crate::script::sha256(document),
        boot = boot_id(),
        agent = env!("CARGO_PKG_VERSION"),
        rerun = call.rerun,
        "request accepted"
    );
}

/// Reads and judges all that can be judged without the share.
fn accept(
    settings: Settings,
    call: &Call,
    signals: SignalFd,
    known: &mut Known,
) -> Result<(Context, Request, Vec<u8>)> {
    let state = StateDir::open(&settings.state)?;
    let document = read_request(call.request.as_deref(), &state, &signals)?;
    let share = settings.share.as_ref().map(|share| share.to_string_lossy().into_owned());
    let request = request::parse_with_share(&document, share.as_deref())?;
    known.request(&request);
    let kept: Option<KeptInstance> = state.document("instance.json");
    let kept_identity = kept.as_ref().map(|kept| PartialIdentity::from(&kept.instance.identity));
    let configured = settings.configured_identity.clone().or(kept_identity.unwrap_or_default());
    let identity = Identity::resolve(&settings.identity, Some(&request), &configured)?;
    known.identity = Some(identity.clone());
    // User and share belong to the kept request; one that is named is on its own.
    let same = kept.filter(|kept| call.request.is_none() && kept.instance.identity == identity);
    let user = settings.user.clone().or_else(|| same.as_ref().map(|kept| kept.instance.user.clone()));
    let user = user.unwrap_or_else(|| "azureuser".into());
    known.user = Some(user.clone());
    let account = preflight::find_user(&user)?;
    let mut settings = settings;
    settings.share = settings.share.or_else(|| same.and_then(|kept| kept.share));
    let share = Share::of(identity.name(), &user, settings.share.as_deref());
    let print = call.print;
    let context = Context {
        settings,
        identity,
        user,
        account: Some(account),
        share,
        state,
        oom_score: OomScore::protect(),
        signals,
        rehearsal: None,
        print,
    };
    Ok((context, request, document))
}

/// The request that was named, else the one that waits in `/etc`, else the one accepted before.
fn read_request(named: Option<&Path>, state: &StateDir, stops: &SignalFd) -> Result<Vec<u8>> {
    let limit = MAX_REQUEST_BYTES as u64 + 1;
    let read = |path: &Path| -> Result<Vec<u8>> {
        let cannot = |error: io::Error| {
            let message = format!("cannot read request `{}`", path.display());
            Error::new(Code::RequestUnreadable, message, "name a JSON file, or `-` for standard input").because(error)
        };
        let file = if path == Path::new("-") {
            io::stdin().as_fd().try_clone_to_owned().map_err(cannot)?.into()
        } else {
            // Opening a FIFO would otherwise wait for its writer.
            let open = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path);
            let file = open.map_err(cannot)?;
            trusted(&file, path)?;
            file
        };
        read_until_stopped(file.take(limit), stops).map_err(cannot)?.ok_or_else(|| {
            let signal = signals::next(stops).map_or(Signal::SIGTERM, |(signal, _)| signal);
            let message = format!("stopped by {signal} while reading the request");
            Error::new(Code::Stopped, message, "nothing was run; call `run` again").exiting_with(code_of_signal(signal))
        })
    };
    if let Some(path) = named {
        return read(path);
    }
    let kept = state.path().join("request.json");
    match [Path::new(REQUEST), &kept].into_iter().find(|path| path.exists()) {
        Some(path) => read(path),
        None => Err(Error::new(
            Code::NoRequest,
            format!("there is no request: none was named, `{REQUEST}` is not there, and none was accepted before"),
            "name a request file, or `-` for standard input",
        )),
    }
}

/// Reads to the end; `None` where a stop is asked for first. Somebody may be typing the request.
fn read_until_stopped(mut from: io::Take<File>, stops: &SignalFd) -> io::Result<Option<Vec<u8>>> {
    let mut text = Vec::new();
    let mut chunk = vec![0; 8 * 1024];
    loop {
        let mut polls =
            [PollFd::new(from.get_ref().as_fd(), PollFlags::POLLIN), PollFd::new(stops.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polls, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            result => result?,
        };
        let [is_ready, is_stopped] = polls.map(|poll| poll.any() == Some(true));
        if is_stopped {
            return Ok(None);
        }
        if !is_ready {
            continue;
        }
        match from.read(&mut chunk) {
            Ok(0) => return Ok(Some(text)),
            Ok(length) => text.extend_from_slice(&chunk[..length]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
}

fn lock(context: &Context, call: &Call) -> Result<RunLock> {
    let on_wait = || {
        // Behind a block's own sudo the mark is gone from the environment, but not from that of the script above.
        if call.inside.is_some() || tree::is_below_a_script() {
            return Err(Error::new(
                Code::NestedRun,
                "`run` was called by a script that another `run` executes, and would wait for itself",
                "let the script do its work itself, or give this call another state directory with `--state`",
            ));
        }
        info!("waiting for another run");
        if !call.print.json {
            show::eprintln("note: another `run` is executing; waiting for its result");
        }
        Ok(())
    };
    context.state.lock(context.signals.as_fd(), on_wait).map_err(|error| stopped_by(context, error))
}

/// Adds to a `stopped` which signal it was that stopped us: the exit code tells.
fn stopped_by(context: &Context, error: Error) -> Error {
    match signals::next(&context.signals) {
        Some((signal, _)) if error.code == Code::Stopped => error.exiting_with(code_of_signal(signal)),
        _ => error,
    }
}

/// Runs or replays each script of the request in order, and returns the exit code of the first that has not
/// succeeded.
fn execute_due(
    context: &Context,
    call: &Call,
    request: &Request,
    mut inline: Inline,
    warnings: &[Warning],
    lock: &mut Option<RunLock>,
) -> Result<u8> {
    let scripts = [
        (ScriptKind::CreationScript, request.creation.as_ref(), Only::Creation),
        (ScriptKind::StartupScript, request.startup.as_ref(), Only::Startup),
    ];
    let mut is_anything = false;
    let wanted = scripts.into_iter().filter(|(.., only)| call.only.is_none_or(|wanted| wanted == *only));
    for (kind, script, _) in wanted {
        let Some(script) = script else { continue };
        is_anything = true;
        let outcome = match replayed(context, kind, call.rerun)? {
            Some(outcome) => {
                let (state, code) = (outcome.state.word(), outcome.exit_code);
                info!(run = outcome.run_id, state, exit_code = code, "has run already");
                tell_replayed(&outcome, call);
                outcome
            }
            None => execute(context, kind, script, inline.take(kind), warnings, lock, call),
        };
        if outcome.state != State::Succeeded {
            let is_scripts = matches!(outcome.state, State::Failed | State::TimedOut);
            let code = outcome.exit_code.unwrap_or(Code::Internal.exit_code());
            return Ok(if call.best_effort && is_scripts { 0 } else { code });
        }
    }
    if !is_anything && !call.print.json {
        show::eprintln("note: the request holds no script to run");
    }
    Ok(0)
}

fn execute(
    context: &Context,
    kind: ScriptKind,
    script: &ScriptRequest,
    checked: Option<crate::script::Checked>,
    warnings: &[Warning],
    lock: &mut Option<RunLock>,
    call: &Call,
) -> Outcome {
    let mut outcome = prepare::execute(context, kind, script, checked, warnings, lock);
    if call.print.json {
        if let Some(error) = outcome.error.as_ref().filter(|_| outcome.state == State::Rejected) {
            show::report_error(error);
        }
        let _ = show::print_json(&outcome);
    } else {
        show::tell_end(&outcome);
    }
    // What is left for the next script of this call.
    outcome.warnings.clear();
    outcome
}

/// What was recorded, where the script has had its turn: creation in the life of the instance, startup in
/// this boot.
fn replayed(context: &Context, kind: ScriptKind, rerun: bool) -> Result<Option<Outcome>> {
    let history = History::of(&context.state, &context.identity, kind);
    let ended = match history.last()? {
        Past::Ended(ended) if ended.state != State::Rejected && !rerun => ended,
        // Its end could not be written down, and that is no licence to run it again.
        Past::Unfinished(started) if !rerun => unfinished(started),
        Past::Never | Past::Ended(_) | Past::Unfinished(_) => return Ok(None),
    };
    let is_this_turn = match kind {
        ScriptKind::CreationScript => true,
        ScriptKind::StartupScript => ended.boot_id == boot_id(),
    };
    Ok(is_this_turn.then(|| recorded(context, kind, &ended)))
}

/// The end of a run that has none on record.
fn unfinished(started: Started) -> Ended {
    Ended {
        run_id: started.run_id,
        boot_id: started.boot_id,
        state: State::Interrupted,
        exit_code: Code::Interrupted.exit_code(),
        error: Some(ErrorReport {
            code: Code::Interrupted,
            message: "the agent or the machine went away while the script was running".into(),
            hint: "call `run --rerun` to run the script again".into(),
        }),
        at: started.at,
    }
}

/// The outcome as it was recorded; where retention has taken it, what the history still knows.
fn recorded(context: &Context, kind: ScriptKind, ended: &Ended) -> Outcome {
    if let Some(outcome) = context.state.run(&ended.run_id).outcome()
        && outcome.state.is_final()
    {
        return outcome;
    }
    let mut outcome = Outcome::blank(&ended.run_id, Some(kind), Some(context.instance()));
    outcome.boot_id.clone_from(&ended.boot_id);
    outcome.state = ended.state;
    outcome.exit_code = Some(ended.exit_code);
    outcome.error.clone_from(&ended.error);
    outcome.started_at.clear();
    outcome.ended_at = Some(ended.at.clone());
    outcome
}

fn tell_replayed(outcome: &Outcome, call: &Call) {
    if call.print.json {
        let _ = show::print_json(outcome);
        return;
    }
    show::eprintln(&format!(
        "note: {} has run already and {}; `--rerun` runs it again",
        outcome.run_id,
        outcome.state.past()
    ));
    if let Some(error) = &outcome.error {
        show::report_error(error);
    }
}

impl Context {
    /// The instance as outcomes name it.
    pub fn instance(&self) -> Instance {
        Instance { identity: self.identity.clone(), user: self.user.clone() }
    }
}

/// From here on SIGHUP ends nothing (the session was dropped, the run goes on), and a stop is answered in
/// order.
///
/// # Errors
/// Those of `signalfd(2)`.
pub fn listen_to_stops() -> io::Result<SignalFd> {
    signals::ignore(Signal::SIGHUP);
    // Where the caller ignores it, the kernel buries children itself and tells nobody how they ended.
    signals::restore(Signal::SIGCHLD);
    signals::listen(&[Signal::SIGTERM, Signal::SIGINT])
}

/// The outcome of a call that was refused before anything about it was known.
pub fn refusal(error: &Error) -> Outcome {
    refuse::outcome_of(error, Outcome::blank("", None, None))
}

fn internal(what: &str, error: io::Error) -> Error {
    Error::new(Code::Internal, what, "see whether the machine is out of memory, processes or descriptors")
        .because(error)
}
