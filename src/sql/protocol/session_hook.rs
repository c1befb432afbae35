//! Statements about the session, which clients send without being asked to.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{ParamValues, ToDFSchema};
use datafusion::logical_expr::{EmptyRelation, LogicalPlan};
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::ast::{Reset, ResetStatement, Set, Statement};
use datafusion_postgres::QueryHook;
use datafusion_postgres::hooks::HookClient;
use futures_util::stream;
use pgwire::api::results::{DataRowEncoder, FieldFormat, FieldInfo, QueryResponse, Response, Tag};
use pgwire::api::store::PortalStore;
use pgwire::api::{ClientInfo, Type};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::response::TransactionStatus;

use super::copy::{copied, copy_out};
use crate::sql::catalog::settings::SETTINGS;
use crate::sql::language::statements::{is_of_session, reads, refused};
use crate::sql::language::time_zones::zone_of;
use crate::sql::sql_state::QueryProblem;

/// Answers what the other hooks do not know, or would answer as if this were another server, and refuses what changes
/// something.
#[derive(Debug)]
pub(crate) struct SessionHook;

/// What a statement does that is of the session.
enum OfSession {
    Done(&'static str),
    Shown(&'static str, &'static str),
}

fn of_session(statement: &Statement, is_failed: bool) -> Option<Result<OfSession, PgWireError>> {
    use OfSession::{Done, Shown};
    let done = match statement {
        // What has failed is forgotten before.
        Statement::Rollback { savepoint: Some(_), .. } => Done("ROLLBACK"),
        Statement::Commit { chain: false, .. } | Statement::Rollback { chain: false, .. } => return None,
        _ if is_failed => {
            let message = "current transaction is aborted, commands ignored until end of transaction block";
            return Some(Err(QueryProblem::new(QueryProblem::FAILED_TRANSACTION, message).into()));
        }
        Statement::Savepoint { .. } => Done("SAVEPOINT"),
        Statement::ReleaseSavepoint { .. } => Done("RELEASE"),
        Statement::Deallocate { .. } => Done("DEALLOCATE"),
        Statement::Commit { chain: true, .. } | Statement::Rollback { chain: true, .. } => {
            let problem = QueryProblem::new(QueryProblem::FEATURE_NOT_SUPPORTED, "AND CHAIN is not supported");
            return Some(Err(problem.into()));
        }
        Statement::Discard { .. } => Done("DISCARD ALL"),
        Statement::Reset(_) => Done("RESET"),
        Statement::UNLISTEN { .. } => Done("UNLISTEN"),
        Statement::ShowVariable { variable } => {
            let name = variable.iter().map(|word| word.value.to_lowercase()).collect::<Vec<_>>().join(" ");
            let name = if name == "time zone" { "timezone".to_owned() } else { name };
            match SETTINGS.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(&name)) {
                Some((name, value)) if name.contains(' ') => Shown("transaction_isolation", value),
                Some((name, value)) => Shown(name, value),
                None => {
                    let message = format!("unrecognized configuration parameter \"{name}\"");
                    return Some(Err(QueryProblem::new("42704", message).into()));
                }
            }
        }
        Statement::Set(Set::SetTimeZone { value, .. }) => {
            let name = value.to_string();
            return zone_of(name.trim_matches(['\'', '"'])).err().map(|error| Err(QueryProblem::of(&error).into()));
        }
        Statement::Set(set) if is_of_engine(set) => {
            let problem = QueryProblem::new("42501", "settings of the engine can't be changed by a session");
            return Some(Err(problem.into()));
        }
        _ if reads(statement) || is_of_session(statement) || copied(statement).is_some() => return None,
        _ => return Some(Err(refused(statement).into())),
    };
    Some(Ok(done))
}

