//! Expressions: made from texts, and what functions in them are called.

use datafusion::sql::sqlparser::ast::{Expr, Function, ObjectNamePart};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

/// The expression of a text; `None` if it is none.
pub(crate) fn parsed(text: &str) -> Option<Expr> {
    Parser::new(&PostgreSqlDialect {}).try_with_sql(text).and_then(|mut parser| parser.parse_expr()).ok()
}

/// True if a function is called this, in whichever schema.
pub(crate) fn has_name(function: &Function, name: &str) -> bool {
    last_name(&function.name.0).is_some_and(|known| known.eq_ignore_ascii_case(name))
}

/// A name without its schema.
pub(crate) fn last_name(parts: &[ObjectNamePart]) -> Option<&str> {
    parts.last().and_then(ObjectNamePart::as_ident).map(|name| name.value.as_str())
}
