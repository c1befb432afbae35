//! `GET /v1/explain`: all there is of an order, a customer, a product or a day, as of one epoch: its rows in each
//! table, the rows of `enriched_data` that they are made of, and what the last epochs have changed in them.

use std::collections::BTreeMap;

use arrow::record_batch::RecordBatch;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::error::{Error, Result as MillstreamResult};
use crate::sinks::{KeyRange, MemoryTables, TablesSnapshot};

use super::answer::sorted;
use super::app::Shared;
use super::enriched::{self, LookedUpRows};
use super::enriched_info::LOOKED_UP_BY;
use super::problem::Problem;
use super::rows::raw_rows;
use super::stamp::{epoch_headers, timestamp};

/// The most rows of each table, and the most epochs that are looked at.
const ROWS: usize = 100;
const EPOCHS: usize = 20;

pub(super) async fn explain(
    State(app): Shared,
    query: Result<Query<BTreeMap<String, String>>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query?;
    app.check_live()?;
    let wanted = || Problem::bad_request(format!("wanted one of {}, and its value", LOOKED_UP_BY.join(", ")));
    let [(column, value)] = query.into_iter().collect::<Vec<_>>().try_into().map_err(|_| wanted())?;
    if !LOOKED_UP_BY.contains(&column.as_str()) {
        return Err(wanted());
    }
    let rows_of = enriched::of_column(&column, &value)?;
    let table = app.enriched.get();
    let (tables, inputs) = match &table {
        None => (app.tables.snapshot(), None),
        Some(_) => {
            let LookedUpRows { tables, rows, permit } = enriched::look_up(&app, rows_of).await?;
            (tables, Some((rows, permit)))
        }
    };
    let kept = app.tables.clone();
    let explained = tokio::task::spawn_blocking(move || {
        let explained = Explained { column, value, tables };
        let inputs = inputs.zip(table).map(|((rows, _permit), table)| {
            let by = vec![("order_date".to_owned(), true), ("order_id".to_owned(), true)];
            let latest = sorted(&table, &rows, &by, Some(ROWS as u64))?;
            let all: usize = rows.iter().map(RecordBatch::num_rows).sum();
            Ok::<_, Problem>(InputRows { table: table.name, all_rows: all, rows: raw_rows(&latest)? })
        });
        let body = explained.body(&kept, inputs.transpose()?)?;
        Ok::<_, Problem>((explained.tables.committed().unwrap_or_default(), body))
    });
    let (epoch, body) = explained.await.map_err(Error::failed)??;
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Ok((kind, epoch_headers(epoch), body).into_response())
}

/// What is explained.
struct Explained {
    column: String,
    value: String,
    tables: TablesSnapshot,
}

/// The answer. Rows are as they were encoded, in the order of their columns.
#[derive(Serialize)]
struct Explanation<'a> {
    epoch: u64,
    committed_at: String,
    column: &'a str,
    value: &'a str,
    tables: Vec<RowsOfTable>,
    inputs: Option<InputRows>,
    changes: Vec<ChangedRows>,
    changes_since_epoch: u64,
}

#[derive(Serialize)]
struct RowsOfTable {
    table: String,
    rows: Vec<Box<RawValue>>,
}

#[derive(Serialize)]
struct InputRows {
    table: String,
    all_rows: usize,
    rows: Vec<Box<RawValue>>,
}

#[derive(Serialize)]
struct ChangedRows {
    epoch: u64,
    committed_at: String,
    table: String,
    plus: Vec<Box<RawValue>>,
    minus: Vec<Box<RawValue>>,
}

impl Explained {
    fn body(&self, kept: &MemoryTables, inputs: Option<InputRows>) -> MillstreamResult<String> {
        let epoch = self.tables.committed().unwrap_or_default();
        let (mut tables, mut changes) = (Vec::new(), Vec::new());
        let keyed = self.tables.tables().filter(|table| table.key.first() == Some(&self.column));
        for table in keyed {
            let range = self.tables.keys_with(&table.name, std::slice::from_ref(&self.value))?;
            tables.push(RowsOfTable { table: table.name.clone(), rows: self.rows(&table.name, &range)? });
            for change in kept.last_changes(&table.name, &range, epoch.epoch, EPOCHS)? {
                changes.push(ChangedRows {
                    epoch: change.epoch.epoch,
                    committed_at: timestamp(change.epoch.time_ms),
                    table: table.name.clone(),
                    plus: raw_rows(&change.plus)?,
                    minus: raw_rows(&change.minus)?,
                });
            }
        }
        changes.sort_by_key(|change| std::cmp::Reverse(change.epoch));
        let explanation = Explanation {
            epoch: epoch.epoch,
            committed_at: timestamp(epoch.time_ms),
            column: &self.column,
            value: &self.value,
            tables,
            inputs,
            changes,
            changes_since_epoch: kept.kept_changes().0,
        };
        serde_json::to_string(&explanation).map_err(Error::failed)
    }

    /// The first rows of a range.
    fn rows(&self, table: &str, range: &KeyRange) -> MillstreamResult<Vec<Box<RawValue>>> {
        let mut rows = Vec::new();
        for batch in self.tables.scan(table, range)? {
            let batch = batch?;
            rows.extend(raw_rows(&batch.slice(0, batch.num_rows().min(ROWS - rows.len())))?);
            if rows.len() >= ROWS {
                break;
            }
        }
        Ok(rows)
    }
}
