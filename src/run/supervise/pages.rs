//! The pages that show the run, made while it lasts and at its end (CONTRACT 6).

use std::time::{Duration, Instant};

use super::Supervisor;
use crate::{
    page::{
        self, Audience, View,
        index::{Index, Place},
        keep,
    },
    record::{names::DETAILS, outcome::State, state::StateDir},
    sys::descriptors,
};

/// How often the page of a run is made anew, news or not: who looks at it sees that the run is still watched.
const EVERY: Duration = Duration::from_secs(60);

/// When a run gets its first page. One that is over by then gets it at its end.
const FIRST: Duration = Duration::from_millis(100);

/// Nothing is made so shortly before something else is due.
const MARGIN: Duration = Duration::from_millis(200);

/// How long what was read of other runs is good for.
const FRESH: Duration = Duration::from_secs(1);

/// What the pages showed when they were last made.
#[derive(Debug, Default)]
pub(super) struct Pages {
    /// When the share was last given one.
    made: Option<Instant>,
    shown: Option<Shown>,
    /// The list of runs, and when those of others were read.
    index: Option<(Index, Instant)>,
    /// The state that the list here shows.
    listed: Option<State>,
    /// The state that the list on the share shows, and where it leads.
    listed_on_share: Option<(State, Option<String>)>,
}

/// What a page on the share would tell anew.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Shown {
    state: State,
    taken: u64,
    warnings: usize,
}

impl Pages {
    /// There will be no later time to make them.
    pub(super) fn hurry(&mut self) {
        self.made = None;
    }
}

impl Supervisor {
    /// When the page is due while the script runs; `None` where something else is due before it would be made.
    pub(super) fn page_due(&self, until: Option<Instant>) -> Option<Instant> {
        if self.job.outcome.state != State::Running || self.front.is_none() {
            return None;
        }
        let due = self.pages.made.map_or(self.begun + FIRST, |made| made + EVERY);
        let ready = due.max(Instant::now()) + MARGIN;
        (until.is_none_or(|until| ready < until)).then_some(due)
    }

    /// Makes the run's page here.
    pub(super) fn show(&self) {
        self.job.run.write_page(&self.page_for(Audience::Root));
    }

    /// Makes the run's page for the share, where it tells something new and it is time to.
    pub(super) fn show_on_share(&mut self) {
        let (job, outcome) = (&self.job, &self.job.outcome);
        let shown = Shown { state: outcome.state, taken: job.spool.taken(), warnings: outcome.warnings.len() };
        let is_new_state = self.pages.shown.is_none_or(|before| before.state != shown.state);
        let is_news = self.pages.shown != Some(shown) || !shown.state.is_final();
        let is_time = self.pages.made.is_none_or(|made| made.elapsed() >= EVERY);
        if !(is_new_state || is_news && is_time) {
            return;
        }
        if let Ok(file) = descriptors::memory_file(c"page", &self.page_for(Audience::Share(job.redaction))) {
            self.job.mirror.document(DETAILS, file);
        }
        (self.pages.made, self.pages.shown) = (Some(Instant::now()), Some(shown));
    }

    fn page_for(&self, audience: Audience) -> Vec<u8> {
        let job = &self.job;
        page::details(&View::new(&job.run, &job.outcome, &self.listed, &job.text, audience))
    }

    /// Reads what the list tells of other runs. Just after the start there is time for that, at the end there is not.
    pub(super) fn read_list(&mut self) {
        let (run, outcome) = (&self.job.run, &self.job.outcome);
        if let (Some(state), Some(instance)) = (StateDir::of_run(run), &outcome.instance) {
            self.pages.index = Some((Index::read(&state, instance, outcome), Instant::now()));
        }
    }

    /// The list of all runs, as they are now.
    fn index(&mut self) -> Option<&Index> {
        // `sync` may have news of earlier ones.
        if self.pages.index.as_ref().is_none_or(|(_, read)| read.elapsed() >= FRESH) {
            self.read_list();
        }
        let (index, _) = self.pages.index.as_mut()?;
        index.update(&self.job.outcome);
        Some(index)
    }

    /// Makes the list of all runs here, where this one's state is new to it.
    pub(super) fn list(&mut self) {
        let state = self.job.outcome.state;
        if self.pages.listed == Some(state) {
            return;
        }
        if let Some(page) = self.index().map(|index| index.page(Place::State))
            && let Some(state) = StateDir::of_run(&self.job.run)
        {
            state.write_list(&page);
        }
        self.pages.listed = Some(state);
    }

    /// The same for the share. It leads to this run's page, so it waits until there is a folder.
    pub(super) fn list_on_share(&mut self) {
        let outcome = &self.job.outcome;
        let listed = (outcome.state, outcome.output.mirror_path.clone());
        if listed.1.is_none() || self.pages.listed_on_share.as_ref() == Some(&listed) {
            return;
        }
        if let Some(page) = self.index().map(|index| index.page(Place::Share))
            && let Ok(file) = descriptors::memory_file(c"list", &page)
        {
            self.job.mirror.list(file);
        }
        self.pages.listed_on_share = Some(listed);
    }

    /// The list here, after old runs have been removed.
    pub(super) fn list_again(&self) {
        keep::keep_list(&self.job.run, &self.job.outcome);
    }
}
