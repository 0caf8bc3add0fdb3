//! `sync`: finishes what a mirror could not (CONTRACT 6).

use std::{
    fs::File,
    path::PathBuf,
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, ppoll};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::{
    cli::SyncArgs,
    error::{Code, Error, Result},
    log,
    output::{
        mirror::{Mirror, Target},
        spool::TAIL,
        tail,
    },
    page,
    record::{
        Outcome,
        names::DETAILS,
        outcome::{self, Instance, ScriptKind},
        state::{Durability, RunDir, StateDir, to_json},
    },
    request::PartialIdentity,
    script::share::{Ground, Share},
    settings::Settings,
    show,
    sys::{bell::Bell, descriptors::memory_file, users::User},
};

/// How one run's copy stands, as `sync --json` tells it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    run_id: String,
    mirror: outcome::Mirror,
    mirrored_bytes: u64,
    bytes: u64,
    error: Option<String>,
}

/// Brings all runs of this instance up to date on the share. The exit code is 1 where one is still behind.
///
/// # Errors
/// `state-not-writable`, `missing-identity`.
pub fn sync(settings: &Settings, args: &SyncArgs) -> Result<u8> {
    log::start(&settings.state);
    let state = StateDir::open(&settings.state)?;
    let instance = instance(settings, &state)?;
    let share = settings.share.clone().or_else(|| kept_share(&state, &instance));
    let share = Share::of(instance.identity.name(), &instance.user, share.as_deref());
    let mut code = 0;
    for run in state.runs() {
        let Some(outcome) = run.outcome() else { continue };
        if !belongs(&outcome, &instance) || outcome.output.mirror == outcome::Mirror::Current {
            continue;
        }
        if !outcome.state.is_final() && run.claim().is_none() {
            // It is at work, and so is its mirror.
            continue;
        }
        let before = outcome.output.mirrored_bytes;
        let report = bring_over(&run, outcome, &instance, &share, settings);
        if report.mirror != outcome::Mirror::Current {
            code = 1;
        }
        log_change(&report, before);
        if args.json {
            show::print_json(&report)?;
        } else {
            tell(&report);
        }
    }
    Ok(code)
}

/// The timer comes back every few minutes: only what has changed is worth a line.
fn log_change(report: &Report, before: u64) {
    let Report { run_id: run, mirrored_bytes: bytes, bytes: of, .. } = report;
    if report.mirror == outcome::Mirror::Current {
        info!(run, bytes, "mirror complete, by sync");
    } else if *bytes > before {
        warn!(run, bytes, of, "mirror behind after sync");
    }
}

fn tell(report: &Report) {
    let Report { run_id, mirrored_bytes, bytes, .. } = report;
    match &report.error {
        None => show::eprintln(&format!("{run_id}: {bytes} bytes are on the share")),
        Some(why) => show::eprintln(&format!(
            "error: {run_id}: {mirrored_bytes} of {bytes} bytes are on the share: {why}\nhint: call `ci-setup-agent sync` again when the share works"
        )),
    }
}

/// Whose runs: this instance's. A captured disk also holds those of the instance it was made from.
fn instance(settings: &Settings, state: &StateDir) -> Result<Instance> {
    let kept: Option<Instance> = state.document("instance.json");
    let kept_identity = kept.as_ref().map(|kept| PartialIdentity::from(&kept.identity));
    let identity = crate::request::Identity::resolve(
        &settings.identity,
        None,
        &settings.configured_identity.clone().or(kept_identity.unwrap_or_default()),
    )?;
    let user = settings.user.clone().or_else(|| kept.map(|kept| kept.user)).unwrap_or_else(|| "azureuser".into());
    Ok(Instance { identity, user })
}

/// Where the accepted request had the share.
fn kept_share(state: &StateDir, instance: &Instance) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Kept {
        #[serde(flatten)]
        instance: Instance,
        share: Option<PathBuf>,
    }
    let kept: Kept = state.document("instance.json")?;
    kept.share.filter(|_| kept.instance.identity == instance.identity)
}

fn belongs(outcome: &Outcome, instance: &Instance) -> bool {
    outcome.instance.as_ref().is_some_and(|known| known.identity == instance.identity)
}

fn bring_over(run: &RunDir, mut outcome: Outcome, instance: &Instance, share: &Share, settings: &Settings) -> Report {
    let error = match try_bring_over(run, &mut outcome, instance, share, settings) {
        Ok(()) => None,
        Err(error) => Some(error.chain()),
    };
    Report {
        run_id: run.id().to_owned(),
        mirror: outcome.output.mirror,
        mirrored_bytes: outcome.output.mirrored_bytes,
        bytes: outcome.output.bytes,
        error,
    }
}

