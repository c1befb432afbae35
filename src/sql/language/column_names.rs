//! Names of the columns of a query.

use std::collections::BTreeSet;

use datafusion::sql::sqlparser::ast::{Expr, Ident, SelectItem, SetExpr};

use super::expressions::last_name;

/// Names the columns of a query as PostgreSQL does: that of a function has its name, that of a cast the name of what is
/// cast.
pub(crate) fn name_columns(body: &mut SetExpr) {
    let select = match body {
        SetExpr::Select(select) => select,
        SetExpr::SetOperation { left, .. } => return name_columns(left),
        _ => return,
    };
    let mut names = BTreeSet::new();
    for item in &mut select.projection {
        let name = match &*item {
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(name.value.clone()),
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names)) => names.last().map(|name| name.value.clone()),
            SelectItem::UnnamedExpr(expr) => named(expr),
            SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
            _ => None,
        };
        let is_new = name.as_ref().is_some_and(|name| names.insert(name.clone()));
        if let SelectItem::UnnamedExpr(expr) = item
            && let Some(alias) = named(expr).filter(|_| is_new)
        {
            let alias = Ident::with_quote('"', alias);
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
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
        Expr::Case { .. } => Some("case".to_owned()),
        Expr::Exists { .. } => Some("exists".to_owned()),
        _ => None,
    }
}
