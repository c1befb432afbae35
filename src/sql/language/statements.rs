//! Which statements are taken: those that read, and those that are about the session.

use datafusion::common::Result as QueryResult;
use datafusion::sql::parser::Statement as AnyStatement;
use datafusion::sql::sqlparser::ast::{Query, SetExpr, Statement};

use super::rewrite::statements;
use crate::sql::sql_state::QueryProblem;

/// What a text asks for.
pub(crate) enum Asked {
    /// One query.
    Query(Box<AnyStatement>),
    /// A statement that is not a query.
    Other,
    Nothing,
}

/// What a text of one statement asks for.
pub(crate) fn asked(sql: &str) -> QueryResult<Asked> {
    let mut statements = statements(sql)?;
    if statements.len() > 1 {
        let found = format!("found {} statements, wanted one", statements.len());
        return Err(QueryProblem::new(QueryProblem::SYNTAX, found).into());
    }
    Ok(match statements.pop() {
        None => Asked::Nothing,
        Some(statement) if reads(&statement) => Asked::Query(Box::new(AnyStatement::Statement(Box::new(statement)))),
        Some(_) => Asked::Other,
    })
}

/// True if a statement is a query.
pub(crate) fn reads(statement: &Statement) -> bool {
    match statement {
        Statement::Query(query) => only_reads(query),
        Statement::Explain { statement, .. } => reads(statement),
        _ => false,
    }
}

/// True if a statement is about the session, and other hooks than that of the session answer it.
pub(crate) fn is_of_session(statement: &Statement) -> bool {
    match statement {
        Statement::Prepare { statement, .. } => reads(statement),
        Statement::Set(_)
        | Statement::ShowVariable { .. }
        | Statement::ShowStatus { .. }
        | Statement::ShowCatalogs { .. }
        | Statement::StartTransaction { .. }
        | Statement::Declare { .. }
        | Statement::Fetch { .. }
        | Statement::Close { .. }
        | Statement::Execute { .. } => true,
        _ => false,
    }
}

fn only_reads(query: &Query) -> bool {
    match &*query.body {
        SetExpr::Select(select) => select.into.is_none(),
        SetExpr::Query(query) => only_reads(query),
        SetExpr::SetOperation { .. } | SetExpr::Values(_) | SetExpr::Table(_) => true,
        _ => false,
    }
}

/// The refusal of a statement that would change something.
pub(crate) fn refused(statement: &Statement) -> QueryProblem {
    let text = statement.to_string();
    let words = text.split_whitespace().take_while(|word| word.bytes().all(|byte| byte.is_ascii_uppercase()));
    let verb = words.take(2).collect::<Vec<_>>().join(" ");
    QueryProblem::new(QueryProblem::READ_ONLY, format!("cannot execute {verb} in a read-only transaction"))
        .with_hint("Tables follow from orders, products and customers; these come in by the sources of the service.")
}
