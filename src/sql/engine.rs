//! Queries of the live tables.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, TableProvider};
use datafusion::common::{DataFusionError, Result as QueryResult};
use datafusion::config::Dialect;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_pg_catalog::pg_catalog::setup_pg_catalog;
use futures_util::StreamExt;
use tokio::sync::OnceCell;

use crate::config::ListenConfig;
use crate::error::{Error, Result};
use crate::sinks::{Committed, TableInfo};
use crate::tables::RejectedTable;

use super::arrow_versions::{answered_rows, answered_schema};
use super::bounded_functions::bound_functions;
use super::catalog_functions;
use super::catalog_tables::{CatalogTables, CatalogTexts, DATABASE, DescribedTable, MILLSTREAM, SHOP};
use super::enriched_provider::EnrichedProvider;
use super::fixed_schema::FixedSchema;
use super::information_schema::information_schema;
use super::kept_provider::KeptProvider;
use super::read_epoch::SessionEpoch;
use super::service_tables::{ServiceProvider, ServiceState, ServiceTable};
use super::sql_state::QueryProblem;
use super::statements::{Asked, asked};
use super::table_comments::comment;
use super::yielding_joins::YieldingJoins;

/// Limit on spilled bytes.
const SPILL_BYTES_MAX: u64 = 8 << 30;
/// The most bytes of the columns of an answer that is given as a whole.
const ANSWER_MOST: usize = 256 << 20;
/// Largest consumers listed in an out-of-memory error.
const TOP_CONSUMERS: usize = 3;

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
    /// What all sessions share, once the tables are known.
    base: OnceCell<SessionState>,
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
        let memory = usize::try_from(listen.query_memory).unwrap_or(usize::MAX);
        let pool = TrackConsumersPool::new(FairSpillPool::new(memory), TOP_CONSUMERS.try_into().expect("it is not 0"));
        let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::OsTmpDirectory);
        let environment = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(pool))
            .with_disk_manager_builder(disk.with_max_temp_directory_size(SPILL_BYTES_MAX))
            .build_arc()
            .map_err(Error::failed)?;
        let (state, enriched) = (Arc::new(state), Box::new(enriched));
        let timeout = listen.query_timeout;
        Ok(SqlEngine(Arc::new(Engine { state, enriched, environment, timeout, base: OnceCell::new() })))
    }

    /// Begins a session; fails until the tables can be read.
    pub(super) async fn session(&self) -> QueryResult<QuerySession> {
        let engine = &*self.0;
        if engine.state.tables.snapshot().committed().is_none() {
            return Err(QueryProblem::new(QueryProblem::NOT_NOW, "the tables are being loaded").into());
        }
        let base = engine.base.get_or_try_init(|| engine.base_state()).await?;
        let epoch = Arc::new(SessionEpoch::new(&engine.state.tables));
        let config = base.config().clone().with_extension(Arc::clone(&epoch));
        let state = SessionStateBuilder::new_from_existing(base.clone()).with_config(config).build();
        let (context, state) = (Arc::new(SessionContext::new_with_state(state)), Arc::clone(&engine.state));
        Ok(QuerySession { context, epoch, state, timeout: engine.timeout })
    }

    /// The rows of one query, as of the newest epoch.
    pub(crate) async fn query(&self, sql: &str) -> std::result::Result<QueryAnswer, QueryProblem> {
        let answer = tokio::time::timeout(self.0.timeout, self.answer(sql)).await;
        let too_long = || QueryProblem::new(QueryProblem::QUERY_CANCELED, "the query took too long");
        answer.map_err(|_| too_long())?.map_err(|error| QueryProblem::of(&error))
    }

    async fn answer(&self, sql: &str) -> QueryResult<QueryAnswer> {
        let session = self.session().await?;
        let statement = match asked(sql)? {
            Asked::Query(statement) => statement,
            Asked::Nothing => return Err(QueryProblem::new(QueryProblem::SYNTAX, "there is no query").into()),
            Asked::Other => {
                let message = "found a statement that is not a query; wanted SELECT, WITH, VALUES or EXPLAIN";
                return Err(QueryProblem::new(QueryProblem::FEATURE_NOT_SUPPORTED, message).into());
            }
        };
        let plan = session.context.state().statement_to_plan(*statement).await?;
        let mut found = session.context.execute_logical_plan(plan).await?.execute_stream().await?;
        let failed = |error: Error| DataFusionError::External(Box::new(error));
        let schema = answered_schema(&found.schema()).map_err(failed)?;
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while let Some(next) = found.next().await {
            let next = answered_rows(&next?, &schema).map_err(failed)?;
            bytes += next.get_array_memory_size();
            if bytes > ANSWER_MOST {
                let problem = QueryProblem::new(QueryProblem::PROGRAM_LIMIT, "the answer is too large");
                return Err(problem.with_hint("Add LIMIT, or read it through PostgreSQL's protocol.").into());
            }
            rows.push(next);
        }
        let epoch = session.epoch.get().tables().committed().unwrap_or_default();
        Ok(QueryAnswer { epoch, schema, rows })
    }
}

