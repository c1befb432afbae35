//! `/v1/demo`: what a page can do to the demo. No other service has it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use rustix::process::{Signal, getpid, kill_process};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::atomic_file::AtomicFile;
use crate::error::{Error, Result as MillstreamResult};

use super::app::{App, Shared};
use super::problem::Problem;

/// How many orders a second there shall be.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DemoRate {
    orders_a_second: u32,
}

/// The most orders a second.
pub(crate) const DEMO_RATE_MOST: u32 = 20_000;

/// The file that says how many orders a second there shall be, in the folder of a demo.
fn demo_rate_file(folder: &Path) -> PathBuf {
    folder.join("rate.json")
}

/// The file that says what the stream of orders has written.
pub(crate) fn demo_stream_file(folder: &Path) -> PathBuf {
    folder.join("stream.json")
}

/// How many orders a second there shall be.
///
/// # Errors
///
/// If the file is missing or can't be understood.
pub(crate) fn demo_rate(folder: &Path) -> MillstreamResult<u32> {
    let path = demo_rate_file(folder);
    let text = fs::read(&path).map_err(Error::reading(&path))?;
    let rate: DemoRate = serde_json::from_slice(&text).map_err(Error::reading(&path))?;
    Ok(rate.orders_a_second)
}

/// Sets how many orders a second there shall be.
///
/// # Errors
///
/// If the file can't be written.
pub(crate) fn set_demo_rate(folder: &Path, orders_a_second: u32) -> MillstreamResult<()> {
    let path = demo_rate_file(folder);
    let mut file = AtomicFile::replacing(&path)?;
    file.write(&serde_json::to_vec(&DemoRate { orders_a_second }).map_err(Error::failed)?)?;
    file.put_in_place()
}

fn folder(app: &App) -> Result<&Path, Problem> {
    app.service.demo.as_deref().ok_or_else(|| Problem::not_found("this service is no demo"))
}

/// What the demo does; null for a service that is none.
pub(super) async fn demo(State(app): Shared) -> Result<Json<Value>, Problem> {
    let Some(folder) = app.service.demo.as_deref() else { return Ok(Json(Value::Null)) };
    let written = fs::read(demo_stream_file(folder)).unwrap_or_default();
    let written: Value = serde_json::from_slice(&written).unwrap_or_default();
    Ok(Json(json!({ "orders_a_second": demo_rate(folder).ok(), "most": DEMO_RATE_MOST, "stream": written })))
}

/// Sets how many orders a second there are.
pub(super) async fn set_rate(
    State(app): Shared,
    query: Result<Query<DemoRate>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let (folder, Query(DemoRate { orders_a_second })) = (folder(&app)?, query?);
    let rate = orders_a_second.min(DEMO_RATE_MOST);
    set_demo_rate(folder, rate)?;
    Ok(Json(json!({ "orders_a_second": rate })))
}

/// Kills the process, as `kill -9` does.
pub(super) async fn kill(State(app): Shared) -> Result<Response, Problem> {
    folder(&app)?;
    tokio::spawn(async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let _ = kill_process(getpid(), Signal::KILL);
    });
    Ok((StatusCode::ACCEPTED, Json(json!({ "killed": true }))).into_response())
}
