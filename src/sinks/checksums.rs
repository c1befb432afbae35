//! Checksums of tables.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use foldhash::quality::FixedState;

use crate::error::{Error, Result};
use crate::model::Epoch;

use super::sink::{Opened, PartOptions, RowChanges, Sink, SinkContext, SinkPart, TableInfo, TableReport};

/// A sink that keeps the sum of the row hashes of each table, as of the newest committed epoch. Clones share the sums.
///
/// Equal tables have equal sums, regardless of order; different tables collide with probability 2⁻⁶⁴.
///
/// *Cost*: a hash for each inserted or deleted row. *State*: a number for each table, and for each epoch that is not
/// committed.
#[derive(Clone, Default)]
pub struct Checksums {
    shared: Arc<Mutex<ChecksumState>>,
    is_gathered: bool,
}

#[derive(Default)]
struct ChecksumState {
    committed: HashMap<String, u64>,
    /// The sums when they were marked last, and late changes since.
    marked: Option<HashMap<String, u64>>,
    schemas: HashMap<String, SchemaRef>,
    /// The changes of epochs that are not committed, by table and by whether they are late.
    open: BTreeMap<Epoch, HashMap<(String, bool), u64>>,
}

impl Checksums {
    /// Creates a sink for all tables. The sum of an empty table is 0.
    #[must_use]
    pub fn new() -> Checksums {
        Checksums::default()
    }

    /// The same, which takes the changes of several epochs together. In a live job, the sums are those of an epoch in
    /// which all was [gathered](crate::runtime::Live::gather).
    #[must_use]
    pub fn gathered() -> Checksums {
        Checksums { is_gathered: true, ..Checksums::default() }
    }

    /// The checksum of a table; `None` if the job does not have it.
    #[must_use]
    pub fn of(&self, table: &str) -> Option<u64> {
        lock(&self.shared).committed.get(table).copied()
    }

    /// Keeps the sums as they are now for [`fingerprint`](Self::fingerprint), to which only late changes are added.
    pub(crate) fn mark(&self) {
        let mut state = lock(&self.shared);
        state.marked = Some(state.committed.clone());
    }

    /// The columns and the rows of a table as a text, as of the last [mark](Self::mark) if there was one: equal tables
    /// have equal ones.
    pub(crate) fn fingerprint(&self, table: &str) -> Option<String> {
        let state = lock(&self.shared);
        let (schema, sums) = (state.schemas.get(table)?, state.marked.as_ref().unwrap_or(&state.committed));
        let sum = sums.get(table)?;
        let columns = schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type()));
        let columns = HASHER.hash_one(columns.collect::<Vec<_>>());
        Some(format!("{columns:016x}-{sum:016x}"))
    }
}

impl Sink for Checksums {
    fn open(&mut self, job: &SinkContext) -> Result<Opened> {
        let committed = job.tables.iter().map(|table| (table.name.clone(), 0)).collect();
        let schemas = job.tables.iter().map(|table| (table.name.clone(), Arc::clone(&table.schema))).collect();
        *lock(&self.shared) = ChecksumState { committed, marked: None, schemas, open: BTreeMap::new() };
        Ok(Opened::Ready)
    }

    fn wants(&self, _: &TableInfo) -> Option<PartOptions> {
        Some(PartOptions { gathered: self.is_gathered, ..PartOptions::default() })
    }

    fn part(&mut self, table: &TableInfo, _: usize) -> Result<Box<dyn SinkPart>> {
        let columns = table.schema.fields().iter().map(|field| SortField::new(field.data_type().clone()));
        let converter = RowConverter::new(columns.collect()).map_err(Error::failed)?;
        Ok(Box::new(ChecksumPart { converter, table: table.name.clone(), shared: Arc::clone(&self.shared) }))
    }

    fn commit(&mut self, epoch: Epoch, _: &mut [TableReport]) -> Result<()> {
        let mut sums = lock(&self.shared);
        for ((table, is_late), change) in sums.open.remove(&epoch).unwrap_or_default() {
            let marked =
                sums.marked.as_mut().filter(|_| is_late).map(|marked| marked.entry(table.clone()).or_default());
            marked.into_iter().for_each(|sum| *sum = sum.wrapping_add(change));
            let sum = sums.committed.entry(table).or_default();
            *sum = sum.wrapping_add(change);
        }
        Ok(())
    }
}

const HASHER: FixedState = FixedState::with_seed(0x7461_626c_6573);

fn lock(sums: &Mutex<ChecksumState>) -> MutexGuard<'_, ChecksumState> {
    sums.lock().unwrap_or_else(PoisonError::into_inner)
}

struct ChecksumPart {
    converter: RowConverter,
    table: String,
    shared: Arc<Mutex<ChecksumState>>,
}

impl ChecksumPart {
    fn hashes(&self, batch: Option<&RecordBatch>) -> Result<u64> {
        let Some(batch) = batch else { return Ok(0) };
        let rows = self.converter.convert_columns(batch.columns()).map_err(Error::failed)?;
        Ok(rows.iter().map(|row| HASHER.hash_one(row.as_ref())).fold(0, u64::wrapping_add))
    }
}

impl SinkPart for ChecksumPart {
    fn write(&mut self, epoch: Epoch, changes: &RowChanges) -> Result<()> {
        let (plus, minus) = (self.hashes(changes.plus.as_ref())?, self.hashes(changes.minus.as_ref())?);
        let mut sums = lock(&self.shared);
        let of_table = (self.table.clone(), changes.is_late);
        let sum = sums.open.entry(epoch).or_default().entry(of_table).or_default();
        *sum = sum.wrapping_add(plus).wrapping_sub(minus);
        Ok(())
    }

    fn seal(&mut self, _: Epoch) -> Result<()> {
        Ok(())
    }
}
