//! `enriched_data`, which is kept nowhere: its rows are looked up in the job when a query reads them.
//!
//! A query must say which orders, customers, products or days it wants, by a comparison with constants.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use chrono::NaiveDate;
use datafusion::arrow::datatypes::SchemaRef as QueriedSchema;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Constraints, DataFusionError, Result as QueryResult};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::model::{AnyId, Day};
use crate::pipeline::EnrichedRowsOf;
use crate::service::{Ingest, NotPosted};
use crate::sinks::{MemoryTables, TableInfo, TablesSnapshot};

use super::arrow_versions::{queried_rows, queried_schema};
use super::kept::{epoch_of, primary_key};
use super::key_filters::{column_filter, usable};
use crate::sql::sql_state::QueryProblem;

/// The columns by which rows can be looked up, the cheapest first, and how many values of each a query may ask for: of
/// a customer, their lines are looked at, and of all others each line there is.
const LOOKED_UP_BY: [(&str, usize); 4] =
    [("customer_id", 500), ("order_date", 20), ("order_id", 20), ("product_id", 20)];
/// The most rows of a query.
const ROWS_MAX: usize = 200_000;

/// `enriched_data`.
pub(crate) struct EnrichedProvider {
    schema: QueriedSchema,
    constraints: Constraints,
    ingest: Ingest,
    tables: MemoryTables,
}

impl EnrichedProvider {
    pub(crate) fn new(table: &TableInfo, ingest: &Ingest, tables: &MemoryTables) -> Result<EnrichedProvider> {
        let (schema, constraints) = (queried_schema(&table.schema)?, primary_key(table)?);
        Ok(EnrichedProvider { schema, constraints, ingest: ingest.clone(), tables: tables.clone() })
    }

    /// Looks rows up, all as of one epoch; returns all tables as of that one, too.
    async fn look_up(&self, wanted: Vec<EnrichedRowsOf<AnyId>>) -> QueryResult<(Vec<RecordBatch>, TablesSnapshot)> {
        let (mut lookups, mut answers) = (Vec::new(), Vec::new());
        for rows_of in wanted {
            let ((give, found), tables) = (oneshot::channel(), self.tables.clone());
            // Between two epochs, the tables are as of the one before.
            let begin = move || {
                let tables = tables.snapshot();
                move |rows: Result<Vec<RecordBatch>>| _ = give.send(rows.map(|rows| (rows, tables)))
            };
            lookups.push((rows_of, begin));
            answers.push(found);
        }
        self.ingest.look_up_together(lookups).map_err(|why| match why {
            NotPosted::Busy => QueryProblem::new(QueryProblem::TOO_MANY, "too much is looked up at the moment"),
            _ => cannot_now(),
        })?;
        let (mut rows, mut as_of) = (Vec::new(), self.tables.snapshot());
        for answer in answers {
            let found = answer.await.map_err(|_| cannot_now())?;
            let (batches, tables) = found
                .map_err(|error| QueryProblem::new(QueryProblem::PROGRAM_LIMIT, error.to_string()).with_hint(FEWER))?;
            rows.extend(batches);
            as_of = tables;
            let found: usize = rows.iter().map(RecordBatch::num_rows).sum();
            if found > ROWS_MAX {
                let message = format!("that are more than {ROWS_MAX} rows of enriched_data");
                return Err(QueryProblem::new(QueryProblem::PROGRAM_LIMIT, message).with_hint(FEWER).into());
            }
        }
        Ok((rows, as_of))
    }
}

const FEWER: &str = "Ask for fewer orders, customers, products or days.";

fn cannot_now() -> QueryProblem {
    QueryProblem::new(QueryProblem::NOT_NOW, "rows of enriched_data can't be looked up now")
}

#[async_trait]
impl TableProvider for EnrichedProvider {
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
        Ok(usable(filters, LOOKED_UP_BY.iter().map(|(column, _)| *column)))
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> QueryResult<Arc<dyn ExecutionPlan>> {
        let (rows, as_of) = self.look_up(wanted(filters)?).await?;
        epoch_of(session)?.agree(&as_of)?;
        let columns = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let schema = Arc::new(self.schema.project(&columns)?);
        let read = |rows: &RecordBatch| queried_rows(&rows.project(&columns).map_err(Error::failed)?, &schema);
        let rows = rows.iter().map(read).collect::<Result<Vec<_>>>();
        let rows = rows.map_err(|error| DataFusionError::External(Box::new(error)))?;
        let plan = MemorySourceConfig::try_new_exec(&[rows], schema, None)?;
        Ok(limit.and_then(|limit| plan.with_fetch(Some(limit))).unwrap_or(plan))
    }
}

/// What filters ask for. Rows that satisfy them all are among those of the first column that is given.
fn wanted(filters: &[Expr]) -> QueryResult<Vec<EnrichedRowsOf<AnyId>>> {
    for (column, most) in LOOKED_UP_BY {
        let filter = column_filter(filters, column);
        if let Some(values) = filter.values {
            if values.len() > most {
                let message = format!("found {} values of {column}, wanted at most {most}", values.len());
                return Err(QueryProblem::new(QueryProblem::PROGRAM_LIMIT, message).into());
            }
            return values.iter().map(|value| rows_with(column, value)).collect();
        }
        if column == "order_date"
            && let (Some(from), Some(to)) = (&filter.from, &filter.to)
        {
            return Ok(vec![EnrichedRowsOf::Days(day(from)?, day(to)?)]);
        }
    }
    Err(QueryProblem::new(
        QueryProblem::FEATURE_NOT_SUPPORTED,
        "enriched_data is not kept in memory but joined when it is read; this query does not say which rows it wants",
    )
    .with_hint(
        "Compare order_id, customer_id, product_id or order_date with constants, such as \
         order_date BETWEEN '2024-05-01' AND '2024-05-31', or query the published files.",
    )
    .into())
}

fn rows_with(column: &str, value: &str) -> QueryResult<EnrichedRowsOf<AnyId>> {
    Ok(match column {
        "order_id" => EnrichedRowsOf::Order(AnyId::from(value)),
        "customer_id" => EnrichedRowsOf::Customer(AnyId::from(value)),
        "product_id" => EnrichedRowsOf::Product(AnyId::from(value)),
        _ => day(value).map(|day| EnrichedRowsOf::Days(day, day))?,
    })
}

fn day(text: &str) -> QueryResult<Day> {
    let day = text.parse::<NaiveDate>().ok().and_then(Day::from_date);
    day.ok_or_else(|| QueryProblem::new(QueryProblem::PROGRAM_LIMIT, format!("order_date: found {text}")).into())
}

impl std::fmt::Debug for EnrichedProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnrichedProvider").finish_non_exhaustive()
    }
}
