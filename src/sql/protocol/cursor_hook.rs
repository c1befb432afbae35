//! `DECLARE … CURSOR`, whose rows a client fetches some at a time.
//!
//! `FETCH` and `CLOSE` are those of `datafusion-postgres`. Here cursors are declared, so that what is fetched can be
//! described before, and they end with their transaction unless they are held.

use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::common::{DFSchema, ParamValues};
use datafusion::logical_expr::{EmptyRelation, LogicalPlan};
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::ast::{CloseCursor, Declare, DeclareType, FetchDirection, Statement};
use datafusion_postgres::QueryHook;
use datafusion_postgres::hooks::HookClient;
use futures_util::stream::{self, TryStreamExt};
use pgwire::api::ClientInfo;
use pgwire::api::portal::Portal;
use pgwire::api::results::{QueryResponse, Response, Tag};
use pgwire::api::stmt::StoredStatement;
use pgwire::api::store::{Entry, MemPortalStore, PortalStore};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::response::TransactionStatus;

use super::planned::{planned, text_columns, text_rows};
use crate::sql::language::statements::{reads, refused};
use crate::sql::sql_state::QueryProblem;
use crate::sql::tables::held_cursors::HeldCursors;
use crate::sql::tables::read_epoch::SessionEpoch;

/// A statement as sessions keep it: its text, and its plan if it has one.
pub(crate) type KeptStatement = (String, Option<(Statement, LogicalPlan)>);

/// Declares cursors, and closes them when their transaction ends, unless they are to be held.
pub(crate) struct CursorHook {
    pub(crate) epoch: Arc<SessionEpoch>,
}

impl CursorHook {
    /// Closes the cursors that end with a transaction.
    pub(crate) fn end_transaction(epoch: &SessionEpoch, portals: &MemPortalStore<KeptStatement>, is_committed: bool) {
        let names = epoch.held(|held| held.end_transaction(is_committed));
        let left: Vec<_> = names.iter().filter_map(|name| cursor_of(portals, name)).collect();
        portals.clear_portals();
        left.into_iter().for_each(|cursor| portals.put_portal(cursor));
    }
}

fn cursor_of(portals: &MemPortalStore<KeptStatement>, name: &str) -> Option<Arc<Portal<KeptStatement>>> {
    match portals.get_portal(name) {
        Some(Entry::Value(cursor)) => Some(cursor),
        _ => None,
    }
}

impl Debug for CursorHook {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("CursorHook")
    }
}

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
                Some(declare(client, stmts, context, &self.epoch, None).await)
            }
            Statement::Fetch { name, direction, .. } if client.transaction_status() != TransactionStatus::Error => {
                let most = match direction {
                    FetchDirection::All | FetchDirection::ForwardAll => usize::MAX,
                    FetchDirection::Next | FetchDirection::Forward { limit: None } => 1,
                    FetchDirection::Count { limit } | FetchDirection::Forward { limit: Some(limit) } => {
                        limit.to_string().parse().ok()?
                    }
                    _ => return None,
                };
                cursor_of(client.portal_store(), &name.value).map(|cursor| fetch(&cursor, most))
            }
            Statement::Close { cursor } if client.transaction_status() != TransactionStatus::Error => {
                Some(close(client, cursor, &self.epoch))
            }
            Statement::Rollback { savepoint: None, .. } => {
                CursorHook::end_transaction(&self.epoch, client.portal_store(), false);
                None
            }
            Statement::Commit { .. } => {
                let is_committed = client.transaction_status() != TransactionStatus::Error;
                CursorHook::end_transaction(&self.epoch, client.portal_store(), is_committed);
                None
            }
            Statement::Discard { .. } => {
                self.epoch.held(|held| *held = HeldCursors::default());
                client.portal_store().clear_portals();
                None
            }
            _ => None,
        }
    }

    /// The plan of what a cursor is declared for, which says of which types its parameters are.
    async fn handle_extended_parse_query(
        &self,
        statement: &Statement,
        context: &SessionContext,
        _: &(dyn ClientInfo + Send + Sync),
    ) -> Option<PgWireResult<LogicalPlan>> {
        let Statement::Declare { stmts } = statement else { return None };
        match &stmts[..] {
            [Declare { for_query: Some(query), .. }] => Some(planned(context, &Statement::Query(query.clone())).await),
            _ => {
                let schema = Arc::new(DFSchema::empty());
                Some(Ok(LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: false, schema })))
            }
        }
    }

    async fn handle_extended_query(
        &self,
        statement: &Statement,
        plan: &LogicalPlan,
        parameters: &ParamValues,
        context: &SessionContext,
        client: &mut dyn HookClient,
    ) -> Option<PgWireResult<Response>> {
        match statement {
            Statement::Declare { stmts } if client.transaction_status() != TransactionStatus::Error => {
                let plan = plan.clone().replace_params_with_values(parameters);
                let plan = plan.map_err(|error| PgWireError::ApiError(Box::new(error)));
                Some(match plan {
                    Ok(plan) => declare(client, stmts, context, &self.epoch, Some(plan)).await,
                    Err(error) => Err(error),
                })
            }
            _ => self.handle_simple_query(statement, context, client).await,
        }
    }
}

