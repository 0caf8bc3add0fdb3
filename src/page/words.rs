//! The words that parts of a page share.

use std::{
    fmt::{self, Display},
    time::SystemTime,
};

use super::markup::{Href, Html};
use crate::record::{
    outcome::{Block, Outcome, ScriptKind, State},
    state::timestamp,
    steps::RecordedStep,
    words::human,
};

/// A text of at most so many characters; what is longer ends in `…`.
pub(super) struct Clipped<'a>(pub &'a str, pub usize);

impl Display for Clipped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(self.1) {
            Some((at, _)) => write!(f, "{}\u{2026}", &self.0[..at]),
            None => f.write_str(self.0),
        }
    }
}

/// `Creation script failed`.
pub(super) fn headline(outcome: &Outcome) -> String {
    let subject = match outcome.script {
        Some(ScriptKind::CreationScript) => "Creation script",
        Some(ScriptKind::StartupScript) => "Startup script",
        None => "Request",
    };
    let verb = match outcome.state {
        State::Pending => "is about to start",
        State::Running => "is running",
        State::Succeeded => "succeeded",
        State::Failed => "failed",
        State::TimedOut => "timed out",
        State::Interrupted => "was interrupted",
        State::Rejected => "was rejected",
    };
    format!("{subject} {verb}")
}

/// The title of a run's page.
pub(super) fn title(outcome: &Outcome) -> String {
    let name = outcome.instance.as_ref().map(|instance| format!(" on {}", instance.identity.name()));
    format!("{} {}{}", sign(outcome.state), headline(outcome), name.unwrap_or_default())
}

/// A sign that says the state where colours do not.
pub(super) fn sign(state: State) -> &'static str {
    match state {
        State::Pending => "\u{2026}",
        State::Running => "\u{25b6}",
        State::Succeeded => "\u{2713}",
        State::Failed => "\u{2717}",
        State::TimedOut => "\u{25d4}",
        State::Interrupted => "\u{25a0}",
        State::Rejected => "\u{2298}",
    }
}

/// The class that gives a state its colour.
pub(super) fn state_class(state: State) -> &'static str {
    match state {
        State::Pending | State::Running => "going",
        State::Succeeded => "good",
        State::Failed | State::Rejected => "bad",
        State::TimedOut | State::Interrupted => "late",
    }
}

/// A time that an outcome tells, as people write it.
pub(super) fn time_told(html: &mut Html, told: &str) {
    match humantime::parse_rfc3339_weak(told) {
        Ok(at) => time(html, at),
        Err(_) => html.text(Clipped(told, 40)),
    }
}

/// `2026-11-21 20:59:57 UTC`.
pub(super) fn time(html: &mut Html, at: SystemTime) {
    let exact = timestamp(at);
    html.element("time", &[("datetime", &exact)], |html| {
        let (date, clock) = exact.split_once('T').unwrap_or((&exact, ""));
        html.text(format_args!("{date} {} UTC", clock.split('.').next().unwrap_or(clock)));
    });
}

/// `1 step`, `2 steps`.
pub(super) fn counted(count: u64, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}

/// A size, in the unit that suits it.
pub(super) fn size(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, "bytes");
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    if unit == "bytes" { counted(bytes, "byte", "bytes") } else { format!("{value:.1} {unit}") }
}

/// A span of time; below a tenth of a second in milliseconds.
pub(super) fn span(seconds: f64) -> String {
    match seconds {
        ..0.001 => "<1ms".into(),
        ..0.1 => format!("{}ms", (seconds * 1000.0).round()),
        _ => human(seconds),
    }
}

/// `line 14`, leading there, and `line 3 of the azureuser block`.
pub(super) fn place(html: &mut Html, line: u32, block: Option<&Block>) {
    html.link(Href::Line(line), "", |html| html.text(format_args!("line {line}")));
    if let Some(block) = block {
        html.text(format_args!(" (line {} of the ", block.line));
        html.element("bdi", &[], |html| html.text(Clipped(&block.user, 64)));
        html.text(" block)");
    }
}

/// A sentence of this program, in which backticks stand around names.
pub(super) fn prose(html: &mut Html, text: &str) {
    let mut rest = text;
    while let Some((before, (name, after))) =
        rest.split_once('`').and_then(|(before, rest)| Some((before, rest.split_once('`')?)))
    {
        html.text(before);
        html.word("code", "", name);
        rest = after;
    }
    html.text(rest);
}

/// A command, on one line and in bounds.
pub(super) fn command(html: &mut Html, command: &str) {
    const LONGEST: usize = 200;
    html.element("code", &[], |html| html.text(Clipped(command, LONGEST)));
}

/// When a step began, in seconds after `start`.
pub(super) fn offset(step: &RecordedStep, start: SystemTime) -> f64 {
    let began = humantime::parse_rfc3339_weak(&step.started_at).unwrap_or(start);
    began.duration_since(start).map_or(0.0, |since| since.as_secs_f64())
}
