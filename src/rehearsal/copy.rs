//! What lies beside a script, for scripts that look there.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// The most that is copied: a script may lie in somebody's home.
const MOST_BYTES: u64 = 32 << 20;
const MOST_FILES: usize = 2000;

/// Copies files and folders of `from` to `to`, without hidden ones and links that lead away. Copies nothing
/// and returns false where that is too much.
pub(super) fn neighbours(from: &Path, to: &Path) -> bool {
    let Some(list) = listing(from) else { return false };
    for (path, is_folder) in list {
        let Ok(relative) = path.strip_prefix(from) else { continue };
        let target = to.join(relative);
        // Best effort: what cannot be read cannot be rehearsed with.
        let _ = if is_folder { fs::create_dir_all(&target) } else { copy_new(&path, &target) };
    }
    true
}

fn copy_new(from: &Path, to: &Path) -> io::Result<()> {
    if to.exists() { Ok(()) } else { fs::copy(from, to).map(drop) }
}

/// Gives the owner all rights to every folder below, so that it can be removed.
pub(super) fn open_up(folder: &Path) {
    let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

/// Folders before what is in them; `None` where there is too much.
fn listing(from: &Path) -> Option<Vec<(PathBuf, bool)>> {
    let (mut found, mut bytes, mut folders) = (Vec::new(), 0, vec![from.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if kind.is_dir() {
                folders.push(entry.path());
                found.push((entry.path(), true));
            } else if kind.is_file() {
                bytes += entry.metadata().map_or(0, |meta| meta.len());
                found.push((entry.path(), false));
            }
            if bytes > MOST_BYTES || found.len() > MOST_FILES {
                return None;
            }
        }
    }
    Some(found)
}
