//! Arrays that clients send as texts, such as `{"1","2"}`. What decodes them does not know of quotes.

use std::collections::BTreeSet;

use bytes::Bytes;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result as QueryResult;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};
use pgwire::messages::extendedquery::Bind;

use crate::sql::sql_state::QueryProblem;

/// Takes the quotes away from the elements of arrays.
///
/// # Errors
///
/// If an element needs its quotes.
pub(crate) fn unquote(message: &mut Bind, plan: &LogicalPlan) -> Result<(), QueryProblem> {
    let is_binary = |place: usize| match &message.parameter_format_codes[..] {
        [] => false,
        [all] => *all == 1,
        codes => codes.get(place) == Some(&1),
    };
    let texts: Vec<usize> = (0..message.parameters.len()).filter(|place| !is_binary(*place)).collect();
    let quoted = |value: &Bytes| value.starts_with(b"{") && value.contains(&b'"');
    if !texts.iter().any(|place| message.parameters[*place].as_ref().is_some_and(quoted)) {
        return Ok(());
    }
    let arrays = arrays(plan).map_err(|error| QueryProblem::of(&error))?;
    for place in texts {
        if arrays.contains(&format!("${}", place + 1))
            && let Some(value) = &mut message.parameters[place]
            && quoted(value)
        {
            let text = std::str::from_utf8(value).ok().and_then(unquoted).ok_or_else(|| {
                let message = format!("${}: an array with a text that needs quotes is not supported", place + 1);
                QueryProblem::new(QueryProblem::FEATURE_NOT_SUPPORTED, message)
                    .with_hint("Send it in the binary format, or each text as a parameter of its own.")
            })?;
            *value = Bytes::from(text);
        }
    }
    Ok(())
}

/// The parameters that are arrays, by themselves or by a cast.
fn arrays(plan: &LogicalPlan) -> QueryResult<BTreeSet<String>> {
    let types = plan.get_parameter_types()?;
    let is_array = |of_type: &DataType| matches!(of_type, DataType::List(_));
    let mut arrays: BTreeSet<String> = types
        .into_iter()
        .filter(|(_, of_type)| of_type.as_ref().is_some_and(is_array))
        .map(|(parameter, _)| parameter)
        .collect();
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::Cast(cast) = expr
                    && let Expr::Placeholder(parameter) = &*cast.expr
                    && is_array(cast.field.data_type())
                {
                    arrays.insert(parameter.id.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(arrays)
}

/// An array without quotes; `None` if it would mean something else.
fn unquoted(array: &str) -> Option<String> {
    let elements = array.strip_prefix('{')?.strip_suffix('}')?.split(',');
    let element = |element: &str| {
        let element = element.trim();
        let Some(text) = element.strip_prefix('"') else { return Some(element.to_owned()) };
        let text = text.strip_suffix('"').filter(|_| element.len() > 1)?;
        let is_plain = !text.is_empty()
            && !text.eq_ignore_ascii_case("null")
            && text.trim() == text
            && !text.contains(['"', '\\', '{', '}']);
        is_plain.then(|| text.to_owned())
    };
    let elements: Option<Vec<String>> = elements.map(element).collect();
    Some(format!("{{{}}}", elements?.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_quotes_that_mean_nothing_are_taken_away() {
        for (array, wanted) in [
            (r#"{"1","2"}"#, Some("{1,2}")),
            (r#"{1,"a b",NULL}"#, Some("{1,a b,NULL}")),
            (r#"{"a,b"}"#, None),
            (r#"{"NULL"}"#, None),
            (r#"{""}"#, None),
            (r#"{"a\"b"}"#, None),
            (r#"{" a"}"#, None),
            (r#"{"}"#, None),
        ] {
            assert_eq!(unquoted(array).as_deref(), wanted, "{array}");
        }
    }
}
