//! An answer that has rows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::compute::{SortColumn, SortOptions, concat_batches, lexsort_to_indices, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use crate::error::{Error, Result as MillstreamResult};
use crate::sinks::{Committed, TableInfo, TableScan};

use super::app::{App, STREAM_PATIENCE};
use super::problem::Problem;
use super::query::ReadQuery;
use super::rows::{RowEncoder, RowFormat};
use super::stamp::{epoch_headers, timestamp};

/// What an answer is about, and how it is given.
pub(super) struct Answer {
    pub(super) table: TableInfo,
    pub(super) uri: String,
    pub(super) query: ReadQuery,
    pub(super) format: RowFormat,
    pub(super) epoch: Committed,
}

impl Answer {
    /// An answer that has these rows, and the query for those behind them.
    pub(super) fn of_page(&self, rows: Vec<RecordBatch>, next: Option<String>) -> Result<Response, Problem> {
        let schema = self.schema()?;
        let next = next.map(|query| format!("{}?{query}", self.uri));
        let encoder = self.encoder(&schema, next.as_deref())?;
        let mut response = self.with_body(Body::from(all(encoder, rows, &schema)?));
        if let Some(link) = next.and_then(|next| HeaderValue::try_from(format!("<{next}>; rel=\"next\"")).ok()) {
            response.headers_mut().insert(header::LINK, link);
        }
        Ok(response)
    }

    /// An answer that has all rows of a scan.
    pub(super) fn of_all(&self, scan: TableScan, app: &App) -> Result<Response, Problem> {
        let schema = self.schema()?;
        let encoder = self.encoder(&schema, None)?;
        Ok(self.with_body(streamed(AnswerRows { encoder, scan, schema, is_over: false }, app.begin_stream()?)))
    }

    fn encoder(&self, schema: &SchemaRef, next: Option<&str>) -> MillstreamResult<RowEncoder> {
        RowEncoder::new(self.format, schema, around(&self.table.name, self.epoch, next))
    }

    fn with_body(&self, body: Body) -> Response {
        let kind = [(header::CONTENT_TYPE, HeaderValue::from_static(self.format.media_type()))];
        (kind, epoch_headers(self.epoch), body).into_response()
    }

    /// The columns that are asked for.
    pub(super) fn schema(&self) -> Result<SchemaRef, Problem> {
        let TableInfo { name: table, schema, .. } = &self.table;
        let Some(columns) = &self.query.columns else { return Ok(Arc::clone(schema)) };
        if columns.is_empty() {
            return Err(Problem::bad_request("columns: wanted the names of some columns, separated by commas"));
        }
        let place = |name: &String| {
            let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            schema.index_of(name).map_err(|_| {
                Problem::bad_request(format!("columns: {table} has no column {name}; it has {}", names.join(", ")))
            })
        };
        let places = columns.iter().map(place).collect::<Result<Vec<_>, _>>()?;
        Ok(Arc::new(schema.project(&places).map_err(Error::failed)?))
    }
}

/// Rows in an order: columns, and whether the greatest is first.
pub(super) fn sorted(
    table: &TableInfo,
    batches: &[RecordBatch],
    order: &[(String, bool)],
    limit: Option<u64>,
) -> Result<RecordBatch, Problem> {
    let all = concat_batches(&table.schema, batches).map_err(Error::failed)?;
    let by = order.iter().map(|(name, descending)| {
        let values = all.column_by_name(name).cloned();
        let missing = || Problem::bad_request(format!("order: {} has no column {name}", table.name));
        let options = Some(SortOptions { descending: *descending, nulls_first: !descending });
        Ok(SortColumn { values: values.ok_or_else(missing)?, options })
    });
    let by = by.collect::<Result<Vec<_>, Problem>>()?;
    let limit = limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let first = lexsort_to_indices(&by, limit).map_err(Error::usage)?;
    Ok(take_record_batch(&all, &first).map_err(Error::failed)?)
}

/// What an answer in JSON has before and behind its rows.
fn around(table: &str, epoch: Committed, next: Option<&str>) -> (String, String) {
    let members = json!({ "table": table, "epoch": epoch.epoch, "committed_at": timestamp(epoch.time_ms) }).to_string();
    let members = members.trim_end_matches('}');
    (format!("{members},\"rows\":["), format!("],\"next\":{}}}", json!(next)))
}

fn all(mut encoder: RowEncoder, batches: Vec<RecordBatch>, schema: &SchemaRef) -> MillstreamResult<Vec<u8>> {
    let mut bytes = Vec::new();
    for batch in batches {
        bytes.extend(encoder.rows(&projected(&batch, schema)?)?);
    }
    bytes.extend(encoder.finish()?);
    Ok(bytes)
}

/// The columns of a batch that a schema has.
fn projected(batch: &RecordBatch, schema: &SchemaRef) -> MillstreamResult<RecordBatch> {
    if batch.schema_ref() == schema {
        return Ok(batch.clone());
    }
    let columns: BTreeMap<_, _> =
        batch.schema_ref().fields().iter().map(|field| field.name()).zip(batch.columns()).collect();
    let columns = schema.fields().iter().map(|field| Arc::clone(columns[field.name()])).collect();
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(Error::failed)
}

/// Rows that are encoded as they are taken.
struct AnswerRows {
    encoder: RowEncoder,
    scan: TableScan,
    schema: SchemaRef,
    is_over: bool,
}

impl AnswerRows {
    /// The next bytes; `None` at the end.
    fn next(&mut self) -> MillstreamResult<Option<Bytes>> {
        while !self.is_over {
            let bytes = match self.scan.next() {
                Some(rows) => self.encoder.rows(&projected(&rows?, &self.schema)?)?,
                None => {
                    self.is_over = true;
                    self.encoder.finish()?
                }
            };
            if !bytes.is_empty() {
                return Ok(Some(bytes.into()));
            }
        }
        Ok(None)
    }
}

/// A body that is encoded as the client takes it. Each piece is encoded on a thread that may take its time, and no
/// thread waits for the client. What a client has not taken in ten minutes it does not get.
fn streamed(rows: AnswerRows, permit: OwnedSemaphorePermit) -> Body {
    let rows = Arc::new(Mutex::new(Some((rows, permit))));
    let kept = Arc::downgrade(&rows);
    tokio::spawn(async move {
        tokio::time::sleep(STREAM_PATIENCE).await;
        kept.upgrade().map(|rows| rows.lock().unwrap_or_else(PoisonError::into_inner).take());
    });
    Body::from_stream(stream::unfold(rows, async |rows| {
        let taken = Arc::clone(&rows);
        let next = tokio::task::spawn_blocking(move || {
            let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
            let slow = || Error::failed("the client took more than ten minutes");
            taken.as_mut().ok_or_else(slow).and_then(|(rows, _)| rows.next())
        });
        match next.await.map_err(Error::failed).flatten() {
            Ok(bytes) => bytes.map(|bytes| (Ok(bytes), rows)),
            Err(error) => {
                tracing::warn!("an answer is cut off: {error}");
                Some((Err(error), rows))
            }
        }
    }))
}
