//! Views: queries that are given a name, and computed when they are read.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;

use datafusion::catalog::view::ViewTable;
use datafusion::common::Result as QueryResult;
use datafusion::config::ConfigOptions;
use datafusion::execution::context::SessionContext;
use datafusion::optimizer::Analyzer;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;
use datafusion::sql::parser::Statement as AnyStatement;
use datafusion::sql::sqlparser::ast::Statement;

use crate::config::ViewKeys;
use crate::error::{Error, Result};
use crate::sinks::TableInfo;

use super::language::column_names::shown_name;
use super::language::statements::{Asked, asked};
use super::language::text_limits::STACK_BYTES;
use super::sql_state::QueryProblem;
use super::tables::arrow_versions::answered_schema;

/// A view, as it is configured.
pub(crate) struct View {
    pub(super) name: String,
    pub(super) query: String,
    statement: AnyStatement,
}

/// A view that can be read.
#[derive(Clone)]
pub(crate) struct ViewInfo {
    /// Its name and columns. It has no key.
    pub(crate) table: TableInfo,
    pub(crate) query: String,
}

/// The views of a configuration, once the tables are known.
#[derive(Clone, Default)]
pub(crate) struct PlannedViews {
    pub(crate) readable: Vec<ViewInfo>,
    /// Those that can't be read, and why.
    pub(crate) unreadable: Vec<(String, QueryProblem)>,
}

impl View {
    /// Reads the queries of views.
    ///
    /// # Errors
    ///
    /// If one is not a query. The message names the view.
    pub(super) fn all(keys: &[ViewKeys]) -> Result<Vec<View>> {
        let keys = keys.to_vec();
        // The parser calls itself for each level of an expression.
        let parsing = thread::Builder::new().stack_size(STACK_BYTES);
        let parsing = parsing.spawn(move || keys.iter().map(View::new).collect()).map_err(Error::failed)?;
        parsing.join().map_err(|_| Error::failed("internal error: the parser panicked"))?
    }

    fn new(ViewKeys { name, query }: &ViewKeys) -> Result<View> {
        let wrong = |cause: &str| Error::usage(format!("views: {name}: {cause}"));
        match asked(query) {
            Ok(Asked::Query(statement)) if is_query(&statement) => {
                Ok(View { name: name.clone(), query: query.clone(), statement: *statement })
            }
            Ok(Asked::Nothing) => Err(wrong("found no query, wanted one")),
            Ok(_) => Err(wrong("found a statement that is not a query; wanted SELECT, WITH or VALUES")),
            Err(error) => Err(wrong(&QueryProblem::of(&error).message)),
        }
    }

    /// The table that computes the view when it is read.
    pub(super) async fn plan(&self, context: &SessionContext) -> QueryResult<Arc<ViewTable>> {
        let plan = context.state().statement_to_plan(self.statement.clone()).await?;
        let types = Analyzer::with_rules(vec![Arc::new(TypeCoercion::new())]);
        let plan = types.execute_and_check(plan, &ConfigOptions::default(), |_, _| {})?;
        let mut names = BTreeSet::new();
        if let Some(twice) = plan.schema().fields().iter().find(|field| !names.insert(shown_name(field.name()))) {
            let message = format!("two columns have the name {}", shown_name(twice.name()));
            return Err(QueryProblem::new(QueryProblem::SYNTAX, message)
                .with_hint("Wanted AS with another name.")
                .into());
        }
        Ok(Arc::new(ViewTable::new(plan, Some(self.query.clone()))))
    }

    pub(super) fn info(&self, table: &ViewTable) -> Result<ViewInfo> {
        let schema = answered_schema(&datafusion::catalog::TableProvider::schema(table))?;
        let table = TableInfo { name: self.name.clone(), key: Vec::new(), schema, order: Vec::new() };
        Ok(ViewInfo { table, query: self.query.clone() })
    }
}

/// False for `EXPLAIN`, which is answered like a query.
fn is_query(statement: &AnyStatement) -> bool {
    matches!(statement, AnyStatement::Statement(statement) if matches!(**statement, Statement::Query(_)))
}
