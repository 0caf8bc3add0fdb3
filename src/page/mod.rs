//! The details page: one run as a person wants to see it, and the index of all runs (CONTRACT 6, 6.1).
//!
//! Each is one HTML file that needs nothing else: no network, no other file, no JavaScript. Its content-security
//! policy allows its own style and nothing more. Script, arguments, output, commands and names are hostile:
//! [`markup`] takes them as text only. Whatever they are, a page stays below 1 MiB, which the share takes in
//! one write.

mod ansi;
mod facts;
mod failed;
pub mod index;
pub mod keep;
mod listing;
mod markup;
mod output;
mod processes;
mod style;
mod timeline;
mod verdict;
mod view;
mod warnings;
mod words;

pub use self::view::{Audience, View};
use self::{
    markup::{Href, Html},
    words::{Clipped, state_class},
};
use crate::record::{names::GENERATOR, outcome::Outcome};

/// How often a page of a run that is not over is loaded again, in seconds.
const REFRESH: u32 = 30;

/// The page of a run.
pub fn details(view: &View) -> Vec<u8> {
    let outcome: &Outcome = &view.outcome;
    let mut html = Html::default();
    let title = words::title(outcome);
    let refresh = (!outcome.state.is_final()).then_some(REFRESH);
    document(&mut html, &title, refresh, |html| {
        html.open("main", &[("id", &"main")]);
        html.literal("\n");
        verdict::write(html, view);
        warnings::write(html, view);
        failed::write(html, view);
        timeline::write(html, view);
        output::write(html, view);
        processes::write(html, view);
        facts::write(html, view);
        listing::write(html, view);
        html.literal("</main>\n");
        html.element("footer", &[], |html| {
            html.text(format_args!("ci-setup-agent {}, ", Clipped(&outcome.agent_version, 40)));
            html.text("written ");
            words::time(html, view.now);
            if view.has_index {
                html.literal(" · ");
                html.link(Href::Runs, "", |html| html.text("all runs"));
            }
        });
    });
    html.into_bytes()
}

/// What is around the content of every page.
fn document(html: &mut Html, title: &str, refresh: Option<u32>, body: impl FnOnce(&mut Html)) {
    html.literal("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    html.literal(GENERATOR);
    html.literal("\n");
    html.open("meta", &[("http-equiv", &"Content-Security-Policy"), ("content", &style::policy())]);
    html.literal("\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    html.literal("<meta name=\"color-scheme\" content=\"light dark\">\n");
    html.literal("<meta name=\"referrer\" content=\"no-referrer\">\n");
    if let Some(seconds) = refresh {
        html.open("meta", &[("http-equiv", &"refresh"), ("content", &seconds)]);
        html.literal("\n");
    }
    html.word("title", "", title);
    html.literal("\n<style>");
    html.literal(style::STYLE);
    html.literal("</style>\n</head>\n<body>\n");
    html.link(Href::Part("main"), "skip", |html| html.text("Skip to the content"));
    html.literal("\n");
    body(html);
    html.literal("\n</body>\n</html>\n");
}

/// A section with its heading.
fn section(html: &mut Html, id: &'static str, heading: &str, content: impl FnOnce(&mut Html)) {
    let labelled = format!("{id}-h");
    html.element("section", &[("id", &id), ("aria-labelledby", &labelled)], |html| {
        html.element("h2", &[("id", &labelled)], |html| html.text(heading));
        html.literal("\n");
        content(html);
    });
    html.literal("\n");
}

/// The class of a whole page or row, by its state.
fn class_of(outcome: &Outcome) -> &'static str {
    state_class(outcome.state)
}

#[cfg(test)]
mod tests;
