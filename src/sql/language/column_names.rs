//! Names of the columns of a query.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::sql::sqlparser::ast::{
    DataType, Expr, Ident, OrderBy, OrderByKind, Query, SelectItem, SetExpr, TableAliasColumnDef, TableFactor,
    WildcardAdditionalOptions,
};

use super::expressions::{call, column_name, has_name, last_name};

/// Stands between the name of a column and its number, if another one has the same name: DataFusion wants different
/// names. Clients are given the name.
const AGAIN: char = '\u{1}';

/// What `datafusion-pg-catalog` puts before the name of a column that is also in `*`.
const ALIAS: &str = "__alias_";

/// The name of a column without what makes it different from others.
pub(crate) fn shown_name(name: &str) -> &str {
    let name = name.strip_prefix(ALIAS).unwrap_or(name);
    name.split(AGAIN).next().unwrap_or(name)
}

/// Names the columns of a query as PostgreSQL does: that of a function has its name, that of a cast the name of what is
/// cast. In an outermost query, whose names nobody uses, such a name is marked where it could be taken for that of
/// another column.
pub(crate) fn name_columns(query: &mut Query, is_outermost: bool, is_catalog_query: bool) {
    let mut marked = BTreeMap::new();
    name_columns_of(&mut query.body, is_outermost, is_catalog_query, &mut marked);
    // `ORDER BY count` is by the column that has this name.
    if let Some(OrderBy { kind: OrderByKind::Expressions(order), .. }) = &mut query.order_by {
        for by in order {
            if let Expr::Identifier(name) = &by.expr
                && let Some(alias) = marked.get(&name.value.to_lowercase())
            {
                by.expr = Expr::Identifier(Ident::with_quote('"', alias));
            }
        }
    }
}

fn name_columns_of(
    body: &mut SetExpr,
    is_outermost: bool,
    is_catalog_query: bool,
    marked: &mut BTreeMap<String, String>,
) {
    let select = match body {
        SetExpr::Select(select) => select,
        SetExpr::SetOperation { left, right, .. } => {
            name_columns_of(left, is_outermost, is_catalog_query, marked);
            return name_columns_of(right, is_outermost, is_catalog_query, &mut BTreeMap::new());
        }
        _ => return,
    };
    // What `*` stands for may have the same name, and in `HAVING` a name is that of a column of the tables.
    let has_all = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
    let may_be_taken = is_catalog_query || select.having.is_some() || select.projection.iter().any(has_all);
    let is_marked = is_outermost && may_be_taken;
    let mut taken = TakenNames::default();
    for item in &mut select.projection {
        *item = match std::mem::replace(item, SelectItem::Wildcard(WildcardAdditionalOptions::default())) {
            SelectItem::ExprWithAlias { expr, mut alias } => {
                alias.value = taken.unique(&alias.value);
                SelectItem::ExprWithAlias { expr: each_of_series(expr), alias }
            }
            SelectItem::UnnamedExpr(expr) => match taken.alias(&expr, is_marked, marked) {
                Some(alias) => {
                    SelectItem::ExprWithAlias { expr: each_of_series(expr), alias: Ident::with_quote('"', alias) }
                }
                None => SelectItem::UnnamedExpr(expr),
            },
            item => item,
        };
    }
}

/// A series among the columns of a query gives a row for each of its elements.
fn each_of_series(expr: Expr) -> Expr {
    match &expr {
        Expr::Function(function) if has_name(function, "generate_series") => call("unnest", [expr]),
        _ => expr,
    }
}

/// The names that columns of a query have, in lower case.
#[derive(Default)]
struct TakenNames {
    /// Columns as they are written, with the names of their tables, and expressions without a name.
    written: BTreeSet<String>,
    /// Names without those of tables.
    unqualified: BTreeSet<String>,
    /// The names of columns that are written with those of their tables.
    parts: BTreeSet<String>,
    /// How many marked names there are that are shown as this one.
    marked: BTreeMap<String, usize>,
}

impl TakenNames {
    /// A name that is not taken, but is shown as this one.
    fn unique(&mut self, name: &str) -> String {
        let lower = name.to_lowercase();
        if self.parts.contains(&lower) || !self.unqualified.insert(lower) {
            return self.mark(name);
        }
        name.to_owned()
    }

    fn mark(&mut self, name: &str) -> String {
        let number = self.marked.entry(name.to_lowercase()).or_insert(1);
        *number += 1;
        format!("{name}{AGAIN}{number}")
    }

