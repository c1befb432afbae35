//! `GET /v1/tables` and `GET /v1/tables/{table}`: rows as of one epoch.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::panics::caught;
use crate::sinks::{KeyRange, TableInfo, TableScan, TablesSnapshot};

use super::answer::{Answer, sorted};
use super::app::{App, Shared};
use super::enriched;
use super::enriched_info::LOOKED_UP_BY;
use super::problem::Problem;
use super::query::{DEFAULT_LIMIT, LIMIT_MAX, ReadQuery};
use super::rows::RowFormat;
use super::stamp::{epoch_headers, timestamp};
use super::table_json::table_json;

/// The tables, their columns and sizes.
pub(super) async fn tables(State(app): Shared) -> Result<Response, Problem> {
    app.check_live()?;
    let snapshot = app.tables.snapshot();
    let epoch = snapshot.committed().unwrap_or_default();
    let table = |table: &TableInfo| table_json(table, snapshot.rows(&table.name).ok());
    let tables = snapshot.tables().map(table).chain(app.enriched.get().map(|table| looked_up_json(&table)));
    #[cfg(feature = "sql")]
    let tables = tables.chain(super::views::listed(&app).await);
    let tables: Vec<Value> = tables.collect();
    let body = json!({ "epoch": epoch.epoch, "committed_at": timestamp(epoch.time_ms), "tables": tables });
    Ok((epoch_headers(epoch), Json(body)).into_response())
}

/// A table that is not kept.
fn looked_up_json(table: &TableInfo) -> Value {
    let mut json = table_json(table, None);
    json["looked_up_by"] = json!(LOOKED_UP_BY);
    json
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
    let uri = uri.path().to_owned();
    if let Some(enriched) = app.enriched.get().filter(|enriched| enriched.name == table) {
        return enriched::rows(&app, enriched, uri, query, format).await;
    }
    #[cfg(feature = "sql")]
    if let Some(view) = super::views::named(&app, &table).await? {
        return super::views::rows(&app, view, uri, query, format).await;
    }
    let snapshot = snapshot_of(&app, &query)?;
    let Ok(info) = snapshot.info(&table).cloned() else { return Err(unknown_table(&table, &snapshot)) };
    if let Some((column, _)) = query.values.first() {
        return Err(Problem::bad_request(format!("unknown parameter {column}: it is one of enriched_data")));
    }
    let epoch = snapshot.committed().unwrap_or_default();
    let read = Read { snapshot, answer: Answer { table: info, uri, query, format, epoch } };
    let panicked = || Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "reading panicked");
    if read.is_of_one_row() {
        // It is found sooner than another thread would be woken.
        return caught(|| read.begin(&app)).map_err(|_| panicked())?;
    }
    let (kept, reading) = (Arc::clone(&app), read);
    tokio::task::spawn_blocking(move || reading.begin(&kept)).await.map_err(|_| panicked())?
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

/// A request for rows of a table that is kept.
struct Read {
    snapshot: TablesSnapshot,
    answer: Answer,
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
    /// True if a whole key is asked for.
    fn is_of_one_row(&self) -> bool {
        let Answer { table, query, format, .. } = &self.answer;
        let is_whole = |key: &str| key.split(',').count() == table.key.len();
        query.key.as_deref().is_some_and(is_whole) && query.limit.is_none() && *format == RowFormat::Json
    }

    fn begin(self, app: &App) -> Result<Response, Problem> {
        let Read { snapshot, answer } = &self;
        app.pinned.pin(snapshot, answer.query.cursor.is_some() || answer.query.epoch.is_some());
        answer.schema()?;
        match self.find()? {
            FoundRows::Page(rows, next) => {
                if next.is_some() {
                    app.pinned.pin(snapshot, true);
                }
                answer.of_page(rows, next)
            }
            FoundRows::All(scan) => answer.of_all(scan, app),
        }
    }

    fn find(&self) -> Result<FoundRows, Problem> {
        let range = self.range()?;
        if !self.answer.query.order.is_empty() {
            return self.sorted(&range);
        }
        let scan = self.snapshot.scan(&self.answer.table.name, &range)?;
        let limit = match (self.answer.query.limit, self.answer.format) {
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
            let keys = self.snapshot.encoded_keys(&self.answer.table.name, &batch)?;
            let last = match room {
                0 => last_key.clone().map_or_else(|| self.last_key(&page), Ok)?,
                room => keys[room - 1].clone(),
            };
            // Rows of one key are on one page.
            let end = room + keys[room..].iter().take_while(|key| **key == last).count();
            page.push(batch.slice(0, end));
            rows += end as u64;
            if end < batch.num_rows() {
                let next = self.answer.query.next(self.snapshot.epoch().unwrap_or_default(), &last);
                return Ok(FoundRows::Page(page, Some(next)));
            }
            last_key = Some(last);
        }
        Ok(FoundRows::Page(page, None))
    }

    /// The key of the last row of a page that has some.
    fn last_key(&self, page: &[RecordBatch]) -> Result<Vec<u8>, Problem> {
        let last = page.iter().rev().find(|batch| batch.num_rows() > 0);
        let keys = last
            .map(|batch| self.snapshot.encoded_keys(&self.answer.table.name, &batch.slice(batch.num_rows() - 1, 1)));
        Ok(keys.transpose()?.and_then(|mut keys| keys.pop()).unwrap_or_default())
    }

    fn range(&self) -> Result<KeyRange, Problem> {
        let values = |texts: &Option<String>| texts.as_ref().map(|text| self.values(text)).transpose();
        let (key, from, to) =
            (values(&self.answer.query.key)?, values(&self.answer.query.from)?, values(&self.answer.query.to)?);
        let range = match key {
            Some(key) if from.is_none() && to.is_none() => self.snapshot.keys_with(&self.answer.table.name, &key)?,
            Some(_) => return Err(Problem::bad_request("key: it can't be given together with from or to")),
            None => self.snapshot.keys_between(&self.answer.table.name, from.as_deref(), to.as_deref())?,
        };
        Ok(match &self.answer.query.cursor {
            Some(cursor) => range.after(&cursor.key),
            None => range,
        })
    }

    /// The values of key columns; if there is one column, commas belong to its value.
    fn values(&self, text: &str) -> Result<Vec<String>, Problem> {
        let columns = self.snapshot.info(&self.answer.table.name)?.key.len();
        Ok(match columns {
            1 => vec![text.to_owned()],
            _ => text.split(',').map(str::to_owned).collect(),
        })
    }

    /// The rows of a range in the order that is asked for.
    fn sorted(&self, range: &KeyRange) -> Result<FoundRows, Problem> {
        let Answer { table, query, format, .. } = &self.answer;
        if query.cursor.is_some() {
            return Err(Problem::bad_request("cursor: pages are in the order of keys; leave out order"));
        }
        let (mut rows, mut batches) = (0, Vec::new());
        for batch in self.snapshot.scan(&table.name, range)? {
            let batch = batch?;
            rows += batch.num_rows() as u64;
            if rows > SORTED_MAX {
                let detail = format!("order: more than {SORTED_MAX} rows; ask for fewer with from and to");
                return Err(Problem::bad_request(detail));
            }
            batches.push(batch);
        }
        let default = if *format == RowFormat::Json { DEFAULT_LIMIT } else { LIMIT_MAX };
        let sorted = sorted(table, &batches, &query.order, Some(query.limit.unwrap_or(default)))?;
        Ok(FoundRows::Page(vec![sorted], None))
    }
}
