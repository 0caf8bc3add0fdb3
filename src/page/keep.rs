//! Pages written where they are read: in the state directory, and as files on their way to the share.

use std::fs::File;

use super::{Audience, View, details, index};
use crate::{
    record::{
        outcome::Outcome,
        redaction::Redaction,
        state::{RunDir, StateDir},
    },
    sys::descriptors::memory_file,
};

/// Writes the page of a run that is not at work into its folder, and the list of all runs.
pub fn keep(run: &RunDir, outcome: &Outcome) {
    run.write_page(&details(&View::from_folder(Some(run), outcome, Audience::Root)));
    keep_list(run, outcome);
}

/// Writes the list of all runs into the state directory that holds this one.
pub fn keep_list(run: &RunDir, outcome: &Outcome) {
    if let Some((state, index)) = list(run, outcome) {
        state.write_list(&index.page(index::Place::State));
    }
}

/// The page of a run that is not at work, for the share.
pub fn for_share(run: Option<&RunDir>, outcome: &Outcome, redaction: Redaction) -> Option<File> {
    let page = details(&View::from_folder(run, outcome, Audience::Share(redaction)));
    memory_file(c"page", &page).ok()
}

/// The list of runs, for the share.
pub fn list_for_share(run: &RunDir, outcome: &Outcome) -> Option<File> {
    let (_, index) = list(run, outcome)?;
    memory_file(c"list", &index.page(index::Place::Share)).ok()
}

fn list(run: &RunDir, outcome: &Outcome) -> Option<(StateDir, index::Index)> {
    let state = StateDir::of_run(run)?;
    let index = index::Index::read(&state, outcome.instance.as_ref()?, outcome);
    Some((state, index))
}
