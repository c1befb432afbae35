//! Statements that ask the catalog, as DataFusion takes them.

use std::sync::LazyLock;

use datafusion::sql::sqlparser::ast::Statement;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion_pg_catalog::sql::PostgresCompatibilityParser;
use datafusion_pg_catalog::sql::rules::{
    AliasDuplicatedProjectionRewrite, CurrentUserVariableToSessionUserFunctionCall, FixArrayLiteral,
    FixVersionColumnName, PrependUnqualifiedPgTableName, RemoveSubqueryFromProjection, ResolveUnqualifiedIdentifier,
    RewriteArrayAnyAllOperation, RewritePgCatalogOperator, RewriteRegCastToSubquery, SqlStatementRewriteRule,
    StripCallableQualifier, StripCollate,
};

use crate::sql::catalog::tables::OF_CATALOG;

/// All rules of `datafusion-pg-catalog`, and its answers to some clients' own queries.
static COMPATIBLE: LazyLock<PostgresCompatibilityParser> = LazyLock::new(PostgresCompatibilityParser::new);

/// The same rules in their order, but the one that makes subqueries null.
static RULES: LazyLock<Vec<Box<dyn SqlStatementRewriteRule>>> = LazyLock::new(|| {
    vec![
        Box::new(AliasDuplicatedProjectionRewrite),
        Box::new(ResolveUnqualifiedIdentifier),
        Box::new(RewriteArrayAnyAllOperation),
        Box::new(PrependUnqualifiedPgTableName),
        Box::new(StripCallableQualifier),
        Box::new(FixArrayLiteral),
        Box::new(CurrentUserVariableToSessionUserFunctionCall),
        Box::new(StripCollate),
        Box::new(RewritePgCatalogOperator),
        Box::new(RewriteRegCastToSubquery::new()),
        Box::new(FixVersionColumnName),
    ]
});

/// The statements of a text that asks the catalog.
pub(crate) fn catalog_statements(text: &str) -> Result<Vec<Statement>, ParserError> {
    let text = with_known_objects(text);
    let compatible = COMPATIBLE.parse(&text)?;
    let parsed =
        Parser::new(&PostgreSqlDialect {}).try_with_sql(&text).and_then(|mut parser| parser.parse_statements());
    // Some can't be parsed as they stand.
    let Ok(parsed) = parsed else { return Ok(compatible) };
    if parsed.len() != compatible.len() {
        return Ok(compatible);
    }
    let own = parsed.into_iter().zip(compatible).map(|(statement, compatible)| {
        let own = RULES.iter().fold(statement, |statement, rule| rule.rewrite(statement));
        let by_rules_alone = RemoveSubqueryFromProjection.rewrite(own.clone());
        if by_rules_alone.to_string() == compatible.to_string() { own } else { compatible }
    });
    Ok(own.collect())
}

/// Names of objects of the catalog as their ids, and those of functions as they stand in `pg_type`.
fn with_known_objects(text: &str) -> String {
    let mut text = text.to_owned();
    if !text.contains("::") {
        return text;
    }
    for in_schema in ["", "pg_catalog."] {
        text = text.replace(&format!("'{in_schema}array_in'::regproc"), "'array_in'");
        for (name, id) in OF_CATALOG {
            for kind in ["pg_catalog.regclass", "regclass"] {
                text = text.replace(&format!("'{in_schema}{name}'::{kind}"), &format!("CAST({id} AS INT)"));
            }
        }
    }
    text
}
