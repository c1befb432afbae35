//! `GET /v1/tables/{table}/changes`: what each epoch changes, as server-sent events.
//!
//! ```text
//! event: snapshot   rows as of an epoch, some at a time, if asked for; the last piece has the id
//! event: changes    the rows that an epoch inserted (plus) and deleted (minus)
//! event: progress   the table has not changed up to this epoch
//! event: gone       what follows is not kept any more; begin again with a snapshot
//! ```
//!
//! The id of an event is its epoch: a client that was cut off goes on with `Last-Event-ID` or `?since=`. Events are
//! made when the client takes them, from what the tables keep of the last epochs, so a client that does not read costs
//! its connection and one event.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::error::{Error, Result as MillstreamResult};
use crate::sinks::{Committed, KeyRange, TableScan};

use super::app::{App, STREAM_PATIENCE, Shared};
use super::event_text::{data_of, event};
use super::events::NextEvent;
use super::problem::Problem;
use super::read::unknown_table;
use super::stamp::epoch_headers;

/// What the query of a request for changes may have.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FollowQuery {
    since: Option<u64>,
    #[serde(default)]
    snapshot: bool,
}

/// How often it is told that a table has not changed.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// How long nothing may be sent: proxies close connections that are silent.
const SILENCE: Duration = Duration::from_secs(15);

pub(super) async fn follow(
    State(app): Shared,
    table: Result<Path<String>, PathRejection>,
    query: Result<Query<FollowQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (Path(table), Query(query)) = (table?, query?);
    app.check_live()?;
    let snapshot = app.tables.snapshot();
    if app.enriched.get().is_some_and(|enriched| enriched.name == table) {
        let detail = format!("what changes in {table} can't be followed: it is not kept; the published files have it");
        return Err(Problem::not_found(detail));
    }
    #[cfg(feature = "sql")]
    if super::views::named(&app, &table).await?.is_some() {
        let detail = format!("what changes in {table} can't be followed: it is a view, computed when it is read");
        return Err(Problem::not_found(detail));
    }
    if snapshot.info(&table).is_err() {
        return Err(unknown_table(&table, &snapshot));
    }
    let newest = snapshot.committed().unwrap_or_default();
    let last_id = headers.get("last-event-id").filter(|id| !id.is_empty());
    let last_id = last_id.map(|id| id.to_str().ok()?.parse::<u64>().ok());
    let last_id = last_id.map(|id| id.ok_or_else(|| Problem::bad_request("Last-Event-ID: wanted the id of an event")));
    let last_id = last_id.transpose()?;
    let since = last_id.or(query.since);
    let wants_snapshot = query.snapshot && last_id.is_none();
    if wants_snapshot && query.since.is_some() {
        return Err(Problem::bad_request("snapshot: it can't be given together with since"));
    }
    let position = since.unwrap_or(newest.epoch);
    if !app.tables.has_changes_after(position) {
        let (first, last) = app.tables.kept_changes();
        let detail = match position > last {
            true => format!("epoch {position} is not there yet; the newest is {last}"),
            false => format!(
                "the changes after epoch {position} are not kept any more, those from epoch {first} on are; begin \
                 again with ?snapshot=true"
            ),
        };
        return Err(Problem::new(if position > last { StatusCode::BAD_REQUEST } else { StatusCode::GONE }, detail));
    }
    let permit = app.follower()?;
    let stream = wants_snapshot.then(|| app.begin_stream()).transpose()?;
    let scan = wants_snapshot.then(|| snapshot.scan(&table, &KeyRange::default())).transpose()?;
    let follower = Follower {
        epochs: app.epochs.clone(),
        app,
        table,
        position,
        scan: scan.map(|scan| (newest, scan)),
        stream,
        begun: Instant::now(),
        waiting: None,
        progress: None,
        is_over: false,
        _permit: permit,
    };
    let kind = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    let events = stream::unfold(follower, async |mut follower| {
        let event = follower.next().await?;
        Some((Ok::<_, std::convert::Infallible>(event), follower))
    });
    Ok((kind, epoch_headers(newest), Body::from_stream(events)).into_response())
}

/// A client that follows a table.
struct Follower {
    app: Arc<App>,
    epochs: watch::Receiver<Committed>,
    table: String,
    /// The last epoch that the client has, or will have with what waits.
    position: u64,
    /// What is left of the snapshot that it asked for.
    scan: Option<(Committed, TableScan)>,
    /// Held until the snapshot is sent.
    stream: Option<OwnedSemaphorePermit>,
    begun: Instant,
    /// The event that is sent next.
    waiting: Option<Bytes>,
    /// That the table has not changed, and since when that is not told.
    progress: Option<(Instant, Bytes)>,
    is_over: bool,
    _permit: OwnedSemaphorePermit,
}

impl Follower {
    /// The next event; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(event) = self.waiting.take() {
                return Some(event);
            }
            if self.is_over {
                return None;
            }
            if self.scan.is_none() {
                self.stream = None;
            } else if self.begun.elapsed() > STREAM_PATIENCE {
                return None;
            }
            if let Some((epoch, scan)) = self.scan.take() {
                let next = tokio::task::spawn_blocking(move || next_of_snapshot(epoch, scan)).await;
                let next = next.map_err(Error::failed).flatten();
                let (event, rest) = next.inspect_err(|error| tracing::error!("{}: {error}", self.table)).ok()?;
                self.scan = rest.map(|scan| (epoch, scan));
                return Some(event);
            }
            if let Some((_, event)) = self.progress.take_if(|(since, _)| since.elapsed() >= PROGRESS_EVERY) {
                return Some(event);
            }
            self.epochs.mark_unchanged();
            if self.epochs.borrow().epoch > self.position {
                self.fetch().await?;
                continue;
            }
            let patience = if self.progress.is_some() { PROGRESS_EVERY } else { SILENCE };
            match tokio::time::timeout(patience, self.epochs.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) if self.progress.is_some() => {}
                Err(_) => return Some(Bytes::from_static(b": nothing has changed\n\n")),
            }
        }
    }

    /// Fetches the next event after the position.
    async fn fetch(&mut self) -> Option<()> {
        let fetched = self.app.events.after(&self.app.tables, &self.table, self.position).await;
        match fetched.inspect_err(|error| tracing::error!("changes of {}: {error}", self.table)).ok()? {
            Some(NextEvent { event, epoch, is_change }) => {
                self.position = epoch;
                // Many epochs may change nothing here; that is told once a second.
                match is_change {
                    true => (self.waiting, self.progress) = (Some(event), None),
                    false => {
                        self.progress =
                            Some((self.progress.take().map_or_else(Instant::now, |(since, _)| since), event))
                    }
                }
            }
            None => {
                let detail = format!("the changes after epoch {} are not kept any more", self.position);
                self.waiting = Some(event("gone", None, &json!({ "detail": detail }).to_string()));
                self.is_over = true;
            }
        }
        Some(())
    }
}

/// Some rows of a snapshot as an event, and what is left of it.
fn next_of_snapshot(epoch: Committed, mut scan: TableScan) -> MillstreamResult<(Bytes, Option<TableScan>)> {
    Ok(match scan.next().transpose()? {
        Some(rows) => {
            let data = data_of(epoch, &[("rows", &rows)])?;
            (event("snapshot", None, &data), Some(scan))
        }
        None => (event("snapshot", Some(epoch.epoch), &data_of(epoch, &[])?), None),
    })
}
