//! The model file that a run saves with its tables.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use crate::atomic_file::{AtomicFile, resolved};
use crate::crash;
use crate::error::{Error, Result};
use crate::forest::Forest;

/// A model file that is replaced once the sinks have committed the tables.
///
/// The model is written beside its place before the commit, and moved there after it. If the run is killed in between,
/// the next one finds the staged file and finishes the move.
pub(super) struct SavedModel {
    /// Locked, so that no other run takes it for a leftover.
    staged: AtomicFile,
}

impl SavedModel {
    /// Finishes the moves of runs that were killed but, according to `has_committed`, had committed their tables;
    /// removes the files of others; and creates the staged file of this run.
    ///
    /// # Errors
    ///
    /// If the folder of the file can't be read or written.
    pub(super) fn open(path: &Path, run: &str, mut has_committed: impl FnMut(&str) -> bool) -> Result<SavedModel> {
        let staged = AtomicFile::create(path, run)?;
        staged.file().lock().map_err(Error::writing(path))?;
        for (run, left) in AtomicFile::staged(path)?.into_iter().filter(|(_, staged)| is_left(staged)) {
            let settled = if has_committed(&run) { fs::rename(&left, resolved(path)) } else { fs::remove_file(&left) };
            settled.map_err(Error::writing(path))?;
        }
        Ok(SavedModel { staged })
    }

    /// Writes the model beside its place.
    ///
    /// # Errors
    ///
    /// If it can't be written.
    pub(super) fn stage(&mut self, model: &Forest) -> Result<()> {
        self.staged.write(&serde_json::to_vec(model).map_err(Error::failed)?)
    }

    /// Puts the model in its place.
    ///
    /// # Errors
    ///
    /// If the file can't be replaced.
    pub(super) fn put_in_place(self) -> Result<()> {
        crash::point("model");
        let placed = self.staged.put_in_place();
        placed.map_err(|error| Error::failed(format!("{error}; the tables are in place, but not their model")))
    }
}

/// True if no run holds this file.
fn is_left(staged: &Path) -> bool {
    File::open(staged).is_ok_and(|file| !matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}
