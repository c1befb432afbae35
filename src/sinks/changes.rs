//! The rows that each epoch inserted and deleted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::ArrayRef;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use arrow::row::{OwnedRow, RowConverter, SortField};

use crate::error::{Error, Result};
use crate::model::Epoch;

use super::sink::{RowChanges, Sink, SinkContext, SinkPart, TableInfo, TableReport};

/// A sink that hands over the rows that each epoch inserted and deleted, once the epoch is committed.
///
/// Copies share the changes. They are kept until they are taken; the first epoch, which inserts every row, is left out unless
/// asked for.
#[derive(Clone, Default)]
pub struct ChangeFeed {
    shared: Arc<Mutex<Changes>>,
    with_first_epoch: bool,
}

#[derive(Default)]
struct Changes {
    open: BTreeMap<(Epoch, String), Vec<RowChanges>>,
    committed: BTreeMap<Epoch, Vec<TableChanges>>,
    schemas: Vec<TableInfo>,
}

/// The rows of a table that an epoch inserted and deleted. A row whose values changed is both.
#[derive(Clone, Debug)]
pub struct TableChanges {
    /// The table.
    pub table: TableInfo,
    /// The rows that are new.
    pub plus: RecordBatch,
    /// The rows that are gone.
    pub minus: RecordBatch,
}

impl ChangeFeed {
    /// Nothing has changed yet.
    #[must_use]
    pub fn new() -> ChangeFeed {
        ChangeFeed::default()
    }

    /// A feed that has the first epoch too: a snapshot, then changes.
    #[must_use]
    pub fn with_snapshot() -> ChangeFeed {
        ChangeFeed { with_first_epoch: true, ..ChangeFeed::default() }
    }

    /// Takes the changes of the earliest committed epoch that were not taken yet, by table. Tables that did not change are left out.
    #[must_use]
    pub fn take(&self) -> Option<(Epoch, Vec<TableChanges>)> {
        self.lock().committed.pop_first()
    }

    fn lock(&self) -> MutexGuard<'_, Changes> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for ChangeFeed {
    fn open(&mut self, job: &SinkContext) -> Result<bool> {
        self.lock().schemas = job.tables.clone();
        Ok(true)
    }

    fn part(&mut self, table: &TableInfo, _: usize) -> Result<Option<Box<dyn SinkPart>>> {
        let least = if self.with_first_epoch { 0 } else { 1 };
        Ok(Some(Box::new(ChangeFeedPart { shared: Arc::clone(&self.shared), table: table.name.clone(), least })))
    }

    fn commit(&mut self, epoch: Epoch, _: &mut [TableReport]) -> Result<()> {
        let mut shared = self.lock();
        let mut tables = Vec::new();
        for table in shared.schemas.clone() {
            let changes = shared.open.remove(&(epoch, table.name.clone())).unwrap_or_default();
            let (plus, minus) = net(&table.schema, &changes)?;
            if plus.num_rows() + minus.num_rows() > 0 {
                tables.push(TableChanges { table, plus, minus });
            }
        }
        if epoch > 0 || self.with_first_epoch {
            shared.committed.insert(epoch, tables);
        }
        Ok(())
    }
}

struct ChangeFeedPart {
    shared: Arc<Mutex<Changes>>,
    table: String,
    /// The first epoch that is asked for.
    least: Epoch,
}

impl SinkPart for ChangeFeedPart {
    fn write(&mut self, epoch: Epoch, changes: &RowChanges) -> Result<()> {
        if epoch >= self.least {
            let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
            shared.open.entry((epoch, self.table.clone())).or_default().push(changes.clone());
        }
        Ok(())
    }

    fn seal(&mut self, _: Epoch) -> Result<()> {
        Ok(())
    }
}

/// The rows inserted and deleted by changes from several workers, without those that only moved from one to another.
fn net(schema: &SchemaRef, changes: &[RowChanges]) -> Result<(RecordBatch, RecordBatch)> {
    let all = |side: fn(&RowChanges) -> &Option<RecordBatch>| {
        concat_batches(schema, changes.iter().filter_map(|changes| side(changes).as_ref())).map_err(Error::failed)
    };
    let (plus, minus) = (all(|changes| &changes.plus)?, all(|changes| &changes.minus)?);
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

/// Columns of the row format as a batch: dictionaries come back as the values they stand for.
pub(super) fn rebuild(schema: &SchemaRef, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    let typed =
        columns.iter().zip(schema.fields()).map(|(column, field)| arrow::compute::cast(column, field.data_type()));
    let columns = typed.collect::<Result<Vec<_>, _>>().map_err(Error::failed)?;
    RecordBatch::try_new(SchemaRef::clone(schema), columns).map_err(Error::failed)
}