impl Engine {
    /// Tables, catalog and functions.
    async fn base_state(&self) -> QueryResult<SessionState> {
        let mut config = SessionConfig::new().with_information_schema(false);
        config = config.with_default_catalog_and_schema(DATABASE, SHOP).with_create_default_catalog_and_schema(false);
        let options = config.options_mut();
        // As PostgreSQL reads and computes: a number with a point is exact.
        options.sql_parser.parse_float_as_decimal = true;
        options.sql_parser.dialect = Dialect::PostgreSQL;
        options.execution.time_zone = Some("UTC".to_owned());
        // The cores are those of the job.
        options.execution.target_partitions = 1;
        let state = SessionStateBuilder::new_with_default_features()
            .with_config(config)
            .with_runtime_env(Arc::clone(&self.environment))
            .with_physical_optimizer_rule(Arc::new(YieldingJoins));
        let context = SessionContext::new_with_state(state.build());
        let catalog = Arc::new(MemoryCatalogProvider::new());
        context.register_catalog(DATABASE, Arc::clone(&catalog) as _);
        let (mut shop, mut service, mut described) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for (schema, name, provider, key) in
            self.providers().map_err(|error| DataFusionError::External(error.into()))?
        {
            let comment = comment(&name).to_owned();
            let columns = provider.schema();
            described.push(DescribedTable { schema, name: name.clone(), columns, key, comment });
            let tables = if schema == SHOP { &mut shop } else { &mut service };
            tables.insert(name, provider);
        }
        catalog.register_schema(SHOP, Arc::new(FixedSchema(shop)))?;
        catalog.register_schema(MILLSTREAM, Arc::new(FixedSchema(service)))?;
        setup_pg_catalog(&context, DATABASE, EmptyContextProvider).map_err(|error| *error)?;
        let others = catalog.schema("pg_catalog").ok_or_else(|| DataFusionError::Internal("no pg_catalog".into()))?;
        catalog.register_schema("pg_catalog", Arc::new(CatalogTables::new(others, &described).await?))?;
        catalog.register_schema("information_schema", Arc::new(information_schema(&described)?))?;
        bound_functions(&context);
        catalog_functions::register(&context, CatalogTexts::of(&described)).await?;
        Ok(context.state())
    }

    /// All tables: schema, name, rows, and key.
    fn providers(&self) -> Result<Vec<(&'static str, String, Arc<dyn TableProvider>, Vec<String>)>> {
        let (state, snapshot) = (&self.state, self.state.tables.snapshot());
        let mut all: Vec<(_, _, Arc<dyn TableProvider>, _)> = Vec::new();
        for table in snapshot.tables() {
            let (schema, key) = match table.name.as_str() {
                RejectedTable::NAME => (MILLSTREAM, Vec::new()),
                _ => (SHOP, table.key.clone()),
            };
            all.push((schema, table.name.clone(), Arc::new(KeptProvider::new(table)?), key));
        }
        if let Some(table) = (self.enriched)() {
            let provider = EnrichedProvider::new(&table, &state.handle.ingest, &state.tables)?;
            all.push((SHOP, table.name, Arc::new(provider), table.key));
        }
        for table in ServiceTable::ALL {
            let provider = Arc::new(ServiceProvider::new(table, state));
            all.push((MILLSTREAM, table.name().to_owned(), provider, Vec::new()));
        }
        Ok(all)
    }
}
