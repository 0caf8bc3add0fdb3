//! The steps on the run's time: a strip to scale, and a table with a bar for each, to the same scale.

use super::{
    failed::label,
    markup::Html,
    section,
    view::View,
    words::{Clipped, command, counted, offset, place, span},
};
use crate::record::{outcome::State, steps::RecordedStep, words::human};

/// How many rows the table has at the most, those for many steps at once not counted.
const MOST_ROWS: usize = 60;

/// Of more steps than that, so many failed ones, and so many of the slowest.
const FAILED: usize = 25;
const SLOWEST: usize = 25;

/// The strip's width in its own units, which is also how finely it shows quick steps.
const WIDTH: f64 = 1000.0;

/// A step on the run's time.
#[derive(Clone, Copy, Debug)]
struct Bar<'a> {
    step: &'a RecordedStep,
    /// Seconds after the start.
    begin: f64,
    end: f64,
    kind: Kind,
}

/// What a bar says by its colour.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Plain,
    Slow,
    Failed,
    Runs,
}

impl Kind {
    fn class(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Slow => "slow",
            Self::Failed => "failed",
            Self::Runs => "runs",
        }
    }

    /// The least width that can be seen.
    fn least(self) -> f64 {
        match self {
            Self::Plain | Self::Slow => 1.5,
            Self::Failed | Self::Runs => 5.0,
        }
    }
}

/// A row of the table: one step, or quick ones between two that are shown.
#[derive(Debug)]
enum Row<'a> {
    One(Bar<'a>),
    Many(Vec<Bar<'a>>),
}

/// Whether a step took much of the run's time: a tenth of it, and some seconds.
pub(super) fn is_slow(step: &RecordedStep, total: f64) -> bool {
    step.seconds >= 5.0 && step.seconds >= total / 10.0
}

pub(super) fn write(html: &mut Html, view: &View) {
    let bars = bars(view);
    if bars.is_empty() {
        return;
    }
    let end = bars.iter().fold(0.0, |end, bar| bar.end.max(end));
    let total = view.elapsed().max(end).max(0.001);
    section(html, "steps", "Steps", |html| {
        strip(html, view, &bars, total);
        let (listed, count) = (view.steps.steps.len() as u64, view.steps.count);
        if count > listed {
            html.element("p", &[("class", &"muted")], |html| {
                html.text(format_args!(
                    "Of {} the first and the latest are kept, {listed} in all",
                    counted(count, "step", "steps")
                ));
            });
        }
        table(html, &rows(&bars), total);
    });
}

fn bars<'a>(view: &'a View) -> Vec<Bar<'a>> {
    let (start, total) = (view.start(), view.elapsed());
    let told = view.failures();
    let bar = |step: &'a RecordedStep, kind: Kind| {
        let begin = offset(step, start);
        Bar { step, begin, end: begin + step.seconds.max(0.0), kind }
    };
    let kind = |step: &RecordedStep| {
        if told.iter().any(|failed| std::ptr::eq(*failed, step)) {
            Kind::Failed
        } else if is_slow(step, total) {
            Kind::Slow
        } else {
            Kind::Plain
        }
    };
    let mut bars: Vec<Bar> = view.steps.steps.iter().map(|step| bar(step, kind(step))).collect();
    bars.extend(view.steps.running.iter().map(|step| bar(step, Kind::Runs)));
    // A block's command begins before what is in it, and longer ones before shorter ones.
    bars.sort_by(|a, b| a.begin.total_cmp(&b.begin).then(b.end.total_cmp(&a.end)));
    bars
}

