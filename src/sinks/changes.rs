//! The rows that each epoch inserted and deleted.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::ArrayRef;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use arrow::row::{OwnedRow, RowConverter, SortField};

use crate::error::{Error, Result};
use crate::model::Epoch;

use super::sink::{Opened, PartOptions, RowChanges, Sink, SinkContext, SinkPart, TableInfo, TableReport};

/// A sink that collects the rows that each committed epoch inserted and deleted.
///
/// Clones share the changes, which are kept until they are [taken](Self::take). The first epoch, which inserts every
/// row, is left out, except [with a snapshot](Self::with_snapshot).
#[derive(Clone, Default)]
pub struct ChangeFeed {
    shared: Arc<Mutex<Changes>>,
    with_first_epoch: bool,
    /// The most bytes of epochs that are taken together; `None` if each is taken by itself.
    gathered: Option<usize>,
    /// The tables to follow; `None` for all.
    wanted: Option<Vec<String>>,
    tables: Vec<TableInfo>,
}

#[derive(Default)]
struct Changes {
    /// What workers have written, by epoch and table.
    open: BTreeMap<Epoch, HashMap<String, Vec<RowChanges>>>,
    committed: BTreeMap<Epoch, Vec<TableChanges>>,
    gathered: GatheredChanges,
    /// What was gathered when it was marked, and the late changes, which belong to it.
    marked: GatheredChanges,
    late: GatheredChanges,
}

/// The rows of a table that an epoch inserted and deleted. A row whose values changed is in both.
#[derive(Clone, Debug)]
pub struct TableChanges {
    /// The table.
    pub table: TableInfo,
    /// The inserted rows.
    pub plus: RecordBatch,
    /// The deleted rows.
    pub minus: RecordBatch,
}

impl ChangeFeed {
    /// Creates a feed of all tables, of the epochs after the first.
    #[must_use]
    pub fn new() -> ChangeFeed {
        ChangeFeed::default()
    }

    /// Creates a feed of these tables, of the epochs after the first. Other tables are not encoded for it.
    #[must_use]
    pub fn of(tables: &[&str]) -> ChangeFeed {
        ChangeFeed { wanted: Some(tables.iter().map(|table| (*table).to_owned()).collect()), ..ChangeFeed::default() }
    }

    /// Creates a feed of all tables and epochs. The first has all rows of the tables.
    #[must_use]
    pub fn with_snapshot() -> ChangeFeed {
        ChangeFeed { with_first_epoch: true, ..ChangeFeed::default() }
    }

    /// As [`of`](Self::of), of all epochs. The first has all rows of the tables.
    #[must_use]
    pub fn with_snapshot_of(tables: &[&str]) -> ChangeFeed {
        ChangeFeed { with_first_epoch: true, ..ChangeFeed::of(tables) }
    }

    /// Creates a feed of all tables that has the changes of several epochs [together](PartOptions::gathered), to be
    /// [taken](Self::take_all). Of more than `most` bytes of rows nothing is kept.
    #[must_use]
    pub fn gathered(most: usize) -> ChangeFeed {
        ChangeFeed { gathered: Some(most), ..ChangeFeed::default() }
    }

    /// Removes and returns the earliest committed epoch and its changes, by table. Tables that did not change are left
    /// out. `None` if no epoch is left.
    #[must_use]
    pub fn take(&self) -> Option<(Epoch, Vec<TableChanges>)> {
        self.lock().committed.pop_first()
    }

    /// Removes what was gathered, also if nobody asked for it yet: other sinks may take a table epoch by epoch.
    #[must_use]
    pub fn take_all(&self) -> GatheredChanges {
        self.mark();
        self.take_marked()
    }

    /// Keeps what was gathered up to now apart from what comes later. Late changes belong to it.
    pub(crate) fn mark(&self) {
        let mut shared = self.lock();
        let gathered = std::mem::take(&mut shared.gathered);
        shared.marked.append(gathered);
        shared.marked.count(0, self.gathered.unwrap_or(usize::MAX));
    }

