//! The top of a page: how it went, where, why, and what to do next.

use super::{
    ansi, class_of,
    markup::{Href, Html},
    view::{Audience, View},
    words::{Clipped, command, headline, place, sign, size, span, time_told},
};
use crate::{
    error::Code,
    record::{
        outcome::{Mirror, Outcome, SourceKind, State},
        steps::RecordedStep,
    },
    run::ending::human,
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
            if let Some(error) = outcome.error.as_ref().filter(|_| outcome.state != State::Succeeded) {
                row(html, if culprit.is_some() { "Ended" } else { "What" }, |html| {
                    html.text(Clipped(&error.message, LONGEST));
                });
            }
            why(html, view, culprit.as_ref());
            if let Some(next) = next(outcome, culprit.as_ref()) {
                row(html, "What to do next", |html| {
                    html.element("span", &[("class", &"next")], |html| html.text(Clipped(&next, LONGEST)));
                });
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

/// The last lines that the command printed; without one, the last lines of all.
fn why(html: &mut Html, view: &View, culprit: Option<&RecordedStep>) {
    const BYTES: u64 = 4096;
    match view.outcome.state {
        State::Failed | State::TimedOut | State::Interrupted => {}
        State::Pending | State::Running | State::Succeeded | State::Rejected => return,
    }
    let own = culprit.and_then(|step| view.output_of(step, BYTES)).filter(|piece| !piece.bytes.is_empty());
    let (term, piece) = match own {
        Some(piece) => ("Its last output", piece),
        None => ("Last output", view.excerpts.end(BYTES)),
    };
    let mut last: Vec<ansi::Line> = Vec::new();
    ansi::lines(&piece.bytes, &mut |line| {
        if !line.is_blank() {
            last.push(line.clipped(400));
        }
    });
    if last.is_empty() {
        return;
    }
    row(html, term, |html| {
        html.element("pre", &[], |html| {
            for line in last.iter().skip(last.len().saturating_sub(REASON)) {
                line.write(html);
            }
        });
    });
}

/// What to do next.
fn next(outcome: &Outcome, culprit: Option<&RecordedStep>) -> Option<String> {
    let error = outcome.error.as_ref()?;
    let Some(step) = culprit else { return Some(error.hint.clone()) };
    let again = "then run it again with `ci-setup-agent run --rerun`";
    let script = outcome.source.as_ref().and_then(|source| source.path.clone());
    let script = script.unwrap_or_else(|| "the script".into());
    let line = step.line;
    let program = step.command.split_whitespace().next().unwrap_or_default();
    Some(match (error.code, step.exit_code) {
        (Code::ScriptFailed, Some(127)) => match &step.block {
            Some(block) => format!(
                "a command in line {line} was not found: install it before, or name it by its full path (the {} block \
                 has a PATH of its own, and reads no .bashrc); correct {script}, {again}",
                block.user
            ),
            None => format!(
                "a command in line {line} was not found: install it before, or name it by its full path; correct \
                 {script}, {again}"
            ),
        },
        (Code::ScriptFailed, Some(126)) => {
            format!("`{program}` is no program, or may not be executed; correct line {line} of {script}, {again}")
        }
        (Code::ScriptFailed, Some(137)) => {
            format!("line {line} was killed, perhaps for want of memory: see the kernel's log; {again}")
        }
        (Code::ScriptFailed, _) => format!("correct line {line} of {script}, {again}"),
        (Code::TimedOut, _) => {
            let limit = outcome.timeout.as_ref().and_then(|timeout| timeout.seconds).unwrap_or_default();
            format!(
                "find out why line {line} takes so long, or give the script a `timeout` longer than {}, {again}",
                human(limit)
            )
        }
        _ => error.hint.clone(),
    })
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
