//! The state of the service.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::config::ListenConfig;

use super::app::{App, FOLLOWERS_MAX, Shared};
use super::metrics::OfTable;
use super::pinned::{KEPT_FOR, KEPT_MOST};
use super::problem::Problem;
use super::stamp::{epoch_headers, timestamp};

/// The process runs.
pub(super) async fn healthz(State(app): Shared) -> Result<&'static str, Problem> {
    match app.liveness.is_alive(app.progress.steps()) {
        true => Ok("ok\n"),
        false => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the job has made no progress for a minute")),
    }
}

/// Tables can be read, and rows are taken.
pub(super) async fn readyz(State(app): Shared) -> Result<&'static str, Problem> {
    app.check_live()?;
    match app.requests.ingest.is_open() {
        true => Ok("ready\n"),
        false => Err(Problem::retry(StatusCode::SERVICE_UNAVAILABLE, 1, "the service stops")),
    }
}

/// What is measured.
pub(super) async fn metrics(State(app): Shared) -> Result<Response, Problem> {
    let (metrics, snapshot) = (&app.metrics, app.tables.snapshot());
    let (epoch, (rows, bytes)) = (snapshot.committed().unwrap_or_default(), app.requests.ingest.waiting());
    let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    metrics.epoch.set(gauge(epoch.epoch));
    metrics.committed_at.set(epoch.time_ms as f64 / 1000.0);
    metrics.waiting_rows.set(gauge(rows));
    metrics.waiting_bytes.set(gauge(bytes as u64));
    metrics.followers.set(gauge((FOLLOWERS_MAX - app.followers.available_permits()) as u64));
    for table in snapshot.tables() {
        let (label, name) = (OfTable::named(&table.name), &table.name);
        metrics.table_rows.get_or_create(&label).set(gauge(snapshot.rows(name)?));
        metrics.table_bytes.get_or_create(&label).set(gauge(snapshot.bytes(name)? as u64));
    }
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, kind)], metrics.text()?).into_response())
}

/// The epoch, the tables and what waits.
pub(super) async fn status(State(app): Shared) -> Response {
    let snapshot = app.tables.snapshot();
    let epoch = snapshot.committed().unwrap_or_default();
    let (rows, bytes) = app.requests.ingest.waiting();
    let (first, last) = app.tables.kept_changes();
    let tables: serde_json::Map<String, Value> = snapshot
        .tables()
        .map(|table| (table.name.clone(), json!({ "rows": snapshot.rows(&table.name).unwrap_or_default() })))
        .collect();
    let body = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "ready": app.is_live() && app.requests.ingest.is_open(),
        "phase": app.progress.phase().to_string(),
        "epoch": epoch.epoch,
        "committed_at": timestamp(epoch.time_ms),
        "waiting": { "rows": rows, "bytes": bytes },
        "changes": { "first_epoch": first, "last_epoch": last },
        "older_epochs": { "most": KEPT_MOST, "seconds_after_last_read": KEPT_FOR.as_secs() },
        "tables": tables,
    });
    (epoch_headers(epoch), Json(body)).into_response()
}

/// Where rows come from.
pub(super) async fn sources(State(app): Shared) -> Json<Value> {
    let App { service, listen, .. } = &*app;
    let mut sources = Vec::new();
    if service.takes_files {
        let path = service.incoming.as_deref().unwrap_or(&service.run.input.path);
        sources.push(json!({ "type": "folder", "path": path.display().to_string() }));
    }
    let ListenConfig { takes_rows, .. } = listen;
    sources.extend(
        takes_rows.then(|| json!({ "type": "http", "paths": ["/v1/orders", "/v1/products", "/v1/customers"] })),
    );
    Json(json!({ "sources": sources }))
}

/// Where tables go.
pub(super) async fn sinks(State(app): Shared) -> Json<Value> {
    let service = &app.service;
    let (path, every) = (service.run.output.path.display().to_string(), service.publish_every);
    let every = every.map(|every| every.as_secs());
    let sink = json!({ "type": "folder", "path": path, "every_seconds": every, "on_stop": service.publish_on_stop });
    Json(json!({ "sinks": [sink] }))
}