    /// Removes what was gathered up to the last [mark](Self::mark).
    pub(crate) fn take_marked(&self) -> GatheredChanges {
        let mut shared = self.lock();
        let (mut marked, late) = (std::mem::take(&mut shared.marked), std::mem::take(&mut shared.late));
        marked.append(late);
        marked.most = self.gathered.unwrap_or(usize::MAX);
        marked
    }

    /// Adds changes to what is gathered. They are compared when they are taken, so that no epoch waits for that.
    fn gather(&self, table: &TableInfo, changes: Vec<RowChanges>, most: usize) -> Result<()> {
        let (late, now): (Vec<_>, Vec<_>) = changes.into_iter().partition(|changes| changes.is_late);
        for (is_late, changes) in [(true, late), (false, now)] {
            let (plus, minus) = together(&table.schema, &changes)?;
            let mut shared = self.lock();
            let side = if is_late { &mut shared.late } else { &mut shared.gathered };
            if plus.num_rows() + minus.num_rows() > 0 && side.bytes <= most {
                side.changes.push(TableChanges { table: table.clone(), plus, minus });
            }
        }
        Ok(())
    }

    /// The first epoch of the feed.
    fn first(&self) -> Epoch {
        if self.with_first_epoch { 0 } else { 1 }
    }

    fn lock(&self) -> MutexGuard<'_, Changes> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The changes of some epochs, or that they were too many to be kept.
#[derive(Default)]
pub struct GatheredChanges {
    changes: Vec<TableChanges>,
    /// How many bytes of rows there were, and are allowed.
    bytes: usize,
    most: usize,
}

impl GatheredChanges {
    /// Changes of several epochs, in order.
    #[cfg(feature = "connectors")]
    pub(crate) fn of(changes: Vec<TableChanges>) -> GatheredChanges {
        GatheredChanges { changes, bytes: 0, most: 0 }
    }

    /// What the epochs change together, by table; `None` if that was too much to be kept.
    ///
    /// # Errors
    ///
    /// If rows can't be compared.
    pub fn net(self) -> Result<Option<Vec<TableChanges>>> {
        if self.bytes > self.most {
            return Ok(None);
        }
        let mut net = self.net_of_all()?;
        net.retain(|changes| changes.plus.num_rows() + changes.minus.num_rows() > 0);
        Ok(Some(net))
    }

    /// As [`net`](Self::net), with the tables that do not change, and whatever there is.
    pub(crate) fn net_of_all(self) -> Result<Vec<TableChanges>> {
        let mut tables: Vec<(TableInfo, Vec<RowChanges>)> = Vec::new();
        for TableChanges { table, plus, minus } in self.changes {
            let changes = RowChanges { plus: Some(plus), minus: Some(minus), is_late: false };
            match tables.iter_mut().find(|(known, _)| known.name == table.name) {
                Some((_, of_table)) => of_table.push(changes),
                None => tables.push((table, vec![changes])),
            }
        }
        let net = tables.into_iter().map(|(table, changes)| {
            let (plus, minus) = net(&table.schema, &changes)?;
            Ok(TableChanges { table, plus, minus })
        });
        net.collect()
    }

    fn append(&mut self, mut other: GatheredChanges) {
        self.changes.append(&mut other.changes);
        self.bytes += other.bytes;
    }

    /// Counts bytes of rows; false if there are too many, and then keeps nothing.
    fn count(&mut self, bytes: usize, most: usize) -> bool {
        self.bytes += bytes;
        if self.bytes > most {
            self.changes = Vec::new();
        }
        self.bytes <= most
    }
}

impl Sink for ChangeFeed {
    fn open(&mut self, job: &SinkContext) -> Result<Opened> {
        job.check_has(self.wanted.iter().flatten())?;
        self.tables.clone_from(&job.tables);
        Ok(Opened::Ready)
    }

    fn wants(&self, table: &TableInfo) -> Option<PartOptions> {
        let is_wanted = self.wanted.as_ref().is_none_or(|wanted| wanted.contains(&table.name));
        let (from, gathered) = (self.first(), self.gathered.is_some());
        is_wanted.then(|| PartOptions { from, gathered, ..PartOptions::default() })
    }

