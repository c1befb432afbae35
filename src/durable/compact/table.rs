//! The compaction of a table.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Schema};
use arrow::json::WriterBuilder;
use arrow::json::writer::LineDelimited;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::columns::integer_text::whole;
use crate::columns::{ColumnKind, InputSchema, is_text};
use crate::durable::checkpoint::{self, store};
use crate::durable::manifest::{CheckpointFile, ManifestFile, PartOfIds};
use crate::durable::record;
use crate::durable::state_source::StateSource;
use crate::error::{Error, Result};
use crate::model::InputTable;
use crate::sources::{Conversion, RowDecoder, Source, SourceBatch};

use super::part::{KeyedRow, PartRows};

/// How many rows are read at a time.
const BATCH_ROWS: usize = 10_000;
/// Rows of a Parquet row group, so that several workers can read a file.
const GROUP_ROWS: usize = 100_000;

/// How many rows there are in memory.
#[derive(Clone, Copy)]
pub(super) struct PartSizes {
    /// About so many of a part.
    pub(super) part: u64,
    /// At most about so many of the log.
    pub(super) of_log: u64,
}

impl Default for PartSizes {
    fn default() -> PartSizes {
        PartSizes { part: 1_000_000, of_log: 4_000_000 }
    }
}

/// The compaction of a table.
pub(super) struct TableCompaction<'a> {
    manifest: &'a ManifestFile,
    source: &'a StateSource,
    schema: &'a InputSchema,
    decoder: RowDecoder,
    /// How many parts there will be: a power of two.
    parts: u32,
    /// How often the log is read.
    passes: u32,
    /// The name of a file.
    name: &'a dyn Fn(&str) -> String,
    /// True if `run` is to read the files.
    is_export: bool,
}

/// Frames of rows that can't be used.
#[derive(Default)]
struct Unusable {
    content: Vec<u8>,
    rows: u64,
    frames: usize,
}

