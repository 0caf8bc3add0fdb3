//! The top of a page: how it went, where, why, and what to do next.

use super::{
    ansi, class_of,
    markup::{Href, Html},
    view::{Audience, View},
    words::{Clipped, command, headline, place, prose, sign, size, span, time_told},
};
use crate::{
    error::Code,
    record::{
        outcome::{Mirror, Outcome, SourceKind, State},
        steps::RecordedStep,
        words::human,
    },
};

/// The longest message or hint that is shown whole, characters.
const LONGEST: usize = 1000;

/// How many of a command's last lines say why it failed.
const REASON: usize = 4;

pub(super) fn write(html: &mut Html, view: &View) {
    let outcome: &Outcome = &view.outcome;
    let class = format!("verdict {}", class_of(outcome));
    html.element("header", &[("class", &class)], |html| {
        html.element("h1", &[], |html| {
            html.element("span", &[("aria-hidden", &"true")], |html| html.text(sign(outcome.state)));
            html.text(headline(outcome));
            if let Some(code) = outcome.exit_code.filter(|code| *code != 0) {
                html.text(format_args!(" (exit code {code})"));
            }
        });
        html.literal("\n");
        html.element("p", &[("class", &"muted")], |html| when(html, view));
        html.literal("\n");
        let culprit = view.culprit();
        html.element("dl", &[], |html| {
            if let Some(step) = &culprit {
                what(html, view, step);
            }
            // That a script exited with the code of the command that failed is no news.
            let is_told = outcome.state == State::Failed && culprit.is_some();
            if let Some(error) = outcome.error.as_ref().filter(|_| outcome.state != State::Succeeded && !is_told) {
                row(html, "Why", |html| prose(html, &Clipped(&error.message, LONGEST).to_string()));
            }
            let said = last_words(view, culprit.as_ref());
            said_last(html, &said);
            if let Some((first, then)) = next(outcome, culprit.as_ref(), &said.lines) {
                html.word("dt", "", "What to do next");
                html.element("dd", &[("class", &"next")], |html| {
                    html.element("p", &[], |html| prose(html, &Clipped(&first, LONGEST).to_string()));
                    if !then.is_empty() {
                        html.element("p", &[], |html| prose(html, &then));
                    }
                });
                html.literal("\n");
            }
            share(html, view);
        });
    });
    html.literal("\n");
}

fn row(html: &mut Html, term: &str, content: impl FnOnce(&mut Html)) {
    html.element("dt", &[], |html| html.text(term));
    html.element("dd", &[], content);
    html.literal("\n");
}

fn when(html: &mut Html, view: &View) {
    let outcome: &Outcome = &view.outcome;
    if let Some(instance) = &outcome.instance {
        html.word("strong", "", instance.identity.name());
        html.literal(" · ");
    }
    if !outcome.started_at.is_empty() {
        time_told(html, &outcome.started_at);
    }
    match outcome.elapsed_seconds {
        Some(seconds) => html.text(format_args!(" · took {}", span(seconds))),
        None if outcome.state == State::Running => {
            html.text(format_args!(" · running for {}", human(view.elapsed())));
            if let Some(limit) = outcome.timeout.as_ref().and_then(|timeout| timeout.seconds) {
                html.text(format_args!(", {} left until its timeout", human((limit - view.elapsed()).max(0.0))));
            }
            html.text(" · this page loads itself again");
        }
        None => {}
    }
}

fn what(html: &mut Html, view: &View, step: &RecordedStep) {
    let outcome: &Outcome = &view.outcome;
    let term = match outcome.state {
        State::Failed => "Failed command",
        State::Running => "Running now",
        State::TimedOut | State::Interrupted | State::Pending | State::Succeeded | State::Rejected => "Was running",
    };
    row(html, term, |html| {
        command(html, &step.command);
        match step.exit_code {
            Some(code) => {
                html.literal(" ");
                html.word("strong", "", format_args!("exit code {code}"));
            }
            None => html.text(format_args!(" for {}", span(step.seconds))),
        }
    });
    row(html, "Where", |html| {
        place(html, step.line, step.block.as_ref());
        if let Some(source) = &outcome.source {
            html.text(" of ");
            match (source.kind, &source.path) {
                (SourceKind::WorkspaceStorage, Some(path)) => {
                    html.element("code", &[], |html| html.text(Clipped(path, 300)));
                }
                (SourceKind::WorkspaceStorage, None) | (SourceKind::Inline, _) => html.text("the inline script"),
            }
        }
    });
}

/// What was said last, and by whom.
#[derive(Default)]
struct LastWords {
    term: &'static str,
    lines: Vec<ansi::Line>,
}

