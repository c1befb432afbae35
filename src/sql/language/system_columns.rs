//! Columns that every table of PostgreSQL has, and rights, of which there are none.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Query, SelectItem, SetExpr, Statement, TableFactor, Visit, VisitMut, Visitor, VisitorMut,
};

use super::expressions::{last_name, parsed};
use crate::sql::catalog::tables::OF_CATALOG;

/// Puts constants for `tableoid`, `xmin` and lists of rights in a catalog query.
pub(crate) fn without_system_columns(statement: &mut Statement) {
    let mut tables = NamedTables::default();
    let _ = Visit::visit(statement, &mut tables);
    let _ = VisitMut::visit(statement, &mut SystemColumns(tables.0));
}

/// The tables of a statement by the names that it gives them.
#[derive(Default)]
struct NamedTables(BTreeMap<String, String>);

impl Visitor for NamedTables {
    type Break = ();

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, alias, .. } = table
            && let Some(name) = last_name(&name.0)
        {
            let alias = alias.as_ref().map_or(name, |alias| &alias.name.value);
            self.0.insert(alias.to_lowercase(), name.to_lowercase());
        }
        ControlFlow::Continue(())
    }
}

struct SystemColumns(BTreeMap<String, String>);

/// Lists of rights.
const RIGHTS: [&str; 13] = [
    "attacl",
    "datacl",
    "defaclacl",
    "fdwacl",
    "lanacl",
    "lomacl",
    "nspacl",
    "paracl",
    "proacl",
    "relacl",
    "spcacl",
    "srvacl",
    "typacl",
];

impl SystemColumns {
    fn constant(&self, names: &[Ident]) -> Option<Expr> {
        let name = names.last()?.value.to_lowercase();
        let of_table = || {
            let alias = names.len().checked_sub(2).map(|place| names[place].value.to_lowercase());
            let table = alias.and_then(|alias| self.0.get(&alias).cloned()).or_else(|| self.0.values().next().cloned());
            OF_CATALOG.iter().find(|(known, _)| table.as_deref() == Some(*known)).map_or(0, |(_, id)| *id)
        };
        match name.as_str() {
            // Nothing changes.
            "xmin" | "xmax" => parsed("CAST(1 AS BIGINT)"),
            "tableoid" => parsed(&format!("CAST({} AS INT)", of_table())),
            name if RIGHTS.contains(&name) => parsed("CAST(NULL AS TEXT[])"),
            _ => None,
        }
    }

    fn constant_for(&self, expr: &Expr) -> Option<(Expr, Ident)> {
        let names = match expr {
            Expr::Identifier(name) => std::slice::from_ref(name),
            Expr::CompoundIdentifier(names) => &names[..],
            _ => return None,
        };
        self.constant(names).zip(names.last().cloned())
    }
}

impl VisitorMut for SystemColumns {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let SetExpr::Select(select) = &mut *query.body {
            for item in &mut select.projection {
                if let SelectItem::UnnamedExpr(expr) = item
                    && let Some((expr, alias)) = self.constant_for(expr)
                {
                    *item = SelectItem::ExprWithAlias { expr, alias };
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Some((constant, _)) = self.constant_for(expr) {
            *expr = constant;
        }
        ControlFlow::Continue(())
    }
}