/// True if `SET` is of a variable of DataFusion, such as the memory that all queries share.
fn is_of_engine(set: &Set) -> bool {
    match set {
        Set::SingleAssignment { variable, .. } => variable.to_string().to_lowercase().starts_with("datafusion"),
        Set::SetTimeZone { .. } | Set::SetNames { .. } | Set::SetTransaction { .. } | Set::SetSessionParam(_) => false,
        other => other.to_string().to_lowercase().contains("datafusion"),
    }
}

/// What a session forgets: a statement that it has prepared, or what it has set.
async fn forget(statement: &Statement, context: &SessionContext, client: &mut dyn HookClient) {
    match statement {
        Statement::Deallocate { name, .. } => {
            client.portal_store().rm_statement(&name.value);
            // By one of both protocols it was prepared.
            let _ = context.sql(&statement.to_string()).await;
        }
        Statement::Reset(ResetStatement { reset: Reset::ConfigurationParameter(name) }) => {
            let name = name.to_string().to_lowercase();
            let key = if name == "statement_timeout" { "statement_timeout_ms" } else { &name };
            client.metadata_mut().remove(key);
        }
        Statement::Discard { .. } | Statement::Reset(_) => {
            client.metadata_mut().remove("statement_timeout_ms");
            for (name, _) in SETTINGS {
                client.metadata_mut().remove(&name.to_lowercase());
            }
        }
        _ => (),
    }
}

#[async_trait]
impl QueryHook for SessionHook {
    async fn handle_simple_query(
        &self,
        statement: &Statement,
        context: &SessionContext,
        client: &mut dyn HookClient,
    ) -> Option<PgWireResult<Response>> {
        let is_failed = client.transaction_status() == TransactionStatus::Error;
        if let Some(copied) = copied(statement).filter(|_| !is_failed) {
            return Some(match copied {
                Ok((query, format)) => copy_out(context, &query, format).await,
                Err(error) => Err(error),
            });
        }
        let of_session = of_session(statement, is_failed)?;
        forget(statement, context, client).await;
        Some(match of_session {
            Ok(OfSession::Done(tag)) => Ok(Response::Execution(Tag::new(tag))),
            Ok(OfSession::Shown(name, value)) => shown(name, set(client, name).as_deref().unwrap_or(value)),
            Err(error) => Err(error),
        })
    }

    async fn handle_extended_parse_query(
        &self,
        statement: &Statement,
        _: &SessionContext,
        _: &(dyn ClientInfo + Send + Sync),
    ) -> Option<PgWireResult<LogicalPlan>> {
        let of_session = match copied(statement) {
            Some(_) => Some(Ok(OfSession::Done("COPY"))),
            None => of_session(statement, false),
        };
        let columns = match of_session? {
            Ok(OfSession::Shown(name, _)) => vec![Field::new(name, DataType::Utf8, false)],
            Ok(_) => Vec::new(),
            Err(error) => return Some(Err(error)),
        };
        let plan = Schema::new(columns).to_dfschema().map(|schema| {
            LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: false, schema: Arc::new(schema) })
        });
        Some(plan.map_err(|error| PgWireError::ApiError(Box::new(error))))
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

/// What a session has set; `None` if it has not.
fn set(client: &dyn HookClient, name: &str) -> Option<String> {
    if name == "statement_timeout" {
        return client.metadata().get("statement_timeout_ms").map(|ms| format!("{ms}ms"));
    }
    // What a client sends when it connects has names in any case, and is not used.
    let set = client.metadata().get(&name.to_lowercase());
    set.map(|value| value.trim_matches(['\'', '"']).to_owned())
}

/// A row of one text.
fn shown(name: &str, value: &str) -> PgWireResult<Response> {
    let field = FieldInfo::new(name.to_owned(), None, None, Type::VARCHAR, FieldFormat::Text);
    let fields = Arc::new(vec![field]);
    let mut row = DataRowEncoder::new(Arc::clone(&fields));
    row.encode_field(&Some(value))?;
    Ok(Response::Query(QueryResponse::new(fields, stream::iter([Ok(row.take_row())]))))
}