impl<'a> TableCompaction<'a> {
    pub(super) fn new(
        manifest: &'a ManifestFile,
        source: &'a StateSource,
        table: InputTable,
        conversion: &Conversion,
        name: &'a dyn Fn(&str) -> String,
        sizes: PartSizes,
    ) -> Result<TableCompaction<'a>> {
        let decoder = RowDecoder::of(source, table, conversion.clone())?;
        let of_log = source.log_rows(table);
        let of_files: u64 = source.files(table).map(|file| file.rows).sum();
        let few = |rows: u64, most: u64| u32::try_from(rows.div_ceil(most).max(1)).map_err(Error::failed);
        // That of the files changes little, so the parts stay what they are.
        let rows = if of_files > 0 { of_files } else { of_log };
        let parts = few(rows, sizes.part)?.next_power_of_two();
        let passes = few(of_log, sizes.of_log)?.min(parts);
        let schema = source.schema(table);
        Ok(TableCompaction { manifest, source, schema, decoder, parts, passes, name, is_export: false })
    }

    /// The same, for files that `run` is to read.
    pub(super) fn for_export(self) -> TableCompaction<'a> {
        TableCompaction { is_export: true, ..self }
    }

    fn table(&self) -> InputTable {
        self.schema.table
    }

    /// Writes the last row of each id, and the rows that can't be used.
    pub(super) fn write(&self, files: &mut Vec<CheckpointFile>) -> Result<()> {
        // In the order in which they came.
        let mut unusable = if self.is_export { Unusable::default() } else { self.former_unusable()? };
        for pass in 0..self.passes {
            let mut of_log = self.deal_log(pass, &mut unusable)?;
            for (part, rows) in (pass..self.parts).step_by(self.passes as usize).zip(&mut of_log) {
                self.write_part(part, std::mem::take(rows), &mut unusable, files)?;
            }
        }
        if self.is_export {
            return Ok(());
        }
        if unusable.frames > 0 {
            let file = store(self.manifest, (self.name)("unusable"), &unusable.content)?;
            let (table, frames) = (self.table().name().into(), Some(unusable.frames));
            // Before the others, whose rows come later.
            files.insert(0, CheckpointFile { table, frames, part: None, rows: unusable.rows, file });
        }
        Ok(())
    }

    /// The rows of the former checkpoint that can't be used.
    fn former_unusable(&self) -> Result<Unusable> {
        let mut unusable = Unusable::default();
        for file in self.source.files(self.table()).filter(|file| file.frames.is_some()) {
            unusable.content.append(&mut checkpoint::load(self.manifest, &file.file)?);
            unusable.rows += file.rows;
            unusable.frames += file.frames.unwrap_or(0);
        }
        Ok(unusable)
    }

    /// The rows of the log, of each part of a pass.
    fn deal_log(&self, pass: u32, unusable: &mut Unusable) -> Result<Vec<PartRows>> {
        let mut dealt: Vec<PartRows> =
            (pass..self.parts).step_by(self.passes as usize).map(|_| PartRows::default()).collect();
        for batch in self.source.log_batches(self.table())? {
            let batch = batch?;
            let unusable = (pass == 0).then_some(&mut *unusable);
            let mut rows: Vec<Vec<KeyedRow>> = dealt.iter().map(|_| Vec::new()).collect();
            for row in self.keyed(&batch, unusable)? {
                let part = PartOfIds::of(&row.id, self.parts);
                if part % self.passes == pass {
                    rows[(part / self.passes) as usize].push(row);
                }
            }
            for (part, rows) in dealt.iter_mut().zip(rows) {
                part.add(self.schema, &batch, rows)?;
            }
        }
        Ok(dealt)
    }

    /// The rows of a batch that can be used; those that can't are added to the others, if these are given.
    fn keyed(&self, batch: &SourceBatch, unusable: Option<&mut Unusable>) -> Result<Vec<KeyedRow>> {
        let keys = self.decoder.keys(batch)?;
        let (all, keyed) = (keys.len(), keys.into_iter().filter_map(|key| key.ok().map(KeyedRow::from)));
        let keyed: Vec<KeyedRow> = keyed.collect();
        if let Some(unusable) = unusable
            && (keyed.len() < all || !batch.malformed.is_empty())
        {
            unusable.add(self.schema, self.decoder.settled(batch.clone())?)?;
        }
        Ok(keyed)
    }

    /// Writes the files of a part, or keeps those that it has.
    fn write_part(
        &self,
        part: u32,
        mut rows: PartRows,
        unusable: &mut Unusable,
        files: &mut Vec<CheckpointFile>,
    ) -> Result<()> {
        let former: Vec<_> = self.source.files(self.table()).filter(|file| self.is_of(file, part)).collect();
        let own = PartOfIds { part, parts: self.parts };
        if rows.is_empty() && !self.is_export && former.iter().all(|file| file.part == Some(own)) {
            files.extend(former.into_iter().cloned());
            return Ok(());
        }
        let mut all = PartRows::default();
        for file in former {
            for batch in self.source.read_file(file, BATCH_ROWS)? {
                let batch = batch?;
                // A file may be read for two parts.
                let is_first = file.part.map_or(0, |of_file| of_file.part % self.parts) == part;
                let mut keyed = self.keyed(&batch, is_first.then_some(&mut *unusable))?;
                keyed.retain(|row| PartOfIds::of(&row.id, self.parts) == part);
                all.add(self.schema, &batch, keyed)?;
            }
        }
        all.append(&mut rows)?;
        // The versions of deleted rows must stay known.
        let by_columns = all.last_rows(self.schema.version.is_some())?;
        for (index, alike) in by_columns.into_iter().enumerate() {
            let rows = alike.iter().map(|batch| batch.num_rows() as u64).sum();
            let alike = alike.iter().map(|batch| self.with_integer_ids(batch)).collect::<Result<Vec<_>>>()?;
            // Parquet has numbers for what text files have as text, so only a text file can hold that as it is.
            let (ending, content) = match self.is_export && self.has_numbers_as_text(&alike[0].schema()) {
                true => ("jsonl", json_lines(&alike)?),
                false => ("parquet", parquet(&alike)?),
            };
            let name = (self.name)(&format!("{part:04}-{index}.{ending}"));
            let file = store(self.manifest, name, &content)?;
            let table = self.table().name().to_owned();
            files.push(CheckpointFile { table, frames: None, part: Some(own), rows, file });
        }
        Ok(())
    }

    /// True if a file of the checkpoint may have rows of a part.
    fn is_of(&self, file: &CheckpointFile, part: u32) -> bool {
        let of_file = file.part.unwrap_or(PartOfIds { part: 0, parts: 1 });
        let common = of_file.parts.min(self.parts);
        file.frames.is_none() && of_file.part % common == part % common
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
}

impl Unusable {
    /// Adds the rows of a settled batch that can't be used.
    fn add(&mut self, schema: &InputSchema, settled: SourceBatch) -> Result<()> {
        let mut unusable = settled.select(&[])?;
        unusable.malformed = settled.malformed;
        let frame = record::encode(schema, &unusable)?.payload()?.concat();
        self.content.extend_from_slice(&u32::try_from(frame.len()).map_err(Error::failed)?.to_le_bytes());
        self.content.extend_from_slice(&frame);
        self.rows += unusable.rows();
        self.frames += 1;
        Ok(())
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
pub(super) fn parquet(rows: &[RecordBatch]) -> Result<Vec<u8>> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), rows[0].schema(), Some(properties)).map_err(Error::failed)?;
    rows.iter().try_for_each(|rows| writer.write(rows)).map_err(Error::failed)?;
    writer.into_inner().map_err(Error::failed)
}
