//! The rows of a part of a table, of which the last one of each id counts.

use std::collections::HashMap;

use arrow::array::UInt32Array;
use arrow::compute::{concat_batches, take_record_batch};
use arrow::record_batch::RecordBatch;
use foldhash::fast::FixedState;

use crate::columns::InputSchema;
use crate::durable::record;
use crate::error::{Error, Result};
use crate::model::{AnyId, Version};
use crate::sources::SourceBatch;

/// A row of a batch that can be used.
pub(super) struct KeyedRow {
    row: u32,
    pub(super) id: AnyId,
    version: Option<Version>,
    is_delete: bool,
}

impl From<(u32, AnyId, Option<Version>, bool)> for KeyedRow {
    fn from((row, id, version, is_delete): (u32, AnyId, Option<Version>, bool)) -> KeyedRow {
        KeyedRow { row, id, version, is_delete }
    }
}

/// The rows of a part, in the order in which they count.
#[derive(Default)]
pub(super) struct PartRows {
    batches: Vec<RecordBatch>,
    /// Small batches of the same columns that will be one.
    small: Vec<RecordBatch>,
    small_rows: usize,
    last: HashMap<AnyId, LastRow, FixedState>,
}

/// The last row of an id.
struct LastRow {
    version: Option<Version>,
    is_delete: bool,
    batch: usize,
    row: u32,
}

/// Batches are put together until they have so many rows.
const SMALL: usize = 10_000;

impl PartRows {
    pub(super) fn is_empty(&self) -> bool {
        self.last.is_empty()
    }

    /// Adds some rows of a batch.
    pub(super) fn add(&mut self, schema: &InputSchema, batch: &SourceBatch, rows: Vec<KeyedRow>) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let numbers: Vec<u32> = rows.iter().map(|row| row.row).collect();
        let content = record::raw_rows(schema, &batch.select(&numbers)?);
        if self.small.first().is_some_and(|small| small.schema() != content.schema()) {
            self.end_batch()?;
        }
        let (first, batch) = (u32::try_from(self.small_rows).map_err(Error::failed)?, self.batches.len());
        for (row, KeyedRow { id, version, is_delete, .. }) in (first..).zip(rows) {
            self.set(id, LastRow { version, is_delete, batch, row });
        }
        self.small_rows += content.num_rows();
        self.small.push(content);
        if self.small_rows >= SMALL { self.end_batch() } else { Ok(()) }
    }

    fn set(&mut self, id: AnyId, row: LastRow) {
        match self.last.get_mut(&id) {
            Some(known) if known.version > row.version => {}
            Some(known) => *known = row,
            None => drop(self.last.insert(id, row)),
        }
    }

    fn end_batch(&mut self) -> Result<()> {
        if let Some(first) = self.small.first() {
            self.batches.push(concat_batches(&first.schema(), &self.small).map_err(Error::failed)?);
            (self.small, self.small_rows) = Default::default();
        }
        Ok(())
    }

    /// Adds rows that count after these.
    pub(super) fn append(&mut self, later: &mut PartRows) -> Result<()> {
        self.end_batch()?;
        later.end_batch()?;
        let before = self.batches.len();
        self.batches.append(&mut later.batches);
        for (id, row) in later.last.drain() {
            self.set(id, LastRow { batch: before + row.batch, ..row });
        }
        Ok(())
    }

    /// The last row of each id, those with the same columns together. Deletes are left out unless they are to be kept.
    pub(super) fn last_rows(mut self, keeps_deletes: bool) -> Result<Vec<Vec<RecordBatch>>> {
        self.end_batch()?;
        let mut kept: Vec<Vec<u32>> = vec![Vec::new(); self.batches.len()];
        for row in self.last.into_values().filter(|row| keeps_deletes || !row.is_delete) {
            kept[row.batch].push(row.row);
        }
        let mut by_columns: Vec<Vec<RecordBatch>> = Vec::new();
        for (batch, mut kept) in self.batches.iter().zip(kept).filter(|(_, kept)| !kept.is_empty()) {
            kept.sort_unstable();
            let batch = take_record_batch(batch, &UInt32Array::from(kept)).map_err(Error::failed)?;
            match by_columns.iter_mut().find(|alike| alike[0].schema() == batch.schema()) {
                Some(alike) => alike.push(batch),
                None => by_columns.push(vec![batch]),
            }
        }
        Ok(by_columns)
    }
}
