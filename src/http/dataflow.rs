//! `GET /v1/dataflow`: what each operator of the dataflow does and keeps.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::runtime::OperatorReport;

use super::app::Shared;

/// The operators, in the order in which they were built.
pub(super) async fn dataflow(State(app): Shared) -> Json<Value> {
    let operator = |operator: OperatorReport| {
        let OperatorReport { id, name, busy, runs, sent, records, bytes, to } = operator;
        let busy_us = u64::try_from(busy.as_micros()).unwrap_or(u64::MAX);
        json!({
            "id": id, "name": name, "busy_us": busy_us, "runs": runs, "records_sent": sent, "records": records,
            "bytes": bytes, "to": to,
        })
    };
    Json(json!({ "operators": app.requests.activity.operators().into_iter().map(operator).collect::<Vec<_>>() }))
}
