//! What is known of a run: who, what, when.

use std::fmt::Display;

use super::{
    markup::{Href, Html},
    section,
    view::{Audience, View},
    words::{Clipped, counted, size, span, time_told},
};
use crate::record::outcome::{Mirror, Outcome, SourceKind, State};

/// The most arguments, and the most characters of each.
const MOST_ARGUMENTS: usize = 30;
const LONGEST: usize = 200;

pub(super) fn write(html: &mut Html, view: &View) {
    let outcome: &Outcome = &view.outcome;
    section(html, "details", "Details", |html| {
        html.literal("<dl>\n");
        row(html, "Run", &Clipped(&outcome.run_id, 100));
        row(html, "State", &outcome.state.word());
        if let Some(instance) = &outcome.instance {
            row(html, "Instance", &instance.identity.name());
            row(html, "Workspace", &instance.identity.workspace());
            row(html, "Resource group", &instance.identity.resource_group());
            row(html, "User", &Clipped(&instance.user, 64));
        }
        source(html, view);
        arguments(html, view);
        if let Some(timeout) = &outcome.timeout {
            let limit = timeout.seconds.map_or_else(|| "none".into(), span);
            match &timeout.given {
                Some(given) => row(html, "Timeout", &format_args!("{limit} (given as {})", Clipped(given, 40))),
                None => row(html, "Timeout", &format_args!("{limit} (none was given)")),
            }
        }
        if !outcome.started_at.is_empty() {
            cell(html, "Started", |html| time_told(html, &outcome.started_at));
        }
        if let Some(ended) = &outcome.ended_at {
            cell(html, "Ended", |html| time_told(html, ended));
        }
        if let Some(seconds) = outcome.elapsed_seconds {
            row(html, "Took", &span(seconds));
        }
        if let Some(code) = outcome.exit_code {
            row(html, "Exit code", &code);
        }
        if let Some(exit) = &outcome.script_exit {
            match (&exit.code, &exit.signal) {
                (_, Some(signal)) => row(html, "The script", &format_args!("died by {}", Clipped(signal, 20))),
                (Some(code), None) => row(html, "The script", &format_args!("exited with {code}")),
                (None, None) => {}
            }
        }
        if outcome.state != State::Rejected {
            row(
                html,
                "Steps",
                &match &outcome.steps.unavailable {
                    Some(why) => format!("not recorded: {}", Clipped(why, 300)),
                    None => counted(outcome.steps.count, "step recorded", "steps recorded"),
                },
            );
        }
        output(html, view);
        cell(html, "As JSON", |html| html.link(Href::Beside("outcome.json"), "", |html| html.text("outcome.json")));
        html.literal("</dl>\n");
    });
}

fn cell(html: &mut Html, term: &str, content: impl FnOnce(&mut Html)) {
    html.word("dt", "", term);
    html.element("dd", &[], content);
    html.literal("\n");
}

fn row(html: &mut Html, term: &str, value: &dyn Display) {
    cell(html, term, |html| html.text(value));
}

fn source(html: &mut Html, view: &View) {
    let Some(source) = &view.outcome.source else { return };
    cell(html, "Script", |html| match (source.kind, &source.path) {
        (SourceKind::WorkspaceStorage, Some(path)) => html.word("code", "", Clipped(path, 500)),
        (SourceKind::WorkspaceStorage, None) => html.text("on the share"),
        (SourceKind::Inline, _) => html.text("inline, in the request"),
    });
    if let Some(bytes) = source.bytes {
        row(html, "Its size", &size(bytes));
    }
    if let Some(hash) = &source.sha256 {
        cell(html, "Its SHA-256", |html| html.word("code", "", Clipped(hash, 64)));
    }
}

fn arguments(html: &mut Html, view: &View) {
    let Some(arguments) = &view.outcome.arguments else {
        if view.outcome.source.is_some()
            && matches!(view.audience, Audience::Share(redaction) if !redaction.shows_arguments)
        {
            row(html, "Arguments", &"kept back by the configuration");
        }
        return;
    };
    if arguments.is_empty() {
        return row(html, "Arguments", &"none");
    }
    cell(html, "Arguments", |html| {
        html.element("ol", &[("class", &"words")], |html| {
            for argument in arguments.iter().take(MOST_ARGUMENTS) {
                html.element("li", &[], |html| html.word("code", "", Clipped(argument, LONGEST)));
            }
        });
        if arguments.len() > MOST_ARGUMENTS {
            html.text(format_args!("and {} more", arguments.len() - MOST_ARGUMENTS));
        }
    });
}

fn output(html: &mut Html, view: &View) {
    let output = &view.outcome.output;
    let dropped = match output.dropped_bytes {
        0 => String::new(),
        bytes => format!(", {} not", size(bytes)),
    };
    row(html, "Output", &format_args!("{} kept{dropped}", size(output.bytes)));
    if let Audience::Root = view.audience {
        let standing = match output.mirror {
            Mirror::None => "nothing of it is known to be there".to_owned(),
            Mirror::Behind => format!("{} are there, the copy is behind", size(output.mirrored_bytes)),
            Mirror::Current => format!("all {} are there", size(output.mirrored_bytes)),
        };
        row(html, "On the share", &standing);
    }
    if let Some(path) = &output.mirror_path {
        cell(html, "Folder there", |html| html.word("code", "", Clipped(path, 300)));
    }
}
