//! Making a checkpoint of a checkpoint and the log behind it.
//!
//! Of each id the last row is kept. The ids are dealt out to parts by hash, and one part is made after the other, so
//! memory is bounded by the rows of a part and the log.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Schema};
use arrow::json::WriterBuilder;
use arrow::json::writer::LineDelimited;
use arrow::record_batch::RecordBatch;
use foldhash::fast::FixedState;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::columns::integer_text::whole;
use crate::columns::{ColumnKind, InputSchema, is_text};
use crate::crash;
use crate::error::{Error, Result};
use crate::model::{AnyId, InputTable, Version};
use crate::sources::{Conversion, RowDecoder, Source, SourceBatch};

use super::checkpoint::store;
use super::log::LogWriter;
use super::manifest::{CheckpointFile, CheckpointFiles, Manifest, ManifestFile, NotReplaced};
use super::record;
use super::state::State;
use super::state_source::StateSource;

/// How many rows of a table a part has, about.
const PART_ROWS: u64 = 1_000_000;
/// How many rows are read at a time.
const BATCH_ROWS: usize = 10_000;
/// Rows of a Parquet row group, so that several workers can read a file.
const GROUP_ROWS: usize = 100_000;

/// Compacts a snapshot of the log into a checkpoint.
pub struct Compaction {
    manifest: ManifestFile,
    keeps_unusable: bool,
}

impl Compaction {
    /// The compaction of this log.
    #[must_use]
    pub fn of(log: &LogWriter) -> Compaction {
        Compaction { manifest: log.manifest().clone(), keeps_unusable: true }
    }

    /// The same, which forgets the rows that can't be used.
    #[must_use]
    pub fn without_unusable(self) -> Compaction {
        Compaction { keeps_unusable: false, ..self }
    }

    /// Makes the rows of a state, which is a snapshot of the log, a checkpoint, and removes what it replaces.
    ///
    /// # Errors
    ///
    /// If a file can't be written, or the state is damaged. The state is as it was then.
    pub(crate) fn run(&self, state: &State, conversion: &Conversion) -> Result<()> {
        let number = self.manifest.next_number();
        self.run_as(number, state, conversion).inspect_err(|_| self.remove_files(number))
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
            let compaction = TableCompaction::new(manifest, &source, table, conversion, &name)?;
            if self.keeps_unusable {
                compaction.write_unusable(&mut files)?;
            }
            compaction.write_rows(&mut files)?;
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
            let export = TableCompaction::new(&manifest, &source, table, conversion, &name)?;
            TableCompaction { is_export: true, ..export }.write_rows(&mut files)?;
            if files.is_empty() {
                let none = parquet(&[self.schema(table).empty()])?;
                store(&manifest, "part-0000-0.parquet".into(), &none)?;
            }
            disk.sync_folder(&folder).map_err(Error::writing(&folder))?;
        }
        Ok(())
    }
}

/// The compaction of a table.
struct TableCompaction<'a> {
    manifest: &'a ManifestFile,
    source: &'a StateSource,
    schema: &'a InputSchema,
    decoder: RowDecoder,
    parts: u64,
    /// The name of a file.
    name: &'a dyn Fn(&str) -> String,
    /// True if `run` is to read the files.
    is_export: bool,
}

/// The last row of an id.
struct LastRow {
    version: Option<Version>,
    is_delete: bool,
    batch: usize,
    row: u32,
}

