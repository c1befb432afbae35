//! The tables of the schema `millstream`: how it goes with the service.

use std::io::Cursor;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef as QueriedSchema, TimeUnit};
use datafusion::arrow::json::ReaderBuilder;
use datafusion::arrow::record_batch::RecordBatch as QueriedRows;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result as QueryResult;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::service::{ServiceConfig, ServiceHandle, listed_sinks, listed_sources, timestamp};
use crate::sinks::{Committed, MemoryTables};

use super::kept::epoch_of;
use super::read_epoch::ReadEpoch;

/// What the tables are made of.
pub(crate) struct ServiceState {
    pub(crate) config: ServiceConfig,
    pub(crate) handle: ServiceHandle,
    pub(crate) tables: MemoryTables,
    /// The newest epoch that is in all tables.
    pub(crate) epochs: watch::Receiver<Committed>,
}

/// A table of the schema `millstream`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServiceTable {
    /// The epochs whose changes are kept, and the one that the transaction reads.
    Epochs,
    /// How late the tables are, and what is delivered to others.
    Lag,
    /// Where tables go.
    Sinks,
    /// Where rows come from.
    Sources,
}

impl ServiceTable {
    pub(crate) const ALL: [ServiceTable; 4] =
        [ServiceTable::Epochs, ServiceTable::Lag, ServiceTable::Sinks, ServiceTable::Sources];

    pub(crate) fn name(self) -> &'static str {
        match self {
            ServiceTable::Epochs => "epochs",
            ServiceTable::Lag => "lag",
            ServiceTable::Sinks => "sinks",
            ServiceTable::Sources => "sources",
        }
    }

    pub(crate) fn schema(self) -> QueriedSchema {
        let time = || DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
        let (text, count, flag) = (|| DataType::Utf8, || DataType::Int64, || DataType::Boolean);
        let columns = match self {
            ServiceTable::Epochs => vec![("epoch", count()), ("committed_at", time()), ("is_read", flag())],
            ServiceTable::Lag => {
                vec![("name", text()), ("behind_seconds", DataType::Float64), ("waiting_rows", count())]
            }
            ServiceTable::Sinks => vec![
                ("name", text()),
                ("type", text()),
                ("path", text()),
                ("state", text()),
                ("epoch", count()),
                ("committed_at", time()),
                ("delivered_at", time()),
                ("transactions", count()),
                ("rows", count()),
                ("behind_seconds", DataType::Float64),
                ("failures", count()),
                ("last_failure", text()),
            ],
            ServiceTable::Sources => vec![
                ("name", text()),
                ("type", text()),
                ("path", text()),
                ("state", text()),
                ("arrivals", count()),
                ("rows", count()),
                ("rejected_rows", count()),
                ("last_arrival_at", time()),
                ("position", text()),
                ("lag", count()),
                ("failures", count()),
                ("last_failure", text()),
            ],
        };
        let fields = columns.into_iter().map(|(name, data_type)| Field::new(name, data_type, true));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    fn rows(self, state: &ServiceState, read: &ReadEpoch) -> Vec<Value> {
        match self {
            ServiceTable::Epochs => epochs(state, read),
            ServiceTable::Lag => lag(state),
            ServiceTable::Sinks => listed_sinks(&state.config, &state.handle.activity).into_iter().map(flat).collect(),
            ServiceTable::Sources => {
                listed_sources(&state.config, &state.handle.activity).into_iter().map(flat).collect()
            }
        }
    }
}

fn epochs(state: &ServiceState, read: &ReadEpoch) -> Vec<Value> {
    let read = read.tables().committed();
    let mut epochs = state.tables.kept_epochs();
    epochs.extend(read);
    epochs.sort_unstable_by_key(|epoch| epoch.epoch);
    epochs.dedup_by_key(|epoch| epoch.epoch);
    let row = |epoch: &Committed| {
        json!({
            "epoch": epoch.epoch,
            "committed_at": timestamp(epoch.time_ms),
            "is_read": read.is_some_and(|read| read.epoch == epoch.epoch),
        })
    };
    epochs.iter().map(row).collect()
}

fn lag(state: &ServiceState) -> Vec<Value> {
    let ingest = &state.handle.ingest;
    let behind = ingest.longest_wait().unwrap_or_default().as_secs_f64();
    let tables = json!({ "name": "tables", "behind_seconds": behind, "waiting_rows": ingest.waiting().0 });
    let of_sink = |sink: Value| {
        let name = sink.get("name")?;
        let waiting = &sink["waiting"]["rows"];
        Some(json!({ "name": name, "behind_seconds": sink["behind_seconds"], "waiting_rows": waiting }))
    };
    let sinks = listed_sinks(&state.config, &state.handle.activity).into_iter().filter_map(of_sink);
    std::iter::once(tables).chain(sinks).collect()
}

/// A failure is a text, and a position too.
fn flat(mut row: Value) -> Value {
    let reason = row["last_failure"]["reason"].take();
    row["last_failure"] = reason;
    if let Value::Object(object) = &row["position"] {
        row["position"] = Value::String(Value::Object(object.clone()).to_string());
    }
    row
}

/// A table of the schema `millstream`, as queries read it.
pub(crate) struct ServiceProvider {
    table: ServiceTable,
    state: Arc<ServiceState>,
    schema: QueriedSchema,
}

impl ServiceProvider {
    pub(crate) fn new(table: ServiceTable, state: &Arc<ServiceState>) -> ServiceProvider {
        ServiceProvider { table, state: Arc::clone(state), schema: table.schema() }
    }
}

#[async_trait]
impl TableProvider for ServiceProvider {
    fn schema(&self) -> QueriedSchema {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> QueryResult<Arc<dyn ExecutionPlan>> {
        let rows = rows_of_json(&self.table.rows(&self.state, &epoch_of(session)?), &self.schema)?;
        Ok(MemorySourceConfig::try_new_exec(&[vec![rows]], self.schema(), projection.cloned())?)
    }
}

/// Objects as rows with these columns; what an object lacks is null.
pub(crate) fn rows_of_json(rows: &[Value], schema: &QueriedSchema) -> QueryResult<QueriedRows> {
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    let reader = ReaderBuilder::new(Arc::clone(schema)).with_batch_size(rows.len().max(1));
    let rows = reader.build(Cursor::new(lines))?.next().transpose()?;
    Ok(rows.unwrap_or_else(|| QueriedRows::new_empty(Arc::clone(schema))))
}

impl std::fmt::Debug for ServiceProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceProvider").field("table", &self.table).finish_non_exhaustive()
    }
}
