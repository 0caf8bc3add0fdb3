//! One run, for a person who wants to know what happened and what to do.

use std::{
    io,
    path::Path,
    time::{Duration, SystemTime},
};

use super::{
    failing::{described, failing, printed_by},
    harmless::{Harmless, Sgr},
    kept::Kept,
    progress::{cut, place},
    records::Entry,
};
use crate::{
    error::one_line,
    record::{
        Outcome,
        outcome::{Mirror, Process, State},
        words::human,
    },
};

/// So many failed commands, processes and warnings are told of; the JSON holds all.
const MOST: usize = 10;
/// So many of the last lines that a failed command printed.
const LINES: u64 = 10;
/// So much of each of them, columns.
const WIDTH: usize = 200;

/// The rows of one run, one for each thing that there is to be told.
pub fn detail(entry: &Entry, now: SystemTime) -> String {
    let outcome = &entry.outcome;
    let mut rows = Rows::default();
    rows.add("run", &outcome.run_id);
    let code = outcome.exit_code.map_or_else(String::new, |code| format!(", exit code {code}"));
    rows.add("state", format!("{}{code}", outcome.state.word()));
    why(entry, &mut rows);
    what(outcome, &mut rows);
    when(outcome, now, &mut rows);
    let steps = &outcome.steps;
    match (&steps.unavailable, outcome.failed_command_count) {
        (Some(reason), _) => rows.add("steps", format!("not recorded: {}", one_line(reason))),
        (None, 0) => rows.add("steps", steps.count.to_string()),
        (None, failed) => rows.add("steps", format!("{}, {failed} of them failed", steps.count)),
    }
    for failed in outcome.failed_commands.iter().take(MOST) {
        let place = place(failed.line, failed.block.as_ref());
        rows.add("failed", format!("{place}: `{}` with {}", one_line(&failed.command), failed.exit_code));
    }
    rows.add_more(outcome.failed_command_count);
    let lists = &outcome.processes;
    processes("at end", &lists.at_deadline, lists.at_deadline_count, &mut rows);
    processes("left", &lists.left, lists.left_count, &mut rows);
    processes("unkillable", &lists.unkillable, lists.unkillable_count, &mut rows);
    output(entry, &mut rows);
    for warning in outcome.warnings.iter().take(MOST) {
        rows.add("warning", one_line(&warning.message));
        rows.add("", format!("hint: {}", one_line(&warning.hint)));
    }
    for command in next(outcome) {
        rows.add("next", command);
    }
    rows.text
}

#[derive(Default)]
struct Rows {
    text: String,
}

impl Rows {
    fn add(&mut self, name: &str, value: impl AsRef<str>) {
        self.text += &format!("{name:<12}{}\n", value.as_ref());
    }

    /// Where a list was longer than what was told.
    fn add_more(&mut self, count: u64) {
        if count > MOST as u64 {
            self.add("", format!("and {} more", count - MOST as u64));
        }
    }
}

/// The command at which it failed, with the last lines that it printed.
fn why(entry: &Entry, rows: &mut Rows) {
    let outcome = &entry.outcome;
    if let Some(step) = outcome.steps.current.as_ref().filter(|_| !outcome.state.is_final()) {
        let place = place(step.line, step.block.as_ref());
        rows.add("at", format!("{place}: `{}` for {}", one_line(&step.command), human(step.seconds)));
    }
    if let Some(error) = outcome.error.as_ref().filter(|_| outcome.state != State::Succeeded) {
        rows.add("error", one_line(&error.message));
        rows.add("hint", one_line(&error.hint));
    }
    if !outcome.state.is_final() || outcome.state == State::Succeeded {
        return;
    }
    let step = failing(entry).and_then(|mut steps| steps.pop());
    if let Some(step) = &step {
        rows.add("why", described(step));
    }
    let lines = Kept::open(&entry.folder).and_then(|kept| {
        let all = 0..kept.length();
        let range = match &step {
            Some(step) if kept.has_times() => printed_by(step, &kept),
            Some(_) | None => all,
        };
        let begin = kept.last_lines(range.clone(), LINES)?;
        excerpt(&kept, begin, range.end)
    });
    for (index, line) in lines.unwrap_or_default().into_iter().enumerate() {
        rows.add(if index == 0 { "printed" } else { "" }, format!("| {line}"));
    }
}

