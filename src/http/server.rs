//! The server: its thread, its connections and its routes.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio_rustls::TlsAcceptor;

use crate::error::{Error, Result};
use crate::model::Epoch;
use crate::runtime::Progress;
use crate::service::{EpochObserver, ServiceConfig, ServiceHandle};
use crate::sinks::{
    Committed, CurrentEpoch, MemoryTables, Opened, PartOptions, Sink, SinkContext, SinkPart, TableInfo, TableReport,
};
#[cfg(feature = "sql")]
use crate::sql::SqlServer;
use crate::tables::{EnrichedDataTable, RejectedTable};

use super::app::{
    App, BODIES_MAX, FOLLOWERS_MAX, GRACE, LARGE_DECODES_MAX, LOOKUPS_MAX, SMALL_BODIES_MAX, SMALL_DECODES_MAX,
    STREAMS_MAX, Shared, authorized,
};
use super::baseline::Baseline;
use super::enriched_info::EnrichedInfo;
use super::history::MeasuredSeconds;
use super::metrics::Metrics;
use super::problem::Problem;
use super::relay::EpochRelay;
use super::{
    actions, console, dataflow, demo, explain, follow, logs, measure, openapi, overview, post, read, rejected, status,
    tls,
};
#[cfg(feature = "sql")]
use super::{queries, sql};

/// The server of a service. It stops when it is dropped.
pub struct HttpServer {
    address: SocketAddr,
    tables: MemoryTables,
    shown: ShownEpochs,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    #[cfg(feature = "sql")]
    sql: SqlServer,
}

/// How many bytes of changes are kept for those who follow them.
const HISTORY_BYTES: usize = 64 << 20;
/// The most connections.
const CONNECTIONS_MAX: usize = 20_000;
/// As many files as the job itself may have open.
const FILES_OF_THE_JOB: usize = 512;
/// How long the head of a request may take, and a connection may be idle.
const HEAD_PATIENCE: Duration = Duration::from_secs(60);
/// The most bytes of the head of a request.
const HEAD_BYTES: usize = 64 << 10;
/// So many tasks are polled before what other threads or the network have woken.
const TASKS_AT_ONCE: u32 = 8;
/// How long a TLS handshake may take.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);

impl HttpServer {
    /// So many rows of the last epochs are applied again at a start, so that who was following goes on.
    pub const REPLAYED_ROWS: u64 = 10_000;

