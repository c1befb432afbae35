//! `POST /v1/{table}`: rows that are applied in one epoch.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::model::{InputTable, Rejection};
use crate::service::{NotPosted, Post, Posted, ROWS_MAX, WaitFor};
use crate::sources::InputFormat;

use super::app::Shared;
use super::body::{self, Encoding};
use super::problem::Problem;
use super::stamp::{epoch_headers, timestamp};

/// What the query of a request may have.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PostQuery {
    wait: Option<String>,
}

/// The longest idempotency key.
const KEY_MAX: usize = 255;

pub(super) async fn post(
    State(app): Shared,
    table: Result<Path<String>, PathRejection>,
    query: Result<Query<PostQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (Path(table), Query(query)) = (table?, query?);
    let named = InputTable::named(&table);
    let table =
        named.ok_or_else(|| Problem::not_found(format!("/v1/{table}: wanted orders, products or customers")))?;
    if !app.listen.takes_rows {
        let detail = "the service takes no rows over HTTP; wanted a source of the type http in its configuration";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    let waits_for = match query.wait.as_deref() {
        None | Some("visible") => WaitFor::Visible,
        Some("committed") => WaitFor::Committed,
        Some(found) => return Err(Problem::bad_request(format!("wait: found {found}, wanted visible or committed"))),
    };
    for name in [header::CONTENT_TYPE.as_str(), header::CONTENT_ENCODING.as_str(), "idempotency-key"] {
        if headers.get_all(name).iter().count() > 1 {
            return Err(Problem::bad_request(format!("{name}: found it twice, wanted it once")));
        }
    }
    let (format, has_elements) = format_of(&headers)?;
    let encoding = encoding_of(&headers)?;
    let key = key_of(&headers)?;
    let ingest = app.requests.ingest.clone();
    if !ingest.is_open() {
        return Err(not_posted(NotPosted::NotLive));
    }
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let bodies = if body::is_small(encoding, length) { &app.small_bodies } else { &app.bodies };
    let permit = Arc::clone(bodies).try_acquire_owned().ok().filter(|_| !ingest.is_busy());
    let permit = permit.ok_or_else(|| not_posted(NotPosted::Busy))?;
    let received = body::receive(body, encoding, has_elements, length, &app.folder).await?;
    app.metrics.received(table, received.bytes);
    let digest = |key| (key, format!("{table} {}", received.digest));
    let key = key.map(digest);
    let origin = key.as_ref().map_or_else(|| "request".to_owned(), |(key, _)| format!("request {key}"));
    let (answer, answered) = oneshot::channel();
    // Few large bodies are decoded at a time: each may take a quarter of a gigabyte.
    let decodes = if received.is_small() { &app.small_decodes } else { &app.large_decodes };
    let decode = Arc::clone(decodes).acquire_owned().await;
    let _waiting = Arc::clone(&app.answers);
    let posted = tokio::task::spawn_blocking(move || {
        // The body and the permits live until the rows wait, whether or not the client is still there.
        let (received, _permits) = (received, (permit, decode));
        let post = Post { table, body: received.path.clone(), format, origin, key, waits_for };
        ingest.post(post, |posted| _ = answer.send(posted))
    });
    let ended = "the service has ended; whether the rows are applied is not known. With an Idempotency-Key the request \
                 can be repeated safely";
    let ended = || Problem::retry(StatusCode::SERVICE_UNAVAILABLE, 5, ended);
    posted.await.map_err(|_| ended())?.map_err(not_posted)?;
    let posted = answered.await.map_err(|_| ended())?;
    app.metrics.posted(&posted);
    Ok((epoch_headers(posted.epoch), Json(answer_of(&posted))).into_response())
}

fn answer_of(posted: &Posted) -> Value {
    let rejected: Vec<Value> = posted.examples.iter().map(rejected_row).collect();
    json!({
        "epoch": posted.epoch.epoch,
        "committed_at": timestamp(posted.epoch.time_ms),
        "accepted": posted.accepted,
        "rejected_rows": posted.rejected,
        "rejected": rejected,
        "repeated": posted.is_repeated,
    })
}

fn rejected_row(rejection: &Rejection) -> Value {
    let number = rejection.origin.as_ref().map(|origin| origin.row + 1);
    json!({ "row_number": number, "reason": rejection.reason.text, "row": rejection.row })
}

/// Why rows are not taken, or looked up.
pub(super) fn not_posted(why: NotPosted) -> Problem {
    match why {
        NotPosted::NotLive => {
            Problem::retry(StatusCode::SERVICE_UNAVAILABLE, 1, "the service is not live: it loads, or it stops")
        }
        NotPosted::Busy => Problem::retry(StatusCode::TOO_MANY_REQUESTS, 1, "too much is waiting to be applied"),
        NotPosted::InFlight => {
            let detail = "a request with this Idempotency-Key is being applied";
            Problem::retry(StatusCode::CONFLICT, 1, detail)
        }
        NotPosted::KeyOfAnother => {
            let detail = "this Idempotency-Key was used for another table or body";
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
        }
        NotPosted::TooLarge => {
            let detail =
                format!("the body has more than {ROWS_MAX} rows, or unpacks to too much; send several requests");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
        }
        NotPosted::Unusable(error) => error.into(),
    }
}

/// The format of a body, and whether it has elements of a JSON array or objects.
fn format_of(headers: &HeaderMap) -> Result<(InputFormat, bool), Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" => Ok((InputFormat::JsonLines, true)),
        "application/x-ndjson" | "application/jsonl" | "application/x-jsonlines" => Ok((InputFormat::JsonLines, false)),
        "text/csv" => Ok((InputFormat::Csv, false)),
        "application/vnd.apache.arrow.stream" => Ok((InputFormat::ArrowStream, false)),
        "application/vnd.apache.parquet" | "application/parquet" | "application/x-parquet" => {
            Ok((InputFormat::Parquet, false))
        }
        found => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!(
                "Content-Type: found {found:?}, wanted application/json, application/x-ndjson, text/csv, \
                 application/vnd.apache.arrow.stream or application/vnd.apache.parquet"
            ),
        )),
    }
}

fn encoding_of(headers: &HeaderMap) -> Result<Encoding, Problem> {
    let encoding = headers.get(header::CONTENT_ENCODING).map(|encoding| encoding.to_str().unwrap_or("?").trim());
    match encoding.map(str::to_ascii_lowercase).as_deref() {
        None | Some("identity" | "") => Ok(Encoding::Identity),
        Some("gzip" | "x-gzip") => Ok(Encoding::Gzip),
        Some("zstd") => Ok(Encoding::Zstd),
        Some(found) => {
            let detail = format!("Content-Encoding: found {found}, wanted gzip or zstd");
            Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail))
        }
    }
}

fn key_of(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    let key = key.to_str().ok().filter(|key| !key.is_empty() && key.len() <= KEY_MAX);
    let wanted = || Problem::bad_request(format!("Idempotency-Key: wanted 1 to {KEY_MAX} printable ASCII characters"));
    key.map(|key| Some(key.to_owned())).ok_or_else(wanted)
}