/// The lines from `begin` to `end`, made harmless and short. Bounded, however long they are.
fn excerpt(kept: &Kept, begin: u64, end: u64) -> io::Result<Vec<String>> {
    const MOST_BYTES: u64 = 64 * 1024;
    let begin = begin.max(end.saturating_sub(MOST_BYTES));
    let mut text = vec![0; usize::try_from(end - begin).unwrap_or_default()];
    let length = kept.read(&mut text, begin)?;
    let (mut harmless, mut shown) = (Harmless::new(Sgr::Dropped), Vec::new());
    harmless.take(&text[..length], &mut shown);
    harmless.end(&mut shown);
    Ok(String::from_utf8_lossy(&shown).lines().map(|line| cut(line, WIDTH)).collect())
}

fn what(outcome: &Outcome, rows: &mut Rows) {
    if let Some(instance) = &outcome.instance {
        rows.add("instance", instance.identity.to_string());
    }
    if let Some(source) = &outcome.source {
        let size = source.bytes.map_or_else(String::new, |bytes| format!(", {bytes} bytes"));
        rows.add("script", format!("{}{size}", source.path.as_deref().map_or_else(|| "inline".into(), one_line)));
    }
    if let Some(arguments) = outcome.arguments.as_ref().filter(|arguments| !arguments.is_empty()) {
        let words: Vec<String> = arguments.iter().map(|word| format!("`{}`", one_line(word))).collect();
        rows.add("arguments", words.join(" "));
    }
    if let Some(timeout) = &outcome.timeout {
        rows.add("timeout", timeout.seconds.map_or_else(|| "none".into(), human));
    }
}

fn when(outcome: &Outcome, now: SystemTime, rows: &mut Rows) {
    let told = |time: &str| match humantime::parse_rfc3339(time) {
        Ok(at) => format!("{time}, {} ago", ago(now.duration_since(at).unwrap_or_default())),
        Err(_) => time.to_owned(),
    };
    if !outcome.started_at.is_empty() {
        rows.add("started", told(&outcome.started_at));
    }
    if let Some(ended) = &outcome.ended_at {
        rows.add("ended", told(ended));
    }
    if let Some(seconds) = outcome.elapsed_seconds {
        rows.add("took", human(seconds));
    }
}

/// How long ago, for people.
pub fn ago(time: Duration) -> String {
    human(time.as_secs() as f64)
}

fn processes(name: &str, processes: &[Process], count: u64, rows: &mut Rows) {
    for process in processes.iter().take(MOST) {
        let command = one_line(&process.command);
        rows.add(name, format!("{} {} {command}, {}", process.pid, process.user, human(process.seconds)));
    }
    rows.add_more(count);
}

fn output(entry: &Entry, rows: &mut Rows) {
    let output = &entry.outcome.output;
    let dropped = match output.dropped_bytes {
        0 => String::new(),
        dropped => format!(", {dropped} more were not kept"),
    };
    rows.add("output", format!("{} bytes{dropped}", output.bytes));
    let log = entry.folder.join(crate::output::spool::LOG);
    if log.exists() {
        rows.add("log", one_line(&log.to_string_lossy()));
    }
    let path = output.mirror_path.as_deref().unwrap_or_default();
    match output.mirror {
        Mirror::None => rows.add("copy", "nothing is known to be on the share"),
        Mirror::Current => rows.add("copy", format!("complete in {path} on the share")),
        Mirror::Behind => {
            rows.add("copy", format!("{} of {} bytes in {path} on the share", output.mirrored_bytes, output.bytes));
        }
    }
}

/// Which commands help from here.
fn next(outcome: &Outcome) -> Vec<String> {
    let run = &outcome.run_id;
    let call = |words: String| format!("{}ci-setup-agent {words}", if is_root() { "" } else { "sudo " });
    let rerun = outcome.script.map(|script| call(format!("run --rerun --only {}", script.word())));
    let see = match outcome.failed_command_count {
        0 => call(format!("logs {run}")),
        _ => call(format!("logs {run} --failed")),
    };
    let mut commands = match outcome.state {
        State::Pending | State::Running => {
            vec![call(format!("logs {run} --follow")), call(format!("status {run} --wait"))]
        }
        State::Succeeded if outcome.failed_command_count > 0 => vec![see],
        State::Succeeded => Vec::new(),
        State::Rejected => vec![call("run".into())],
        State::Failed | State::TimedOut | State::Interrupted => [Some(see), rerun].into_iter().flatten().collect(),
    };
    if outcome.state.is_final() && outcome.output.mirror == Mirror::Behind {
        commands.push(call("sync".into()));
    }
    commands
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// When the outcome was last written: what it says of seconds was true then.
pub fn written(folder: &Path) -> SystemTime {
    let modified = std::fs::metadata(folder.join("outcome.json")).and_then(|meta| meta.modified());
    modified.unwrap_or_else(|_| SystemTime::now())
}