/// All steps to scale: those of the script above, those of its blocks below.
fn strip(html: &mut Html, view: &View, bars: &[Bar], total: f64) {
    let failed = bars.iter().filter(|bar| bar.kind == Kind::Failed).count() as u64;
    let description = format!(
        "{} over {}; {}. The table below tells each.",
        counted(bars.len() as u64, "step", "steps"),
        human(total),
        if failed == 0 { "none failed".to_owned() } else { format!("{failed} failed") },
    );
    let size: &dyn std::fmt::Display = &"0 0 1000 44";
    html.element(
        "svg",
        &[
            ("class", &"strip"),
            ("viewBox", size),
            ("preserveAspectRatio", &"none"),
            ("role", &"img"),
            ("aria-labelledby", &"strip-t strip-d"),
        ],
        |html| {
            html.element("title", &[("id", &"strip-t")], |html| html.text("The steps on the run's time"));
            html.element("desc", &[("id", &"strip-d")], |html| html.text(&description));
            html.literal("\n");
            // What matters is drawn last, on top of the rest.
            for kind in [Kind::Plain, Kind::Slow, Kind::Runs, Kind::Failed] {
                let mut painted = [f64::NEG_INFINITY; 2];
                for bar in bars.iter().filter(|bar| bar.kind == kind) {
                    let lane = usize::from(bar.step.block.is_some());
                    let width = ((bar.end - bar.begin) / total * WIDTH).clamp(kind.least(), WIDTH);
                    let x = (bar.begin / total * WIDTH).clamp(0.0, WIDTH - width);
                    // Of many on one spot one is enough.
                    if x + width <= painted[lane] + 0.5 {
                        continue;
                    }
                    painted[lane] = x + width;
                    rect(html, x, width, if lane == 0 { 4.0 } else { 24.0 }, 16.0, bar);
                }
            }
            let limit = view.outcome.timeout.as_ref().and_then(|timeout| timeout.seconds);
            if let Some(limit) = limit.filter(|limit| view.outcome.state == State::TimedOut && *limit <= total) {
                let x = format!("{:.1}", (limit / total * WIDTH).min(WIDTH - 2.0));
                html.element(
                    "rect",
                    &[("class", &"limit"), ("x", &x), ("y", &0), ("width", &2), ("height", &44)],
                    |html| html.element("title", &[], |html| html.text("the deadline")),
                );
            }
        },
    );
    html.literal("\n");
    html.element("div", &[("class", &"scale"), ("aria-hidden", &"true")], |html| {
        for quarter in 0..=4_u32 {
            html.word("span", "", if quarter == 0 { "0".into() } else { span(total * f64::from(quarter) / 4.0) });
        }
    });
    key(html, bars);
}

fn key(html: &mut Html, bars: &[Bar]) {
    html.element("p", &[("class", &"key")], |html| {
        for (kind, words) in [
            (Kind::Plain, "step (above: of the script, below: of its sudo blocks)"),
            (Kind::Slow, "slow"),
            (Kind::Runs, "not ended"),
            (Kind::Failed, "failed"),
        ] {
            if bars.iter().any(|bar| bar.kind == kind) {
                html.element("span", &[], |html| {
                    html.word("b", kind.class(), "");
                    html.text(words);
                });
            }
        }
    });
    html.literal("\n");
}

fn rect(html: &mut Html, x: f64, width: f64, y: f64, height: f64, bar: &Bar) {
    let (x, width) = (format!("{x:.1}"), format!("{width:.1}"));
    let attributes: [(&'static str, &dyn std::fmt::Display); 5] =
        [("class", &bar.kind.class()), ("x", &x), ("y", &y), ("width", &width), ("height", &height)];
    html.element("rect", &attributes, |html| match bar.kind {
        Kind::Plain => {}
        Kind::Slow | Kind::Failed | Kind::Runs => {
            html.element("title", &[], |html| html.text(label(bar.step)));
        }
    });
    html.literal("\n");
}

/// All steps where they are few; else those that matter, and the quick ones between them together.
fn rows<'a>(bars: &[Bar<'a>]) -> Vec<Row<'a>> {
    if bars.len() <= MOST_ROWS {
        return bars.iter().copied().map(Row::One).collect();
    }
    let mut is_shown = vec![false; bars.len()];
    let last_failed = bars.iter().enumerate().rev().filter(|(_, bar)| bar.kind == Kind::Failed).take(FAILED);
    last_failed.for_each(|(index, _)| is_shown[index] = true);
    let mut slowest: Vec<usize> = (0..bars.len()).collect();
    let seconds = |index: usize| bars[index].end - bars[index].begin;
    slowest.sort_by(|a, b| seconds(*b).total_cmp(&seconds(*a)));
    slowest.iter().take(SLOWEST).for_each(|index| is_shown[*index] = true);
    let running = bars.iter().position(|bar| bar.kind == Kind::Runs);
    for index in running.into_iter().chain([0, bars.len() - 1]) {
        is_shown[index] = true;
    }
    let mut rows = Vec::new();
    for (bar, is_shown) in bars.iter().zip(is_shown) {
        match (is_shown, rows.last_mut()) {
            (true, _) => rows.push(Row::One(*bar)),
            (false, Some(Row::Many(many))) => many.push(*bar),
            (false, Some(Row::One(_)) | None) => rows.push(Row::Many(vec![*bar])),
        }
    }
    rows
}

