//! `GET /v1/history`, and who measures: each epoch when it is visible, and what there is once a second.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::MissedTickBehavior;

use crate::process_memory;
use crate::service::EpochStats;

use super::app::{App, FOLLOWERS_MAX, Shared};
use super::history::{Gauges, MeasuredSeconds};
use super::metrics::Metrics;
use super::problem::Problem;

/// Lets an epoch be measured by who makes it.
pub(super) fn observer(
    metrics: &Arc<Metrics>,
    history: &Arc<MeasuredSeconds>,
) -> impl Fn(&EpochStats) + Send + Sync + 'static {
    let (metrics, history) = (Arc::clone(metrics), Arc::clone(history));
    move |stats| {
        metrics.epoch(stats);
        history.epoch(stats);
    }
}

/// Closes each second of the history.
pub(super) async fn each_second(app: Arc<App>) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        seconds.tick().await;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        app.history.close(now, gauges(&app));
    }
}

/// What there is now.
fn gauges(app: &App) -> Gauges {
    let (log_bytes, checkpoint_bytes) = app.metrics.state_bytes();
    Gauges {
        waiting_rows: app.requests.ingest.waiting().0,
        behind: app.requests.ingest.longest_wait().unwrap_or_default(),
        log_bytes,
        checkpoint_bytes,
        memory_bytes: process_memory::resident().unwrap_or_default(),
        watched_by: (FOLLOWERS_MAX - app.followers.available_permits()) as u64,
    }
}

/// What the query of a request may have.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryQuery {
    #[serde(default)]
    since: u64,
}

pub(super) async fn history(
    State(app): Shared,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(HistoryQuery { since }) = query?;
    Ok(Json(app.history.json(since)))
}
