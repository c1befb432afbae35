//! Catalog queries that DataFusion can't plan as they are written.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr, Function, FunctionArguments, Ident, ObjectName, ObjectNamePart, Query, Subscript, TableFactor,
    Value, VisitorMut,
};

use super::catalog_expressions::{VECTORS, with_known_types};
use super::catalog_subqueries::{count_in_columns, simplify};
use super::expressions::{argument, has_name, parsed};
use super::unnested_keys::join_unnested_keys;
use crate::sql::catalog::tables::SHOP;

/// Rewrites what DataFusion can't plan of a catalog query.
#[derive(Default)]
pub(crate) struct CatalogQueries {
    /// What the statement names by `WITH`.
    own: BTreeSet<String>,
}

impl VisitorMut for CatalogQueries {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let own = query.with.iter().flat_map(|with| &with.cte_tables);
        self.own.extend(own.map(|table| table.alias.name.value.to_lowercase()));
        join_unnested_keys(query);
        count_in_columns(query);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, args: None, .. } = table
            && let [ObjectNamePart::Identifier(only)] = &name.0[..]
            && only.value.starts_with("pg_")
            && !self.own.contains(&only.value.to_lowercase())
        {
            name.0.insert(0, ObjectNamePart::Identifier(Ident::new("pg_catalog")));
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        with_known_types(expr);
        simplify(expr);
        match expr {
            Expr::Function(function) if has_name(function, "_pg_expandarray") => rename(function, "unnest"),
            Expr::CompoundFieldAccess { .. } => {
                if let Some(part) = part_of_array(expr).or_else(|| element_of_vector(expr)) {
                    *expr = part;
                }
            }
            // What Grafana asks for in `search_path`, by functions that DataFusion lacks.
            Expr::InList { expr: of, list, .. }
                if of.to_string() == "quote_ident(table_schema)"
                    && matches!(&list[..], [Expr::Value(one)] if one.to_string() == "''") =>
            {
                *list = vec![Expr::value(Value::SingleQuotedString(SHOP.to_owned()))];
            }
            _ => (),
        }
        ControlFlow::Continue(())
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
            let array = argument(array)?;
            parsed(&format!("unnest(generate_series(1, CAST(array_length({array}, 1) AS BIGINT)))"))
        }
        ("x", root) => Some(root.clone()),
        _ => None,
    }
}

/// An element of a vector, whose first one is 0, while that of an array is 1.
fn element_of_vector(expr: &Expr) -> Option<Expr> {
    let Expr::CompoundFieldAccess { root, access_chain } = expr else { return None };
    let (AccessExpr::Subscript(Subscript::Index { index }), before) = access_chain.split_last()? else { return None };
    let name = match (before.last(), &**root) {
        (Some(AccessExpr::Dot(Expr::Identifier(name))), _) | (None, Expr::Identifier(name)) => name,
        (None, Expr::CompoundIdentifier(names)) => names.last()?,
        _ => return None,
    };
    let is_vector = VECTORS.contains(&name.value.as_str());
    let vector = Expr::CompoundFieldAccess { root: root.clone(), access_chain: before.to_vec() };
    let vector = if before.is_empty() { root.to_string() } else { vector.to_string() };
    parsed(&format!("array_element({vector}, ({index}) + 1)")).filter(|_| is_vector)
}

fn rename(function: &mut Function, name: &str) {
    function.name = ObjectName::from(vec![Ident::new(name)]);
}
