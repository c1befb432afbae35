//! `GET /v1/tables` and `GET /v1/tables/{table}`: rows as of one epoch.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::compute::{SortColumn, SortOptions, concat_batches, lexsort_to_indices, take_record_batch};
use arrow::datatypes::{FieldRef, SchemaRef};
use arrow::record_batch::RecordBatch;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;

use crate::error::{Error, Result as MillstreamResult};
use crate::sinks::{Committed, KeyRange, TableInfo, TableScan, TablesSnapshot};

use super::app::{App, STREAM_PATIENCE, Shared};
use super::problem::Problem;
use super::query::{LIMIT_MAX, ReadQuery};
use super::rows::{RowEncoder, RowFormat};
use super::stamp::{epoch_headers, timestamp};

/// The tables, their columns and sizes.
pub(super) async fn tables(State(app): Shared) -> Result<Response, Problem> {
    app.check_live()?;
    let snapshot = app.tables.snapshot();
    let epoch = snapshot.committed().unwrap_or_default();
    let table = |table: &TableInfo| table_json(table, snapshot.rows(&table.name).unwrap_or_default());
    let tables: Vec<Value> = snapshot.tables().map(table).collect();
    let body = json!({ "epoch": epoch.epoch, "committed_at": timestamp(epoch.time_ms), "tables": tables });
    Ok((epoch_headers(epoch), Json(body)).into_response())
}

fn table_json(table: &TableInfo, rows: u64) -> Value {
    let column = |field: &FieldRef| {
        let data_type = field.data_type().to_string();
        json!({ "name": field.name(), "type": data_type, "nullable": field.is_nullable() })
    };
    let columns: Vec<Value> = table.schema.fields().iter().map(column).collect();
    json!({ "name": table.name, "key": table.key, "rows": rows, "columns": columns })
}

/// Rows of a table.
pub(super) async fn table(
    State(app): Shared,
    table: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path(table) = table?;
    app.check_live()?;
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("*/*");
    let query = ReadQuery::parse(query.as_deref().unwrap_or_default())?;
    let format = RowFormat::asked(query.format.as_deref(), accept)?;
    let snapshot = snapshot_of(&app, &query)?;
    let is_known = snapshot.info(&table).is_ok();
    if !is_known {
        return Err(unknown_table(&table, &snapshot));
    }
    let read = Read { table, uri: uri.path().to_owned(), query, format, snapshot };
    let (kept, reading) = (Arc::clone(&app), read);
    let begun = tokio::task::spawn_blocking(move || reading.begin(&kept)).await;
    begun.map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "reading panicked"))?
}

pub(super) fn unknown_table(table: &str, snapshot: &TablesSnapshot) -> Problem {
    let names: Vec<_> = snapshot.tables().map(|table| table.name.as_str()).collect();
    Problem::not_found(format!("there is no table {table} here; there are {}", names.join(", ")))
}

/// The epoch that a request asks for.
fn snapshot_of(app: &App, query: &ReadQuery) -> Result<TablesSnapshot, Problem> {
    let newest = app.tables.snapshot();
    let Some(epoch) = query.cursor.as_ref().map(|cursor| cursor.epoch).or(query.epoch) else { return Ok(newest) };
    if newest.epoch() == Some(epoch) {
        return Ok(newest);
    }
    let gone = || {
        let newest = newest.epoch().unwrap_or_default();
        let detail = format!("epoch {epoch} is not kept any more; the newest is {newest}: begin again without it");
        Problem::new(StatusCode::GONE, detail)
    };
    app.pinned.get(epoch).ok_or_else(gone)
}

/// A request for rows.
struct Read {
    table: String,
    uri: String,
    query: ReadQuery,
    format: RowFormat,
    snapshot: TablesSnapshot,
}

/// Rows for an answer.
enum FoundRows {
    /// All of them, and the query for those behind them.
    Page(Vec<RecordBatch>, Option<String>),
    /// As many as there are.
    All(TableScan),
}

/// The most rows that are sorted, or on a page.
const SORTED_MAX: u64 = 2_000_000;

impl Read {
    fn begin(self, app: &App) -> Result<Response, Problem> {
        app.pinned.pin(&self.snapshot, self.query.cursor.is_some() || self.query.epoch.is_some());
        let schema = self.schema()?;
        let epoch = self.snapshot.committed().unwrap_or_default();
        let found = self.find()?;
        if matches!(found, FoundRows::Page(_, Some(_))) {
            app.pinned.pin(&self.snapshot, true);
        }
        let next = match &found {
            FoundRows::Page(_, Some(query)) => Some(format!("{}?{query}", self.uri)),
            _ => None,
        };
        let encoder = RowEncoder::new(self.format, &schema, around(&self.table, epoch, next.as_deref()))?;
        let body = match found {
            FoundRows::Page(batches, _) => Body::from(all(encoder, batches, &schema)?),
            FoundRows::All(scan) => streamed(AnswerRows { encoder, scan, schema, is_over: false }, app.begin_stream()?),
        };
        let kind = [(header::CONTENT_TYPE, HeaderValue::from_static(self.format.media_type()))];
        let mut response = (kind, epoch_headers(epoch), body).into_response();
        if let Some(link) = next.and_then(|next| HeaderValue::try_from(format!("<{next}>; rel=\"next\"")).ok()) {
            response.headers_mut().insert(header::LINK, link);
        }
        Ok(response)
    }

