//! After a crash: what an earlier run could not write down, and what is still alive of it.

use std::{
    io,
    time::{Duration, Instant, SystemTime},
};

use nix::{
    errno::Errno,
    sys::wait::{WaitPidFlag, WaitStatus, waitpid},
};
use tracing::{error, info, warn};

use super::{
    Context,
    cgroup::Leaf,
    job::leaf_name,
    terminate::{self, Standstill, Tree},
    tree::Seen,
};
use crate::{
    error::Code,
    output::spool,
    page,
    record::{
        Outcome,
        history::{Ended, History, Past, Started},
        outcome::{ErrorReport, Mirror, ScriptKind, State},
        state::{Durability, RunDir, boot_id, timestamp},
    },
    show,
};

/// Writes down every run of this instance that started and has no end, and ends what is alive of it. Call
/// it with the lock held: then nobody else does either.
pub(super) fn recover(context: &Context) {
    for kind in [ScriptKind::CreationScript, ScriptKind::StartupScript] {
        let history = History::of(&context.state, &context.identity, kind);
        let started = match history.last() {
            Ok(Past::Unfinished(started)) => started,
            Ok(Past::Ended(ended)) => {
                mend(context, kind, &ended);
                continue;
            }
            Ok(Past::Never) | Err(_) => continue,
        };
        let run = context.state.run(&started.run_id);
        if !context.print.json {
            show::eprintln(&format!("note: {} was interrupted", started.run_id));
        }
        if started.boot_id == boot_id() {
            let mut tree = Tree::of_orphans(Leaf::find(&leaf_name(&started)), &started.token, &[]);
            end_orphans(&mut tree, run.id(), Duration::from_secs(1));
        }
        let missing = blank_for(context, kind, &started);
        interrupted_or(
            &run,
            Some(&history),
            "the agent or the machine went away while the script was running",
            missing,
        );
    }
    forget_unbegun(context);
}

/// Brings an outcome up to what the history says: the agent may have gone away between the two.
fn mend(context: &Context, kind: ScriptKind, ended: &Ended) {
    let run = context.state.run(&ended.run_id);
    let outcome = run.outcome();
    if !run.path().is_dir() || outcome.as_ref().is_some_and(|outcome| outcome.state.is_final()) {
        return;
    }
    let missing = Outcome::blank(run.id(), Some(kind), Some(context.instance()));
    mended(&run, ended, outcome.unwrap_or(missing));
}

/// An outcome that says what the history does.
fn mended(run: &RunDir, ended: &Ended, mut outcome: Outcome) -> Outcome {
    info!(run = run.id(), state = ended.state.word(), "outcome mended");
    outcome.boot_id.clone_from(&ended.boot_id);
    outcome.state = ended.state;
    outcome.exit_code = Some(ended.exit_code);
    outcome.error.clone_from(&ended.error);
    outcome.ended_at = Some(ended.at.clone());
    outcome.output.bytes = kept(run).unwrap_or(outcome.output.bytes);
    if outcome.output.mirror == Mirror::Current {
        outcome.output.mirror = Mirror::Behind;
    }
    run.release_reserve();
    let _ = run.write_outcome(&outcome, Durability::Synced);
    page::keep::keep(run, &outcome);
    outcome
}

/// Says of runs that were on their way, and had not begun, that they will not come any more.
fn forget_unbegun(context: &Context) {
    /// There is one for each crash, and others are newer only by chance.
    const NEWEST: usize = 4;
    for run in context.state.runs().iter().rev().take(NEWEST) {
        if run.outcome().is_some_and(|outcome| outcome.state == State::Pending) {
            let why = "the agent or the machine went away before the script had started";
            interrupted_or(run, None, why, Outcome::blank(run.id(), None, None));
        }
    }
}

fn blank_for(context: &Context, kind: ScriptKind, started: &Started) -> Outcome {
    let mut outcome = Outcome::blank(&started.run_id, Some(kind), Some(context.instance()));
    outcome.boot_id.clone_from(&started.boot_id);
    outcome.started_at.clone_from(&started.at);
    outcome
}

