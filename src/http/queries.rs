//! What the server has for queries: their engine and threads, and a port for PostgreSQL clients.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use crate::error::{Error, Result};
use crate::service::{ServiceConfig, ServiceHandle};
use crate::sinks::{Committed, MemoryTables};
use crate::sql::{ServiceState, SqlEngine, SqlPort, SqlServer};

use super::enriched_info::EnrichedInfo;
use super::tls;

/// Where queries run.
pub(super) struct Queries {
    pub(super) engine: SqlEngine,
    pub(super) threads: Handle,
    /// Limits the queries whose answers are given as a whole.
    pub(super) running: Arc<Semaphore>,
}

/// The most such queries at a time.
const RUNNING_MAX: usize = 8;

impl Queries {
    pub(super) fn new(engine: SqlEngine, server: &SqlServer) -> Queries {
        Queries { engine, threads: server.threads(), running: Arc::new(Semaphore::new(RUNNING_MAX)) }
    }
}

/// Starts what queries need, and the port of PostgreSQL's protocol if one is configured.
pub(super) fn start(
    service: &ServiceConfig,
    requests: &ServiceHandle,
    tables: &MemoryTables,
    enriched: &Arc<EnrichedInfo>,
    epochs: &watch::Receiver<Committed>,
) -> Result<(SqlEngine, SqlServer)> {
    let (config, handle, tables) = (service.clone(), requests.clone(), tables.clone());
    let (enriched, epochs) = (Arc::clone(enriched), epochs.clone());
    let state = ServiceState { config, handle, tables, epochs };
    let listen = service.listen.as_ref().ok_or_else(|| Error::failed("internal error: queries without a server"))?;
    let engine = SqlEngine::new(state, move || enriched.get(), listen)?;
    let port = listen.postgres.map(|address| {
        let tls = listen.tls.as_ref().map(|(cert, key)| tls::acceptor(cert, key, &[b"postgresql"])).transpose()?;
        Ok::<_, Error>(SqlPort { address, token: listen.token.clone(), tls })
    });
    let server = SqlServer::start(&engine, port.transpose()?)?;
    Ok((engine, server))
}
