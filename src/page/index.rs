//! The list of all runs: in the state directory, and in `Logs/<name>` on the share.

use std::fs;

use serde::Deserialize;

use super::{
    document,
    markup::{Below, Href, Html},
    words::{Clipped, sign, span, state_class, time_told},
};
use crate::record::{
    outcome::{Instance, Outcome, State},
    state::{RunDir, StateDir},
};

/// The most runs that are listed, the newest ones.
const MOST: usize = 100;

/// Where an index lies, which is where its links begin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Place {
    /// In the state directory, above `runs`.
    State,
    /// In the instance's folder on the share.
    Share,
}

/// What an index tells of a run: the few members of an outcome that it needs.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    run_id: String,
    state: State,
    exit_code: Option<u8>,
    instance: Option<Instance>,
    source: Option<Source>,
    started_at: String,
    elapsed_seconds: Option<f64>,
    output: Output,
}

#[derive(Clone, Debug, Deserialize)]
struct Source {
    path: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Output {
    mirror_path: Option<String>,
}

/// The runs of an instance that the state directory knows, newest first.
#[derive(Debug)]
pub struct Index {
    instance: Instance,
    runs: Vec<Told>,
    /// Whether there are older ones.
    is_cut: bool,
}

impl Index {
    /// Reads the runs of `instance`. Of `current` what is known is newer than the disk.
    pub fn read(state: &StateDir, instance: &Instance, current: &Outcome) -> Self {
        let mut index = Self { instance: instance.clone(), runs: Vec::new(), is_cut: false };
        for run in state.runs().iter().rev() {
            if index.runs.len() == MOST {
                index.is_cut = true;
                break;
            }
            let known = (current.run_id == run.id()).then(|| Told::from(current));
            if let Some(told) = known.or_else(|| Told::read(run))
                && told.instance.as_ref().is_none_or(|other| other.identity == instance.identity)
            {
                index.runs.push(told);
            }
        }
        index
    }

    /// Takes in what is known of a run by now.
    pub fn update(&mut self, outcome: &Outcome) {
        if let Some(run) = self.runs.iter_mut().find(|run| run.run_id == outcome.run_id) {
            *run = Told::from(outcome);
        }
    }

    /// The page.
    pub fn page(&self, place: Place) -> Vec<u8> {
        let mut html = Html::default();
        let name = self.instance.identity.name();
        let is_going = self.runs.iter().any(|run| !run.state.is_final());
        document(&mut html, &format!("Runs of {name}"), is_going.then_some(super::REFRESH), |html| {
            html.open("main", &[("id", &"main")]);
            html.element("h1", &[], |html| html.text(format_args!("Setup scripts of {name}")));
            html.element("p", &[("class", &"muted")], |html| {
                html.text(format_args!(
                    "Workspace {}, resource group {}. Newest first.",
                    self.instance.identity.workspace(),
                    self.instance.identity.resource_group()
                ));
            });
            self.table(html, place);
            if self.is_cut {
                html.word("p", "muted", format_args!("Older ones than these {MOST} are not listed."));
            }
            if place == Place::Share {
                html.word(
                    "p",
                    "muted",
                    "Folders beside this page may hold runs that are not known on the instance any more.",
                );
            }
            html.literal("</main>\n");
        });
        html.into_bytes()
    }

    fn table(&self, html: &mut Html, place: Place) {
        html.element("div", &[("class", &"wide")], |html| {
            html.literal(
                "<table class=\"list\"><thead><tr><th scope=\"col\">How it went</th><th scope=\"col\">Run</th>",
            );
            html.literal("<th scope=\"col\" class=\"opt\">Started</th><th scope=\"col\">Took</th>");
            html.literal("<th scope=\"col\" class=\"opt\">Exit code</th>");
            html.literal("<th scope=\"col\" class=\"opt\">Script</th></tr></thead>\n<tbody>\n");
            for run in &self.runs {
                html.element("tr", &[], |html| run.row(html, place, &self.instance));
                html.literal("\n");
            }
            html.literal("</tbody></table>\n");
        });
    }
}

impl Told {
    fn read(run: &RunDir) -> Option<Self> {
        serde_json::from_slice(&fs::read(run.file("outcome.json")).ok()?).ok()
    }

    fn row(&self, html: &mut Html, place: Place, instance: &Instance) {
        html.element("td", &[("class", &state_class(self.state))], |html| {
            html.element("span", &[("aria-hidden", &"true")], |html| html.text(sign(self.state)));
            html.text(format_args!(" {}", self.state.past()));
        });
        html.element("td", &[], |html| {
            let run = Clipped(&self.run_id, 100);
            match self.page(place, instance) {
                Some(page) => html.link(Href::Below(&page), "", |html| html.text(run)),
                None => html.text(run),
            }
        });
        html.element("td", &[("class", &"opt")], |html| time_told(html, &self.started_at));
        html.word("td", "num", self.elapsed_seconds.map_or_else(|| "\u{2013}".into(), span));
        html.word("td", "num opt", self.exit_code.map_or_else(|| "\u{2013}".into(), |code| code.to_string()));
        html.element("td", &[("class", &"opt")], |html| match self.source.as_ref().map(|source| &source.path) {
            Some(Some(path)) => html.word("code", "", Clipped(path, 200)),
            Some(None) => html.text("inline"),
            None => html.text("\u{2013}"),
        });
    }

    /// Where the run's page is, from the index.
    fn page(&self, place: Place, instance: &Instance) -> Option<Below> {
        match place {
            Place::State => Below::new(&format!("runs/{}", self.run_id)),
            Place::Share => {
                let path = self.output.mirror_path.as_deref()?.strip_prefix("Logs/")?;
                Below::new(path.strip_prefix(instance.identity.name())?.strip_prefix('/')?)
            }
        }
    }
}

impl From<&Outcome> for Told {
    fn from(outcome: &Outcome) -> Self {
        Self {
            run_id: outcome.run_id.clone(),
            state: outcome.state,
            exit_code: outcome.exit_code,
            instance: outcome.instance.clone(),
            source: outcome.source.as_ref().map(|source| Source { path: source.path.clone() }),
            started_at: outcome.started_at.clone(),
            elapsed_seconds: outcome.elapsed_seconds,
            output: Output { mirror_path: outcome.output.mirror_path.clone() },
        }
    }
}
