//! What all requests share.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::config::{ListenConfig, Secret};
use crate::runtime::Progress;
use crate::service::{ServiceConfig, ServiceHandle};
use crate::sinks::{Committed, MemoryTables};

use super::baseline::Baseline;
use super::console;
use super::enriched_info::EnrichedInfo;
use super::events::RecentEvents;
use super::history::MeasuredSeconds;
use super::liveness::Liveness;
use super::metrics::Metrics;
use super::overviews::Overviews;
use super::pinned::PinnedEpochs;
use super::problem::Problem;

/// What all requests share.
pub(super) struct App {
    pub(super) requests: ServiceHandle,
    pub(super) tables: MemoryTables,
    pub(super) pinned: PinnedEpochs,
    pub(super) enriched: Arc<EnrichedInfo>,
    pub(super) progress: Arc<Progress>,
    pub(super) listen: ListenConfig,
    /// Where large bodies are stored while they are received.
    pub(super) folder: PathBuf,
    pub(super) service: ServiceConfig,
    pub(super) metrics: Arc<Metrics>,
    pub(super) events: RecentEvents,
    pub(super) liveness: Liveness,
    pub(super) overviews: Overviews,
    pub(super) baseline: Baseline,
    /// What was measured of each of the last seconds.
    pub(super) history: Arc<MeasuredSeconds>,
    /// The newest epoch that is in all tables.
    pub(super) epochs: watch::Receiver<Committed>,
    /// Limits the bodies that are received and decoded.
    pub(super) bodies: Arc<Semaphore>,
    pub(super) small_bodies: Arc<Semaphore>,
    pub(super) small_decodes: Arc<Semaphore>,
    pub(super) large_decodes: Arc<Semaphore>,
    /// Held by each post that waits for its answer.
    pub(super) answers: Arc<()>,
    /// Limits the clients that follow changes.
    pub(super) followers: Arc<Semaphore>,
    /// Limits the answers that are encoded as they are taken.
    pub(super) streams: Arc<Semaphore>,
    /// Limits the look-ups of rows.
    pub(super) lookups: Arc<Semaphore>,
    /// Where queries run.
    #[cfg(feature = "sql")]
    pub(super) queries: super::queries::Queries,
    /// True once all tables could be read.
    pub(super) was_live: AtomicBool,
}

pub(super) type Shared = State<Arc<App>>;

/// Maximum number of concurrent request bodies: of those up to a mebibyte, and of others.
pub(super) const SMALL_BODIES_MAX: usize = 1024;
pub(super) const BODIES_MAX: usize = 64;
/// Maximum number of small, and of large, bodies that are decoded concurrently.
pub(super) const SMALL_DECODES_MAX: usize = 16;
pub(super) const LARGE_DECODES_MAX: usize = 2;
/// Maximum number of clients that follow changes.
pub(super) const FOLLOWERS_MAX: usize = 2000;
/// Maximum number of answers that are encoded as they are taken.
pub(super) const STREAMS_MAX: usize = 256;
/// Maximum number of concurrent look-ups of rows.
pub(super) const LOOKUPS_MAX: usize = 64;

impl App {
    /// True once all tables can be read. They stay readable while the job is started anew for another day.
    pub(super) fn is_live(&self) -> bool {
        if self.requests.ingest.is_open() {
            self.was_live.store(true, Ordering::Relaxed);
        }
        self.was_live.load(Ordering::Relaxed)
    }

    /// True while posts wait for their answer.
    pub(super) fn has_waiting_posts(&self) -> bool {
        Arc::strong_count(&self.answers) > 1
    }

    /// Lets a client follow changes.
    pub(super) fn follower(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let permit = Arc::clone(&self.followers).try_acquire_owned();
        permit.map_err(|_| Problem::retry(StatusCode::TOO_MANY_REQUESTS, 10, "too many clients follow changes"))
    }

    /// Begins an answer that is encoded as it is taken.
    pub(super) fn begin_stream(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let permit = Arc::clone(&self.streams).try_acquire_owned();
        permit.map_err(|_| Problem::retry(StatusCode::TOO_MANY_REQUESTS, 10, "too many clients read whole tables"))
    }

    /// Fails while tables can't be read yet.
    pub(super) fn check_live(&self) -> Result<(), Problem> {
        match self.is_live() {
            true => Ok(()),
            false => Err(Problem::retry(StatusCode::SERVICE_UNAVAILABLE, 1, "the tables are being loaded")),
        }
    }
}

/// Refuses requests without the token. Where none is needed, refuses those that a page in a browser sends under another
/// name for this machine.
pub(super) async fn authorized(State(app): Shared, request: Request, next: Next) -> Response {
    if app.listen.token.is_empty() && !is_local(request.headers()) {
        let detail = "Host: wanted localhost or the address of this machine's loopback, since no token is configured";
        return Problem::new(StatusCode::FORBIDDEN, detail).into_response();
    }
    if !is_of_this_origin(&request) {
        let detail = "Origin: wanted the address of the service: pages of other origins may not change anything here";
        return Problem::new(StatusCode::FORBIDDEN, detail).into_response();
    }
    let path = request.uri().path();
    let is_open = matches!(path, "/healthz" | "/readyz") || console::is_public(path, request.headers());
    if is_open || knows(request.headers(), &app.listen.token) {
        return next.run(request).await;
    }
    let detail = "wanted the header `Authorization: Bearer TOKEN` with the token of the service";
    let problem = Problem::new(StatusCode::UNAUTHORIZED, detail);
    problem.with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")).into_response()
}

/// False if a page of another origin sends a request that may change something.
fn is_of_this_origin(request: &Request) -> bool {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let is_own = |origin: &HeaderValue| {
        let authority =
            origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
        authority.is_some() && authority == host
    };
    request.method().is_safe() || request.headers().get_all(header::ORIGIN).iter().all(is_own)
}

/// True if a request is for this machine by one of the names that only it has.
fn is_local(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let host = host.to_str().unwrap_or_default();
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|digit| digit.is_ascii_digit()));
    let name = name.map_or(host, |(name, _)| name).trim_matches(['[', ']']);
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
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

/// How long a client may take to read a table.
pub(super) const STREAM_PATIENCE: Duration = Duration::from_secs(600);
/// How long to wait for a service that is stopping.
pub(super) const GRACE: Duration = Duration::from_secs(5);
