//! `/v1/rejected`: the rows that could not be used, and what to do with them.

use std::fmt::Display;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use crate::error::{Error, Result as MillstreamResult};
use crate::report::RejectionReport;
use crate::service::{Forget, Forgotten, RejectedFilter};
use crate::sinks::{KeyRange, TablesSnapshot};
use crate::tables::RejectedTable;

use super::app::{App, Shared};
use super::problem::Problem;
use super::rows::raw_rows;
use super::stamp::{epoch_headers, timestamp};

/// The most rows that are returned, and about how many bytes of them.
const ROWS: usize = 1000;
const BYTES: usize = 4 << 20;
/// The longest filter, in bytes: a row has up to 256 KiB, and JSON may take six bytes for one.
pub(super) const FILTER_BYTES: usize = 2 << 20;

/// The first rejected rows, and how many there are for each reason.
pub(super) async fn rejected(State(app): Shared) -> Result<Response, Problem> {
    app.check_live()?;
    let (tables, reasons) = (app.tables.snapshot(), app.requests.activity.report().rejections);
    let epoch = tables.committed().unwrap_or_default();
    let encoded = tokio::task::spawn_blocking(move || {
        let (all, rows) = (tables.rows(RejectedTable::NAME)?, first_rows(&tables)?);
        let committed_at = timestamp(epoch.time_ms);
        let body = RejectedBody { epoch: epoch.epoch, committed_at, all_rows: all, reasons, rows };
        serde_json::to_string(&body).map_err(Error::failed)
    });
    let body = encoded.await.map_err(Error::failed)??;
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Ok((kind, epoch_headers(epoch), body).into_response())
}

#[derive(Serialize)]
struct RejectedBody {
    epoch: u64,
    committed_at: String,
    all_rows: u64,
    reasons: Vec<RejectionReport>,
    rows: Vec<Box<RawValue>>,
}

/// The first rejected rows, as many as are told.
fn first_rows(tables: &TablesSnapshot) -> MillstreamResult<Vec<Box<RawValue>>> {
    let (mut rows, mut bytes) = (Vec::new(), 0);
    for batch in tables.scan(RejectedTable::NAME, &KeyRange::default())? {
        let batch = batch?;
        for row in 0..batch.num_rows() {
            let next = raw_rows(&batch.slice(row, 1))?;
            bytes += next.iter().map(|row| row.get().len()).sum::<usize>();
            if rows.len() >= ROWS || (bytes > BYTES && !rows.is_empty()) {
                return Ok(rows);
            }
            rows.extend(next);
        }
    }
    Ok(rows)
}

/// The body of a request, if it could be received.
type FilterBody = Result<Bytes, BytesRejection>;

/// Reads them once more, with the settings of now.
pub(super) async fn retry(State(app): Shared, query: RawQuery, body: FilterBody) -> Result<Response, Problem> {
    let Forgotten { epoch, retried, .. } = ask(&app, Forget::Retry, query, body).await?;
    let body = json!({ "epoch": epoch.epoch, "accepted": retried.accepted, "rejected": retried.rejected });
    Ok((epoch_headers(epoch), Json(body)).into_response())
}

/// Forgets them.
pub(super) async fn forget(State(app): Shared, query: RawQuery, body: FilterBody) -> Result<Response, Problem> {
    let Forgotten { epoch, matched, .. } = ask(&app, Forget::Drop, query, body).await?;
    Ok((epoch_headers(epoch), Json(json!({ "epoch": epoch.epoch, "dropped": matched }))).into_response())
}

/// Asks for what is to be done with the rows that match the filter of a body; with all if it is empty. What can't be
/// undone is refused if it may be meant otherwise.
async fn ask(app: &App, action: Forget, query: RawQuery, body: FilterBody) -> Result<Forgotten, Problem> {
    app.check_live()?;
    if query.0.is_some() {
        return Err(Problem::bad_request("wanted no query: the body says which rows"));
    }
    let body = body.map_err(|cause| Problem::new(cause.status(), format!("the body: {cause}")))?;
    let filter = if body.is_empty() { RejectedFilter::default() } else { filter_of(&body)? };
    let (answer, answered) = oneshot::channel();
    if !app.requests.rejected.ask(action, filter, |forgotten| _ = answer.send(forgotten)) {
        let detail = "too many requests to drop rejected rows or to try them again wait";
        return Err(Problem::retry(StatusCode::CONFLICT, 1, detail));
    }
    let ended = "the service has ended; whether it is done is not known";
    Ok(answered.await.map_err(|_| Problem::retry(StatusCode::SERVICE_UNAVAILABLE, 5, ended))??)
}

fn filter_of(body: &[u8]) -> Result<RejectedFilter, Problem> {
    let wanted = "wanted a JSON object with table, file, row_number, reason or row, or no body for all rows";
    let refused = |cause: &dyn Display| Problem::bad_request(format!("the body: {cause}; {wanted}"));
    // An array would do for a struct, too.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(refused(&"found something else"));
    }
    let filter: RejectedFilter = serde_json::from_slice(body).map_err(|cause| refused(&cause))?;
    if filter == RejectedFilter::default() {
        return Err(refused(&"found an empty object"));
    }
    Ok(filter)
}
