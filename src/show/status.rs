//! `status`: what ran, what is running, how it ended.

use std::{
    io,
    os::fd::AsFd,
    time::{Duration, Instant, SystemTime},
};

use nix::sys::signal::Signal;

use super::{
    detail::{ago, detail, written},
    progress::{Course, Manner, Output, Progress, cut, place},
    records::Records,
};
use crate::{
    cli::StatusArgs,
    error::{Code, Error, Result, one_line},
    record::{
        Outcome,
        outcome::{Mirror, State},
        words::human,
    },
    settings::Settings,
    show,
    sys::signals::{self, code_of_signal},
};

/// How waiting has ended.
enum Waited {
    /// Nothing of it runs any more, or nobody asked to wait.
    Over,
    /// Time is up.
    Late,
    /// By a signal to this process.
    Stopped(Signal),
}

/// Prints all runs, or one. With `--wait` first waits until nothing of that runs any more; the exit code is
/// then that of the run, or 124 where the time is up.
///
/// # Errors
/// `no-such-run`, `missing-identity` (nowhere to look).
pub fn status(settings: &Settings, args: &StatusArgs) -> Result<u8> {
    let records = Records::open(settings)?;
    let waited = if args.wait { wait(&records, args)? } else { Waited::Over };
    if let Waited::Stopped(signal) = waited {
        return Ok(code_of_signal(signal));
    }
    let code = match &args.run {
        Some(run) => {
            let entry = records.one(Some(run))?;
            if args.json {
                show::print_json(&entry.outcome)?;
            } else {
                show::print_data(detail(&entry, SystemTime::now()).as_bytes())?;
            }
            entry.outcome.exit_code.unwrap_or(0)
        }
        None => {
            let outcomes: Vec<Outcome> = records.all().into_iter().map(|entry| entry.outcome).collect();
            if args.json {
                show::print_json(&outcomes)?;
            } else {
                show::print_data(table(&outcomes, SystemTime::now(), columns()).as_bytes())?;
            }
            outcomes.last().and_then(|outcome| outcome.exit_code).unwrap_or(0)
        }
    };
    Ok(match (args.wait, waited) {
        (true, Waited::Late) => 124,
        (true, Waited::Over | Waited::Stopped(_)) => code,
        (false, _) => 0,
    })
}

fn wait(records: &Records, args: &StatusArgs) -> Result<Waited> {
    let cannot = |error: io::Error| Error::new(Code::Internal, "cannot listen to signals", "try again").because(error);
    let signals = signals::listen(&[Signal::SIGINT, Signal::SIGTERM]).map_err(cannot)?;
    let until = args.timeout.map(|timeout| Instant::now() + timeout);
    let manner = if args.json { Manner::Silent } else { Manner::of(args.terminal, Output::Idle) };
    let mut progress = Progress::new(manner);
    let waited = loop {
        let entry = match &args.run {
            Some(run) => Some(records.one(Some(run))?),
            None => records.all().pop(),
        };
        let course = entry.and_then(|entry| Course::of(&entry.outcome, written(&entry.folder), SystemTime::now()));
        let Some(course) = course else { break Waited::Over };
        if until.is_some_and(|until| Instant::now() >= until) {
            break Waited::Late;
        }
        progress.tell(&course);
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let longest = [Some(Duration::from_secs(1)), progress.pause(), left].into_iter().flatten().min();
        records.wait_for_change(longest.unwrap_or_default(), Some(signals.as_fd()));
        if let Some((signal, _)) = signals::next(&signals) {
            break Waited::Stopped(signal);
        }
    };
    progress.end();
    Ok(waited)
}

/// How wide the table may be; `None` where it does not go to a terminal.
fn columns() -> Option<usize> {
    terminal_size::terminal_size_of(io::stdout()).map(|(columns, _)| columns.0.into()).filter(|columns| *columns > 0)
}

fn table(outcomes: &[Outcome], now: SystemTime, columns: Option<usize>) -> String {
    let head = ["RUN", "STATE", "EXIT", "STARTED", "TOOK", "STEPS", "OUTPUT", "WHY"].map(str::to_owned);
    let rows: Vec<[String; 8]> =
        std::iter::once(head).chain(outcomes.iter().map(|outcome| row(outcome, now))).collect();
    let widths: Vec<usize> =
        (0..7).map(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            // Names to the left, numbers to the right.
            match at {
                0 | 1 => line += &format!("{cell:<width$}  "),
                _ => line += &format!("{cell:>width$}  "),
            }
        }
        line += &row[7];
        let line = line.trim_end();
        text += &columns.map_or_else(|| line.to_owned(), |columns| cut(line, columns));
        text.push('\n');
    }
    text
}

fn row(outcome: &Outcome, now: SystemTime) -> [String; 8] {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let started = humantime::parse_rfc3339(&outcome.started_at).ok();
    let since = started.map(|started| now.duration_since(started).unwrap_or_default());
    let took = match outcome.state {
        State::Running => since.map(ago),
        State::Pending | State::Succeeded | State::Failed | State::TimedOut | State::Interrupted | State::Rejected => {
            outcome.elapsed_seconds.map(human)
        }
    };
    let steps = outcome.steps.unavailable.is_none().then(|| outcome.steps.count.to_string());
    [
        outcome.run_id.clone(),
        outcome.state.word().to_owned(),
        or_none(outcome.exit_code.map(|code| code.to_string())),
        or_none(since.map(|since| format!("{} ago", ago(since)))),
        or_none(took),
        or_none(steps),
        size(outcome.output.bytes),
        why(outcome),
    ]
}

/// Bytes for people: three digits or so.
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
        if value < 1000.0 {
            let digits = usize::from(unit != "B" && value < 10.0);
            return format!("{value:.digits$} {unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.0} PiB")
}

/// What is worth knowing of a run, in a few words.
fn why(outcome: &Outcome) -> String {
    let current = outcome
        .steps
        .current
        .as_ref()
        .map(|step| format!("{}: {}", place(step.line, step.block.as_ref()), one_line(&step.command)));
    let failed = outcome.failed_commands.last().map(|failed| {
        format!("{}: {} ({})", place(failed.line, failed.block.as_ref()), one_line(&failed.command), failed.exit_code)
    });
    let message = outcome.error.as_ref().map(|error| one_line(&error.message));
    let text = match outcome.state {
        State::Pending => None,
        State::Running => current,
        State::Succeeded => match outcome.failed_command_count {
            0 => None,
            1 => Some("1 command failed".into()),
            count => Some(format!("{count} commands failed")),
        },
        State::Failed => failed.or(message),
        State::TimedOut | State::Interrupted => current.or(message),
        State::Rejected => message,
    };
    let is_behind = outcome.state.is_final() && outcome.output.mirror == Mirror::Behind;
    [text, is_behind.then(|| "copy behind".into())].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_three_digits_or_so() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 KiB"),
            (18_220, "18 KiB"),
            (1 << 20, "1.0 MiB"),
            (5 << 40, "5.0 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