    /// Starts the server of a service that is about to be [run](crate::service::serve) with these requests and the
    /// [sinks](Self::sinks) of the server; `None` if its configuration has no address.
    ///
    /// # Errors
    ///
    /// If the address can't be listened at, or the certificate can't be used.
    pub fn start(
        service: &ServiceConfig,
        requests: &mut ServiceHandle,
        progress: &Arc<Progress>,
    ) -> Result<Option<HttpServer>> {
        let Some(listen) = service.listen.clone() else { return Ok(None) };
        let acceptor = listen.tls.as_ref().map(|(cert, key)| tls::acceptor(cert, key, &[b"http/1.1"])).transpose()?;
        let unusable = |cause| Error::usage(format!("serve.listen: {}: {cause}", listen.address));
        let listener = StdListener::bind(listen.address).map_err(unusable)?;
        listener.set_nonblocking(true).map_err(Error::failed)?;
        let address = listener.local_addr().map_err(Error::failed)?;
        let kept = service.run.job.tables.names().filter(|name| *name != EnrichedDataTable::NAME);
        let kept: Vec<_> = kept.chain([RejectedTable::NAME]).collect();
        let current = requests.current.clone();
        let tables = MemoryTables::of(&kept).named_by(&current).with_history(HISTORY_BYTES);
        let (epochs, committed) = watch::channel(Committed::default());
        let (relay, newest) = EpochRelay::new(committed);
        let (metrics, enriched) = (Arc::new(Metrics::new()), Arc::<EnrichedInfo>::default());
        let (history, baseline) = (Arc::<MeasuredSeconds>::default(), Baseline::default());
        requests.observer = EpochObserver::new(measure::observer(&metrics, &history));
        #[cfg(feature = "sql")]
        let (engine, sql) = queries::start(service, requests, &tables, &enriched, &newest)?;
        let app = Arc::new(App {
            requests: requests.clone(),
            tables: tables.clone(),
            pinned: Default::default(),
            enriched: Arc::clone(&enriched),
            progress: Arc::clone(progress),
            folder: service.state.clone(),
            service: service.clone(),
            metrics,
            events: Default::default(),
            liveness: Default::default(),
            overviews: Default::default(),
            baseline: baseline.clone(),
            history: Arc::clone(&history),
            epochs: newest,
            bodies: Arc::new(Semaphore::new(BODIES_MAX)),
            small_bodies: Arc::new(Semaphore::new(SMALL_BODIES_MAX)),
            small_decodes: Arc::new(Semaphore::new(SMALL_DECODES_MAX)),
            large_decodes: Arc::new(Semaphore::new(LARGE_DECODES_MAX)),
            answers: Default::default(),
            followers: Arc::new(Semaphore::new(FOLLOWERS_MAX)),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
            was_live: Default::default(),
            #[cfg(feature = "sql")]
            queries: queries::Queries::new(engine, &sql),
            listen,
        });
        let mut runtime = Builder::new_current_thread();
        runtime.enable_all().max_blocking_threads(64);
        // However many follow changes, answers and requests get their turn between them.
        let runtime = runtime.global_queue_interval(TASKS_AT_ONCE).event_interval(TASKS_AT_ONCE).build();
        let runtime = runtime.map_err(Error::failed)?;
        let (stop, stopped) = oneshot::channel();
        let connections = connections();
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let thread = thread::Builder::new().name("http".into());
        let thread = thread
            .spawn(move || run(runtime, listener, acceptor, connections, &app, relay, stopped))
            .map_err(Error::failed)?;
        tracing::info!("listening at {scheme}://{address}");
        let shown = ShownEpochs { epochs, current, enriched, tables: tables.clone(), baseline };
        Ok(Some(HttpServer {
            address,
            tables,
            shown,
            stop: Some(stop),
            thread: Some(thread),
            #[cfg(feature = "sql")]
            sql,
        }))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where PostgreSQL's protocol is spoken.
    #[cfg(feature = "sql")]
    #[must_use]
    pub fn postgres_address(&self) -> Option<SocketAddr> {
        self.sql.address()
    }

    /// The sinks that have what is served.
    #[must_use]
    pub fn sinks(&self) -> Vec<Box<dyn Sink>> {
        vec![Box::new(self.tables.clone()), Box::new(self.shown.clone())]
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// How many connections there may be. Each is a file, and the job needs some, too.
fn connections() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let files =
        getrlimit(Resource::Nofile).current.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
    files.saturating_sub(FILES_OF_THE_JOB).clamp(16, CONNECTIONS_MAX)
}

/// A sink that wakes up those who wait for the next epoch.
#[derive(Clone)]
struct ShownEpochs {
    epochs: watch::Sender<Committed>,
    current: CurrentEpoch,
    enriched: Arc<EnrichedInfo>,
    tables: MemoryTables,
    baseline: Baseline,
}

impl Sink for ShownEpochs {
    fn open(&mut self, job: &SinkContext) -> Result<Opened> {
        self.enriched.set(&job.tables);
        Ok(Opened::Ready)
    }

    fn wants(&self, _: &TableInfo) -> Option<PartOptions> {
        None
    }

    fn part(&mut self, _: &TableInfo, _: usize) -> Result<Box<dyn SinkPart>> {
        Err(Error::failed("internal error: a part of a table that is not wanted"))
    }

    fn commit(&mut self, epoch: Epoch, _: &mut [TableReport]) -> Result<()> {
        if epoch == 0 {
            self.baseline.begin(&self.tables);
        }
        self.epochs.send_replace(self.current.get());
        Ok(())
    }
}

fn run(
    runtime: Runtime,
    listener: StdListener,
    acceptor: Option<TlsAcceptor>,
    connections: usize,
    app: &Arc<App>,
    relay: EpochRelay,
    stopped: oneshot::Receiver<()>,
) {
    runtime.block_on(async {
        tokio::spawn(relay.run());
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!("the server can't listen: {error}"),
        };
        let kept = Arc::clone(app);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(10)).await;
                kept.pinned.forget_old();
            }
        });
        tokio::spawn(measure::each_second(Arc::clone(app)));
        let accepting = accept(listener, acceptor, connections, routes(app));
        tokio::pin!(accepting);
        tokio::select! {
            () = &mut accepting => {}
            _ = stopped => {}
        }
        // Those who have sent rows get their answer.
        let started = Instant::now();
        while app.has_waiting_posts() && started.elapsed() < GRACE {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    });
    runtime.shutdown_background();
}

