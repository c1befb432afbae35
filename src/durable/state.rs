//! The durable state of a live job: a checkpoint, and the log since.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema};

use crate::columns::InputSchema;
use crate::crash;
use crate::error::{Error, Result};
use crate::model::InputTable;
use crate::sources::SourceBatch;

use super::checkpoint;
use super::disk::Disk;
use super::log::{self, Durability, LogContent, LogWriter, LoggedEpoch, SEGMENT_BLOCKS};
use super::manifest::{Manifest, ManifestFile, NotReplaced};
use super::record::{Commit, Offset, schema_of_text, schema_to_text};
use super::state_source::StateSource;

/// The state of a job in a folder, as of the last epoch that was committed.
pub struct State {
    manifest: ManifestFile,
    schemas: Arc<BTreeMap<InputTable, InputSchema>>,
    epoch: u64,
    time_ms: u64,
    offsets: BTreeMap<String, Offset>,
    log: Arc<LogContent>,
    segment_blocks: u32,
}

impl State {
    /// Opens the state in a folder; `None` if there is none yet. What an earlier process left unfinished is removed.
    ///
    /// # Errors
    ///
    /// If the state is damaged, or of another version; the message names the file.
    pub fn open(disk: &Arc<dyn Disk>, folder: &Path) -> Result<Option<State>> {
        let Some(found) = Manifest::read(&**disk, folder)? else { return Ok(None) };
        let manifest = ManifestFile::new(Arc::clone(disk), folder, found);
        let log = log::read(&manifest)?;
        log::rewrite_last(&manifest, &log)?;
        crash::point("log rewritten");
        let last = log.ends.last().copied();
        let cut = manifest.change(|manifest| {
            manifest.segments.retain(|segment| last.is_some_and(|(number, _)| segment.number <= number));
            if let Some((segment, (_, end))) = manifest.segments.last_mut().zip(last) {
                segment.end = Some(end);
            }
        });
        cut.map_err(NotReplaced::cause).map_err(Error::writing(folder))?;
        crash::point("log cut");
        manifest.cut_last_segment();
        let state = State::of(manifest, log)?;
        // Not before all that it names was found.
        state.manifest.check_files()?;
        state.manifest.current().remove_others(&**disk, folder).map_err(Error::writing(folder))?;
        Ok(Some(state))
    }

    /// The state that a manifest names, with this log.
    pub(super) fn of(manifest: ManifestFile, log: LogContent) -> Result<State> {
        let schemas = schemas_of(&manifest.current());
        let schemas = schemas.map_err(|error| Error::unusable(format!("{}: {error}", manifest.folder.display())))?;
        let (mut epoch, mut time_ms, mut offsets) = checkpoint::offsets(&manifest)?;
        for logged in &log.epochs {
            if logged.commit.epoch != epoch + 1 {
                let (found, wanted) = (logged.commit.epoch, epoch + 1);
                let cause =
                    format!("the log goes on with epoch {found}, wanted {wanted}; restore the state from a copy");
                return Err(Error::unusable(format!("{}: {cause}", manifest.folder.display())));
            }
            (epoch, time_ms) = (logged.commit.epoch, logged.commit.time_ms);
            logged.commit.offsets.iter().for_each(|(source, offset)| merge(&mut offsets, source, offset));
        }
        let (schemas, log, segment_blocks) = (Arc::new(schemas), Arc::new(log), SEGMENT_BLOCKS);
        Ok(State { manifest, schemas, epoch, time_ms, offsets, log, segment_blocks })
    }

