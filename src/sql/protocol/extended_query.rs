//! The extended protocol: statements that are prepared, bound and executed.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::sql::sqlparser::ast::Statement;
use datafusion_postgres::Parser;
use futures_util::{Sink, SinkExt};
use pgwire::api::portal::{Portal, PortalExecutionState};
use pgwire::api::query::ExtendedQueryHandler;
use pgwire::api::results::{DescribePortalResponse, DescribeStatementResponse, FieldInfo, Response};
use pgwire::api::stmt::StoredStatement;
use pgwire::api::store::{Entry, MemPortalStore, PortalStore};
use pgwire::api::{ClientInfo, ClientPortalStore, DEFAULT_NAME, Type};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::extendedquery::{Bind, BindComplete, Execute, Parse, ParseComplete, Sync as SyncMessage};
use pgwire::messages::response::ReadyForQuery;

use super::array_parameters::unquote;
use super::cancellation::{Stopped, stop, stoppable};
use super::copy::copied;
use super::cursor_hook::{CursorHook, KeptStatement};
use super::planned::{described, planned};
use super::session::{PgSession, forget_failure};
use super::subscribe::Subscribe;
use super::text_values::as_postgresql;
use crate::sql::language::rewrite::{asks_for_types, declare_parameters, statements};
use crate::sql::language::statements::reads;
use crate::sql::sql_state::QueryProblem;

/// The most rows of a portal that are gathered before they are sent.
const ROWS_AT_A_TIME: i32 = 10_000;

#[async_trait]
impl ExtendedQueryHandler for PgSession {
    type Statement = KeptStatement;
    type QueryParser = Parser;

    fn query_parser(&self) -> Arc<Parser> {
        self.service.query_parser()
    }

