//! `/v1/rejected`: the rows that could not be used, and what to do with them.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::sync::oneshot;

use crate::service::{Forget, Forgotten};
use crate::sinks::KeyRange;
use crate::tables::RejectedTable;

use super::app::{App, Shared};
use super::problem::Problem;
use super::rows::raw_rows;
use super::stamp::{epoch_headers, timestamp};

/// The most rows that are told.
const ROWS: usize = 1000;

/// The first rejected rows, and how many there are for each reason.
pub(super) async fn rejected(State(app): Shared) -> Result<Response, Problem> {
    app.check_live()?;
    let (tables, name) = (app.tables.snapshot(), RejectedTable::NAME);
    let (epoch, all) = (tables.committed().unwrap_or_default(), tables.rows(name)?);
    let (mut rows, mut left) = (Vec::new(), ROWS);
    for batch in tables.scan(name, &KeyRange::default())? {
        let batch = batch?;
        let batch = batch.slice(0, batch.num_rows().min(left));
        left -= batch.num_rows();
        rows.extend(raw_rows(&batch)?);
        if left == 0 {
            break;
        }
    }
    let body = json!({
        "epoch": epoch.epoch,
        "committed_at": timestamp(epoch.time_ms),
        "all_rows": all,
        "reasons": app.requests.activity.report().rejections,
        "rows": rows,
    });
    Ok((epoch_headers(epoch), Json(body)).into_response())
}

/// Reads them once more, with the settings of now.
pub(super) async fn retry(State(app): Shared) -> Result<Response, Problem> {
    let Forgotten { epoch, retried, .. } = ask(&app, Forget::Retry).await?;
    let body = json!({ "epoch": epoch.epoch, "accepted": retried.accepted, "rejected": retried.rejected });
    Ok((epoch_headers(epoch), Json(body)).into_response())
}

/// Forgets them.
pub(super) async fn forget(State(app): Shared) -> Result<Response, Problem> {
    let Forgotten { epoch, before, .. } = ask(&app, Forget::Drop).await?;
    Ok((epoch_headers(epoch), Json(json!({ "epoch": epoch.epoch, "dropped": before }))).into_response())
}

async fn ask(app: &App, what: Forget) -> Result<Forgotten, Problem> {
    app.check_live()?;
    let (answer, answered) = oneshot::channel();
    if !app.requests.rejected.ask(what, |forgotten| _ = answer.send(forgotten)) {
        let detail = "the rejected rows are already to be dropped or tried again";
        return Err(Problem::retry(StatusCode::CONFLICT, 1, detail));
    }
    let ended = "the service has ended; whether it is done is not known";
    Ok(answered.await.map_err(|_| Problem::retry(StatusCode::SERVICE_UNAVAILABLE, 5, ended))??)
}
