//! Subqueries in catalog queries, of which DataFusion plans few.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    DataType, Expr, Function, FunctionArguments, GroupByExpr, JoinOperator, LimitClause, Query, Select, SelectItem,
    SetExpr, Statement, TableFactor, TableWithJoins, Value, Visit, VisitMut, Visitor, VisitorMut,
};

use super::expressions::{call, cast, is_of_several_rows, last_name, parsed};
use crate::sql::catalog::tables::EMPTY_TABLES;

/// Makes a subquery one that DataFusion plans: one over a table that is always empty is null, and one of at most one
/// row has an aggregate.
pub(crate) fn simplify(expr: &mut Expr) {
    match expr {
        // Of identities, of which there are none.
        Expr::Subquery(query) if query.to_string().contains("json_build_object(") => *expr = null_text(query),
        Expr::Subquery(query) if has_no_rows(query) => *expr = null_text(query),
        Expr::Subquery(query) => at_most_one_row(query),
        Expr::Exists { subquery, negated } if has_no_rows(subquery) && !has_parameters(subquery) => {
            *expr = Expr::value(Value::Boolean(*negated));
        }
        Expr::Function(function) => {
            if let Some(array) = array_of_query(function) {
                *expr = array;
            }
        }
        _ => {}
    }
}

/// `EXISTS` among the columns of a query as a count, since it is planned in conditions only.
pub(crate) fn count_in_columns(query: &mut Query) {
    struct Counted;
    impl VisitorMut for Counted {
        type Break = ();

        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if let Expr::Exists { subquery, negated } = expr
                && let Some(count) = count(subquery)
                && let Some(compared) = parsed(&format!("(({count}) {} 0)", if *negated { "=" } else { ">" }))
            {
                *expr = compared;
            }
            ControlFlow::Continue(())
        }
    }
    for expr in columns(query) {
        let _ = VisitMut::visit(expr, &mut Counted);
    }
}

/// How many rows a query has; `None` if that is not as simple.
fn count(query: &Query) -> Option<Query> {
    let mut counted = query.clone();
    if !matches!(&counted.limit_clause, None | Some(LimitClause::LimitOffset { offset: None, .. })) {
        return None;
    }
    (counted.order_by, counted.limit_clause) = (None, None);
    let SetExpr::Select(select) = &mut *counted.body else { return None };
    let is_plain = |item: &SelectItem| match item {
        SelectItem::Wildcard(_) => true,
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => !is_of_several_rows(expr),
        _ => false,
    };
    if select.distinct.is_some() || select.having.is_some() || !is_ungrouped(select) {
        return None;
    }
    if !select.projection.iter().all(is_plain) {
        return None;
    }
    select.projection = vec![SelectItem::UnnamedExpr(parsed("count(*)")?)];
    Some(counted)
}

/// The columns of a query that are expressions.
fn columns(query: &mut Query) -> Vec<&mut Expr> {
    let SetExpr::Select(select) = &mut *query.body else { return Vec::new() };
    let columns = select.projection.iter_mut().filter_map(|item| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    });
    columns.collect()
}

fn is_ungrouped(select: &Select) -> bool {
    matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty())
}

/// The places of the columns of a statement that hold subqueries.
pub(crate) fn columns_with_subqueries(statement: &Statement) -> Vec<usize> {
    struct Found;
    impl Visitor for Found {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    let mut statement = statement.clone();
    let Statement::Query(query) = &mut statement else { return Vec::new() };
    let has = |column: &&mut Expr| Visit::visit(&**column, &mut Found).is_break();
    columns(query).iter().enumerate().filter(|(_, column)| has(column)).map(|(place, _)| place).collect()
}

/// Makes the subqueries in these columns of a statement null.
pub(crate) fn null_subqueries(statement: &mut Statement, places: &[usize]) {
    struct Nulls;
    impl VisitorMut for Nulls {
        type Break = ();

        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            match expr {
                Expr::Subquery(query) => *expr = null_text(query),
                Expr::Exists { .. } | Expr::InSubquery { .. } => {
                    *expr = cast(Expr::value(Value::Null), DataType::Boolean);
                }
                _ => {}
            }
            ControlFlow::Continue(())
        }
    }
    let Statement::Query(query) = statement else { return };
    for (_, column) in columns(query).into_iter().enumerate().filter(|(place, _)| places.contains(place)) {
        let _ = VisitMut::visit(column, &mut Nulls);
    }
}

