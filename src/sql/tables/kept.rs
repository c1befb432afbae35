//! A table that is kept in memory, as queries read it: as of the epoch of their transaction, and only the keys and
//! columns that they need.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::SchemaRef as QueriedSchema;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Constraint, Constraints, DataFusionError, Result as QueryResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures_util::stream;

use crate::error::{Error, Result};
use crate::sinks::{KeyRange, TableInfo, TableScan};
use crate::tables::RejectedTable;

use super::arrow_versions::{queried_rows, queried_schema};
use super::key_filters::{BoundedKeys, key_bounds, usable};
use super::read_epoch::{ReadEpoch, SessionEpoch};

/// A table that is kept in memory.
#[derive(Debug)]
pub(crate) struct KeptProvider {
    table: TableInfo,
    schema: QueriedSchema,
    constraints: Constraints,
}

impl KeptProvider {
    pub(crate) fn new(table: &TableInfo) -> Result<KeptProvider> {
        // Equal rows may be rejected.
        let has_key = table.name != RejectedTable::NAME;
        let constraints = if has_key { primary_key(table)? } else { Constraints::default() };
        Ok(KeptProvider { table: table.clone(), schema: queried_schema(&table.schema)?, constraints })
    }

    fn key(&self) -> impl Iterator<Item = &str> + Clone {
        self.table.key.iter().map(String::as_str)
    }

    /// The order of the rows, by as many columns of the key as are read.
    fn ordering(&self, columns: &[usize]) -> Option<LexOrdering> {
        let place = |name: &str| columns.iter().position(|column| self.schema.field(*column).name() == name);
        let read = self.key().map_while(|name| place(name).map(|place| Column::new(name, place)));
        let ascending = SortOptions { descending: false, nulls_first: true };
        LexOrdering::new(read.map(|column| PhysicalSortExpr::new(Arc::new(column), ascending)))
    }
}

#[async_trait]
impl TableProvider for KeptProvider {
    fn schema(&self) -> QueriedSchema {
        Arc::clone(&self.schema)
    }

    fn constraints(&self) -> Option<&Constraints> {
        Some(&self.constraints)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> QueryResult<Vec<TableProviderFilterPushDown>> {
        Ok(usable(filters, self.key()))
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> QueryResult<Arc<dyn ExecutionPlan>> {
        let columns = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let ordering = self.ordering(&columns);
        let partition = KeptRows {
            table: self.table.name.clone(),
            epoch: epoch_of(session)?,
            keys: key_bounds(filters, self.key()),
            schema: Arc::new(self.schema.project(&columns)?),
            columns,
        };
        let schema = Arc::clone(&partition.schema);
        Ok(Arc::new(StreamingTableExec::try_new(schema, vec![Arc::new(partition)], None, ordering, false, limit)?))
    }
}

/// The key of a table, as DataFusion has it.
pub(crate) fn primary_key(table: &TableInfo) -> Result<Constraints> {
    let places = table.key.iter().map(|column| table.schema.index_of(column).map_err(Error::failed));
    Ok(Constraints::new_unverified(vec![Constraint::PrimaryKey(places.collect::<Result<_>>()?)]))
}

/// The epoch that a session reads.
pub(crate) fn epoch_of(session: &dyn Session) -> QueryResult<ReadEpoch> {
    let epoch = session.config().get_extension::<SessionEpoch>();
    let epoch = epoch.ok_or_else(|| DataFusionError::Internal("a session without an epoch".into()))?;
    Ok(epoch.get())
}

/// The rows of some keys of a table.
struct KeptRows {
    table: String,
    epoch: ReadEpoch,
    keys: Vec<BoundedKeys>,
    schema: QueriedSchema,
    columns: Vec<usize>,
}

impl KeptRows {
    /// The ranges, in the order of keys.
    fn ranges(&self) -> Result<Vec<KeyRange>> {
        let bounds = |values: &Vec<String>| (!values.is_empty()).then(|| values.clone());
        let range = |BoundedKeys { from, to }: &BoundedKeys| {
            let tables = self.epoch.tables();
            let range = tables.keys_between(&self.table, bounds(from).as_deref(), bounds(to).as_deref());
            // A value that is none of the column's type bounds nothing.
            range.or_else(|_| tables.keys_between(&self.table, None, None))
        };
        let mut ranges = self.keys.iter().map(range).collect::<Result<Vec<_>>>()?;
        ranges.sort_unstable();
        ranges.dedup();
        Ok(ranges)
    }

    fn scans(&self) -> Result<impl Iterator<Item = Result<TableScan>> + Send + use<>> {
        let (ranges, epoch, table) = (self.ranges()?, self.epoch.clone(), self.table.clone());
        // Rows without columns, which are counted, still have their keys.
        let columns = if self.columns.is_empty() { vec![0] } else { self.columns.clone() };
        let scan =
            move |range: KeyRange| epoch.tables().scan(&table, &range).map(|scan| scan.with_columns(columns.clone()));
        Ok(ranges.into_iter().map(scan))
    }
}

impl PartitionStream for KeptRows {
    fn schema(&self) -> &QueriedSchema {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.schema);
        let read = move |rows: Result<RecordBatch>| {
            let rows = rows.and_then(|rows| match schema.fields().is_empty() {
                true => queried_rows(&rows.project(&[]).map_err(Error::failed)?, &schema),
                false => queried_rows(&rows, &schema),
            });
            rows.map_err(|error| DataFusionError::External(Box::new(error)))
        };
        let (scans, failed) = match self.scans() {
            Ok(scans) => (Some(scans), None),
            Err(error) => (None, Some(Err(error))),
        };
        let rows = scans.into_iter().flatten().flat_map(|scan| {
            let (rows, failed) = match scan {
                Ok(rows) => (Some(rows), None),
                Err(error) => (None, Some(Err(error))),
            };
            rows.into_iter().flatten().chain(failed)
        });
        let rows = stream::iter(rows.chain(failed).map(read));
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), rows))
    }
}

impl std::fmt::Debug for KeptRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeptRows").field("table", &self.table).field("keys", &self.keys).finish_non_exhaustive()
    }
}
