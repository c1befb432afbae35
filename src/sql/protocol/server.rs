//! The port that speaks PostgreSQL's protocol, and the threads on which queries run.

use std::future::pending;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use pgwire::api::auth::StartupHandler;
use pgwire::api::cancel::{CancelHandler, DefaultCancelHandler};
use pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use pgwire::api::{ClientInfo, ConnectionManager, ErrorHandler, PgWireServerHandlers};
use pgwire::error::PgWireError;
use pgwire::tokio::process_socket;
use rustix::process::setpriority_process;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::config::Secret;
use crate::error::{Error, Result};

use super::login::{ClientLogin, Login};
use super::session::PgSession;
use crate::sql::engine::SqlEngine;

use crate::sql::language::text_limits::STACK_BYTES;
use crate::sql::sql_state::{QueryProblem, translate};

/// Queries of the live tables, and their port. It stops when it is dropped.
pub(crate) struct SqlServer {
    runtime: Option<Runtime>,
    address: Option<SocketAddr>,
}

/// Where clients connect, and how.
pub(crate) struct SqlPort {
    pub(crate) address: SocketAddr,
    pub(crate) token: Secret,
    pub(crate) tls: Option<TlsAcceptor>,
}

/// The most connections.
const CONNECTIONS_MAX: usize = 200;
/// Threads of queries, beside those of the job, get the time that these leave.
const NICENESS: i32 = 10;
/// How long a client may take to log in.
const LOGIN_PATIENCE: Duration = Duration::from_secs(10);
/// How long a client that is refused may take to say what it wants.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl SqlServer {
    /// Starts the threads, and listens if there is a port.
    ///
    /// # Errors
    ///
    /// If the address can't be listened at.
    pub(crate) fn start(engine: &SqlEngine, port: Option<SqlPort>) -> Result<SqlServer> {
        let threads = thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 8));
        let mut runtime = Builder::new_multi_thread();
        runtime.enable_all().worker_threads(threads).thread_name("sql").thread_stack_size(STACK_BYTES).on_thread_start(
            || {
                // On Linux, of this thread only; elsewhere, it would be of all.
                if cfg!(target_os = "linux") {
                    let _ = setpriority_process(None, NICENESS);
                }
            },
        );
        let runtime = runtime.build().map_err(Error::failed)?;
        let mut server = SqlServer { runtime: None, address: None };
        if let Some(SqlPort { address, token, tls }) = port {
            let unusable = |cause| Error::usage(format!("serve.postgres: {address}: {cause}"));
            let listener = StdListener::bind(address).map_err(unusable)?;
            listener.set_nonblocking(true).map_err(Error::failed)?;
            let bound = listener.local_addr().map_err(Error::failed)?;
            let listener = runtime.block_on(async { TcpListener::from_std(listener) }).map_err(Error::failed)?;
            let connections = Arc::<ConnectionManager>::default();
            let login = Login::new(&token, &connections, tls.is_some())?;
            let port = Port { engine: engine.clone(), login, connections, tls };
            runtime.spawn(Arc::new(port).accept(listener));
            tracing::info!("listening for PostgreSQL clients at {bound}");
            server.address = Some(bound);
        }
        server.runtime = Some(runtime);
        Ok(server)
    }

    /// Where PostgreSQL's protocol is spoken.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Where queries run.
    pub(crate) fn threads(&self) -> Handle {
        self.runtime.as_ref().expect("it is running").handle().clone()
    }
}

impl Drop for SqlServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A query that runs is not waited for.
            runtime.shutdown_background();
        }
    }
}

/// What all connections share.
struct Port {
    engine: SqlEngine,
    login: Login,
    connections: Arc<ConnectionManager>,
    tls: Option<TlsAcceptor>,
}

impl Port {
    async fn accept(self: Arc<Port>, listener: TcpListener) {
        let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok((socket, _)) = listener.accept().await else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let permit = Arc::clone(&free).try_acquire_owned();
            let port = Arc::clone(&self);
            tokio::spawn(async move {
                let session = match permit {
                    Ok(_) => port.engine.session().await.map_err(|error| QueryProblem::of(&error)),
                    Err(_) => Err(QueryProblem::new(QueryProblem::TOO_MANY, "sorry, too many clients already")),
                };
                match session {
                    Ok(session) => {
                        let tls = port.tls.clone();
                        let is_in = Arc::<AtomicBool>::default();
                        let login = Arc::new(port.login.of_client(&is_in));
                        let session = Arc::new(PgSession::new(session));
                        let client = Arc::new(PgClient { session: Arc::clone(&session), login, port });
                        tokio::select! {
                            served = process_socket(socket, tls, client) => {
                                if let Err(error) = served {
                                    tracing::debug!("a PostgreSQL client: {error}");
                                }
                            }
                            () = is_late(&is_in) => {}
                            () = is_idle(&session) => {}
                        }
                    }
                    Err(problem) => refuse(socket, problem).await,
                }
                drop(permit);
            });
        }
    }
}

/// Ends if a client has not logged in after some time.
async fn is_late(is_in: &AtomicBool) {
    tokio::time::sleep(LOGIN_PATIENCE).await;
    if is_in.load(Ordering::Relaxed) {
        pending::<()>().await;
    }
}

/// Ends if a client has left a transaction open for as long as a statement may run: it holds what has changed since.
async fn is_idle(session: &PgSession) {
    let most = session.timeout;
    loop {
        let idle = session.epoch.idle_for().unwrap_or_default();
        if idle >= most {
            tracing::info!("a PostgreSQL client is disconnected: its transaction was idle for {idle:.0?}");
            return;
        }
        tokio::time::sleep(most - idle).await;
    }
}

/// Tells a client why it can't connect, once it has said what it wants; TLS is not spoken with it.
async fn refuse(mut socket: TcpStream, problem: QueryProblem) {
    let refused = async {
        let mut wanted = [0; 1024];
        // Of the first two messages that a client may send, a server may say no (`N`) to both.
        for _ in 0..3 {
            let length = socket.read(&mut wanted).await?;
            if length != 8 {
                break;
            }
            socket.write_all(b"N").await?;
        }
        socket.write_all(&problem.fatal()).await?;
        socket.shutdown().await
    };
    let _ = tokio::time::timeout(REFUSAL_PATIENCE, refused).await;
}

/// One client.
struct PgClient {
    session: Arc<PgSession>,
    login: Arc<ClientLogin>,
    port: Arc<Port>,
}

impl PgWireServerHandlers for PgClient {
    fn simple_query_handler(&self) -> Arc<impl SimpleQueryHandler> {
        Arc::clone(&self.session)
    }

    fn extended_query_handler(&self) -> Arc<impl ExtendedQueryHandler> {
        Arc::clone(&self.session)
    }

    fn startup_handler(&self) -> Arc<impl StartupHandler> {
        Arc::clone(&self.login)
    }

    fn cancel_handler(&self) -> Arc<impl CancelHandler> {
        Arc::new(DefaultCancelHandler::new(Arc::clone(&self.port.connections)))
    }

    fn error_handler(&self) -> Arc<impl ErrorHandler> {
        Arc::new(Translated)
    }
}

/// Errors are sent with the codes that PostgreSQL has for them.
struct Translated;

impl ErrorHandler for Translated {
    fn on_error<C: ClientInfo>(&self, _: &C, error: &mut PgWireError) {
        translate(error);
    }
}