    /// The alias of a column that has none; `None` if it needs none.
    fn alias(&mut self, expr: &Expr, is_marked: bool, marked: &mut BTreeMap<String, String>) -> Option<String> {
        if let Some(name) = column_name(expr) {
            let lower = name.value.to_lowercase();
            let is_written = !self.written.insert(expr.to_string().to_lowercase());
            // Columns of different tables may have the same name, but not one of them without its table.
            let is_taken = match expr {
                Expr::CompoundIdentifier(_) => {
                    self.parts.insert(lower.clone());
                    self.unqualified.contains(&lower)
                }
                _ => self.parts.contains(&lower) || !self.unqualified.insert(lower),
            };
            return (is_written || is_taken).then(|| self.mark(&name.value));
        }
        match named(expr) {
            Some(name) if is_marked => {
                let alias = self.mark(&name);
                marked.entry(name.to_lowercase()).or_insert_with(|| alias.clone());
                Some(alias)
            }
            Some(name) => Some(self.unique(&name)),
            None => (!self.written.insert(expr.to_string())).then(|| self.mark("?column?")),
        }
    }
}

/// Names the one column of a function that stands for a table as PostgreSQL does: by the name given to the table.
pub(crate) fn name_column_of_function(table: &mut TableFactor) {
    if let TableFactor::Table { name, args: Some(_), .. } = table
        && matches!(&name.0[..], [schema, _] if schema.to_string().eq_ignore_ascii_case("pg_catalog"))
    {
        name.0.remove(0);
    }
    let alias = match table {
        TableFactor::UNNEST { alias, array_exprs, .. } if array_exprs.len() == 1 => alias,
        TableFactor::Table { name, args: Some(_), alias, .. }
            if last_name(&name.0).is_some_and(|name| name.eq_ignore_ascii_case("generate_series")) =>
        {
            alias
        }
        _ => return,
    };
    if let Some(alias) = alias
        && alias.columns.is_empty()
    {
        alias.columns = vec![TableAliasColumnDef::from_name(alias.name.value.clone())];
    }
}

/// The name that PostgreSQL gives a column of this; `None` if it has none, or DataFusion gives the same.
fn named(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Function(function) => last_name(&function.name.0).map(str::to_lowercase),
        Expr::AtTimeZone { .. } => Some("timezone".to_owned()),
        Expr::Array(_) => Some("array".to_owned()),
        Expr::Ceil { .. } => Some("ceil".to_owned()),
        Expr::Extract { .. } => Some("extract".to_owned()),
        Expr::Floor { .. } => Some("floor".to_owned()),
        Expr::Position { .. } => Some("position".to_owned()),
        Expr::Substring { .. } => Some("substring".to_owned()),
        Expr::Trim { .. } => Some("btrim".to_owned()),
        Expr::Cast { expr, data_type, .. } => match &**expr {
            Expr::Identifier(name) => Some(name.value.clone()),
            Expr::CompoundIdentifier(names) => names.last().map(|name| name.value.clone()),
            // Of a constant, that of the type.
            Expr::Value(_) => Some(type_name(data_type)),
            expr => named(expr),
        },
        Expr::Subquery(query) => match &*query.body {
            SetExpr::Select(select) => match &select.projection[..] {
                [SelectItem::ExprWithAlias { alias, .. }] => Some(alias.value.clone()),
                [SelectItem::UnnamedExpr(expr)] => {
                    column_name(expr).map(|name| name.value.clone()).or_else(|| named(expr))
                }
                _ => None,
            },
            _ => None,
        },
        Expr::Case { .. } => Some("case".to_owned()),
        Expr::Exists { .. } => Some("exists".to_owned()),
        _ => None,
    }
}

/// The name that PostgreSQL gives a type.
fn type_name(of_type: &DataType) -> String {
    let name = of_type.to_string().to_lowercase();
    let name = name.split('(').next().unwrap_or_default().trim_start_matches("pg_catalog.");
    let known = match name {
        "int" | "integer" => "int4",
        "bigint" => "int8",
        "smallint" => "int2",
        "boolean" => "bool",
        "decimal" => "numeric",
        "double precision" | "double" | "float" => "float8",
        "real" => "float4",
        "timestamp with time zone" => "timestamptz",
        other => other,
    };
    known.to_owned()
}
