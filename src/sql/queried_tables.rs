//! The tables that queries read, with the catalog that describes them and the functions that there are.

use std::sync::Arc;

use datafusion::catalog::view::ViewTable;
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, TableProvider};
use datafusion::common::{DataFusionError, Result as QueryResult};
use datafusion::config::Dialect;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::ScalarUDF;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_pg_catalog::pg_catalog::setup_pg_catalog;

use super::catalog::comments::comment;
use super::catalog::fixed_schema::FixedSchema;
use super::catalog::functions;
use super::catalog::information_schema::information_schema;
use super::catalog::tables::{CatalogTables, CatalogTexts, DATABASE, DescribedTable, MILLSTREAM, SHOP};
use super::language::bounded_functions::bound_functions;
use super::language::format_function::FormatFunction;
use super::language::interval_product::IntervalProduct;
use super::language::time_zones::TimezoneFunction;
use super::sql_state::QueryProblem;
use super::views::{PlannedViews, View, ViewInfo};
use super::yielding_joins::YieldingJoins;

/// A table that queries read.
pub(super) struct QueriedTable {
    /// The schema that it is in.
    pub(super) schema: &'static str,
    pub(super) name: String,
    pub(super) rows: Arc<dyn TableProvider>,
    /// The columns of the primary key; none if there is none.
    pub(super) key: Vec<String>,
}

/// What all sessions share.
pub(super) struct QueriedTables {
    pub(super) state: SessionState,
    pub(super) views: PlannedViews,
}

/// What is said of each view.
const VIEW: &str = "A view: computed from the tables when it is read, and not kept up to date.";

impl QueriedTables {
    /// Of these tables, and views of them; a query runs on so many cores. A view that can't be planned is an error when
    /// it is read.
    pub(super) async fn new(
        tables: Vec<QueriedTable>,
        views: &[View],
        environment: &Arc<RuntimeEnv>,
        cores: usize,
    ) -> QueryResult<QueriedTables> {
        let context = context(environment, cores);
        let catalog = Arc::new(MemoryCatalogProvider::new());
        context.register_catalog(DATABASE, Arc::clone(&catalog) as _);
        let (mut shop, mut service, mut described) = (FixedSchema::default(), FixedSchema::default(), Vec::new());
        for QueriedTable { schema, name, rows, key } in tables {
            let (comment, columns) = (comment(&name).to_owned(), rows.schema());
            described.push(DescribedTable { schema, name: name.clone(), columns, key, comment, view: None });
            let tables = if schema == SHOP { &mut shop } else { &mut service };
            tables.tables.insert(name, rows);
        }
        catalog.register_schema(MILLSTREAM, Arc::new(service))?;
        catalog.register_schema(SHOP, Arc::new(shop.clone()))?;
        setup_pg_catalog(&context, DATABASE, EmptyContextProvider).map_err(|error| *error)?;
        bound_functions(&context);
        context.register_udf(ScalarUDF::from(FormatFunction::default()));
        context.register_udf(ScalarUDF::from(IntervalProduct::default()));
        context.register_udf(ScalarUDF::from(TimezoneFunction::default()));
        // Views may call the functions, which then describe the views, too.
        functions::register(&context, CatalogTexts::of(&described)).await?;
        let views = plan_views(&context, &catalog, shop, views, &mut described).await?;
        let others = catalog.schema("pg_catalog").ok_or_else(|| DataFusionError::Internal("no pg_catalog".into()))?;
        let own_catalog = Arc::new(CatalogTables::new(others, &described).await?);
        functions::register_tables(&context, &own_catalog);
        catalog.register_schema("pg_catalog", own_catalog)?;
        catalog.register_schema("information_schema", Arc::new(information_schema(&described)?))?;
        functions::register(&context, CatalogTexts::of(&described)).await?;
        Ok(QueriedTables { state: context.state(), views })
    }
}

/// A context without tables, whose queries read and compute as those of PostgreSQL.
fn context(environment: &Arc<RuntimeEnv>, cores: usize) -> SessionContext {
    let mut config = SessionConfig::new().with_information_schema(false);
    config = config.with_default_catalog_and_schema(DATABASE, SHOP).with_create_default_catalog_and_schema(false);
    let options = config.options_mut();
    // A number with a point is exact.
    options.sql_parser.parse_float_as_decimal = true;
    options.sql_parser.dialect = Dialect::PostgreSQL;
    options.execution.time_zone = Some("UTC".to_owned());
    options.execution.target_partitions = cores;
    let state = SessionStateBuilder::new_with_default_features()
        .with_config(config)
        .with_runtime_env(Arc::clone(environment))
        .with_physical_optimizer_rule(Arc::new(YieldingJoins));
    SessionContext::new_with_state(state.build())
}

/// Adds views to the tables: each that reads only what is there by then, until none is left that does.
async fn plan_views(
    context: &SessionContext,
    catalog: &MemoryCatalogProvider,
    mut shop: FixedSchema,
    views: &[View],
    described: &mut Vec<DescribedTable>,
) -> QueryResult<PlannedViews> {
    let (mut waiting, mut readable): (Vec<&View>, _) = (views.iter().collect(), Vec::new());
    loop {
        let (before, mut unreadable) = (waiting.len(), Vec::new());
        let mut left = Vec::new();
        for view in waiting {
            match planned(view, context).await {
                Ok((table, info)) => {
                    let (name, columns, comment) = (view.name.clone(), table.schema(), VIEW.to_owned());
                    let (schema, key, view_query) = (SHOP, Vec::new(), Some(view.query.clone()));
                    described.push(DescribedTable { schema, name, columns, key, comment, view: view_query });
                    readable.push(info);
                    shop.tables.insert(view.name.clone(), table);
                    catalog.register_schema(SHOP, Arc::new(shop.clone()))?;
                }
                Err(QueryProblem { code, message, hint }) => {
                    let message = format!("view {}: {message}", view.name);
                    unreadable.push((view.name.clone(), QueryProblem { code, message, hint }));
                    left.push(view);
                }
            }
        }
        if left.len() < before {
            waiting = left;
            continue;
        }
        for (_, problem) in &unreadable {
            tracing::warn!("views: {problem}");
        }
        shop.unreadable = unreadable.iter().cloned().collect();
        catalog.register_schema(SHOP, Arc::new(shop))?;
        return Ok(PlannedViews { readable, unreadable });
    }
}

async fn planned(view: &View, context: &SessionContext) -> Result<(Arc<ViewTable>, ViewInfo), QueryProblem> {
    let table = view.plan(context).await.map_err(|error| QueryProblem::of(&error))?;
    let info = view.info(&table).map_err(|error| QueryProblem::new(QueryProblem::INTERNAL, error.to_string()))?;
    Ok((table, info))
}
