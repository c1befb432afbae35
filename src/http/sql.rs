//! `GET /v1/sql`: the rows of a query, as of one epoch.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::error::{Error, Result as MillstreamResult};
use crate::sql::{QueryAnswer, QueryError};

use super::app::{App, Shared};
use super::problem::Problem;
use super::rows::{RowEncoder, RowFormat};
use super::stamp::{epoch_headers, timestamp};

/// What a request asks.
#[derive(Deserialize)]
pub(super) struct SqlQuery {
    q: String,
    format: Option<String>,
}

/// Ends a query that nobody waits for any more.
struct AbortedOnDrop<R>(JoinHandle<R>);

impl<R> Drop for AbortedOnDrop<R> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The rows of a query.
pub(super) async fn sql(
    State(app): Shared,
    query: Result<Query<SqlQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Query(SqlQuery { q, format }) = query?;
    app.check_live()?;
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let format = RowFormat::asked(format.as_deref(), accept)?;
    answered(&app, q, move |answer| encoded(answer, format)).await
}

/// Makes an answer of the rows of a query.
pub(super) async fn answered<R: Send + 'static>(
    app: &App,
    q: String,
    encode: impl FnOnce(QueryAnswer) -> MillstreamResult<R> + Send + 'static,
) -> Result<R, Problem> {
    let running = Arc::clone(&app.queries.running).try_acquire_owned();
    let busy = || Problem::retry(StatusCode::TOO_MANY_REQUESTS, 1, "too many queries run at the moment");
    let permit = running.map_err(|_| busy())?;
    let engine = app.queries.engine.clone();
    let mut running = AbortedOnDrop(app.queries.threads.spawn(async move {
        let _permit = permit;
        let answer = engine.query(&q).await.map_err(problem)?;
        encode(answer).map_err(Problem::from)
    }));
    (&mut running.0).await.map_err(Error::failed)?
}

fn problem(error: QueryError) -> Problem {
    let status = match error.code {
        QueryError::NOT_NOW | QueryError::TOO_MANY | QueryError::OUT_OF_MEMORY => StatusCode::SERVICE_UNAVAILABLE,
        QueryError::QUERY_CANCELED => StatusCode::GATEWAY_TIMEOUT,
        QueryError::SERIALIZATION_FAILURE => StatusCode::CONFLICT,
        QueryError::INTERNAL => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    };
    let hint = error.hint.map(|hint| format!(" {hint}")).unwrap_or_default();
    let stop = if hint.is_empty() || error.message.ends_with('.') { "" } else { "." };
    let detail = format!("{}{stop}{hint}", error.message);
    match status {
        StatusCode::SERVICE_UNAVAILABLE => Problem::retry(status, 1, detail),
        _ => Problem::new(status, detail),
    }
}

fn encoded(answer: QueryAnswer, format: RowFormat) -> MillstreamResult<Response> {
    let QueryAnswer { epoch, schema, rows } = answer;
    let members = json!({ "epoch": epoch.epoch, "committed_at": timestamp(epoch.time_ms) }).to_string();
    let around = (format!("{},\"rows\":[", members.trim_end_matches('}')), "]}".to_owned());
    let mut encoder = RowEncoder::new(format, &schema, around)?;
    let mut bytes = Vec::new();
    for rows in rows {
        bytes.extend(encoder.rows(&rows)?);
    }
    bytes.extend(encoder.finish()?);
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()))];
    Ok((kind, epoch_headers(epoch), Body::from(bytes)).into_response())
}
