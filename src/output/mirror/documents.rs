//! The small files of a run on their way to the share: the outcome, the script, the page.

use std::{fs::File, io, os::unix::fs::FileExt, time::Instant};

use super::folder::Folder;

/// The newest version of each. They are kept in case they have to be written again.
#[derive(Debug, Default)]
pub(super) struct Documents(Vec<Document>);

/// A small file, and whether the share has it.
#[derive(Debug)]
pub(super) struct Document {
    name: String,
    content: File,
    is_written: bool,
    /// Since when it has waited, or an older version of it.
    pub(super) since: Instant,
    /// Whether no version of it has been written: the first one does not wait for its turn.
    pub(super) is_first: bool,
}

impl Documents {
    /// Takes a new version; an older one need not be written any more.
    pub(super) fn take(&mut self, name: String, content: File) {
        let older = self.0.iter().position(|document| document.name == name);
        let older = older.map(|index| self.0.remove(index));
        let waiting = older.as_ref().filter(|older| !older.is_written).map(|older| older.since);
        let since = waiting.unwrap_or_else(Instant::now);
        let is_first = older.is_none_or(|older| older.is_first);
        self.0.push(Document { name, content, is_written: false, since, is_first });
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
        for document in &mut self.0 {
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
    pub(super) fn write(&mut self, folder: &Folder) -> io::Result<()> {
        folder.replace(&self.name, &self.read()?)?;
        (self.is_written, self.is_first) = (true, false);
        Ok(())
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        let mut content = vec![0; self.content.metadata()?.len() as usize];
        self.content.read_exact_at(&mut content, 0)?;
        Ok(content)
    }
}