impl<'a> TableCompaction<'a> {
    fn new(
        manifest: &'a ManifestFile,
        source: &'a StateSource,
        table: InputTable,
        conversion: &Conversion,
        name: &'a dyn Fn(&str) -> String,
    ) -> Result<TableCompaction<'a>> {
        let decoder = RowDecoder::of(source, table, conversion.clone())?;
        let of_table = source.splits().into_iter().filter(|split| split.table == table);
        let parts = of_table.filter_map(|split| split.rows).sum::<u64>().div_ceil(PART_ROWS).max(1);
        Ok(TableCompaction { manifest, source, schema: source.schema(table), decoder, parts, name, is_export: false })
    }

    /// Calls a function with all batches of the table.
    fn each_batch(&self, mut batch: impl FnMut(&SourceBatch) -> Result<()>) -> Result<()> {
        for split in self.source.splits().iter().filter(|split| split.table == self.schema.table) {
            for of_split in self.source.read(split, BATCH_ROWS)? {
                batch(&of_split?)?;
            }
        }
        Ok(())
    }

    /// Writes the last row of each id.
    fn write_rows(&self, files: &mut Vec<CheckpointFile>) -> Result<()> {
        for part in 0..self.parts {
            let (mut rows, mut last) = (Vec::new(), HashMap::default());
            self.each_batch(|batch| self.add(batch, part, &mut rows, &mut last))?;
            self.write(part, &rows, last, files)?;
        }
        Ok(())
    }

    /// Writes the rows that can't be used, if there are any.
    fn write_unusable(&self, files: &mut Vec<CheckpointFile>) -> Result<()> {
        let (mut content, mut rows, mut frames) = (Vec::new(), 0, 0);
        self.each_batch(|batch| {
            if let Some((of_batch, frame)) = self.unusable(batch)? {
                content.extend_from_slice(&u32::try_from(frame.len()).map_err(Error::failed)?.to_le_bytes());
                content.extend_from_slice(&frame);
                (rows, frames) = (rows + of_batch, frames + 1);
            }
            Ok(())
        })?;
        if frames > 0 {
            let file = store(self.manifest, (self.name)("unusable"), &content)?;
            files.push(CheckpointFile { table: self.schema.table.name().into(), frames: Some(frames), rows, file });
        }
        Ok(())
    }

    /// Adds the rows of a batch that are of a part.
    fn add(
        &self,
        batch: &SourceBatch,
        part: u64,
        rows: &mut Vec<RecordBatch>,
        last: &mut HashMap<AnyId, LastRow, FixedState>,
    ) -> Result<()> {
        let mut kept = Vec::new();
        for key in self.decoder.keys(batch)? {
            let Ok((row, id, version, is_delete)) = key else { continue };
            if FixedState::with_seed(1).hash_one(&id) % self.parts != part {
                continue;
            }
            let place = u32::try_from(kept.len()).map_err(Error::failed)?;
            let of_row = LastRow { version, is_delete, batch: rows.len(), row: place };
            kept.push(row);
            match last.get_mut(&id) {
                Some(known) if known.version > version => {}
                Some(known) => *known = of_row,
                None => drop(last.insert(id, of_row)),
            }
        }
        if !kept.is_empty() {
            rows.push(record::raw_rows(self.schema, &batch.select(&kept)?));
        }
        Ok(())
    }

    /// Writes the last rows of a part: a file for each set of column types.
    fn write(
        &self,
        part: u64,
        rows: &[RecordBatch],
        last: HashMap<AnyId, LastRow, FixedState>,
        files: &mut Vec<CheckpointFile>,
    ) -> Result<()> {
        // The versions of deleted rows must stay known.
        let keeps_deletes = self.schema.version.is_some();
        let mut kept: Vec<Vec<u32>> = vec![Vec::new(); rows.len()];
        for row in last.into_values().filter(|row| keeps_deletes || !row.is_delete) {
            kept[row.batch].push(row.row);
        }
        let mut by_schema: Vec<Vec<RecordBatch>> = Vec::new();
        for (batch, mut kept) in rows.iter().zip(kept).filter(|(_, kept)| !kept.is_empty()) {
            kept.sort_unstable();
            let batch = take_record_batch(batch, &UInt32Array::from(kept)).map_err(Error::failed)?;
            match by_schema.iter_mut().find(|alike| alike[0].schema() == batch.schema()) {
                Some(alike) => alike.push(batch),
                None => by_schema.push(vec![batch]),
            }
        }
        let table = self.schema.table.name();
        for (index, alike) in by_schema.into_iter().enumerate() {
            let rows = alike.iter().map(|batch| batch.num_rows() as u64).sum();
            let alike = alike.iter().map(|batch| self.with_integer_ids(batch)).collect::<Result<Vec<_>>>()?;
            // Parquet has numbers for what text files have as text, so only a text file can hold that as it is.
            let (ending, content) = match self.is_export && self.has_numbers_as_text(&alike[0].schema()) {
                true => ("jsonl", json_lines(&alike)?),
                false => ("parquet", parquet(&alike)?),
            };
            let name = (self.name)(&format!("{part:04}-{index}.{ending}"));
            let file = store(self.manifest, name, &content)?;
            files.push(CheckpointFile { table: table.to_owned(), frames: None, rows, file });
        }
        Ok(())
    }

    fn has_numbers_as_text(&self, schema: &Schema) -> bool {
        let is_number = |kind| matches!(kind, ColumnKind::Quantity | ColumnKind::Money);
        let numbers = self.schema.table.cores().iter().filter(|core| is_number(core.kind));
        let mut found = numbers.filter_map(|core| schema.field_with_name(core.name).ok());
        found.any(|field| is_text(field.data_type()))
    }

    /// The same rows, in which ids that are integers in the table are so in the file: text files have them as text.
    fn with_integer_ids(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let is_integer = |name: &str| {
            let mut cores = self.schema.table.cores().iter().zip(&self.schema.cores);
            cores.any(|(core, written)| {
                core.name == name && core.kind == ColumnKind::Id && written.as_ref().is_some_and(DataType::is_integer)
            })
        };
        let columns = rows.schema_ref().fields().iter().zip(rows.columns()).map(|(field, column)| {
            if !is_integer(field.name()) || column.data_type() != &DataType::Utf8 {
                return (field.name().clone(), Arc::clone(column));
            }
            let integers: Int64Array = column.as_string::<i32>().iter().map(|text| whole(text?).parse().ok()).collect();
            (field.name().clone(), Arc::new(integers) as ArrayRef)
        });
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)))
            .map_err(Error::failed)
    }

    /// The frame of the rows of a batch that can't be used.
    fn unusable(&self, batch: &SourceBatch) -> Result<Option<(u64, Vec<u8>)>> {
        let settled = self.decoder.settled(batch.clone())?;
        let mut unusable = settled.select(&[])?;
        unusable.malformed = settled.malformed;
        let count = unusable.rows();
        let frame = || Ok((count, record::encode(self.schema, &unusable)?.concat()));
        (count > 0).then(frame).transpose()
    }
}

/// Rows as JSON lines.
fn json_lines(rows: &[RecordBatch]) -> Result<Vec<u8>> {
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(Vec::new());
    rows.iter().try_for_each(|rows| writer.write(rows)).map_err(Error::failed)?;
    writer.finish().map_err(Error::failed)?;
    Ok(writer.into_inner())
}

/// Rows as a Parquet file.
fn parquet(rows: &[RecordBatch]) -> Result<Vec<u8>> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), rows[0].schema(), Some(properties)).map_err(Error::failed)?;
    rows.iter().try_for_each(|rows| writer.write(rows)).map_err(Error::failed)?;
    writer.into_inner().map_err(Error::failed)
}
