//! The state of the service.

use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::process_memory;
use crate::service::{Activity, DeliveryTo, FollowReport, FollowState, listed_sinks, listed_sources, task_json};
use crate::sinks::{DeliveryState, TableInfo};

use super::app::{FOLLOWERS_MAX, Shared};
use super::metrics::{Metrics, OfSink, OfSource, OfTable, OfTask};
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
    metrics.ready.set((app.is_live() && app.requests.ingest.is_open()).into());
    metrics.behind_seconds.set(app.requests.ingest.longest_wait().unwrap_or_default().as_secs_f64());
    metrics.memory_bytes.set(gauge(process_memory::resident().unwrap_or_default()));
    measure_connectors(metrics, &app.requests.activity);
    for (kind, task) in &app.requests.activity.report().ended {
        let label = OfTask { task: kind.to_string() };
        let is_done = matches!(task.outcome, Some(Ok(_)));
        metrics.task_succeeded.get_or_create(&label).set(is_done.into());
        metrics.task_began.get_or_create(&label).set(task.began_ms as f64 / 1000.0);
    }
    metrics.followers.set(gauge((FOLLOWERS_MAX - app.followers.available_permits()) as u64));
    for table in snapshot.tables() {
        let (label, name) = (OfTable::named(&table.name), &table.name);
        metrics.table_rows.get_or_create(&label).set(gauge(snapshot.rows(name)?));
        metrics.table_bytes.get_or_create(&label).set(gauge(snapshot.bytes(name)? as u64));
    }
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, kind)], metrics.text()?).into_response())
}

/// How it goes with other systems.
fn measure_connectors(metrics: &Metrics, activity: &Activity) {
    let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    for DeliveryTo { name, report, .. } in activity.report().deliveries {
        let label = OfSink { sink: name };
        let is_up = !matches!(report.state, DeliveryState::Retrying | DeliveryState::Displaced);
        metrics.sink_up.get_or_create(&label).set(is_up.into());
        metrics.sink_epoch.get_or_create(&label).set(gauge(report.epoch.map_or(0, |epoch| epoch.epoch)));
        metrics.sink_behind.get_or_create(&label).set(report.behind.as_secs_f64());
        metrics.sink_rows.get_or_create(&label).inner().store(report.rows, Ordering::Relaxed);
    }
    for FollowReport { name, state, held_bytes, lag, .. } in activity.followed() {
        let label = OfSource { source: name };
        metrics.source_up.get_or_create(&label).set((state == FollowState::Streaming).into());
        if let Some(bytes) = held_bytes {
            metrics.source_held_bytes.get_or_create(&label).set(gauge(bytes));
        }
        if let Some(records) = lag {
            metrics.source_lag.get_or_create(&label).set(gauge(records));
        }
    }
}

/// The epoch, the tables and what waits.
pub(super) async fn status(State(app): Shared) -> Response {
    let snapshot = app.tables.snapshot();
    let epoch = snapshot.committed().unwrap_or_default();
    let (rows, bytes) = app.requests.ingest.waiting();
    let (first, last) = app.tables.kept_changes();
    let (activity, (log_bytes, checkpoint_bytes)) = (app.requests.activity.report(), app.metrics.state_bytes());
    let tables: serde_json::Map<String, Value> = snapshot
        .tables()
        .map(|TableInfo { name, .. }| {
            let (rows, bytes) = (snapshot.rows(name).unwrap_or_default(), snapshot.bytes(name).unwrap_or_default());
            (name.clone(), json!({ "rows": rows, "bytes": bytes }))
        })
        .collect();
    let body = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "ready": app.is_live() && app.requests.ingest.is_open(),
        "phase": app.progress.phase().to_string(),
        "epoch": epoch.epoch,
        "committed_at": timestamp(epoch.time_ms),
        "waiting": { "rows": rows, "bytes": bytes },
        "changes": { "first_epoch": first, "last_epoch": last },
        "as_of": activity.as_of.map(|day| day.to_string()),
        "live_since": activity.live_since_ms.map(timestamp),
        "load_seconds": activity.load.as_secs_f64(),
        "recovered_epoch": Some(activity.found_epoch).filter(|epoch| *epoch > 0),
        "durability": app.service.durability.to_string(),
        "workers": app.service.run.job.workers,
        "memory_bytes": process_memory::resident(),
        "behind_seconds": app.requests.ingest.longest_wait().unwrap_or_default().as_secs_f64(),
        "log_bytes": log_bytes,
        "checkpoint_bytes": checkpoint_bytes,
        "task": activity.running.as_ref().map(task_json),
        "ended_tasks": activity.ended.values().map(task_json).collect::<Vec<_>>(),
        "older_epochs": { "most": KEPT_MOST, "seconds_after_last_read": KEPT_FOR.as_secs() },
        "tables": tables,
    });
    (epoch_headers(epoch), Json(body)).into_response()
}

/// Where rows come from.
pub(super) async fn sources(State(app): Shared) -> Json<Value> {
    Json(json!({ "sources": listed_sources(&app.service, &app.requests.activity) }))
}

/// Where tables go.
pub(super) async fn sinks(State(app): Shared) -> Json<Value> {
    Json(json!({ "sinks": listed_sinks(&app.service, &app.requests.activity) }))
}
