//! `GET /v1/overview` and `/v1/overview/changes`: the shop at a glance, as of one epoch.
//!
//! ```text
//! tables ─ changes of each epoch ─▶ sums by day, category, tier … ─▶ one text ─▶ all who watch
//! ```
//!
//! While somebody watches, one task keeps the sums up to date by what epochs change, and makes the text that all get,
//! so it costs the same however many watch. It works for at most a few hundredths of the time: with many changes it
//! comes less often. It is there only while it is watched.

mod anomalies;
mod categories;
mod cells;
mod cohorts;
mod customers;
mod days;
mod products;
mod rfm;
mod shop;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::json;
use tokio::sync::watch;

use crate::error::{Error, Result as MillstreamResult};

use super::app::{App, Shared};
use super::event_text::event;
use super::overviews::{MadeOverview, Overview};
use super::problem::Problem;
use super::stamp::timestamp;

use shop::ShopSums;

/// The shortest time between two overviews.
const EVERY: Duration = Duration::from_millis(50);
/// A step that took some time is followed by a pause of so many times that.
const PAUSE: u32 = 25;
/// How long an overview is kept up to date when nobody watches any more.
const KEPT: Duration = Duration::from_secs(30);
/// How often it is looked whether somebody watches.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long nothing may be sent: proxies close connections that are silent.
const SILENCE: Duration = Duration::from_secs(15);

/// The overview as of the newest epoch.
pub(super) async fn overview(State(app): Shared) -> Result<Response, Problem> {
    app.check_live()?;
    let mut watched = watched(&app).await;
    let newest = app.tables.snapshot().epoch().unwrap_or_default();
    let is_new = |made: &Overview| made.as_ref().is_some_and(|made| made.epoch >= newest);
    let ended = || Problem::from(Error::failed("the overview can't be made; see the log"));
    let made = watched.wait_for(is_new).await.map_err(|_| ended())?.clone();
    let body = made.map(|made| made.json.to_string()).unwrap_or_default();
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response())
}

/// The overview, and each later one, as server-sent events.
pub(super) async fn follow(State(app): Shared) -> Result<Response, Problem> {
    app.check_live()?;
    let permit = app.follower()?;
    let watched = watched(&app).await;
    let events = stream::unfold((watched, permit, true), async |(mut watched, permit, is_first)| {
        let wait = async {
            if is_first {
                watched.mark_changed();
            }
            watched.changed().await.ok()?;
            let made = watched.borrow_and_update().clone();
            Some(made.map_or(SILENT, |made| made.event))
        };
        let next = tokio::time::timeout(SILENCE, wait).await.unwrap_or(Some(SILENT))?;
        Some((Ok::<_, Infallible>(next), (watched, permit, false)))
    });
    let kind = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((kind, Body::from_stream(events)).into_response())
}

const SILENT: Bytes = Bytes::from_static(b": nothing has changed\n\n");

/// The overviews from now on. The first one who watches starts the task that makes them.
async fn watched(app: &Arc<App>) -> watch::Receiver<Overview> {
    let mut watched = app.overviews.watched.lock().await;
    if let Some(receiver) = watched.as_ref().filter(|receiver| receiver.has_changed().is_ok()) {
        return receiver.clone();
    }
    let (sender, receiver) = watch::channel(None);
    *watched = Some(receiver.clone());
    let app = Arc::clone(app);
    tokio::spawn(async move {
        if let Err(error) = keep_up(&app, &sender).await {
            tracing::error!("the overview: {error}");
        }
    });
    receiver
}

/// Makes overviews while somebody watches.
async fn keep_up(app: &Arc<App>, sender: &watch::Sender<Overview>) -> MillstreamResult<()> {
    let (mut shop, mut epochs, mut watched_at) = (ShopSums::default(), app.epochs.clone(), Instant::now());
    loop {
        epochs.mark_unchanged();
        let (tables, baseline, activity) = (app.tables.clone(), app.baseline.clone(), app.requests.activity.clone());
        let made = tokio::task::spawn_blocking(move || {
            let (committed, took) = shop.advance(&tables, &baseline)?;
            let mut body = shop.overview();
            body["epoch"] = json!(committed.epoch);
            body["committed_at"] = json!(timestamp(committed.time_ms));
            body["as_of"] = json!(activity.report().as_of.map(|day| day.to_string()));
            let (epoch, json) = (committed.epoch, body.to_string());
            let event = event("overview", Some(epoch), &json);
            Ok::<_, Error>((shop, MadeOverview { epoch, json: json.into(), event }, took))
        });
        let (next, made, took) = made.await.map_err(Error::failed)??;
        shop = next;
        sender.send_replace(Some(made));
        tokio::time::sleep(EVERY.max(took * PAUSE)).await;
        // The shop itself has one receiver.
        while tokio::time::timeout(LOOK_EVERY, epochs.changed()).await.is_err()
            && sender.receiver_count() > 1
            && !shop.is_behind()
        {}
        if sender.receiver_count() > 1 {
            watched_at = Instant::now();
        } else if watched_at.elapsed() > KEPT {
            return Ok(());
        }
    }
}