/// The last lines that the command printed which failed; without one, or where it printed nothing, the last lines of
/// all. A command that was ended says less than what came before it.
fn last_words(view: &View, culprit: Option<&RecordedStep>) -> LastWords {
    const BYTES: u64 = 4096;
    match view.outcome.state {
        State::Failed | State::TimedOut | State::Interrupted => {}
        State::Pending | State::Running | State::Succeeded | State::Rejected => return LastWords::default(),
    }
    let failed = culprit.filter(|step| step.exit_code.is_some());
    let own = failed.and_then(|step| view.output_of(step, BYTES)).filter(|piece| !piece.bytes.is_empty());
    let (term, piece) = match own {
        Some(piece) => ("Its last output", piece),
        None => ("Last output", view.excerpts.end(BYTES)),
    };
    let mut lines: Vec<ansi::Line> = Vec::new();
    ansi::lines(&piece.bytes, &mut |line| {
        if !line.is_blank() {
            lines.push(line.clipped(400));
        }
    });
    lines.drain(..lines.len().saturating_sub(REASON));
    LastWords { term, lines }
}

fn said_last(html: &mut Html, said: &LastWords) {
    if !said.lines.is_empty() {
        row(html, said.term, |html| {
            html.element("pre", &[], |html| said.lines.iter().for_each(|line| line.write(html)));
        });
    }
}

/// What to do next, and what then.
fn next(outcome: &Outcome, culprit: Option<&RecordedStep>, said: &[ansi::Line]) -> Option<(String, String)> {
    const AGAIN: &str = "Then run it again: `sudo ci-setup-agent run --rerun`";
    let error = outcome.error.as_ref().filter(|_| outcome.state != State::Succeeded)?;
    let own = || (capital(&error.hint), String::new());
    let Some(step) = culprit else { return Some(own()) };
    let line = step.line;
    let path = outcome.source.as_ref().and_then(|source| source.path.as_ref());
    let script = path.map_or_else(|| "the script".into(), |path| format!("`{path}`"));
    let again = || AGAIN.to_owned();
    Some(match (error.code, step.exit_code) {
        (Code::ScriptFailed, Some(127)) => {
            let program = said.iter().rev().find_map(not_found);
            let program = program.map_or_else(|| "the program".into(), |name| format!("`{name}`"));
            let then = match &step.block {
                Some(block) => {
                    format!("The {} block has a PATH of its own and reads no `.bashrc`. {AGAIN}", block.user)
                }
                None => again(),
            };
            let first = format!("Install {program} before line {line} of {script}, or call it by its full path");
            (first, then)
        }
        (Code::ScriptFailed, Some(126)) => {
            (format!("Make what line {line} of {script} calls executable, or call it with its interpreter"), again())
        }
        (Code::ScriptFailed, Some(137)) => {
            (format!("See in the kernel's log who killed line {line}: the machine may lack memory"), again())
        }
        (Code::ScriptFailed, _) => (format!("Correct line {line} of {script}"), again()),
        (Code::TimedOut, _) => {
            let limit = outcome.timeout.as_ref().and_then(|timeout| timeout.seconds).unwrap_or_default();
            let limit = human(limit);
            (
                format!("Find out what line {line} waits for, or give the script a `timeout` longer than {limit}"),
                again(),
            )
        }
        _ => own(),
    })
}

/// The program that a shell did not find, from `bash: line 4: conda: command not found`.
fn not_found(line: &ansi::Line) -> Option<String> {
    let text = line.text();
    let (before, _) = text.rsplit_once(": command not found").or_else(|| text.rsplit_once(": not found"))?;
    let name = before.rsplit(": ").next()?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '/');
    (!name.is_empty() && name.len() < 100 && name.chars().all(is_name)).then(|| name.to_owned())
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

/// What the share lacks. On the share itself nobody needs to be told, and a page that said so would have to be
/// written once more to take it back.
fn share(html: &mut Html, view: &View) {
    let output = &view.outcome.output;
    match view.audience {
        Audience::Share(_) => return,
        Audience::Root if !view.outcome.state.is_final() => return,
        Audience::Root => {}
    }
    let missing = match output.mirror {
        Mirror::Current => return,
        Mirror::Behind => {
            format!("{} of {} are there so far", size(output.mirrored_bytes), size(output.bytes))
        }
        Mirror::None => "nothing of this run is known to be there".into(),
    };
    row(html, "Share", |html| {
        html.text(format_args!("the copy is behind: {missing}; "));
        html.word("code", "", "ci-setup-agent sync");
        html.text(" brings over the rest when the share answers. ");
        html.link(Href::Part("output"), "", |html| html.text("The output here"));
        html.text(" is complete");
    });
}
