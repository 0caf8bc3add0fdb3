//! `status`: what ran, what is running, how it ended.

use std::time::{Duration, Instant};

use crate::{
    cli::StatusArgs,
    error::Result,
    record::{Outcome, outcome::State},
    settings::Settings,
    show,
};

use super::records::Records;

/// Prints all runs, or one. With `--wait` first waits until nothing of that runs any more; the exit code is
/// then that of the run, or 124 where the time is up.
///
/// # Errors
/// `no-such-run`, `missing-identity` (nowhere to look).
pub fn status(settings: &Settings, args: &StatusArgs) -> Result<u8> {
    let records = Records::open(settings)?;
    let until = args.timeout.map(|timeout| Instant::now() + timeout);
    let mut is_late = false;
    if args.wait {
        while is_running(&records, args.run.as_deref())? {
            if until.is_some_and(|until| Instant::now() >= until) {
                is_late = true;
                break;
            }
            records.wait_for_change(Duration::from_secs(1));
        }
    }
    let code = match &args.run {
        Some(run) => {
            let outcome = records.one(Some(run))?.outcome;
            if args.json {
                show::print_json(&outcome)?;
            } else {
                show::print_data(detail(&outcome).as_bytes())?;
            }
            outcome.exit_code.unwrap_or(0)
        }
        None => {
            let outcomes: Vec<Outcome> = records.all().into_iter().map(|entry| entry.outcome).collect();
            if args.json {
                show::print_json(&outcomes)?;
            } else {
                show::print_data(table(&outcomes).as_bytes())?;
            }
            outcomes.last().and_then(|outcome| outcome.exit_code).unwrap_or(0)
        }
    };
    Ok(match (args.wait, is_late) {
        (true, true) => 124,
        (true, false) => code,
        (false, _) => 0,
    })
}

fn is_running(records: &Records, run: Option<&str>) -> Result<bool> {
    match run {
        Some(run) => Ok(!records.one(Some(run))?.outcome.state.is_final()),
        None => Ok(records.all().last().is_some_and(|entry| !entry.outcome.state.is_final())),
    }
}

fn table(outcomes: &[Outcome]) -> String {
    let mut text = format!("{:<32} {:<12} {:>5} {:>9} {:>12}\n", "RUN", "STATE", "EXIT", "TIME", "OUTPUT");
    for outcome in outcomes {
        let exit = outcome.exit_code.map_or_else(|| "-".into(), |code| code.to_string());
        let time = outcome.elapsed_seconds.map_or_else(|| "-".into(), crate::run::ending::human);
        text += &format!(
            "{:<32} {:<12} {exit:>5} {time:>9} {:>12}\n",
            outcome.run_id,
            outcome.state.word(),
            outcome.output.bytes
        );
    }
    text
}

fn detail(outcome: &Outcome) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| text += &format!("{name:<11}{value}\n");
    row("run", outcome.run_id.clone());
    row(
        "state",
        format!(
            "{}{}",
            outcome.state.word(),
            outcome.exit_code.map_or_else(String::new, |code| format!(", exit code {code}"))
        ),
    );
    if let Some(instance) = &outcome.instance {
        row("instance", instance.identity.to_string());
    }
    if let Some(source) = &outcome.source {
        row("script", source.path.clone().unwrap_or_else(|| "inline".into()));
    }
    if !outcome.started_at.is_empty() {
        row("started", outcome.started_at.clone());
    }
    if let Some(ended) = &outcome.ended_at {
        row("ended", ended.clone());
    }
    if let Some(seconds) = outcome.elapsed_seconds {
        row("took", crate::run::ending::human(seconds));
    }
    let output = &outcome.output;
    let mirror =
        serde_json::to_value(output.mirror).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default();
    row("output", format!("{} bytes, {} on the share ({mirror})", output.bytes, output.mirrored_bytes));
    if let Some(path) = &output.mirror_path {
        row("log", path.clone());
    }
    if let (Some(error), true) = (&outcome.error, outcome.state != State::Succeeded) {
        row("error", error.message.clone());
        row("hint", error.hint.clone());
    }
    for process in &outcome.processes.at_deadline {
        row("running", format!("{} {} {}", process.pid, process.user, process.command));
    }
    for warning in &outcome.warnings {
        row("warning", warning.message.clone());
    }
    text
}
