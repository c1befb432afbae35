//! Making a checkpoint of a checkpoint and the log behind it.
//!
//! ```text
//! checkpoint ─ files of part 0 ─────────────────────────────┬─▶ last row of each id ─▶ files of part 0
//! log ─ rows, dealt out to parts by the hash of their id ─┬─┘
//!                                                         └────▶ …of part 1
//! ```
//!
//! Of each id the last row is kept. The ids are dealt out to parts, of which each has its own files, so memory is
//! bounded by the rows of a part and of the log; a log of many rows is read several times, for some parts each time. A
//! part that the log has no rows of keeps its files.

mod part;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use crate::crash;
use crate::error::{Error, Result};
use crate::model::InputTable;
use crate::sources::Conversion;

use super::checkpoint::store;
use super::log::LogWriter;
use super::manifest::{CheckpointFiles, Manifest, ManifestFile, NotReplaced};
use super::state::State;

use table::{PartSizes, TableCompaction, parquet};

/// Compacts a snapshot of the log into a checkpoint.
pub struct Compaction {
    manifest: ManifestFile,
    sizes: PartSizes,
}

impl Compaction {
    /// The compaction of this log.
    #[must_use]
    pub fn of(log: &LogWriter) -> Compaction {
        Compaction { manifest: log.manifest().clone(), sizes: PartSizes::default() }
    }

    /// The same, with about so many rows of a table in a part, and so many of the log at a time.
    #[cfg(test)]
    pub(super) fn with_part_rows(self, part: u64, of_log: u64) -> Compaction {
        Compaction { sizes: PartSizes { part, of_log }, ..self }
    }

    /// Makes the rows of a state, which is a snapshot of the log, a checkpoint, and removes what it replaces.
    ///
    /// # Errors
    ///
    /// If a file can't be written, or the state is damaged. The state is as it was then.
    pub(crate) fn run(&self, state: &State, conversion: &Conversion) -> Result<()> {
        let number = self.manifest.next_number();
        let done = self.run_as(number, state, conversion);
        // If it is unknown which manifest counts, it may be the one that names them.
        if done.is_err() && self.manifest.is_known() {
            self.remove_files(number);
        }
        done
    }

    /// Removes what a compaction leaves that failed, unless it is named.
    fn remove_files(&self, number: u64) {
        let manifest = &self.manifest;
        let named: BTreeSet<String> = manifest.current().names().collect();
        let names = manifest.disk.list(&manifest.folder).unwrap_or_default();
        let prefix = format!("checkpoint-{number:08}-");
        for name in names.iter().filter(|name| name.starts_with(&prefix) && !named.contains(*name)) {
            let _ = manifest.disk.remove(&manifest.path(name));
        }
    }

    fn run_as(&self, number: u64, state: &State, conversion: &Conversion) -> Result<()> {
        let (manifest, source) = (&self.manifest, state.source()?);
        let mut files = Vec::new();
        for table in InputTable::ALL {
            let name = |rest: &str| format!("checkpoint-{number:08}-{table}-{rest}");
            let compaction = TableCompaction::new(manifest, &source, table, conversion, &name, self.sizes)?;
            compaction.write(&mut files)?;
        }
        let offsets = serde_json::to_vec(state.offsets()).map_err(Error::failed)?;
        let offsets = store(manifest, format!("checkpoint-{number:08}-offsets.json"), &offsets)?;
        crash::point("checkpoint written");
        let failed = |cause| Error::writing(&manifest.folder)(cause);
        manifest.disk.sync_folder(&manifest.folder).map_err(failed)?;
        let (covered, former) = (state.segments(), manifest.current());
        let (epoch, time_ms) = (state.epoch(), state.time_ms());
        let replace = manifest.change(|manifest| {
            manifest.checkpoint = Some(CheckpointFiles { epoch, time_ms, files, offsets });
            manifest.segments.retain(|segment| !covered.contains(&segment.number));
        });
        replace.map_err(NotReplaced::cause).map_err(failed)?;
        crash::point("checkpoint named");
        let current: BTreeSet<String> = manifest.current().names().collect();
        for name in former.names().filter(|name| !current.contains(name)) {
            manifest.disk.remove(&manifest.path(&name)).map_err(failed)?;
        }
        crash::point("checkpoint cleaned");
        Ok(())
    }
}

impl State {
    /// Writes the current rows as an input folder.
    ///
    /// # Errors
    ///
    /// If the folder is not empty or can't be written, or the state is damaged.
    pub(crate) fn export(&self, folder: &Path, conversion: &Conversion) -> Result<()> {
        let source = self.source()?;
        let disk = self.disk();
        for table in InputTable::ALL {
            let folder = folder.join(table.name());
            std::fs::create_dir_all(&folder).map_err(Error::writing(&folder))?;
            if !disk.list(&folder).map_err(Error::reading(&folder))?.is_empty() {
                return Err(Error::usage(format!("{}: it is not empty; wanted another folder", folder.display())));
            }
            let manifest = ManifestFile::new(Arc::clone(disk), &folder, Manifest::new(BTreeMap::new()));
            let mut files = Vec::new();
            let name = |rest: &str| format!("part-{rest}");
            let sizes = PartSizes::default();
            let export = TableCompaction::new(&manifest, &source, table, conversion, &name, sizes)?;
            export.for_export().write(&mut files)?;
            if files.is_empty() {
                let none = parquet(&[self.schema(table).empty()])?;
                store(&manifest, "part-0000-0.parquet".into(), &none)?;
            }
            disk.sync_folder(&folder).map_err(Error::writing(&folder))?;
        }
        Ok(())
    }
}
