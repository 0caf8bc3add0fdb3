//! The small files of a run on their way to the share: the outcome, the script, the page.

use std::{fs::File, io, os::unix::fs::FileExt, time::Instant};

use super::folder::{Above, Folder};
use crate::record::names::DETAILS;

/// The newest version of each. They are kept in case they have to be written again.
#[derive(Debug, Default)]
pub(super) struct Documents(Vec<Document>);

/// Where a document lies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// In the run's own folder.
    Run,
    /// In the instance's folder, where others may write one of the same name. So it is written once and not
    /// looked at afterwards: two who insist on theirs would never come to an end.
    Instance,
}

/// A small file, and whether the share has it.
#[derive(Debug)]
pub(super) struct Document {
    name: String,
    place: Place,
    content: File,
    is_written: bool,
    /// Since when it has waited, or an older version of it.
    pub(super) since: Instant,
    /// Whether no version of it has been written: the first one does not wait for its turn.
    pub(super) is_first: bool,
}

impl Documents {
    /// Takes a new version; an older one need not be written any more.
    pub(super) fn take(&mut self, name: String, place: Place, content: File) {
        let older = self.0.iter().position(|document| document.name == name);
        let older = older.map(|index| self.0.remove(index));
        let waiting = older.as_ref().filter(|older| !older.is_written).map(|older| older.since);
        let since = waiting.unwrap_or_else(Instant::now);
        // The page and the list are no news beside the first outcome.
        let may_be_first = place == Place::Run && name != DETAILS;
        let is_first = may_be_first && older.is_none_or(|older| older.is_first);
        self.0.push(Document { name, place, content, is_written: false, since, is_first });
    }

    /// The next one to be written.
    pub(super) fn next(&mut self) -> Option<&mut Document> {
        self.0.iter_mut().find(|document| !document.is_written)
    }

    /// All of them have to be written again: the folder is another one.
    pub(super) fn doubt(&mut self) {
        self.0.iter_mut().for_each(|document| document.is_written = false);
    }

    /// Looks whether the share has all of them.
    ///
    /// # Errors
    /// Those of the share.
    pub(super) fn verify(&mut self, folder: &Folder) -> io::Result<bool> {
        for document in self.0.iter_mut().filter(|document| document.place == Place::Run) {
            document.is_written = folder.holds(&document.name, &document.read()?)?;
        }
        Ok(self.next().is_none())
    }
}

impl Document {
    /// Writes it, whole or not at all where the share can do that.
    ///
    /// # Errors
    /// Those of the share.
    pub(super) fn write(&mut self, folder: &Folder) -> io::Result<Above> {
        let written = match self.place {
            Place::Run => folder.replace(&self.name, &self.read()?).map(|()| Above::Written)?,
            Place::Instance => folder.replace_above(&self.name, &self.read()?)?,
        };
        self.settle();
        Ok(written)
    }

    /// Where it lies.
    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// Nothing more will be tried with this version.
    pub(super) fn settle(&mut self) {
        (self.is_written, self.is_first) = (true, false);
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        let mut content = vec![0; self.content.metadata()?.len() as usize];
        self.content.read_exact_at(&mut content, 0)?;
        Ok(content)
    }
}
