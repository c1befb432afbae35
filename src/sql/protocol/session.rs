//! A session of a client that speaks PostgreSQL's protocol.
//!
//! | message | here | by `pgwire` and `datafusion-postgres` |
//! |---|---|---|
//! | `Query` | each statement is answered before the next one, also as to transactions | encoding, sending |
//! | `Parse` | the statement is rewritten and planned | types of parameters |
//! | `Bind`, `Describe` | arrays as texts, the columns of `FETCH` | everything else |
//! | `Execute` | rows are sent as they come, if all are asked for | values of parameters, portals with a fetch size |
//! | `Sync` | what was read is let go | the answer |
//!
//! A statement goes through the hooks in their order, and is planned by DataFusion if none of them answers it: cursors
//! ([`CursorHook`]), the session ([`SessionHook`], which also refuses what changes something, and everything in a
//! transaction that has failed), transactions, `FETCH` and `CLOSE`, `SET` and `SHOW`.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::ast::Statement;
use datafusion_postgres::hooks::cursor::CursorStatementHook;
use datafusion_postgres::hooks::set_show::SetShowHook;
use datafusion_postgres::hooks::transactions::TransactionStatementHook;
use datafusion_postgres::{DfSessionService, QueryHook};
use futures_util::{Sink, SinkExt, StreamExt, stream};
use pgwire::api::portal::Portal;
use pgwire::api::query::{
    ExtendedQueryHandler, SimpleQueryHandler, send_execution_response, send_query_response, send_ready_for_query,
};
use pgwire::api::results::{CopyResponse, FieldInfo, QueryResponse, Response, Tag};
use pgwire::api::store::{Entry, PortalStore};
use pgwire::api::{ClientInfo, ClientPortalStore, PgWireConnectionState};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::copy::{CopyDone, CopyOutResponse};
use pgwire::messages::response::{EmptyQueryResponse, TransactionStatus};
use pgwire::messages::simplequery::Query;
use pgwire::types::format::FormatOptions;
use tokio::time::Instant;

use super::cancellation::{Stopped, cancelled, stop, stoppable};
use super::copy::messages_without_rows;
use super::cursor_hook::{CursorHook, KeptStatement};
use super::planned::{planned, text_columns, text_rows};
use super::session_hook::SessionHook;
use super::subscribe::Subscribe;
use crate::sql::engine::QuerySession;
use crate::sql::language::rewrite::statements;
use crate::sql::sql_state::QueryProblem;
use crate::sql::tables::read_epoch::SessionEpoch;
use crate::sql::tables::service::ServiceState;

/// A session.
pub(crate) struct PgSession {
    /// Answers the extended protocol, once a statement is planned.
    pub(super) service: DfSessionService,
    pub(super) hooks: Vec<Arc<dyn QueryHook>>,
    pub(super) context: Arc<SessionContext>,
    pub(crate) epoch: Arc<SessionEpoch>,
    pub(super) state: Arc<ServiceState>,
    pub(crate) timeout: Duration,
}

impl PgSession {
    pub(crate) fn new(session: QuerySession) -> PgSession {
        let QuerySession { context, epoch, state, timeout } = session;
        let hooks: Vec<Arc<dyn QueryHook>> = vec![
            Arc::new(CursorHook { epoch: Arc::clone(&epoch) }),
            Arc::new(SessionHook),
            Arc::new(TransactionStatementHook),
            Arc::new(CursorStatementHook),
            Arc::new(SetShowHook),
        ];
        let service = DfSessionService::new_with_hooks(Arc::clone(&context), hooks.clone());
        PgSession { service, hooks, context, epoch, state, timeout }
    }

    /// When a statement of now must end.
    pub(super) fn deadline(&self, client: &impl ClientInfo) -> Instant {
        Instant::now() + set_timeout(client).unwrap_or(self.timeout)
    }

