//! Checksums of tables.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use foldhash::quality::FixedState;

use crate::error::{Error, Result};
use crate::model::Epoch;

use super::sink::{Opened, RowChanges, Sink, SinkContext, SinkPart, TableInfo, TableReport};

/// A sink that keeps the sum of the row hashes of each table. Clones share the sums.
///
/// Equal tables have equal sums, regardless of order; different tables collide with probability 2⁻⁶⁴.
///
/// *Cost*: a hash for each inserted or deleted row. *State*: a number for each table.
#[derive(Clone, Default)]
pub struct Checksums {
    sums: Arc<Mutex<HashMap<String, Arc<AtomicU64>>>>,
}

impl Checksums {
    /// Creates a sink for all tables. The sum of an empty table is 0.
    #[must_use]
    pub fn new() -> Checksums {
        Checksums::default()
    }

    /// The checksum of a table; `None` if the job does not have it.
    #[must_use]
    pub fn of(&self, table: &str) -> Option<u64> {
        let sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        sums.get(table).map(|sum| sum.load(Ordering::Acquire))
    }
}

impl Sink for Checksums {
    fn open(&mut self, job: &SinkContext) -> Result<Opened> {
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        *sums = job.tables.iter().map(|table| (table.name.clone(), Arc::default())).collect();
        Ok(Opened::Ready)
    }

    fn part(&mut self, table: &TableInfo, _: usize) -> Result<Box<dyn SinkPart>> {
        let columns = table.schema.fields().iter().map(|field| SortField::new(field.data_type().clone()));
        let converter = RowConverter::new(columns.collect()).map_err(Error::failed)?;
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = Arc::clone(sums.entry(table.name.clone()).or_default());
        Ok(Box::new(ChecksumPart { converter, sum }))
    }

    fn commit(&mut self, _: Epoch, _: &mut [TableReport]) -> Result<()> {
        Ok(())
    }
}

struct ChecksumPart {
    converter: RowConverter,
    sum: Arc<AtomicU64>,
}

impl ChecksumPart {
    fn hashes(&self, batch: Option<&RecordBatch>) -> Result<u64> {
        const HASHER: FixedState = FixedState::with_seed(0x7461_626c_6573);
        let Some(batch) = batch else { return Ok(0) };
        let rows = self.converter.convert_columns(batch.columns()).map_err(Error::failed)?;
        Ok(rows.iter().map(|row| HASHER.hash_one(row.as_ref())).fold(0, u64::wrapping_add))
    }
}

impl SinkPart for ChecksumPart {
    fn write(&mut self, _: Epoch, changes: &RowChanges) -> Result<()> {
        let (plus, minus) = (self.hashes(changes.plus.as_ref())?, self.hashes(changes.minus.as_ref())?);
        self.sum.fetch_add(plus.wrapping_sub(minus), Ordering::AcqRel);
        Ok(())
    }

    fn seal(&mut self, _: Epoch) -> Result<()> {
        Ok(())
    }
}
