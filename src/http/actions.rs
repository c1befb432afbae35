//! `POST /v1/verify` and `/v1/publish`: what a service is asked to do. How it went is in `/v1/status`.

use std::sync::atomic::{AtomicBool, Ordering};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::app::{App, Shared};
use super::problem::Problem;

/// Recomputes all tables from the accepted rows, and compares them with the live ones.
pub(super) async fn verify(State(app): Shared) -> Result<Response, Problem> {
    request(&app, &app.requests.verify)
}

/// Writes the tables to the output folder.
pub(super) async fn publish(State(app): Shared) -> Result<Response, Problem> {
    request(&app, &app.requests.publish)
}

fn request(app: &App, what: &AtomicBool) -> Result<Response, Problem> {
    app.check_live()?;
    what.store(true, Ordering::Relaxed);
    Ok((StatusCode::ACCEPTED, Json(json!({ "requested": true }))).into_response())
}
