//! Queries of the live tables.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::{DataFusionError, Result as QueryResult};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::SessionContext;
use tokio::sync::OnceCell;

use crate::config::ListenConfig;
use crate::error::Result;
use crate::sinks::{Committed, TableInfo};
use crate::tables::RejectedTable;

use super::catalog::tables::{MILLSTREAM, SHOP};
use super::environment::environment;
use super::queried_tables::{QueriedTable, QueriedTables};
use super::rows_of_query::rows_of_query;
use super::sql_state::QueryProblem;
use super::tables::enriched::EnrichedProvider;
use super::tables::kept::KeptProvider;
use super::tables::read_epoch::SessionEpoch;
use super::tables::service::{ServiceProvider, ServiceState, ServiceTable};
use super::views::{PlannedViews, View};

/// On how many cores a query runs: the others are those of the job.
const CORES: usize = 1;
/// The most bytes of the columns of an answer that is given as a whole.
const ANSWER_MOST: usize = 256 << 20;

/// Queries of the live tables. Clones share it.
#[derive(Clone)]
pub(crate) struct SqlEngine(Arc<Engine>);

struct Engine {
    state: Arc<ServiceState>,
    /// `enriched_data`, which is not kept, if the job has it.
    enriched: Box<dyn Fn() -> Option<TableInfo> + Send + Sync>,
    environment: Arc<RuntimeEnv>,
    /// How long a statement may run if its session does not say.
    timeout: Duration,
    views: Vec<View>,
    /// What all sessions share, once the tables are known.
    base: OnceCell<QueriedTables>,
}

/// A session: what it has set, and the epoch that it reads.
pub(super) struct QuerySession {
    pub(super) context: Arc<SessionContext>,
    pub(super) epoch: Arc<SessionEpoch>,
    pub(super) state: Arc<ServiceState>,
    /// How long a statement may run if the session does not say.
    pub(super) timeout: Duration,
}

/// The rows of a query.
pub(crate) struct QueryAnswer {
    pub(crate) epoch: Committed,
    pub(crate) schema: SchemaRef,
    pub(crate) rows: Vec<RecordBatch>,
}

impl SqlEngine {
    /// An engine, which writes what does not fit into its memory to the folder for temporary files.
    pub(crate) fn new(
        state: ServiceState,
        enriched: impl Fn() -> Option<TableInfo> + Send + Sync + 'static,
        listen: &ListenConfig,
    ) -> Result<SqlEngine> {
        let environment = environment(listen.query_memory)?;
        let views = View::all(&state.config.views)?;
        let (state, enriched) = (Arc::new(state), Box::new(enriched));
        let timeout = listen.query_timeout;
        Ok(SqlEngine(Arc::new(Engine { state, enriched, environment, timeout, views, base: OnceCell::new() })))
    }

    /// Begins a session; fails until the tables can be read.
    pub(super) async fn session(&self) -> QueryResult<QuerySession> {
        let engine = &*self.0;
        if engine.state.tables.snapshot().committed().is_none() {
            return Err(QueryProblem::new(QueryProblem::NOT_NOW, "the tables are being loaded").into());
        }
        let QueriedTables { state: base, .. } = engine.base.get_or_try_init(|| engine.base()).await?;
        let epoch = Arc::new(SessionEpoch::new(&engine.state.tables));
        let config = base.config().clone().with_extension(Arc::clone(&epoch));
        let state = SessionStateBuilder::new_from_existing(base.clone()).with_config(config).build();
        let (context, state) = (Arc::new(SessionContext::new_with_state(state)), Arc::clone(&engine.state));
        Ok(QuerySession { context, epoch, state, timeout: engine.timeout })
    }

    /// True if a view of this name is configured.
    pub(crate) fn has_view(&self, name: &str) -> bool {
        self.0.views.iter().any(|view| view.name == name)
    }

    /// True if a view is configured.
    pub(crate) fn has_views(&self) -> bool {
        !self.0.views.is_empty()
    }

    /// The views, and what is wrong with those that can't be read; none until the tables can be.
    pub(crate) async fn views(&self) -> PlannedViews {
        let engine = &*self.0;
        if engine.views.is_empty() || engine.state.tables.snapshot().committed().is_none() {
            return PlannedViews::default();
        }
        let base = engine.base.get_or_try_init(|| engine.base()).await;
        base.map_or_else(|_| PlannedViews::default(), |base| base.views.clone())
    }

    /// The rows of one query, as of the newest epoch.
    pub(crate) async fn query(&self, sql: &str) -> std::result::Result<QueryAnswer, QueryProblem> {
        let answer = tokio::time::timeout(self.0.timeout, self.answer(sql)).await;
        let too_long = || QueryProblem::new(QueryProblem::QUERY_CANCELED, "the query took too long");
        answer.map_err(|_| too_long())?.map_err(|error| QueryProblem::of(&error))
    }

    async fn answer(&self, sql: &str) -> QueryResult<QueryAnswer> {
        let session = self.session().await?;
        let (schema, rows) = rows_of_query(&session.context, sql, ANSWER_MOST).await?;
        let epoch = session.epoch.get().tables().committed().unwrap_or_default();
        Ok(QueryAnswer { epoch, schema, rows })
    }
}

impl Engine {
    /// Tables, catalog and functions.
    async fn base(&self) -> QueryResult<QueriedTables> {
        let tables = self.tables().map_err(|error| DataFusionError::External(error.into()))?;
        QueriedTables::new(tables, &self.views, &self.environment, CORES).await
    }

    /// All tables.
    fn tables(&self) -> Result<Vec<QueriedTable>> {
        let (state, snapshot) = (&self.state, self.state.tables.snapshot());
        let mut all = Vec::new();
        for table in snapshot.tables() {
            let (schema, key) = match table.name.as_str() {
                RejectedTable::NAME => (MILLSTREAM, Vec::new()),
                _ => (SHOP, table.key.clone()),
            };
            all.push(QueriedTable { schema, name: table.name.clone(), rows: Arc::new(KeptProvider::new(table)?), key });
        }
        if let Some(table) = (self.enriched)() {
            let rows = Arc::new(EnrichedProvider::new(&table, &state.handle.ingest, &state.tables)?);
            all.push(QueriedTable { schema: SHOP, name: table.name, rows, key: table.key });
        }
        for table in ServiceTable::ALL {
            let (rows, name) = (Arc::new(ServiceProvider::new(table, state)), table.name().to_owned());
            all.push(QueriedTable { schema: MILLSTREAM, name, rows, key: Vec::new() });
        }
        Ok(all)
    }
}