    fn part(&mut self, table: &TableInfo, _: usize) -> Result<Box<dyn SinkPart>> {
        let (shared, table, most) = (Arc::clone(&self.shared), table.name.clone(), self.gathered);
        Ok(Box::new(ChangeFeedPart { shared, table, most }))
    }

    fn commit(&mut self, epoch: Epoch, _: &mut [TableReport]) -> Result<()> {
        let mut open = self.lock().open.remove(&epoch).unwrap_or_default();
        let mut tables = Vec::new();
        for table in &self.tables {
            let Some(changes) = open.remove(&table.name) else { continue };
            if let Some(most) = self.gathered {
                self.gather(table, changes, most)?;
                continue;
            }
            let (plus, minus) = net(&table.schema, &changes)?;
            if plus.num_rows() + minus.num_rows() > 0 {
                tables.push(TableChanges { table: table.clone(), plus, minus });
            }
        }
        if epoch >= self.first() && self.gathered.is_none() {
            self.lock().committed.insert(epoch, tables);
        }
        Ok(())
    }
}

struct ChangeFeedPart {
    shared: Arc<Mutex<Changes>>,
    table: String,
    most: Option<usize>,
}

impl SinkPart for ChangeFeedPart {
    fn write(&mut self, epoch: Epoch, changes: &RowChanges) -> Result<()> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(most) = self.most {
            let bytes = |side: &Option<RecordBatch>| side.as_ref().map_or(0, RecordBatch::get_array_memory_size);
            let side = if changes.is_late { &mut shared.late } else { &mut shared.gathered };
            if !side.count(bytes(&changes.plus) + bytes(&changes.minus), most) {
                return Ok(());
            }
        }
        let tables = shared.open.entry(epoch).or_default();
        tables.entry(self.table.clone()).or_default().push(changes.clone());
        Ok(())
    }

    fn seal(&mut self, _: Epoch) -> Result<()> {
        Ok(())
    }
}

/// All inserted and all deleted rows of changes.
fn together(schema: &SchemaRef, changes: &[RowChanges]) -> Result<(RecordBatch, RecordBatch)> {
    let all = |side: fn(&RowChanges) -> &Option<RecordBatch>| {
        concat_batches(schema, changes.iter().filter_map(|changes| side(changes).as_ref())).map_err(Error::failed)
    };
    Ok((all(|changes| &changes.plus)?, all(|changes| &changes.minus)?))
}

/// The net inserted and deleted rows of changes from several workers. Rows that moved between workers cancel.
fn net(schema: &SchemaRef, changes: &[RowChanges]) -> Result<(RecordBatch, RecordBatch)> {
    let (plus, minus) = together(schema, changes)?;
    if plus.num_rows() == 0 || minus.num_rows() == 0 {
        return Ok((plus, minus));
    }
    let columns = schema.fields().iter().map(|field| SortField::new(field.data_type().clone()));
    let converter = RowConverter::new(columns.collect()).map_err(Error::failed)?;
    let mut weights: BTreeMap<OwnedRow, isize> = BTreeMap::new();
    for (batch, weight) in [(&plus, 1), (&minus, -1)] {
        let rows = converter.convert_columns(batch.columns()).map_err(Error::failed)?;
        rows.iter().for_each(|row| *weights.entry(row.owned()).or_default() += weight);
    }
    let side = |sign: isize| -> Result<RecordBatch> {
        let rows = weights
            .iter()
            .flat_map(|(row, weight)| std::iter::repeat_n(row.row(), usize::try_from(weight * sign).unwrap_or(0)));
        let columns: Vec<ArrayRef> = converter.convert_rows(rows).map_err(Error::failed)?;
        rebuild(schema, columns)
    };
    Ok((side(1)?, side(-1)?))
}

/// Columns decoded from the row format as a batch. The format does not keep dictionaries, so columns are cast.
pub(super) fn rebuild(schema: &SchemaRef, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    let typed =
        columns.iter().zip(schema.fields()).map(|(column, field)| arrow::compute::cast(column, field.data_type()));
    let columns = typed.collect::<Result<Vec<_>, _>>().map_err(Error::failed)?;
    RecordBatch::try_new(SchemaRef::clone(schema), columns).map_err(Error::failed)
}