fn close(client: &mut dyn HookClient, cursor: &CloseCursor, epoch: &SessionEpoch) -> PgWireResult<Response> {
    match cursor {
        CloseCursor::All => {
            epoch.held(|held| *held = HeldCursors::default());
            client.portal_store().clear_portals();
        }
        CloseCursor::Specific { name } => {
            if cursor_of(client.portal_store(), &name.value).is_none() {
                let message = format!("cursor \"{}\" does not exist", name.value);
                return Err(QueryProblem::new("34000", message).into());
            }
            epoch.held(|held| held.close(&name.value));
            client.portal_store().rm_portal(&name.value);
        }
    }
    Ok(Response::Execution(Tag::new("CLOSE CURSOR")))
}

/// Batch size of `FETCH`.
const AT_A_TIME: usize = 1000;

/// The next rows of a cursor, at most so many, as they come.
fn fetch(cursor: &Arc<Portal<KeptStatement>>, most: usize) -> PgWireResult<Response> {
    let (_, Some((_, plan))) = &cursor.statement.statement else { return Err(PgWireError::PortalNotStarted) };
    let fields = text_columns(plan)?;
    let rows = stream::try_unfold((Some(Arc::clone(cursor)), most), |(cursor, left)| async move {
        let Some(cursor) = cursor.filter(|_| left > 0) else { return Ok(None) };
        let next = left.min(AT_A_TIME);
        let fetched = cursor.fetch(next).await?;
        let cursor = fetched.suspended.then_some(cursor);
        Ok::<_, PgWireError>(Some((fetched.response.data_rows, (cursor, left - next))))
    });
    let mut rows = QueryResponse::new(Arc::new(fields), rows.try_flatten());
    rows.set_command_tag("FETCH");
    Ok(Response::Query(rows))
}

async fn declare(
    client: &mut dyn HookClient,
    declared: &[Declare],
    context: &SessionContext,
    epoch: &SessionEpoch,
    known: Option<LogicalPlan>,
) -> PgWireResult<Response> {
    let unsupported = |what: &str| QueryProblem::new(QueryProblem::FEATURE_NOT_SUPPORTED, what);
    let failed = |error| PgWireError::ApiError(Box::new(error));
    let is_held = |cursor: &Declare| cursor.hold == Some(true);
    if client.transaction_status() == TransactionStatus::Idle && !declared.iter().all(is_held) {
        let message = "DECLARE CURSOR can only be used in transaction blocks";
        return Err(QueryProblem::new(QueryProblem::NO_TRANSACTION, message).into());
    }
    for Declare { names, declare_type, binary, hold, for_query, .. } in declared {
        let (Some(name), Some(query), Some(DeclareType::Cursor)) = (names.first(), for_query, declare_type) else {
            return Err(unsupported("DECLARE: wanted DECLARE name CURSOR FOR query").into());
        };
        if cursor_of(client.portal_store(), &name.value).is_some() {
            let message = format!("cursor \"{}\" already exists", name.value);
            return Err(QueryProblem::new("42P03", message).into());
        }
        if binary == &Some(true) {
            return Err(unsupported("a cursor can't be BINARY").into());
        }
        let statement = Statement::Query(query.clone());
        if !reads(&statement) {
            return Err(refused(&statement).into());
        }
        let plan = match &known {
            Some(plan) => plan.clone(),
            None => planned(context, &statement).await?,
        };
        let rows = context.execute_logical_plan(plan.clone()).await.map_err(failed)?;
        let rows = text_rows(rows, None).await?;
        let kept: KeptStatement = (query.to_string(), Some((statement, plan)));
        let statement = StoredStatement::new(name.value.clone(), kept, Vec::new());
        let portal = Portal::new_cursor(name.value.clone(), Arc::new(statement));
        portal.start(rows).await;
        client.portal_store().put_portal(Arc::new(portal));
        if hold == &Some(true) {
            let in_transaction = client.transaction_status() == TransactionStatus::Transaction;
            epoch.held(|held| held.declare(&name.value, in_transaction));
        }
    }
    Ok(Response::Execution(Tag::new("DECLARE CURSOR")))
}