/// Ends what is left of a run whose supervisor is gone: asked first, then killed until nobody is left but
/// those who cannot die, who are returned.
pub(super) fn end_orphans(tree: &mut Tree, run: &str, grace: Duration) -> Vec<Seen> {
    const PAUSE: Duration = Duration::from_millis(20);
    let members = tree.members();
    if !members.is_empty() {
        warn!(run, processes = members.len(), "ending what is left of a run");
        terminate::ask_to_end(&members);
        let until = Instant::now() + grace;
        while !tree.members().is_empty() && Instant::now() < until {
            bury();
            std::thread::sleep(PAUSE);
        }
    }
    let mut standstill = Standstill::from_now();
    let unkillable = loop {
        let alive = tree.kill(bury);
        if alive.is_empty() || standstill.is_reached(&alive) {
            break alive;
        }
        bury();
        std::thread::sleep(PAUSE);
    };
    if let Some(leaf) = tree.leaf() {
        leaf.remove();
    }
    if !unkillable.is_empty() {
        error!(run, processes = unkillable.len(), "cannot be killed");
    }
    unkillable
}

/// Collects the dead that fell to this process when their parent died. Returns whether it has no children.
fn bury() -> bool {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return false,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return true,
        }
    }
}

/// Writes down that a run was interrupted, and returns its outcome. One of which the history knows the end was not:
/// only whoever would have told the rest was killed.
pub(super) fn interrupted(run: &RunDir, history: Option<&History>, why: &str) -> Outcome {
    let missing = Outcome::blank(run.id(), None, None);
    let outcome = run.outcome().unwrap_or_else(|| missing.clone());
    if let Some(Ok(Past::Ended(ended))) = history.map(History::last)
        && ended.run_id == run.id()
        && !outcome.state.is_final()
    {
        return mended(run, &ended, outcome);
    }
    interrupted_or(run, history, why, missing)
}

fn interrupted_or(run: &RunDir, history: Option<&History>, why: &str, missing: Outcome) -> Outcome {
    let mut outcome = run.outcome().unwrap_or(missing);
    if !outcome.state.is_final() {
        warn!(run = run.id(), why, "run interrupted");
        outcome.state = State::Interrupted;
        outcome.exit_code = Some(Code::Interrupted.exit_code());
        outcome.ended_at = Some(timestamp(SystemTime::now()));
        outcome.error = Some(ErrorReport {
            code: Code::Interrupted,
            message: why.into(),
            hint: "the log ends where it ended; call `run --rerun` to run the script again".into(),
        });
    }
    outcome.output.bytes = kept(run).unwrap_or(outcome.output.bytes);
    if outcome.output.mirror == Mirror::Current {
        // It was, for what was known of then.
        outcome.output.mirror = Mirror::Behind;
    }
    run.release_reserve();
    let _ = run.write_outcome(&outcome, Durability::Synced);
    page::keep::keep(run, &outcome);
    if let Some(history) = history {
        let ended = Ended {
            run_id: run.id().to_owned(),
            boot_id: outcome.boot_id.clone(),
            state: outcome.state,
            exit_code: outcome.exit_code.unwrap_or(Code::Interrupted.exit_code()),
            error: outcome.error.clone(),
            at: outcome.ended_at.clone().unwrap_or_default(),
        };
        let _ = history.ended(&ended);
    }
    outcome
}

/// Bytes of output on the local disk.
fn kept(run: &RunDir) -> io::Result<u64> {
    let log = std::fs::metadata(run.file(spool::LOG))?.len();
    let tail = std::fs::metadata(run.file(spool::TAIL)).map_or(0, |tail| tail.len());
    Ok(log + tail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{record::state::StateDir, request::Identity};

    #[test]
    fn a_run_whose_end_is_in_the_history_was_not_interrupted() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        let identity = Identity::new("rg", "wks", "ci-1").unwrap();
        let history = History::of(&state, &identity, ScriptKind::CreationScript);
        let run = state.create_run("creation", SystemTime::now()).unwrap();
        let (run_id, boot_id, at) = (run.id().to_owned(), boot_id(), "now".to_owned());
        let started = Started { run_id, boot_id, token: "t".into(), at };
        history.started(&started).unwrap();
        let running = Outcome { state: State::Running, ..Outcome::blank(run.id(), None, None) };
        run.write_outcome(&running, Durability::Synced).unwrap();
        let Started { run_id, boot_id, at, .. } = started;
        let (state, exit_code, error) = (State::Succeeded, 0, None);
        history.ended(&Ended { run_id, boot_id, state, exit_code, error, at }).unwrap();
        let told = interrupted(&run, Some(&history), "killed");
        let recorded = run.outcome().unwrap();
        assert_eq!([told.state, recorded.state], [State::Succeeded; 2]);
        assert!(matches!(history.last().unwrap(), Past::Ended(ended) if ended.state == State::Succeeded));
    }
}
