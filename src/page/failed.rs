//! Each failed step: its line of the script, and beside it what was printed while it ran.

use super::{
    ansi,
    listing::script_line,
    markup::Html,
    section,
    view::View,
    words::{Clipped, counted, place, span},
};
use crate::record::steps::RecordedStep;

/// The most steps that are shown.
const MOST_STEPS: usize = 10;

/// The most bytes of all of them.
const MOST: usize = 112 << 10;

/// What is read and shown of a step's output.
const OUTPUT: u64 = 8 << 10;
const LINES: usize = 30;

pub(super) fn write(html: &mut Html, view: &View) {
    let failures = view.failures();
    if failures.is_empty() {
        return;
    }
    let count = failures.len() as u64;
    let heading = counted(count, "step failed", "steps failed");
    section(html, "failed", &heading, |html| {
        let start = html.length();
        let mut shown = 0;
        // The last one explains the end, so it comes first where there are too many.
        let first = failures.len().saturating_sub(MOST_STEPS);
        for step in &failures[first..] {
            if html.length() - start > MOST {
                break;
            }
            shown += 1;
            article(html, view, step);
        }
        if shown < failures.len() {
            html.word("p", "muted", format_args!("{} more are marked in the script below", failures.len() - shown));
        }
    });
}

fn article(html: &mut Html, view: &View, step: &RecordedStep) {
    html.element("h3", &[], |html| {
        place(html, step.line, step.block.as_ref());
        html.text(format_args!(": exit code {}", step.exit_code.unwrap_or_default()));
        html.element("span", &[("class", &"muted")], |html| html.text(format_args!(", after {}", span(step.seconds))));
    });
    html.element("div", &[("class", &"pair")], |html| {
        html.element("figure", &[], |html| {
            html.word("figcaption", "", "Script");
            html.element("pre", &[("class", &"code")], |html| source(html, view, step));
        });
        html.element("figure", &[], |html| {
            html.word("figcaption", "", "Output while it ran");
            html.element("pre", &[], |html| output(html, view, step));
        });
    });
    html.literal("\n");
}

/// The step's lines with their neighbours; without the script, the command as it was recorded.
fn source(html: &mut Html, view: &View, step: &RecordedStep) {
    /// Of a long heredoc the beginning.
    const MOST_LINES: u32 = 8;
    let Some(script) = &view.script else {
        return script_line(html, step.line, step.command.as_bytes(), "l failed", None);
    };
    let first = step.line.saturating_sub(2).max(1);
    let last = step.end_line.min(step.line + MOST_LINES).saturating_add(1);
    let lines = script.split(|byte| *byte == b'\n').zip(1..).skip(first as usize - 1);
    for (text, number) in lines.take_while(|(_, number)| *number <= last) {
        let is_own = (step.line..=step.end_line).contains(&number);
        script_line(html, number, text, if is_own { "l failed" } else { "l" }, None);
    }
}

fn output(html: &mut Html, view: &View, step: &RecordedStep) {
    let Some(piece) = view.output_of(step, OUTPUT) else {
        return html.word("span", "muted", "when the output came was not recorded");
    };
    let mut lines = Vec::new();
    ansi::lines(&piece.bytes, &mut |line| lines.push(line.clipped(600)));
    if lines.iter().all(ansi::Line::is_blank) {
        return html.word("span", "muted", "nothing");
    }
    if piece.is_cut || lines.len() > LINES {
        html.word("span", "muted", "\u{2026}\n");
    }
    for line in lines.iter().skip(lines.len().saturating_sub(LINES)) {
        line.write(html);
    }
}

/// What a command is called in an attribute.
pub(super) fn label(step: &RecordedStep) -> String {
    format!("line {}: {}", step.line, Clipped(&step.command, 120))
}
