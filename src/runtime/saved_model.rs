//! The model file that a run saves with its tables.

use std::fs;
use std::path::Path;

use crate::atomic_file::AtomicFile;
use crate::crash;
use crate::error::{Error, Result};
use crate::forest::Forest;

/// A model file that is replaced once the sinks have committed the tables.
///
/// The model is written beside its place before the commit, and moved there after it. If the run dies in between, the
/// next one finds the staged file and finishes the move.
pub(super) struct SavedModel(AtomicFile);

impl SavedModel {
    /// Finishes the moves of runs that died but, according to `has_committed`, had committed their tables; removes the
    /// files of others; and creates the staged file of this run.
    ///
    /// # Errors
    ///
    /// If the folder of the file can't be read or written.
    pub(super) fn open(path: &Path, run: &str, mut has_committed: impl FnMut(&str) -> bool) -> Result<SavedModel> {
        for (run, left) in AtomicFile::leftovers(path)? {
            if has_committed(&run) {
                AtomicFile::settle(&left, path)?;
            } else {
                fs::remove_file(&left).map_err(Error::writing(path))?;
            }
        }
        AtomicFile::create(path, run).map(SavedModel)
    }

    /// Writes the model beside its place.
    ///
    /// # Errors
    ///
    /// If it can't be written.
    pub(super) fn stage(&mut self, model: &Forest) -> Result<()> {
        self.0.write(&serde_json::to_vec(model).map_err(Error::failed)?)?;
        self.0.sync()
    }

    /// Puts the model in its place.
    ///
    /// # Errors
    ///
    /// If the file can't be replaced.
    pub(super) fn put_in_place(self) -> Result<()> {
        crash::point("model");
        let placed = self.0.put_durably();
        placed.map_err(|error| {
            Error::failed(format!("{error}; the tables are in place, and the next run will try to move their model"))
        })
    }

    /// Leaves the model to the next run.
    pub(super) fn leave(self) {
        self.0.leave();
    }
}
