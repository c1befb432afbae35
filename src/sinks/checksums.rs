//! A number for the rows of each table.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use foldhash::quality::FixedState;

use crate::error::{Error, Result};
use crate::model::Epoch;

use super::sink::{RowChanges, Sink, SinkContext, SinkPart, TableInfo, TableReport};

/// A sink that keeps the sum of the hashes of each table's rows. Copies share the sums.
///
/// The same rows have the same sum, in whatever order, epochs and processes they came; other rows have another, but for a
/// chance of 2⁻⁶⁴. *Cost*: a hash for each row inserted or deleted. *State*: a number for each table.
#[derive(Clone, Default)]
pub struct Checksums {
    sums: Arc<Mutex<HashMap<String, Arc<AtomicU64>>>>,
}

impl Checksums {
    /// Checksums of all tables, each zero.
    #[must_use]
    pub fn new() -> Checksums {
        Checksums::default()
    }

    /// The checksum of a table; `None` if it is not made.
    #[must_use]
    pub fn of(&self, table: &str) -> Option<u64> {
        let sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        sums.get(table).map(|sum| sum.load(Ordering::Acquire))
    }
}

impl Sink for Checksums {
    fn open(&mut self, job: &SinkContext) -> Result<bool> {
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        *sums = job.tables.iter().map(|table| (table.name.clone(), Arc::default())).collect();
        Ok(true)
    }

    fn part(&mut self, table: &TableInfo, _: usize) -> Result<Option<Box<dyn SinkPart>>> {
        let columns = table.schema.fields().iter().map(|field| SortField::new(field.data_type().clone()));
        let converter = RowConverter::new(columns.collect()).map_err(Error::failed)?;
        let sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(sums
            .get(&table.name)
            .map(|sum| Box::new(ChecksumPart { converter, sum: Arc::clone(sum) }) as Box<dyn SinkPart>))
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
