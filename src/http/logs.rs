//! `/v1/logs`: the last lines of the log.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::value::RawValue;

use super::app::Shared;

/// The last lines, the oldest first.
#[derive(Serialize)]
pub(super) struct LogLines {
    lines: Vec<Box<RawValue>>,
}

/// The last lines of the log, as the service writes them with `--log json`.
pub(super) async fn logs(State(app): Shared) -> Json<LogLines> {
    let lines = app.requests.log.lines().into_iter();
    Json(LogLines { lines: lines.filter_map(|line| RawValue::from_string(line).ok()).collect() })
}