fn routes(app: &Arc<App>) -> Router {
    let routes = Router::new();
    #[cfg(feature = "sql")]
    let routes = routes.route("/v1/sql", get(sql::sql));
    routes
        .route("/", get(console::page))
        .route("/console/{*path}", get(console::asset))
        .route("/healthz", get(status::healthz))
        .route("/readyz", get(status::readyz))
        .route("/metrics", get(status::metrics))
        .route("/v1/openapi.json", get(openapi::document))
        .route("/v1/status", get(status::status))
        .route("/v1/history", get(measure::history))
        .route("/v1/dataflow", get(dataflow::dataflow))
        .route("/v1/logs", get(logs::logs))
        .route("/v1/demo", get(demo::demo))
        .route("/v1/demo/rate", post(demo::set_rate))
        .route("/v1/demo/kill", post(demo::kill))
        .route("/v1/overview", get(overview::overview))
        .route("/v1/overview/changes", get(overview::follow))
        .route("/v1/explain", get(explain::explain))
        .route("/v1/verify", post(actions::verify))
        .route("/v1/publish", post(actions::publish))
        .route("/v1/rejected", get(rejected::rejected))
        .route("/v1/rejected/retry", post(rejected::retry).layer(DefaultBodyLimit::max(rejected::FILTER_BYTES)))
        .route("/v1/rejected/drop", post(rejected::forget).layer(DefaultBodyLimit::max(rejected::FILTER_BYTES)))
        .route("/v1/sources", get(status::sources))
        .route("/v1/sinks", get(status::sinks))
        .route("/v1/tables", get(read::tables))
        .route("/v1/tables/{table}", get(read::table))
        .route("/v1/tables/{table}/changes", get(follow::follow))
        .route("/v1/{table}", post(post::post))
        .fallback(async |request: Request| {
            Problem::not_found(format!("no such path: {}; GET / lists the paths", request.uri().path()))
        })
        .method_not_allowed_fallback(async |method: Method| {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not a method of this path"))
        })
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(Arc::clone(app), authorized))
        .layer(middleware::from_fn_with_state(Arc::clone(app), counted))
        .with_state(Arc::clone(app))
}

async fn counted(State(app): Shared, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let route = request.extensions().get::<MatchedPath>().map_or("other", |path| path.as_str()).to_owned();
    let known = [Method::GET, Method::POST, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE, Method::PATCH];
    let method = if known.contains(request.method()) { request.method().as_str() } else { "other" }.to_owned();
    let response = next.run(request).await.into_response();
    app.metrics.answered(&method, &route, response.status().as_u16(), started.elapsed().as_secs_f64());
    response
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, connections: usize, routes: Router) {
    let connections = Arc::new(Semaphore::new(connections));
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => continue,
            Err(error) => {
                tracing::warn!("a connection can't be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let (routes, acceptor) = (routes.clone(), acceptor.clone());
        tokio::spawn(async move {
            match acceptor {
                None => answer(stream, routes).await,
                Some(acceptor) => match tokio::time::timeout(HANDSHAKE_PATIENCE, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => answer(stream, routes).await,
                    Ok(Err(error)) => tracing::debug!("TLS: {error}"),
                    Err(_) => {}
                },
            }
            drop(permit);
        });
    }
}

/// Answers the requests of a connection.
async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, routes: Router) {
    let service = TowerToHyperService::new(routes);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!("a connection ended: {error}");
    }
}
