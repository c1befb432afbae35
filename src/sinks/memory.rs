//! Tables in memory.
//!
//! ```text
//! workers ─ batches ─▶ open epoch ─ commit: a sorted run ─▶ runs of each table ◀─ snapshots of readers
//!                                                             └─ merged now and then
//! ```
//!
//! A table is a few sorted runs of rows, each at least twice as large as those after it together, as in a
//! log-structured merge tree. Runs never change, so readers share them by reference: a snapshot stays as it was, and
//! blocks nobody.

mod history;
mod kept;
mod keys;
mod merge;
mod run;
mod scan;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::record_batch::RecordBatch;

use crate::error::{Error, Result};
use crate::model::Epoch;

use super::committed::{Committed, CurrentEpoch};
use super::sink::{Opened, PartOptions, RowChanges, Sink, SinkContext, SinkPart, TableInfo, TableReport};

use history::{ChangedTables, History};
pub use history::{ChangesAfter, EpochOfTable};
use kept::GrowingTable;
pub use keys::KeyRange;
pub use scan::TableScan;
pub use snapshot::TablesSnapshot;

/// A sink that keeps tables in memory, sorted by their keys. Clones share the tables.
///
/// All tables advance to an epoch together, when it is committed.
///
/// *Cost of an epoch*: a sort of the inserted and deleted rows, each of which is then merged O(log rows) times; large
/// merges have a thread of their own. *State*: the columns of each row and its encoded key, also of the rows that were
/// deleted, until they are merged.
#[derive(Clone)]
pub struct MemoryTables {
    tables: Option<Vec<String>>,
    /// The epoch of a log, if there is one.
    current: Option<CurrentEpoch>,
    committed: Arc<Mutex<TablesSnapshot>>,
    growing: Arc<Mutex<BTreeMap<String, GrowingTable>>>,
    history: Arc<Mutex<History>>,
    open: Arc<Mutex<OpenChanges>>,
    /// The tables of the job before, until the first epoch of this one.
    former: Arc<Mutex<Option<TablesSnapshot>>>,
}

/// The changes of so many epochs that change a table are given at a time.
const EPOCHS_AT_A_TIME: usize = 1;

/// What workers have written of epochs that are not committed.
type OpenChanges = BTreeMap<Epoch, BTreeMap<String, Vec<RowChanges>>>;

impl MemoryTables {
    /// Keeps all tables of the job.
    #[must_use]
    pub fn all() -> MemoryTables {
        let (current, committed, growing, history, open, former) = Default::default();
        MemoryTables { tables: None, current, committed, growing, history, open, former }
    }

    /// Keeps these tables.
    #[must_use]
    pub fn of(tables: &[&str]) -> MemoryTables {
        let tables = Some(tables.iter().map(|table| (*table).to_owned()).collect());
        MemoryTables { tables, ..MemoryTables::all() }
    }

    /// Names epochs as a log does.
    #[must_use]
    pub fn named_by(self, current: &CurrentEpoch) -> MemoryTables {
        MemoryTables { current: Some(current.clone()), ..self }
    }

    /// Keeps what the last epochs changed, up to so many bytes.
    #[must_use]
    pub fn with_history(self, bytes: usize) -> MemoryTables {
        MemoryTables { history: Arc::new(Mutex::new(History::new(bytes))), ..self }
    }

    /// What epochs changed in a table after one, of some epochs at a time; `None` if that is not kept.
    ///
    /// # Errors
    ///
    /// If the table is not kept.
    pub fn changes_after(&self, table: &str, epoch: u64) -> Result<Option<ChangesAfter>> {
        let snapshot = self.snapshot();
        let encoder = snapshot.encoder(table)?;
        let Some((runs, last)) = lock(&self.history).after(epoch, table, EPOCHS_AT_A_TIME) else { return Ok(None) };
        ChangesAfter::of(&runs, last, encoder).map(Some)
    }

    /// What the last epochs up to one changed in the rows of a table whose keys are in a range, the newest first, of
    /// those whose changes are kept.
    ///
    /// # Errors
    ///
    /// If the table is not kept.
    pub fn last_changes(&self, table: &str, range: &KeyRange, until: u64, epochs: usize) -> Result<Vec<EpochOfTable>> {
        let snapshot = self.snapshot();
        let encoder = snapshot.encoder(table)?;
        // Searched once the history is free again: commits need it.
        let all = lock(&self.history).through(until, table);
        let found = all.iter().filter(|runs| EpochOfTable::has_keys_of(runs, range)).take(epochs);
        let changes = found.map(|runs| EpochOfTable::of_keys(runs, range, encoder));
        let changes = changes.collect::<Result<Vec<_>>>()?;
        Ok(changes.into_iter().filter(|epoch| epoch.plus.num_rows() + epoch.minus.num_rows() > 0).collect())
    }

    /// True if what epochs changed after one is kept.
    #[must_use]
    pub fn has_changes_after(&self, epoch: u64) -> bool {
        lock(&self.history).has_after(epoch)
    }