/// True if a query reads a table of the catalog that is always empty, so that it has no rows.
fn has_no_rows(query: &Query) -> bool {
    let SetExpr::Select(select) = &*query.body else { return false };
    let is_empty = |table: &TableFactor| match table {
        TableFactor::Table { name, .. } => last_name(&name.0).is_some_and(|name| EMPTY_TABLES.contains(&name)),
        _ => false,
    };
    let are_empty = |tables: &TableWithJoins| {
        use JoinOperator::{CrossJoin, Inner, Join, Left, LeftOuter};
        let operators = || tables.joins.iter().map(|join| &join.join_operator);
        let keeps_left =
            operators().all(|join| matches!(join, Join(_) | Inner(_) | CrossJoin(_) | Left(_) | LeftOuter(_)));
        let inner = tables.joins.iter().filter(|join| matches!(join.join_operator, Join(_) | Inner(_) | CrossJoin(_)));
        keeps_left && (is_empty(&tables.relation) || inner.map(|join| &join.relation).any(is_empty))
    };
    let is_plain = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => !is_of_several_rows(expr),
        _ => true,
    };
    query.with.is_none()
        && is_ungrouped(select)
        && select.projection.iter().all(is_plain)
        && select.from.iter().any(are_empty)
}

fn has_parameters(query: &Query) -> bool {
    query.to_string().contains('$')
}

/// A null, in which the parameters of a query are still there, so that the others keep their places.
fn null_text(query: &Query) -> Expr {
    let text = query.to_string();
    let parameters = text.split('$').skip(1).filter_map(|behind| {
        let digits = behind.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(behind.len());
        (digits > 0).then(|| format!("CAST(${} AS TEXT)", &behind[..digits]))
    });
    let parameters: Vec<_> = parameters.collect();
    let null = if parameters.is_empty() {
        parsed("CAST(NULL AS TEXT)")
    } else {
        let parameters = parameters.join(", ");
        parsed(&format!("CASE WHEN coalesce({parameters}) IS NULL THEN NULL ELSE CAST(NULL AS TEXT) END"))
    };
    null.unwrap_or_else(|| Expr::value(Value::Null))
}

/// A row is found by its id in these: DataFusion wants an aggregate where a subquery names columns outside it.
fn at_most_one_row(query: &mut Query) {
    if query.limit_clause.is_some() {
        return;
    }
    if let [column] = &mut columns(query)[..]
        && !is_of_several_rows(column)
    {
        **column = call("max", [column.clone()]);
    }
}

/// `ARRAY(SELECT …)` as an aggregate, which is null rather than empty if there are no rows; `None` if a function is
/// another one.
fn array_of_query(function: &Function) -> Option<Expr> {
    let FunctionArguments::Subquery(query) = &function.args else { return None };
    let name = last_name(&function.name.0)?;
    if !name.eq_ignore_ascii_case("array") {
        return None;
    }
    let nothing = || parsed("CAST(NULL AS TEXT[])");
    let mut query = query.clone();
    let order = query.order_by.take().map(|order| format!(" {order}")).unwrap_or_default();
    let is_plain = query.with.is_none() && query.limit_clause.is_none() && !has_no_rows(&query);
    match &mut columns(&mut query)[..] {
        [column] if is_plain && !is_of_several_rows(column) && !order.contains("ORDER BY 1") => {
            **column = parsed(&format!("array_agg({column}{order})"))?;
        }
        _ => return nothing(),
    }
    Some(Expr::Subquery(query))
}
