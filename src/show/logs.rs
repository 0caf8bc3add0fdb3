//! `logs`: the output of a run.

use std::{
    io::{self, Write},
    ops::Range,
    path::Path,
    time::{Duration, SystemTime},
};

use super::{
    failing::{described, failing, printed_by},
    kept::{Kept, PIECE},
    lines::{Form, Lines},
    records::{Entry, Records, wait_for_change},
};
use crate::{
    cli::{LogsArgs, Since},
    error::{Code, Error, Result},
    settings::Settings,
    show,
};

/// Prints the output of a run; with `--follow` until the run has ended.
///
/// # Errors
/// `no-such-run`; `not-recorded` where times or commands are asked for that are not known here; `internal`.
/// A reader that is gone is none.
pub fn logs(settings: &Settings, args: &LogsArgs) -> Result<u8> {
    let records = Records::open(settings)?;
    let entry = find(&records, args)?;
    match print(&records, &entry, args) {
        Err(Failure::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        Err(Failure::Print(error)) => {
            let message = format!("cannot print the output of `{}`", entry.outcome.run_id);
            Err(Error::new(Code::Internal, message, "see whether its folder can be read").because(error))
        }
        Err(Failure::Refused(error)) => Err(error),
        Ok(()) => Ok(0),
    }
}

enum Failure {
    Print(io::Error),
    Refused(Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Print(error)
    }
}

/// The run, also where it has begun and there is nothing of it yet but its name.
fn find(records: &Records, args: &LogsArgs) -> Result<Entry> {
    let run = args.run.as_deref();
    while args.follow
        && let Some(folder) = records.begun(run)
    {
        wait_for_change(std::iter::once::<&Path>(&folder), Duration::from_secs(1), None);
    }
    records.one(run)
}

fn print(records: &Records, entry: &Entry, args: &LogsArgs) -> std::result::Result<(), Failure> {
    let mut kept = Kept::open(&entry.folder)?;
    if (args.timestamps || args.since.is_some()) && !kept.has_times() && !(args.follow && is_running(entry)) {
        return Err(Failure::Refused(not_recorded(entry, "when the output of", "came")));
    }
    let mut lines = Lines::new(io::stdout().lock(), Form::of(args));
    if args.failed {
        return print_failed(entry, &kept, args, &mut lines);
    }
    let mut at = begin(&kept, args)?;
    loop {
        // Asked before the copy: what is written before the end is then copied for sure.
        let has_ended = !args.follow || !records.one(Some(&entry.outcome.run_id)).is_ok_and(|entry| is_running(&entry));
        kept.look()?;
        if has_ended {
            kept.look_for_tail()?;
        }
        at = copy(&kept, at..u64::MAX, has_ended, &mut lines)?;
        if has_ended {
            break;
        }
        wait_for_change(std::iter::once::<&Path>(&entry.folder), Duration::from_secs(1), None);
    }
    Ok(lines.end()?)
}

fn is_running(entry: &Entry) -> bool {
    !entry.outcome.state.is_final()
}

/// Where to begin.
fn begin(kept: &Kept, args: &LogsArgs) -> io::Result<u64> {
    let since = match args.since {
        None => 0,
        Some(Since::At(time)) => kept.position_at(time)?,
        Some(Since::Ago(time)) => {
            kept.position_at(SystemTime::now().checked_sub(time).unwrap_or(SystemTime::UNIX_EPOCH))?
        }
    };
    match args.lines {
        None => Ok(since),
        Some(count) => kept.last_lines(since..kept.length(), count),
    }
}

/// Prints a range, as far as it is there, and returns where it ends.
fn copy(kept: &Kept, range: Range<u64>, has_ended: bool, lines: &mut Lines<impl Write>) -> io::Result<u64> {
    let mut buffer = vec![0; PIECE];
    let mut at = range.start;
    loop {
        let room = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(PIECE);
        let count = if room == 0 { 0 } else { kept.read(&mut buffer[..room], at)? };
        if count == 0 {
            lines.flush()?;
            return Ok(at);
        }
        // What was not noted yet has come just now; after the end, with the last that was.
        let latest = if has_ended { kept.last_time() } else { None };
        let latest = latest.unwrap_or_else(SystemTime::now);
        lines.print(&buffer[..count], |offset| kept.time_of(at + offset, latest))?;
        at += count as u64;
    }
}

fn print_failed(
    entry: &Entry,
    kept: &Kept,
    args: &LogsArgs,
    lines: &mut Lines<impl Write>,
) -> std::result::Result<(), Failure> {
    let run = &entry.outcome.run_id;
    let steps = failing(entry).filter(|_| kept.has_times());
    let steps = steps.ok_or_else(|| Failure::Refused(not_recorded(entry, "which commands of", "printed what")))?;
    if steps.is_empty() && !args.json {
        show::eprintln(&format!("note: no command of `{run}` has failed, as far as they were recorded"));
    }
    for step in steps {
        let range = printed_by(&step, kept);
        let begin = match args.lines {
            Some(count) => kept.last_lines(range.clone(), count)?,
            None => range.start,
        };
        if !args.json {
            show::eprintln(&described(&step));
        }
        lines.of_step(step);
        copy(kept, begin..range.end, true, lines)?;
        lines.end_step()?;
    }
    Ok(lines.end()?)
}

fn not_recorded(entry: &Entry, what: &str, did: &str) -> Error {
    let reason = entry.outcome.steps.unavailable.as_ref().filter(|_| did != "came");
    let reason = reason.map_or_else(String::new, |reason| format!(": {}", crate::error::one_line(reason)));
    let message = format!("it is not known here {what} `{}` {did}{reason}", entry.outcome.run_id);
    let hint = match nix::unistd::geteuid().is_root() {
        true => "call it without -t, --since and --failed",
        false => "call it as root on the instance, or without -t, --since and --failed",
    };
    Error::new(Code::NotRecorded, message, hint)
}