    /// The epochs whose changes are kept, the oldest first.
    #[must_use]
    pub fn kept_epochs(&self) -> Vec<Committed> {
        lock(&self.history).epochs()
    }

    /// The first and the last epoch whose changes are kept.
    #[must_use]
    pub fn kept_changes(&self) -> (u64, u64) {
        let history = lock(&self.history);
        (history.first(), history.last())
    }

    /// A table as of the newest committed epoch, and that epoch. To read several tables as of one epoch, take a
    /// [`snapshot`](Self::snapshot).
    ///
    /// # Errors
    ///
    /// If the table is not kept, or no epoch is committed yet.
    pub fn read(&self, table: &str) -> Result<(Epoch, RecordBatch)> {
        let snapshot = self.snapshot();
        let rows = snapshot.read(table)?;
        Ok((snapshot.epoch().unwrap_or_default(), rows))
    }

    /// All tables as of the newest committed epoch. Applying further epochs does not change a snapshot.
    #[must_use]
    pub fn snapshot(&self) -> TablesSnapshot {
        lock(&self.committed).clone()
    }

    fn keeps(&self, table: &str) -> bool {
        self.tables.as_ref().is_none_or(|tables| tables.iter().any(|wanted| wanted == table))
    }

    /// Makes the tables as they are now visible, as those of an epoch.
    fn show(&self, epoch: Option<Committed>, growing: &BTreeMap<String, GrowingTable>) {
        let tables = growing.iter().map(|(name, table)| (name.clone(), table.kept.clone())).collect();
        *lock(&self.committed) = TablesSnapshot::new(epoch, tables);
    }
}

fn lock<V>(mutex: &Mutex<V>) -> MutexGuard<'_, V> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sink for MemoryTables {
    /// If the sink had a job before, readers see the tables of that one until the first epoch of this one is committed,
    /// which changes what differs.
    fn open(&mut self, job: &SinkContext) -> Result<Opened> {
        job.check_has(self.tables.iter().flatten())?;
        let kept = job.tables.iter().filter(|table| self.keeps(&table.name));
        let empty = kept.map(|table| Ok((table.name.clone(), GrowingTable::new(table)?)));
        let empty = empty.collect::<Result<BTreeMap<_, _>>>()?;
        let former = Some(self.snapshot()).filter(|snapshot| snapshot.epoch().is_some());
        if former.is_none() {
            self.show(None, &empty);
        }
        *lock(&self.former) = former;
        *lock(&self.growing) = empty;
        lock(&self.open).clear();
        Ok(Opened::Ready)
    }

    fn wants(&self, table: &TableInfo) -> Option<PartOptions> {
        self.keeps(&table.name).then(PartOptions::default)
    }

    fn part(&mut self, table: &TableInfo, _: usize) -> Result<Box<dyn SinkPart>> {
        Ok(Box::new(MemoryPart { open: Arc::clone(&self.open), table: table.name.clone() }))
    }

    fn commit(&mut self, epoch: Epoch, _: &mut [TableReport]) -> Result<()> {
        let changes = lock(&self.open).remove(&epoch).unwrap_or_default();
        let mut growing = lock(&self.growing);
        let mut changed = BTreeMap::new();
        for (name, table) in growing.iter_mut() {
            let named = |error: Error| Error::failed(format!("{name}: epoch {epoch} {error}"));
            let runs = table.add(changes.get(name).map_or(&[], Vec::as_slice)).map_err(named)?;
            if !runs.is_empty() {
                changed.insert(name.clone(), runs);
            }
        }
        let of_log = self.current.as_ref().map_or(Committed { epoch, time_ms: 0 }, CurrentEpoch::get);
        let former = lock(&self.former).take();
        let changed = match (epoch, former) {
            (0, Some(former)) => differences(&growing, &former)?,
            (0, None) => None,
            _ => Some(changed),
        };
        // Only now: readers never see half an epoch.
        let mut history = lock(&self.history);
        self.show(Some(of_log), &growing);
        match changed {
            Some(changed) => history.add(of_log, changed),
            None => history.begin(of_log),
        }
        Ok(())
    }
}

/// What has changed since other tables; `None` if they do not have the same columns.
fn differences(growing: &BTreeMap<String, GrowingTable>, former: &TablesSnapshot) -> Result<Option<ChangedTables>> {
    let mut changed = ChangedTables::new();
    for (name, table) in growing {
        let Ok(before) = former.table(name) else { return Ok(None) };
        let Some(runs) = table.kept.difference(before)? else { return Ok(None) };
        if !runs.is_empty() {
            changed.insert(name.clone(), runs);
        }
    }
    Ok(Some(changed))
}

struct MemoryPart {
    open: Arc<Mutex<OpenChanges>>,
    table: String,
}

impl SinkPart for MemoryPart {
    fn write(&mut self, epoch: Epoch, changes: &RowChanges) -> Result<()> {
        let mut open = lock(&self.open);
        open.entry(epoch).or_default().entry(self.table.clone()).or_default().push(changes.clone());
        Ok(())
    }

    fn seal(&mut self, _: Epoch) -> Result<()> {
        Ok(())
    }
}
