//! `DECLARE … CURSOR`, whose rows a client fetches some at a time.
//!
//! `FETCH` and `CLOSE` are those of `datafusion-postgres`. Here cursors are declared, so that what is fetched can be
//! described before, and they end with their transaction.

use std::sync::Arc;

use arrow_pg::datatypes::arrow_schema_to_pg_fields;
use async_trait::async_trait;
use datafusion::common::{DFSchema, ParamValues};
use datafusion::logical_expr::{EmptyRelation, LogicalPlan};
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement as AnyStatement;
use datafusion::sql::sqlparser::ast::{Declare, DeclareType, FetchDirection, Statement};
use datafusion_postgres::QueryHook;
use datafusion_postgres::hooks::HookClient;
use futures_util::stream::{self, TryStreamExt};
use pgwire::api::ClientInfo;
use pgwire::api::portal::{Format, Portal};
use pgwire::api::results::{QueryResponse, Response, Tag};
use pgwire::api::stmt::StoredStatement;
use pgwire::api::store::{Entry, PortalStore};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::response::TransactionStatus;

use super::sql_state::QueryProblem;
use super::statements::{reads, refused};

/// A statement as sessions keep it: its text, and its plan if it has one.
pub(super) type KeptStatement = (String, Option<(Statement, LogicalPlan)>);

/// Declares cursors, and closes them when their transaction ends.
#[derive(Debug)]
pub(super) struct CursorHook;

#[async_trait]
impl QueryHook for CursorHook {
    async fn handle_simple_query(
        &self,
        statement: &Statement,
        context: &SessionContext,
        client: &mut dyn HookClient,
    ) -> Option<PgWireResult<Response>> {
        match statement {
            // Otherwise the hook of the session refuses it.
            Statement::Declare { stmts } if client.transaction_status() != TransactionStatus::Error => {
                Some(declare(client, stmts, context).await)
            }
            Statement::Fetch { name, direction, .. } if client.transaction_status() != TransactionStatus::Error => {
                let most = match direction {
                    FetchDirection::All | FetchDirection::ForwardAll => usize::MAX,
                    FetchDirection::Count { limit } | FetchDirection::Forward { limit: Some(limit) } => {
                        limit.to_string().parse().unwrap_or(0)
                    }
                    _ => return None,
                };
                match client.portal_store().get_portal(&name.value) {
                    Some(Entry::Value(cursor)) => Some(fetch(&cursor, most)),
                    _ => None,
                }
            }
            Statement::Commit { .. } | Statement::Rollback { savepoint: None, .. } => {
                client.portal_store().clear_portals();
                None
            }
            _ => None,
        }
    }

    async fn handle_extended_parse_query(
        &self,
        statement: &Statement,
        _: &SessionContext,
        _: &(dyn ClientInfo + Send + Sync),
    ) -> Option<PgWireResult<LogicalPlan>> {
        matches!(statement, Statement::Declare { .. }).then(|| {
            let schema = Arc::new(DFSchema::empty());
            Ok(LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: false, schema }))
        })
    }

    async fn handle_extended_query(
        &self,
        statement: &Statement,
        _: &LogicalPlan,
        _: &ParamValues,
        context: &SessionContext,
        client: &mut dyn HookClient,
    ) -> Option<PgWireResult<Response>> {
        self.handle_simple_query(statement, context, client).await
    }
}

/// Batch size of `FETCH`.
const AT_A_TIME: usize = 1000;

/// The next rows of a cursor, at most so many, as they come.
fn fetch(cursor: &Arc<Portal<KeptStatement>>, most: usize) -> PgWireResult<Response> {
    let (_, Some((_, plan))) = &cursor.statement.statement else { return Err(PgWireError::PortalNotStarted) };
    let fields = arrow_schema_to_pg_fields(plan.schema().as_arrow(), &Format::UnifiedText, None)?;
    let rows = stream::try_unfold((Some(Arc::clone(cursor)), most), |(cursor, left)| async move {
        let Some(cursor) = cursor.filter(|_| left > 0) else { return Ok(None) };
        let next = left.min(AT_A_TIME);
        let fetched = cursor.fetch(next).await?;
        let cursor = fetched.suspended.then_some(cursor);
        Ok::<_, PgWireError>(Some((fetched.response.data_rows, (cursor, left - next))))
    });
    Ok(Response::Query(QueryResponse::new(Arc::new(fields), rows.try_flatten())))
}

async fn declare(
    client: &mut dyn HookClient,
    declared: &[Declare],
    context: &SessionContext,
) -> PgWireResult<Response> {
    let unsupported = |what: &str| QueryProblem::new(QueryProblem::FEATURE_NOT_SUPPORTED, what);
    let failed = |error| PgWireError::ApiError(Box::new(error));
    if client.transaction_status() == TransactionStatus::Idle {
        let message = "DECLARE CURSOR can only be used in transaction blocks";
        return Err(QueryProblem::new(QueryProblem::NO_TRANSACTION, message).into());
    }
    for Declare { names, declare_type, binary, hold, for_query, .. } in declared {
        let (Some(name), Some(query), Some(DeclareType::Cursor)) = (names.first(), for_query, declare_type) else {
            return Err(unsupported("DECLARE: wanted DECLARE name CURSOR FOR query").into());
        };
        if binary == &Some(true) || hold == &Some(true) {
            return Err(unsupported("a cursor can't be BINARY or WITH HOLD").into());
        }
        let statement = Statement::Query(query.clone());
        if !reads(&statement) {
            return Err(refused(&statement).into());
        }
        let kept = AnyStatement::Statement(Box::new(statement.clone()));
        let plan = context.state().statement_to_plan(kept).await.map_err(failed)?;
        let rows = context.execute_logical_plan(plan.clone()).await.map_err(failed)?;
        let rows = arrow_pg::datatypes::df::encode_dataframe(rows, &Format::UnifiedText, None).await?;
        let kept: KeptStatement = (query.to_string(), Some((statement, plan)));
        let statement = StoredStatement::new(name.value.clone(), kept, Vec::new());
        let portal = Portal::new_cursor(name.value.clone(), Arc::new(statement));
        portal.start(rows).await;
        client.portal_store().put_portal(Arc::new(portal));
    }
    Ok(Response::Execution(Tag::new("DECLARE CURSOR")))
}