fn try_bring_over(
    run: &RunDir,
    outcome: &mut Outcome,
    instance: &Instance,
    share: &Share,
    settings: &Settings,
) -> Result<()> {
    let claim = claim(run, settings.flush_wait);
    // Its recorder may just have finished the job.
    if let Some(newer) = run.outcome() {
        *outcome = newer;
        if outcome.output.mirror == outcome::Mirror::Current {
            return Ok(());
        }
    }
    let Some(_claim) = claim else {
        return Err(failed("the run is still being recorded by another process"));
    };
    let target = Target {
        share: share.root.clone(),
        name: instance.identity.name().to_owned(),
        word: outcome.script.map_or("request", ScriptKind::word).to_owned(),
        stamp: run.stamp().unwrap_or_default().to_owned(),
        resume: outcome.output.mirror_path.clone(),
        user: User::named(&instance.user).filter(|_| nix::unistd::geteuid().is_root()),
        // What held a copy once and is bare now is the place of a share that is not mounted.
        ground: if outcome.output.mirror_path.is_some() { Ground::NotBare } else { share.ground() },
    };
    let cannot = |error: std::io::Error| failed("cannot read the run's log").because(error);
    let (log, tail) = tail::settled(run).map_err(cannot)?;
    let mut mirror = Mirror::start(target, log, Bell::new().map_err(cannot)?).map_err(cannot)?.silent();
    if let Some(tail) = tail {
        mirror.stream(TAIL, tail);
    }
    if settings.redaction.shows_script
        && let Ok(script) = File::open(run.file("script.sh"))
    {
        mirror.document("script.sh", script);
    }
    mirror.finish();
    let is_there = wait(&mut mirror, settings.flush_wait);
    outcome.output.mirrored_bytes = mirror.bytes;
    outcome.output.mirror_path.clone_from(&mirror.folder);
    outcome.output.mirror = if is_there { outcome::Mirror::Current } else { outcome::Mirror::Behind };
    outcome.output.bytes = outcome.output.bytes.max(mirror.bytes);
    let mut result = Ok(());
    if is_there && outcome.state.is_final() {
        if let Ok(file) = memory_file(c"outcome", &to_json(&settings.redaction.of(outcome))) {
            mirror.document("outcome.json", file);
        }
        if let Some(page) = page::keep::for_share(Some(run), outcome, settings.redaction) {
            mirror.document(DETAILS, page);
        }
        if let Some(list) = page::keep::list_for_share(run, outcome) {
            mirror.list(list);
        }
        mirror.finish();
        if !wait(&mut mirror, settings.flush_wait) {
            outcome.output.mirror = outcome::Mirror::Behind;
        }
    }
    if outcome.output.mirror != outcome::Mirror::Current {
        let why = mirror.failing.clone().unwrap_or_else(|| "the share does not answer".into());
        result = Err(failed(&why));
    }
    mirror.abandon();
    run.write_outcome(outcome, Durability::Synced)
        .map_err(|error| failed("cannot write the outcome").because(error))?;
    if outcome.state.is_final() {
        page::keep::keep(run, outcome);
    }
    result
}

/// Waits until everything is there, as long as there is progress.
fn wait(mirror: &mut Mirror, patience: Duration) -> bool {
    let since = Instant::now();
    while !mirror.is_complete() {
        let left = patience.saturating_sub(mirror.moved.max(since).elapsed());
        let Some(fd) = mirror.poll_fd().filter(|_| !left.is_zero()) else { return false };
        let write = if mirror.has_waiting() { PollFlags::POLLOUT } else { PollFlags::empty() };
        let _ = ppoll(&mut [PollFd::new(fd, PollFlags::POLLIN | write)], Some(left.into()), None);
        mirror.pump();
    }
    true
}

/// The right to write the run's records and copy. Whoever records it gives up on a share that makes no
/// progress, so the wait is bounded by the same time.
fn claim(run: &RunDir, patience: Duration) -> Option<File> {
    let until = Instant::now() + patience.max(Duration::from_secs(1)) * 2;
    loop {
        match run.claim() {
            None if Instant::now() < until => std::thread::sleep(Duration::from_millis(50)),
            claim => return claim,
        }
    }
}

fn failed(why: &str) -> Error {
    Error::new(Code::ShareNotAnswering, why, "call `ci-setup-agent sync` again when the share works")
}
