//! Patterns of `LIKE`.

use datafusion::sql::sqlparser::ast::{Expr, Value, ValueWithSpan};

use super::expressions::parsed;
use crate::sql::sql_state::QueryProblem;

/// Escapes by a backslash, the only character that DataFusion knows, what is escaped by another one in a pattern.
pub(crate) fn escape_by_backslash(
    pattern: &mut Box<Expr>,
    escape: &mut Option<ValueWithSpan>,
    is_catalog_query: bool,
) -> Result<(), QueryProblem> {
    let Some(Value::SingleQuotedString(character)) = escape.as_ref().map(|escape| &escape.value) else {
        return Ok(());
    };
    if character == "\\" {
        return Ok(());
    }
    let unsupported = |found: &dyn std::fmt::Display| {
        let message = format!("LIKE {found} ESCAPE '{character}': wanted a constant, and one character that escapes");
        QueryProblem::new(QueryProblem::FEATURE_NOT_SUPPORTED, message)
    };
    let mut letters = character.chars();
    let (Some(by), None) = (letters.next(), letters.next()) else { return Err(unsupported(pattern)) };
    match &mut **pattern {
        Expr::Value(value) => {
            let Value::SingleQuotedString(text) = &mut value.value else { return Err(unsupported(value)) };
            *text = escaped_by_backslash(text, by);
        }
        // Clients ask for schemas by a parameter, in which only a wildcard is escaped.
        other if is_catalog_query => {
            let replaced = parsed(&format!("replace({other}, '{}', '\\')", by.to_string().replace('\'', "''")));
            *other = replaced.ok_or_else(|| unsupported(&character))?;
        }
        other => return Err(unsupported(other)),
    }
    *escape = None;
    Ok(())
}

/// A pattern that means the same with another escape.
fn escaped_by_backslash(pattern: &str, by: char) -> String {
    let (mut letters, mut made) = (pattern.chars(), String::new());
    while let Some(letter) = letters.next() {
        let (letter, is_escaped) = if letter == by { (letters.next().unwrap_or(by), true) } else { (letter, false) };
        if letter == '\\' || (is_escaped && matches!(letter, '%' | '_')) {
            made.push('\\');
        }
        made.push(letter);
    }
    made
}