    /// Answers one statement of a text.
    async fn respond<C>(&self, client: &mut C, statement: &Statement) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        for hook in &self.hooks {
            if let Some(response) = hook.handle_simple_query(statement, &self.context, client).await {
                return response;
            }
        }
        let failed = |error| PgWireError::ApiError(Box::new(error));
        let plan = planned(&self.context, statement).await?;
        let rows = self.context.execute_logical_plan(plan).await.map_err(failed)?;
        text_rows(rows, Some(FormatOptions::from_client_metadata(client.metadata()))).await.map(Response::Query)
    }

    /// Answers the statements of a text, each before the next one.
    async fn answer_all<C>(&self, client: &mut C, text: &str) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let statements = statements(text)?;
        if statements.is_empty() {
            client.feed(PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new())).await?;
        }
        for statement in &statements {
            self.answer(client, statement).await?;
        }
        Ok(())
    }

    /// Answers one statement of a text, and sends the answer.
    async fn answer<C>(&self, client: &mut C, statement: &Statement) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        forget_failure(client, statement);
        let (cancelled, deadline) = (cancelled(client).await, self.deadline(client));
        let response = tokio::select! {
            biased;
            () = cancelled => return Err(Stopped::ByUser.into()),
            () = tokio::time::sleep_until(deadline) => return Err(Stopped::ByTimeout.into()),
            response = self.respond(client, statement) => response?,
        };
        let stop = stop(client, Some(deadline)).await;
        match stoppable(response, &stop) {
            Response::Query(rows) => send_query_response(client, rows, true).await,
            Response::CopyOut(rows) => send_copied(client, rows, messages_without_rows(statement)).await,
            Response::Execution(tag) => send_execution_response(client, tag).await,
            Response::TransactionStart(tag) => {
                client.set_transaction_status(TransactionStatus::Transaction);
                send_execution_response(client, tag).await
            }
            Response::TransactionEnd(tag) => {
                client.set_transaction_status(TransactionStatus::Idle);
                self.epoch.begin();
                send_execution_response(client, tag).await
            }
            Response::EmptyQuery => Ok(()),
            _ => Err(QueryProblem::new(QueryProblem::INTERNAL, "an answer of an unknown kind").into()),
        }
    }

    /// Executes a query, and sends its rows as they come. By itself, `pgwire` would gather them all before.
    pub(super) async fn execute_all<C>(&self, client: &mut C, portal: &Portal<KeptStatement>) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = KeptStatement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let cancelled = cancelled(client).await;
        let response = tokio::select! {
            biased;
            () = cancelled => return Err(Stopped::ByUser.into()),
            response = ExtendedQueryHandler::do_query(self, client, portal, 0) => response?,
        };
        match response {
            Response::Query(rows) => send_query_response(client, rows, false).await?,
            Response::CopyOut(rows) => {
                let others = match &portal.statement.statement {
                    (_, Some((statement, _))) => messages_without_rows(statement),
                    _ => 0,
                };
                send_copied(client, rows, others).await?;
            }
            _ => return Err(QueryProblem::new(QueryProblem::INTERNAL, "a query without rows").into()),
        }
        // If it is executed again, there are no more.
        portal.start(QueryResponse::new(Arc::default(), stream::empty())).await;
        Ok(())
    }

    /// The columns of what a statement fetches from a cursor; `None` if it does not.
    pub(super) fn fetched<C>(&self, client: &C, statement: &KeptStatement) -> PgWireResult<Option<Vec<FieldInfo>>>
    where
        C: ClientPortalStore,
        C::PortalStore: PortalStore<Statement = KeptStatement>,
    {
        let (_, Some((Statement::Fetch { name, .. }, _))) = statement else { return Ok(None) };
        match client.portal_store().get_portal(&name.value) {
            Some(Entry::Value(cursor)) => match &cursor.statement.statement {
                (_, Some((_, plan))) => text_columns(plan).map(Some),
                _ => Ok(None),
            },
            _ => Ok(None),
        }
    }

    /// Sends what a client subscribes to, until it cancels that.
    pub(super) async fn subscribe<C>(&self, client: &mut C, subscribe: Subscribe) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        if client.transaction_status() != TransactionStatus::Idle {
            let message = "SUBSCRIBE can't run in a transaction, which reads one epoch";
            return Err(QueryProblem::new(QueryProblem::ACTIVE_TRANSACTION, message).into());
        }
        let deadline = set_timeout(client).map(|timeout| Instant::now() + timeout);
        let mut stop = stop(client, deadline).await;
        tokio::select! {
            sent = subscribe.send(client, &self.state.tables, self.state.epochs.clone()) => sent,
            stopped = &mut stop => Err(stopped.into()),
        }
    }
}

/// Sends what is copied, in a message for each row and some others. `pgwire` would send a message that only clients may
/// send, if that fails.
pub(super) async fn send_copied<C>(client: &mut C, rows: CopyResponse, others: usize) -> PgWireResult<()>
where
    C: Sink<PgWireBackendMessage> + Unpin + Send,
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    let formats = rows.column_formats();
    let columns = i16::try_from(rows.columns).unwrap_or(i16::MAX);
    let CopyResponse { format, mut data_stream, .. } = rows;
    let begun = CopyOutResponse::new(format, columns, formats);
    client.feed(PgWireBackendMessage::CopyOutResponse(begun)).await?;
    let mut count = 0_usize;
    while let Some(line) = data_stream.next().await {
        client.feed(PgWireBackendMessage::CopyData(line?)).await?;
        count += 1;
    }
    client.feed(PgWireBackendMessage::CopyDone(CopyDone::new())).await?;
    client
        .feed(PgWireBackendMessage::CommandComplete(Tag::new("COPY").with_rows(count.saturating_sub(others)).into()))
        .await?;
    Ok(())
}

/// How long statements may run, if the session says.
fn set_timeout(client: &impl ClientInfo) -> Option<Duration> {
    client.metadata().get("statement_timeout_ms").and_then(|ms| ms.parse().ok()).map(Duration::from_millis)
}

/// `ROLLBACK TO SAVEPOINT` clears the failed state of a transaction; reads have nothing to undo.
pub(super) fn forget_failure(client: &mut impl ClientInfo, statement: &Statement) {
    let is_back = matches!(statement, Statement::Rollback { savepoint: Some(_), .. });
    if is_back && client.transaction_status() == TransactionStatus::Error {
        client.set_transaction_status(TransactionStatus::Transaction);
    }
}

#[async_trait]
impl SimpleQueryHandler for PgSession {
    async fn on_query<C>(&self, client: &mut C, query: Query) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let _answering = self.epoch.answering();
        if let Some(subscribe) = Subscribe::parse(&query.query) {
            self.subscribe(client, subscribe?).await?;
            return send_ready_for_query(client, TransactionStatus::Idle).await;
        }
        client.set_state(PgWireConnectionState::QueryInProgress);
        self.epoch.end_if_idle(client);
        let answered = self.answer_all(client, &query.query).await;
        // Also after an error, which ends a statement that is no part of a transaction.
        self.epoch.end_if_idle(client);
        answered?;
        client.set_state(PgWireConnectionState::ReadyForQuery);
        send_ready_for_query(client, client.transaction_status()).await
    }

    /// Not called: each statement of a text is [answered](PgSession::answer) before the next one.
    async fn do_query<C>(&self, _: &mut C, _: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        Err(QueryProblem::new(QueryProblem::INTERNAL, "a text that was not split into statements").into())
    }
}
