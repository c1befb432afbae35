//! What all requests share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::sync::{Semaphore, watch};

use crate::config::{ListenConfig, Secret};
use crate::runtime::{Phase, Progress};
use crate::service::{Requests, ServiceConfig};
use crate::sinks::{Committed, MemoryTables};

use super::events::RecentEvents;
use super::liveness::Liveness;
use super::metrics::Metrics;
use super::pinned::PinnedEpochs;
use super::problem::Problem;

/// What all requests share.
pub(super) struct App {
    pub(super) requests: Requests,
    pub(super) tables: MemoryTables,
    pub(super) pinned: PinnedEpochs,
    pub(super) progress: Arc<Progress>,
    pub(super) listen: ListenConfig,
    /// Where large bodies are stored while they are received.
    pub(super) folder: PathBuf,
    pub(super) service: ServiceConfig,
    pub(super) metrics: Arc<Metrics>,
    pub(super) events: RecentEvents,
    pub(super) liveness: Liveness,
    /// The newest epoch that is in all tables.
    pub(super) epochs: watch::Receiver<Committed>,
    /// So many bodies are received at a time.
    pub(super) bodies: Semaphore,
    /// So many clients follow changes at a time.
    pub(super) followers: Arc<Semaphore>,
}

pub(super) type Shared = State<Arc<App>>;

/// The most bodies that are received at a time; what they may take of memory and disk is bounded by that.
pub(super) const BODIES_MAX: usize = 64;
/// The most clients that follow changes.
pub(super) const FOLLOWERS_MAX: usize = 2000;

impl App {
    /// True once all tables can be read.
    pub(super) fn is_live(&self) -> bool {
        self.progress.phase() == Phase::Live && self.tables.snapshot().epoch().is_some()
    }

    /// Fails while tables can't be read yet.
    pub(super) fn check_live(&self) -> Result<(), Problem> {
        match self.is_live() {
            true => Ok(()),
            false => Err(Problem::retry(StatusCode::SERVICE_UNAVAILABLE, 1, "the tables are being loaded")),
        }
    }
}

/// Lets those through who know the token.
pub(super) async fn authorized(State(app): Shared, request: Request, next: Next) -> Response {
    let is_open = matches!(request.uri().path(), "/healthz" | "/readyz");
    if is_open || knows(request.headers(), &app.listen.token) {
        return next.run(request).await;
    }
    let detail = "wanted the header `Authorization: Bearer TOKEN` with the token of the service";
    let problem = Problem::new(StatusCode::UNAUTHORIZED, detail);
    problem.with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")).into_response()
}

fn knows(headers: &HeaderMap, token: &Secret) -> bool {
    if token.is_empty() {
        return true;
    }
    let sent = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
    let sent = sent.split_first_chunk::<7>().filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "));
    // Compared by a keyed digest, so that the time it takes tells nothing.
    let digest = |bytes: &[u8]| {
        let mut mac = Hmac::<Sha256>::new_from_slice(token.bytes()).expect("a key of any length");
        mac.update(bytes);
        mac
    };
    let wanted = digest(token.bytes()).finalize().into_bytes();
    sent.is_some_and(|(_, sent)| digest(sent).verify_slice(&wanted).is_ok())
}

/// A time in milliseconds since 1970, as RFC 3339 has it.
pub(super) fn timestamp(time_ms: u64) -> String {
    let time = i64::try_from(time_ms).ok().and_then(DateTime::from_timestamp_millis).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The headers that say of which epoch an answer is.
pub(super) fn epoch_headers(epoch: Committed) -> [(&'static str, String); 2] {
    [("millstream-epoch", epoch.epoch.to_string()), ("millstream-committed-at", timestamp(epoch.time_ms))]
}

/// How long to wait for a service that is stopping.
pub(super) const GRACE: Duration = Duration::from_secs(5);
