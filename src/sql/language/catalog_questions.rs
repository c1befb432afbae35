//! Questions to the catalog that DataFusion can't answer as they are asked.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, ArrayElemTypeDef, CastKind, DataType, Expr, Function, FunctionArguments, Ident, ObjectName, Query,
    SelectItem, SetExpr, Value, VisitorMut,
};

use super::catalog_expressions::with_known_types;
use super::expressions::{has_name, parsed};

/// What clients ask the catalog and DataFusion can't answer as it is asked.
pub(crate) struct CatalogQuestions;

impl VisitorMut for CatalogQuestions {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        with_known_types(expr);
        match expr {
            // Of identities and collations, of which there are none.
            Expr::Subquery(query) if query.to_string().contains("json_build_object(") => *expr = no_text(query),
            Expr::Subquery(query) => at_most_one_row(query),
            Expr::Function(function) if has_name(function, "_pg_expandarray") => rename(function, "unnest"),
            Expr::CompoundFieldAccess { .. } => {
                if let Some(part) = part_of_array(expr) {
                    *expr = part;
                }
            }
            _ => (),
        }
        if let Expr::Function(function) = expr
            && matches!(function.args, FunctionArguments::Subquery(_))
            && has_name(function, "array")
        {
            // Of options and rights, of which there are none.
            *expr = Expr::Cast {
                kind: CastKind::Cast,
                expr: Box::new(Expr::value(Value::Null)),
                data_type: DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(DataType::Text), None)),
                array: false,
                format: None,
            };
        }
        ControlFlow::Continue(())
    }
}

/// A null, in which the parameters of a query are still there, so that the others keep their places.
fn no_text(query: &Query) -> Expr {
    let text = query.to_string();
    let parameters = text.split('$').skip(1).filter_map(|behind| {
        let digits = behind.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(behind.len());
        (digits > 0).then(|| format!("CAST(${} AS TEXT)", &behind[..digits]))
    });
    let parameters: Vec<_> = parameters.collect();
    let nothing = || Expr::value(Value::Null);
    if parameters.is_empty() {
        return nothing();
    }
    parsed(&format!("CASE WHEN coalesce({}) IS NULL THEN NULL ELSE CAST(NULL AS TEXT) END", parameters.join(", ")))
        .unwrap_or_else(nothing)
}

/// The aggregates that clients ask the catalog for.
const AGGREGATES: [&str; 8] = ["array_agg", "bool_and", "bool_or", "count", "max", "min", "string_agg", "sum"];

/// A row is found by its id in these: DataFusion wants an aggregate where a subquery names columns outside it.
fn at_most_one_row(query: &mut Query) {
    let SetExpr::Select(select) = &mut *query.body else { return };
    if query.limit_clause.is_none()
        && let [SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }] = &mut select.projection[..]
        && !matches!(expr, Expr::Function(function) if AGGREGATES.iter().any(|name| has_name(function, name)))
        && let Some(greatest) = parsed(&format!("max({expr})"))
    {
        *expr = greatest;
    }
}

/// The part of what `_pg_expandarray` gives: `n` is the subscript, and `x` the element, which is all that we give.
fn part_of_array(expr: &Expr) -> Option<Expr> {
    let Expr::CompoundFieldAccess { root, access_chain } = expr else { return None };
    let [AccessExpr::Dot(Expr::Identifier(part))] = &access_chain[..] else { return None };
    let Expr::Nested(root) = &**root else { return None };
    match (part.value.as_str(), &**root) {
        ("n", Expr::Function(function)) if has_name(function, "unnest") => {
            let FunctionArguments::List(arguments) = &function.args else { return None };
            let array = arguments.args.first()?;
            parsed(&format!("unnest(generate_series(1, CAST(array_length({array}, 1) AS BIGINT)))"))
        }
        ("x", root) => Some(root.clone()),
        _ => None,
    }
}

fn rename(function: &mut Function, name: &str) {
    function.name = ObjectName::from(vec![Ident::new(name)]);
}
