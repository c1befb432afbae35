//! `CROSS JOIN UNNEST(conkey)`, by which ADBC asks for the columns of keys. DataFusion does not unnest a column of the
//! table before.

use datafusion::sql::sqlparser::ast::{Join, JoinOperator, Query, SetExpr, Statement, TableFactor, TableWithJoins};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::expressions::last_name;

/// Joins the constraints with their columns by their ids instead.
pub(crate) fn join_unnested_keys(query: &mut Query) {
    let SetExpr::Select(select) = &mut *query.body else { return };
    for tables in &mut select.from {
        let Some(constraint) = name_of_constraint(tables) else { continue };
        for join in &mut tables.joins {
            if let Some(joined) = joined_by_id(join, &constraint) {
                *join = joined;
            }
        }
    }
}

/// What `pg_constraint` is called.
fn name_of_constraint(tables: &TableWithJoins) -> Option<String> {
    let all = std::iter::once(&tables.relation).chain(tables.joins.iter().map(|join| &join.relation));
    all.filter_map(|table| match table {
        TableFactor::Table { name, alias, args: None, .. } if last_name(&name.0) == Some("pg_constraint") => {
            Some(alias.as_ref().map_or("pg_constraint".to_owned(), |alias| alias.name.to_string()))
        }
        _ => None,
    })
    .next()
}

fn joined_by_id(join: &Join, constraint: &str) -> Option<Join> {
    let (TableFactor::UNNEST { alias: Some(alias), array_exprs, .. }, JoinOperator::CrossJoin(_)) =
        (&join.relation, &join.join_operator)
    else {
        return None;
    };
    let [keys] = &array_exprs[..] else { return None };
    let keys = keys.to_string();
    let keys = keys.rsplit('.').next().filter(|name| ["conkey", "confkey"].contains(name))?;
    let (table, column) = (&alias.name, alias.columns.first().map_or(&alias.name, |column| &column.name));
    let text = format!(
        "SELECT 1 FROM before JOIN (SELECT oid AS constraint_oid, unnest({keys}) AS {column} \
         FROM pg_catalog.pg_constraint) AS {table} ON {constraint}.oid = {table}.constraint_oid"
    );
    let parsed =
        Parser::new(&PostgreSqlDialect {}).try_with_sql(&text).and_then(|mut parser| parser.parse_statements());
    let Statement::Query(query) = parsed.ok()?.pop()? else { return None };
    let SetExpr::Select(select) = *query.body else { return None };
    select.from.into_iter().next()?.joins.pop()
}
