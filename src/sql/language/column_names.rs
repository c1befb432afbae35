//! Names of the columns of a query.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, SelectItem, SetExpr, TableAliasColumnDef, TableFactor, WildcardAdditionalOptions,
};

use super::expressions::{has_name, last_name, parsed};

/// Stands between the name of a column and its number, if another one has the same name: DataFusion wants different
/// names. Clients are given the name.
pub(crate) const AGAIN: char = '\u{1}';

/// What `datafusion-pg-catalog` puts before the name of a column that is also in `*`.
const ALIAS: &str = "__alias_";

/// The name of a column without what makes it different from others.
pub(crate) fn shown_name(name: &str) -> &str {
    let name = name.strip_prefix(ALIAS).unwrap_or(name);
    name.split(AGAIN).next().unwrap_or(name)
}

/// Names the columns of a query as PostgreSQL does: that of a function has its name, that of a cast the name of what is
/// cast. If nobody names them afterwards, they may be marked to be different from the columns that they are made of.
pub(crate) fn name_columns(body: &mut SetExpr, is_marked: bool) {
    let select = match body {
        SetExpr::Select(select) => select,
        SetExpr::SetOperation { left, right, .. } => {
            name_columns(left, is_marked);
            return name_columns(right, is_marked);
        }
        _ => return,
    };
    let mut taken = TakenNames::default();
    for item in &mut select.projection {
        *item = match std::mem::replace(item, SelectItem::Wildcard(WildcardAdditionalOptions::default())) {
            SelectItem::ExprWithAlias { expr, mut alias } => {
                alias.value = taken.unique(&alias.value);
                SelectItem::ExprWithAlias { expr: each_of_series(expr), alias }
            }
            SelectItem::UnnamedExpr(expr) => {
                let expr = each_of_series(expr);
                match taken.alias(&expr, is_marked) {
                    Some(alias) => SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', alias) },
                    None => SelectItem::UnnamedExpr(expr),
                }
            }
            item => item,
        };
    }
}

/// A series among the columns of a query gives a row for each of its elements.
fn each_of_series(expr: Expr) -> Expr {
    match &expr {
        Expr::Function(function) if has_name(function, "generate_series") => {
            parsed(&format!("unnest({function})")).unwrap_or(expr)
        }
        _ => expr,
    }
}

/// The names that columns of a query have, in lower case.
#[derive(Default)]
struct TakenNames {
    /// How many columns have this name, with that of their table if they have one.
    times: BTreeMap<String, usize>,
    /// Names of columns of tables, without those.
    parts: BTreeSet<String>,
}

impl TakenNames {
    /// A name that is not taken, but is shown as this one.
    fn unique(&mut self, name: &str) -> String {
        let lower = name.to_lowercase();
        let is_part = self.parts.contains(&lower);
        let times = self.times.entry(lower).or_default();
        *times += 1;
        if *times > 1 || is_part { format!("{name}{AGAIN}{times}") } else { name.to_owned() }
    }

    /// The alias of a column that has none; `None` if it needs none.
    fn alias(&mut self, expr: &Expr, is_marked: bool) -> Option<String> {
        if let Some(name) = last_part(expr) {
            let lower = name.to_lowercase();
            let is_taken = self.times.contains_key(&lower);
            let times = self.times.entry(expr.to_string().to_lowercase()).or_default();
            *times += 1;
            // Columns of different tables may have the same name.
            let is_again = *times > 1 || (is_taken && matches!(expr, Expr::CompoundIdentifier(_)));
            let alias = is_again.then(|| format!("{name}{AGAIN}{}", expr.to_string().len() + *times));
            self.parts.extend(matches!(expr, Expr::CompoundIdentifier(_)).then_some(lower));
            return alias;
        }
        match named(expr) {
            Some(name) if is_marked && matches!(expr, Expr::Cast { .. }) => {
                let number = self.times.entry(name.to_lowercase()).or_default();
                *number += 1;
                Some(format!("{name}{AGAIN}{number}"))
            }
            Some(name) => Some(self.unique(&name)),
            None => {
                let times = self.times.entry(expr.to_string()).or_default();
                *times += 1;
                (*times > 1).then(|| format!("?column?{AGAIN}{times}"))
            }
        }
    }
}

fn last_part(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(name) => Some(name.value.clone()),
        Expr::CompoundIdentifier(names) => names.last().map(|name| name.value.clone()),
        _ => None,
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
        Expr::Cast { expr, .. } => match &**expr {
            Expr::Identifier(name) => Some(name.value.clone()),
            Expr::CompoundIdentifier(names) => names.last().map(|name| name.value.clone()),
            expr => named(expr),
        },
        Expr::Subquery(query) => match &*query.body {
            SetExpr::Select(select) => match &select.projection[..] {
                [SelectItem::ExprWithAlias { alias, .. }] => Some(alias.value.clone()),
                [SelectItem::UnnamedExpr(expr)] => last_part(expr).or_else(|| named(expr)),
                _ => None,
            },
            _ => None,
        },
        Expr::Case { .. } => Some("case".to_owned()),
        Expr::Exists { .. } => Some("exists".to_owned()),
        _ => None,
    }
}
