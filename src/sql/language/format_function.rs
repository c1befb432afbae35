//! `format`, by which clients compose names and texts.

use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result as QueryResult, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use crate::sql::sql_state::QueryProblem;

/// `format(text, values …)`: `%s` is the next value, `%I` the value as an identifier, `%L` as a literal, `%2$s` the
/// second value, `%%` a percent sign; widths are refused. A null is nothing in `%s`, `NULL` in `%L`, and an error in
/// `%I`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct FormatFunction {
    signature: Signature,
}

impl Default for FormatFunction {
    fn default() -> FormatFunction {
        FormatFunction { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for FormatFunction {
    fn name(&self) -> &str {
        "format"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> QueryResult<Vec<DataType>> {
        match types {
            [] => plan_err!("format: wanted a text and values"),
            types => Ok(types.iter().map(|_| DataType::Utf8).collect()),
        }
    }

    fn return_type(&self, _: &[DataType]) -> QueryResult<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> QueryResult<ColumnarValue> {
        let texts =
            args.args.iter().map(|arg| cast(&arg.to_array(args.number_rows)?, &DataType::Utf8).map_err(Into::into));
        let texts = texts.collect::<QueryResult<Vec<_>>>()?;
        let of_row = |row: usize| {
            let mut values = texts.iter().map(|texts| {
                let texts = texts.as_string::<i32>();
                texts.is_valid(row).then(|| texts.value(row))
            });
            let Some(Some(pattern)) = values.next() else { return Ok(None) };
            formatted(pattern, &values.collect::<Vec<_>>()).map(Some)
        };
        let formatted: StringArray = (0..args.number_rows).map(of_row).collect::<Result<_, QueryProblem>>()?;
        Ok(ColumnarValue::Array(Arc::new(formatted)))
    }
}

/// A pattern with values in it.
fn formatted(pattern: &str, values: &[Option<&str>]) -> Result<String, QueryProblem> {
    let invalid = |message: String| {
        QueryProblem::new(QueryProblem::INVALID_PARAMETER, message).with_hint("Wanted %s, %I, %L, %n$s or %%.")
    };
    let mut parts = pattern.split('%');
    let (mut made, mut next) = (parts.next().unwrap_or_default().to_owned(), 0);
    while let Some(part) = parts.next() {
        if part.is_empty() {
            // The sign itself, behind which a part without a specifier follows.
            made.push('%');
            made.push_str(parts.next().ok_or_else(|| invalid("unterminated format() type specifier".to_owned()))?);
            continue;
        }
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let (place, rest) = match part[digits..].strip_prefix('$') {
            Some(rest) if digits > 0 => (part[..digits].parse::<usize>().unwrap_or(0), rest),
            _ => (next + 1, part),
        };
        next = place;
        let value = place.checked_sub(1).and_then(|place| values.get(place));
        let value = value.ok_or_else(|| invalid("too few arguments for format()".to_owned()))?;
        let kind = rest.chars().next().unwrap_or(' ');
        match (kind, value) {
            ('s', value) => made.push_str(value.unwrap_or_default()),
            ('I', Some(name)) => made.push_str(&identifier(name)),
            ('I', None) => return Err(invalid("null values cannot be formatted as an SQL identifier".to_owned())),
            ('L', Some(value)) => made.push_str(&format!("'{}'", value.replace('\'', "''"))),
            ('L', None) => made.push_str("NULL"),
            (kind, _) => return Err(invalid(format!("unrecognized format() type specifier \"{kind}\""))),
        }
        made.push_str(&rest[1..]);
    }
    Ok(made)
}

/// A name, in quotes if it needs them.
fn identifier(name: &str) -> String {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    let is_reserved = RESERVED.contains(&name);
    let is_plain = !is_reserved && name.bytes().all(|byte| is_letter(byte) || byte.is_ascii_digit());
    if is_plain && name.bytes().next().is_some_and(is_letter) {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Words that are no names without quotes.
const RESERVED: [&str; 52] = [
    "all",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "both",
    "case",
    "cast",
    "check",
    "collate",
    "column",
    "constraint",
    "create",
    "default",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "false",
    "fetch",
    "for",
    "foreign",
    "from",
    "grant",
    "group",
    "having",
    "in",
    "intersect",
    "into",
    "leading",
    "limit",
    "not",
    "null",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "primary",
    "references",
    "select",
    "table",
    "then",
    "to",
    "true",
    "union",
    "user",
    "where",
    "with",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_put_in_as_postgresql_does() {
        let values = [Some("shop"), Some("It's"), None, Some("Big Table")];
        for (pattern, wanted) in [
            ("%s.%I", "shop.\"It's\""),
            ("%I, %L%%", "shop, 'It''s'%"),
            ("%3$L|%3$s|%4$I", "NULL||\"Big Table\""),
            ("%2$s %s", "It's "),
            ("no values, 100%%", "no values, 100%"),
            ("%%%s", "%shop"),
            ("%%%%", "%%"),
        ] {
            assert_eq!(formatted(pattern, &values).expect(pattern), wanted, "{pattern}");
        }
        for (pattern, words) in [("%5$s", "too few"), ("%x", "\"x\""), ("%3$I", "null"), ("%", "unterminated")] {
            let problem = formatted(pattern, &values).expect_err(pattern);
            assert!(problem.message.contains(words), "{pattern}: {problem}");
        }
    }
}