fn table(html: &mut Html, rows: &[Row], total: f64) {
    html.literal("<table class=\"steps\"><thead><tr><th scope=\"col\" class=\"n\">Line</th>");
    html.literal("<th scope=\"col\">Command</th><th scope=\"col\" class=\"x\">Exit</th>");
    html.literal(
        "<th scope=\"col\" class=\"s\">Took</th><th scope=\"col\" class=\"w\">When</th></tr></thead>\n<tbody>\n",
    );
    for row in rows {
        match row {
            Row::One(bar) => one(html, bar, total),
            Row::Many(bars) => many(html, bars, total),
        }
        html.literal("\n");
    }
    html.literal("</tbody></table>\n");
}

fn one(html: &mut Html, bar: &Bar, total: f64) {
    let step = bar.step;
    html.element("tr", &[("class", &bar.kind.class())], |html| {
        html.element("td", &[("class", &"n")], |html| place(html, step.line, None));
        html.element("td", &[], |html| {
            if let Some(block) = &step.block {
                html.element("bdi", &[("class", &"user")], |html| html.text(Clipped(&block.user, 64)));
            }
            command(html, step.command.lines().next().unwrap_or_default());
        });
        html.element("td", &[("class", &"x")], |html| match (step.exit_code, bar.kind) {
            (None, _) => html.text("\u{25b6} none"),
            (Some(code), Kind::Failed) => html.text(format_args!("\u{2717} {code}")),
            (Some(code), Kind::Plain | Kind::Slow | Kind::Runs) => html.text(code),
        });
        html.word("td", "s", span(step.seconds));
        when(html, bar.begin, bar.end, total, bar.kind.class(), bar.kind.least());
    });
}

fn many(html: &mut Html, bars: &[Bar], total: f64) {
    let (Some(first), Some(last)) = (bars.first(), bars.last()) else { return };
    let lowest = bars.iter().map(|bar| bar.step.line).min().unwrap_or_default();
    let highest = bars.iter().map(|bar| bar.step.line).max().unwrap_or_default();
    let end = bars.iter().fold(0.0, |end, bar| bar.end.max(end));
    html.element("tr", &[("class", &"many")], |html| {
        html.element("td", &[("class", &"n")], |html| place(html, lowest, None));
        html.element("td", &[("class", &"muted")], |html| {
            html.text(counted(bars.len() as u64, "quick step", "quick steps"));
            if lowest != highest {
                html.text(" up to ");
                place(html, highest, None);
            }
        });
        let failed = bars.iter().filter(|bar| bar.kind == Kind::Failed).count();
        html.element("td", &[("class", &"x")], |html| {
            if failed > 0 {
                html.text(format_args!("\u{2717} {failed} failed"));
            }
        });
        html.word("td", "s", span((end - first.begin).max(last.end - first.begin)));
        when(html, first.begin, end, total, "many", 1.5);
    });
}

/// A bar to the strip's scale.
fn when(html: &mut Html, begin: f64, end: f64, total: f64, class: &'static str, least: f64) {
    html.element("td", &[("class", &"w")], |html| {
        let title = format!("from {} to {}", span(begin), span(end));
        let size: &dyn std::fmt::Display = &"0 0 1000 10";
        html.element(
            "svg",
            &[("viewBox", size), ("preserveAspectRatio", &"none"), ("role", &"img"), ("aria-label", &title)],
            |html| {
                html.element("title", &[], |html| html.text(&title));
                let width = ((end - begin) / total * WIDTH).clamp(least, WIDTH);
                let x = format!("{:.1}", (begin / total * WIDTH).clamp(0.0, WIDTH - width));
                let width = format!("{width:.1}");
                html.element(
                    "rect",
                    &[("class", &class), ("x", &x), ("y", &0), ("width", &width), ("height", &10)],
                    |_| {},
                );
            },
        );
    });
}