    /// The columns that are asked for.
    fn schema(&self) -> Result<SchemaRef, Problem> {
        let schema = &self.snapshot.info(&self.table)?.schema;
        let Some(columns) = &self.query.columns else { return Ok(Arc::clone(schema)) };
        if columns.is_empty() {
            return Err(Problem::bad_request("columns: wanted the names of some columns, separated by commas"));
        }
        let place = |name: &String| {
            let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            schema.index_of(name).map_err(|_| {
                Problem::bad_request(format!(
                    "columns: {} has no column {name}; it has {}",
                    self.table,
                    names.join(", ")
                ))
            })
        };
        let places = columns.iter().map(place).collect::<Result<Vec<_>, _>>()?;
        Ok(Arc::new(schema.project(&places).map_err(Error::failed)?))
    }

    fn find(&self) -> Result<FoundRows, Problem> {
        let range = self.range()?;
        if !self.query.order.is_empty() {
            return self.sorted(&range);
        }
        let scan = self.snapshot.scan(&self.table, &range)?;
        let limit = match (self.query.limit, self.format) {
            (Some(limit), _) => limit,
            (None, RowFormat::Json) => DEFAULT_LIMIT,
            (None, _) => return Ok(FoundRows::All(scan)),
        };
        let (mut rows, mut page, mut last_key) = (0, Vec::new(), None);
        for batch in scan {
            let batch = batch?;
            let room = usize::try_from(limit.saturating_sub(rows)).unwrap_or(usize::MAX);
            if batch.num_rows() <= room {
                rows += batch.num_rows() as u64;
                page.push(batch);
                continue;
            }
            let keys = self.snapshot.encoded_keys(&self.table, &batch)?;
            let last = match room {
                0 => last_key.clone().map_or_else(|| self.last_key(&page), Ok)?,
                room => keys[room - 1].clone(),
            };
            // Rows of one key are on one page.
            let end = room + keys[room..].iter().take_while(|key| **key == last).count();
            page.push(batch.slice(0, end));
            rows += end as u64;
            if end < batch.num_rows() {
                let next = self.query.next(self.snapshot.epoch().unwrap_or_default(), &last);
                return Ok(FoundRows::Page(page, Some(next)));
            }
            last_key = Some(last);
        }
        Ok(FoundRows::Page(page, None))
    }

    /// The key of the last row of a page that has some.
    fn last_key(&self, page: &[RecordBatch]) -> Result<Vec<u8>, Problem> {
        let last = page.iter().rev().find(|batch| batch.num_rows() > 0);
        let keys = last.map(|batch| self.snapshot.encoded_keys(&self.table, &batch.slice(batch.num_rows() - 1, 1)));
        Ok(keys.transpose()?.and_then(|mut keys| keys.pop()).unwrap_or_default())
    }

    fn range(&self) -> Result<KeyRange, Problem> {
        let values = |texts: &Option<String>| texts.as_ref().map(|text| self.values(text)).transpose();
        let (key, from, to) = (values(&self.query.key)?, values(&self.query.from)?, values(&self.query.to)?);
        let range = match key {
            Some(key) if from.is_none() && to.is_none() => self.snapshot.keys_with(&self.table, &key)?,
            Some(_) => return Err(Problem::bad_request("key: it can't be given together with from or to")),
            None => self.snapshot.keys_between(&self.table, from.as_deref(), to.as_deref())?,
        };
        Ok(match &self.query.cursor {
            Some(cursor) => range.after(&cursor.key),
            None => range,
        })
    }

    /// The values of key columns; if there is one column, commas belong to its value.
    fn values(&self, text: &str) -> Result<Vec<String>, Problem> {
        let columns = self.snapshot.info(&self.table)?.key.len();
        Ok(match columns {
            1 => vec![text.to_owned()],
            _ => text.split(',').map(str::to_owned).collect(),
        })
    }

    /// The rows of a range in the order that is asked for.
    fn sorted(&self, range: &KeyRange) -> Result<FoundRows, Problem> {
        if self.query.cursor.is_some() {
            return Err(Problem::bad_request("cursor: pages are in the order of keys; leave out order"));
        }
        let schema = &self.snapshot.info(&self.table)?.schema;
        let (mut rows, mut batches) = (0, Vec::new());
        for batch in self.snapshot.scan(&self.table, range)? {
            let batch = batch?;
            rows += batch.num_rows() as u64;
            if rows > SORTED_MAX {
                let detail = format!("order: more than {SORTED_MAX} rows; ask for fewer with from and to");
                return Err(Problem::bad_request(detail));
            }
            batches.push(batch);
        }
        let all = concat_batches(schema, &batches).map_err(Error::failed)?;
        let by = self.query.order.iter().map(|(name, descending)| {
            let values = all.column_by_name(name).cloned();
            let missing = || Problem::bad_request(format!("order: {} has no column {name}", self.table));
            let options = Some(SortOptions { descending: *descending, nulls_first: !descending });
            Ok(SortColumn { values: values.ok_or_else(missing)?, options })
        });
        let by = by.collect::<Result<Vec<_>, Problem>>()?;
        let default = if self.format == RowFormat::Json { DEFAULT_LIMIT } else { LIMIT_MAX };
        let limit = usize::try_from(self.query.limit.unwrap_or(default)).unwrap_or(usize::MAX);
        let first = lexsort_to_indices(&by, Some(limit)).map_err(Error::usage)?;
        Ok(FoundRows::Page(vec![take_record_batch(&all, &first).map_err(Error::failed)?], None))
    }
}

/// How many rows an answer in JSON has if the request does not say.
const DEFAULT_LIMIT: u64 = 1000;

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