    async fn on_parse<C>(&self, client: &mut C, message: Parse) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Self::Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let _answering = self.epoch.answering();
        let name = message.name.clone().unwrap_or_else(|| DEFAULT_NAME.to_owned());
        let types: Vec<_> = message.type_oids.iter().map(|oid| Type::from_oid(*oid)).collect();
        match self.kept(client, &message.query, &types).await? {
            Some(kept) => {
                client.portal_store().put_statement(Arc::new(StoredStatement::new(name, kept, types)));
            }
            None => client.portal_store().put_empty_statement(&name),
        }
        client.send(PgWireBackendMessage::ParseComplete(ParseComplete::new())).await?;
        Ok(())
    }

    async fn on_bind<C>(&self, client: &mut C, mut message: Bind) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Self::Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let _answering = self.epoch.answering();
        let name = message.statement_name.as_deref().unwrap_or(DEFAULT_NAME);
        match client.portal_store().get_statement(name) {
            Some(Entry::Value(statement)) => {
                if let (_, Some((_, plan))) = &statement.statement {
                    unquote(&mut message, plan)?;
                }
                client.portal_store().put_portal(Arc::new(Portal::try_new(&message, statement)?));
            }
            Some(Entry::Empty) => {
                client.portal_store().put_empty_portal(message.portal_name.as_deref().unwrap_or(DEFAULT_NAME));
            }
            None => return Err(PgWireError::StatementNotFound(name.to_owned())),
        }
        client.send(PgWireBackendMessage::BindComplete(BindComplete::new())).await?;
        Ok(())
    }

    async fn on_execute<C>(&self, client: &mut C, message: Execute) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Self::Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let _answering = self.epoch.answering();
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        if let Some(Entry::Value(portal)) = client.portal_store().get_portal(name) {
            match &portal.statement.statement {
                (_, Some((statement, _))) => {
                    forget_failure(client, statement);
                    let is_begun = !matches!(*portal.state().lock().await, PortalExecutionState::Initial);
                    let has_rows = reads(statement) || copied(statement).is_some();
                    if message.max_rows == 0 && has_rows && !is_begun {
                        return self.execute_all(client, &portal).await;
                    }
                }
                (query, None) => {
                    if let Some(subscribe) = Subscribe::parse(query) {
                        return self.subscribe(client, subscribe?).await;
                    }
                }
            }
        }
        // A client that asks for more than these at a time is told that there are more.
        let max_rows = message.max_rows.min(ROWS_AT_A_TIME);
        self._on_execute(client, Execute::new(message.name, max_rows)).await
    }

    async fn on_sync<C>(&self, client: &mut C, _: SyncMessage) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Self::Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let _answering = self.epoch.answering();
        client.portal_store().rm_portal(DEFAULT_NAME);
        if self.epoch.end_if_idle(client)
            && let Some(portals) = client.portal_store().as_any().downcast_ref::<MemPortalStore<KeptStatement>>()
        {
            CursorHook::end_transaction(&self.epoch, portals, true);
        }
        let ready = ReadyForQuery::new(client.transaction_status());
        client.send(PgWireBackendMessage::ReadyForQuery(ready)).await?;
        Ok(())
    }

    async fn do_describe_statement<C>(
        &self,
        client: &mut C,
        target: &StoredStatement<Self::Statement>,
    ) -> PgWireResult<DescribeStatementResponse>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Self::Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        match self.fetched(client, &target.statement)? {
            Some(fields) => Ok(DescribeStatementResponse::new(Vec::new(), fields)),
            None => {
                let response = self.service.do_describe_statement(client, target).await?;
                let DescribeStatementResponse { mut parameters, fields, .. } = response;
                if asks_for_types(&target.statement.0) {
                    parameters = vec![Type::OID_ARRAY];
                }
                Ok(DescribeStatementResponse::new(parameters, as_planned(fields, &target.statement)))
            }
        }
    }

    async fn do_describe_portal<C>(
        &self,
        client: &mut C,
        target: &Portal<Self::Statement>,
    ) -> PgWireResult<DescribePortalResponse>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Self::Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        match self.fetched(client, &target.statement.statement)? {
            Some(fields) => Ok(DescribePortalResponse::new(fields)),
            None => {
                let DescribePortalResponse { fields, .. } = self.service.do_describe_portal(client, target).await?;
                Ok(DescribePortalResponse::new(as_planned(fields, &target.statement.statement)))
            }
        }
    }

    async fn do_query<C>(
        &self,
        client: &mut C,
        portal: &Portal<Self::Statement>,
        max_rows: usize,
    ) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Self::Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let deadline = self.deadline(client);
        let begun = ExtendedQueryHandler::do_query(&self.service, client, portal, max_rows);
        let response = tokio::time::timeout_at(deadline, begun).await.map_err(|_| Stopped::ByTimeout)??;
        let response = match response {
            Response::Query(rows) if rows.command_tag == "SELECT" => Response::Query(as_postgresql(rows)),
            Response::TransactionEnd(_) => {
                self.epoch.begin();
                response
            }
            response => response,
        };
        Ok(stoppable(response, &stop(client, Some(deadline)).await))
    }
}

impl PgSession {
    /// A text as sessions keep it: rewritten and planned; `None` if there is nothing in it.
    async fn kept<C>(&self, client: &C, text: &str, types: &[Option<Type>]) -> PgWireResult<Option<KeptStatement>>
    where
        C: ClientInfo + Send + Sync,
    {
        if let Some(subscribe) = Subscribe::parse(text) {
            // What it sends begins when it is executed.
            return subscribe.map(|_| Some((text.to_owned(), None)));
        }
        let mut statements = statements(text)?;
        if statements.len() > 1 {
            let message = "cannot insert multiple commands into a prepared statement";
            return Err(QueryProblem::new(QueryProblem::SYNTAX, message).into());
        }
        let Some(mut statement) = statements.pop() else { return Ok(None) };
        let types: Vec<_> = types.iter().map(|of_type| of_type.clone().unwrap_or(Type::UNKNOWN)).collect();
        declare_parameters(&mut statement, &types);
        for hook in &self.hooks {
            if let Some(plan) = hook.handle_extended_parse_query(&statement, &self.context, client).await {
                return Ok(Some((text.to_owned(), Some((statement, plan?)))));
            }
        }
        let plan = planned(&self.context, &statement).await?;
        Ok(Some((text.to_owned(), Some((statement, plan)))))
    }
}

/// The columns of a statement, as its plan describes them.
fn as_planned(fields: Vec<FieldInfo>, statement: &KeptStatement) -> Vec<FieldInfo> {
    match statement {
        // It has parameters, but no rows.
        (_, Some((Statement::Declare { .. }, _))) => Vec::new(),
        (_, Some((_, plan))) => described(fields, plan.schema(), false),
        _ => fields,
    }
}