    /// Creates a state without rows in an empty folder, for tables with these columns.
    ///
    /// # Errors
    ///
    /// If it can't be written.
    pub fn create<'a>(
        disk: &Arc<dyn Disk>,
        folder: &Path,
        schemas: impl Iterator<Item = &'a InputSchema>,
    ) -> Result<State> {
        let schemas: BTreeMap<_, _> = schemas.map(|schema| (schema.table, schema.clone())).collect();
        let manifest = ManifestFile::new(Arc::clone(disk), folder, Manifest::new(texts_of(&schemas)?));
        manifest.change(|_| ()).map_err(NotReplaced::cause).map_err(Error::writing(folder))?;
        crash::point("state created");
        let (offsets, log) = (BTreeMap::new(), Arc::default());
        Ok(State {
            manifest,
            schemas: Arc::new(schemas),
            epoch: 0,
            time_ms: 0,
            offsets,
            log,
            segment_blocks: SEGMENT_BLOCKS,
        })
    }

    /// The state with another column, in which the rows so far have nothing; `None` if the table has it. It is that of
    /// later starts once it is [stored](Self::store_columns).
    ///
    /// # Errors
    ///
    /// If the column can't be carried.
    pub fn with_column(&self, table: InputTable, column: &FieldRef) -> Result<Option<State>> {
        let known = self.schemas[&table].to_arrow();
        if known.field_with_name(column.name()).is_ok() {
            return Ok(None);
        }
        let fields: Vec<_> = known.fields().iter().chain([column]).cloned().collect();
        let schema = Schema::new_with_metadata(fields, known.metadata().clone());
        let mut schemas = (*self.schemas).clone();
        schemas.insert(table, InputSchema::of_arrow(table, &schema)?);
        let (manifest, offsets, log) = (self.manifest.clone(), self.offsets.clone(), Arc::clone(&self.log));
        Ok(Some(State { manifest, schemas: Arc::new(schemas), offsets, log, ..*self }))
    }

    /// Makes the columns those of later starts.
    ///
    /// # Errors
    ///
    /// If they can't be written.
    pub fn store_columns(&self) -> Result<()> {
        let texts = texts_of(&self.schemas)?;
        let changed = self.manifest.change(|manifest| manifest.schemas = texts);
        changed.map_err(NotReplaced::cause).map_err(Error::writing(&self.manifest.folder))
    }

    /// Sets the size of segments, in blocks of 512 bytes.
    #[must_use]
    pub fn with_segment_blocks(mut self, blocks: u32) -> State {
        self.segment_blocks = blocks;
        self
    }

    /// The last epoch that was committed; 0 before the first.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// When that was, in milliseconds since 1970.
    #[must_use]
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    pub(super) fn disk(&self) -> &Arc<dyn Disk> {
        &self.manifest.disk
    }

    /// The numbers of the segments of the log.
    pub(super) fn segments(&self) -> Vec<u64> {
        self.manifest.current().segments.iter().map(|segment| segment.number).collect()
    }

    /// How far each source was read.
    #[must_use]
    pub fn offsets(&self) -> &BTreeMap<String, Offset> {
        &self.offsets
    }

    /// The columns of a table.
    #[must_use]
    pub fn schema(&self, table: InputTable) -> &InputSchema {
        &self.schemas[&table]
    }

    /// The rows, as a source of which the first epoch of a job is made.
    ///
    /// # Errors
    ///
    /// If the log has a frame that can't be read.
    pub fn source(&self) -> Result<StateSource> {
        StateSource::new(self.manifest.clone(), Arc::clone(&self.schemas), Arc::clone(&self.log))
    }

    /// The rows as they were before the last epochs, and those epochs: as many as have no more than so many rows, are
    /// in the log, and neither forget rows nor make the tables anew. The first epoch is not one of them.
    ///
    /// # Errors
    ///
    /// As [`source`](Self::source).
    pub(crate) fn source_before_last(&self, most_rows: u64) -> Result<(StateSource, Vec<LastEpoch>)> {
        let (mut kept, mut rows) = (self.log.epochs.len(), 0);
        while let Some(epoch) = self.log.epochs[..kept].last() {
            rows += self.log.count_of(epoch)?;
            let Commit { epoch: number, forgets_unusable, makes_anew, .. } = epoch.commit;
            let is_last = forgets_unusable || makes_anew || number == 1;
            if is_last || rows > most_rows || self.log.epochs.len() - kept >= LAST_EPOCHS_MAX {
                break;
            }
            kept -= 1;
        }
        let last = |epoch: &LoggedEpoch| {
            Ok(LastEpoch { commit: epoch.commit.clone(), batches: self.log.rows_of(epoch, &self.schemas)? })
        };
        let last = self.log.epochs[kept..].iter().map(last).collect::<Result<_>>()?;
        let log = Arc::new(self.log.up_to(kept));
        Ok((StateSource::new(self.manifest.clone(), Arc::clone(&self.schemas), log)?, last))
    }

    /// The end of the log. A state has one.
    #[must_use]
    pub fn log(&self, durability: Durability) -> LogWriter {
        LogWriter::new(self.manifest.clone(), durability, self.segment_blocks)
    }
}

/// The most epochs that are applied again.
const LAST_EPOCHS_MAX: usize = 500;

/// An epoch of the log that is applied again.
pub(crate) struct LastEpoch {
    pub(crate) commit: Commit,
    pub(crate) batches: Vec<SourceBatch>,
}

/// A state as its log has it at one moment, to be read while the log goes on. It can be read until a later one is
/// compacted.
pub struct Snapshot(ManifestFile);

impl Snapshot {
    /// The state of a log now.
    ///
    /// # Errors
    ///
    /// If the log can't be synced.
    pub fn of(log: &mut LogWriter) -> Result<Snapshot> {
        log.end_segment()?;
        Ok(Snapshot(log.manifest().fixed()))
    }

    /// Reads the log of the snapshot.
    ///
    /// # Errors
    ///
    /// If the state is damaged.
    pub fn read(&self) -> Result<State> {
        State::of(self.0.clone(), log::read(&self.0)?)
    }
}

/// Applies an offset to those known: objects are merged key by key, all else replaces what was there.
fn merge(offsets: &mut BTreeMap<String, Offset>, source: &str, offset: &Offset) {
    patch(offsets.entry(source.to_owned()).or_default(), offset);
}

/// A merge patch (RFC 7396).
fn patch(target: &mut Offset, change: &Offset) {
    let Offset::Object(changes) = change else {
        *target = change.clone();
        return;
    };
    if !target.is_object() {
        *target = Offset::Object(serde_json::Map::new());
    }
    let target = target.as_object_mut().expect("it is an object");
    for (key, value) in changes {
        match value {
            Offset::Null => drop(target.remove(key)),
            value => patch(target.entry(key.clone()).or_insert(Offset::Null), value),
        }
    }
}

fn texts_of(schemas: &BTreeMap<InputTable, InputSchema>) -> Result<BTreeMap<String, String>> {
    let text = |schema: &InputSchema| Ok((schema.table.name().to_owned(), schema_to_text(&schema.to_arrow())?));
    schemas.values().map(text).collect()
}

fn schemas_of(manifest: &Manifest) -> Result<BTreeMap<InputTable, InputSchema>> {
    let schema = |table: InputTable| {
        let text = manifest.schemas.get(table.name()).ok_or_else(|| Error::failed("a table has no columns"))?;
        Ok((table, InputSchema::of_arrow(table, &*schema_of_text(text)?)?))
    };
    InputTable::ALL.into_iter().map(schema).collect()
}
