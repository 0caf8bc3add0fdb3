//! The script with its line numbers, which are anchors, and what became of each line.

use std::collections::HashMap;

use super::{
    markup::{Href, Html},
    section,
    timeline::is_slow,
    view::{Audience, View},
    words::span,
};

/// The most bytes of markup.
const MOST: usize = 256 << 10;

/// So many lines are shown in any case; further ones only around those that are marked.
const HEAD: u32 = 1500;
const AROUND: u32 = 8;

/// The longest line, bytes.
const LONGEST: usize = 2000;

/// What became of a line.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    failures: u32,
    exit_code: i32,
    /// Its longest time in seconds, where it was slow.
    slow: Option<f64>,
    runs: bool,
}

pub(super) fn write(html: &mut Html, view: &View) {
    let Some(script) = &view.script else {
        if view.outcome.source.is_some()
            && matches!(view.audience, Audience::Share(redaction) if !redaction.shows_script)
        {
            section(html, "script", "Script", |html| html.word("p", "muted", "kept back by the configuration"));
        }
        return;
    };
    let marks = marks(view);
    section(html, "script", "Script", |html| {
        html.element("p", &[("class", &"muted")], |html| {
            html.text("As it ran: ");
            html.link(Href::Beside("script.sh"), "", |html| html.text("script.sh"));
        });
        html.element("pre", &[("class", &"code")], |html| lines(html, script, &marks));
    });
}

fn lines(html: &mut Html, script: &[u8], marks: &HashMap<u32, Mark>) {
    let start = html.length();
    let text = script.strip_suffix(b"\n").unwrap_or(script);
    let mut marked: Vec<u32> = marks.keys().copied().collect();
    marked.sort_unstable();
    let is_near = |number: u32| {
        let next = marked.partition_point(|line| *line < number.saturating_sub(AROUND));
        marked.get(next).is_some_and(|line| *line <= number.saturating_add(AROUND))
    };
    let mut skipped: Option<u32> = None;
    let mut last = 0;
    for (line, number) in text.split(|byte| *byte == b'\n').zip(1..) {
        last = number;
        let is_full = html.length() - start > MOST;
        // What is marked has a little more room than the rest.
        let is_shown = if is_full {
            marks.contains_key(&number) && html.length() - start < MOST + (32 << 10)
        } else {
            number <= HEAD || is_near(number)
        };
        if !is_shown {
            skipped.get_or_insert(number);
            continue;
        }
        if let Some(first) = skipped.take() {
            gap(html, first, number - 1);
        }
        script_line(
            html,
            number,
            line,
            marks.get(&number).map_or("l", Mark::class),
            Some((number, marks.get(&number))),
        );
    }
    if let Some(first) = skipped {
        gap(html, first, last);
    }
}

fn gap(html: &mut Html, first: u32, last: u32) {
    html.element("span", &[("class", &"gap")], |html| {
        if first == last {
            html.text(format_args!("line {first} is left out here"));
        } else {
            html.text(format_args!("lines {first} to {last} are left out here"));
        }
    });
}

/// One line of the script. The listing gives it its anchor and says what became of it.
pub(super) fn script_line(
    html: &mut Html,
    number: u32,
    text: &[u8],
    class: &'static str,
    listed: Option<(u32, Option<&Mark>)>,
) {
    let content = |html: &mut Html| {
        html.link(Href::Line(number), "n", |html| html.text(number));
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let (shown, rest) = text.split_at(text.len().min(LONGEST));
        html.text(String::from_utf8_lossy(shown));
        if !rest.is_empty() {
            html.word("i", "", format_args!("\u{2026} and {} more bytes", rest.len()));
        }
        if let Some((_, Some(mark))) = listed {
            mark.write(html);
        }
        html.literal("\n");
    };
    match listed {
        Some((number, _)) => {
            html.element("span", &[("class", &class), ("id", &format_args!("L{number}"))], content);
        }
        None => html.element("span", &[("class", &class)], content),
    }
}

impl Mark {
    fn class(&self) -> &'static str {
        match self {
            Self { failures: 1.., .. } => "l failed",
            Self { runs: true, .. } => "l runs",
            Self { slow: Some(_), .. } => "l slow",
            Self { failures: 0, runs: false, slow: None, .. } => "l",
        }
    }

    fn write(&self, html: &mut Html) {
        let mut says = |text: String| html.word("i", "", text);
        match self.failures {
            0 => {}
            1 => says(format!("\u{2717} failed with exit code {}", self.exit_code)),
            times => says(format!("\u{2717} failed {times} times, last with exit code {}", self.exit_code)),
        }
        if self.runs {
            says("\u{25b6} was running here".into());
        }
        if let Some(seconds) = self.slow {
            says(format!("\u{25d4} took {}", span(seconds)));
        }
    }
}

/// What is worth marking, by line.
fn marks(view: &View) -> HashMap<u32, Mark> {
    let mut marks: HashMap<u32, Mark> = HashMap::new();
    for step in view.failures() {
        let mark = marks.entry(step.line).or_default();
        mark.failures += 1;
        mark.exit_code = step.exit_code.unwrap_or_default();
    }
    let total = view.elapsed();
    for step in view.steps.steps.iter().filter(|step| is_slow(step, total)) {
        let slow = &mut marks.entry(step.line).or_default().slow;
        *slow = Some(slow.map_or(step.seconds, |longest| longest.max(step.seconds)));
    }
    if let Some(step) = &view.steps.running {
        marks.entry(step.line).or_default().runs = true;
    }
    marks
}
