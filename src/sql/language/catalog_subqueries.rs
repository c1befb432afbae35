//! Subqueries about the catalog, which DataFusion plans in few places.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, GroupByExpr, JoinOperator, Query, Select, SelectItem, SetExpr, Statement, TableFactor,
    TableWithJoins, Value, VisitMut, VisitorMut,
};

use super::expressions::{has_name, last_name, parsed};
use crate::sql::catalog::tables::EMPTY_TABLES;

/// Makes a subquery one that DataFusion plans: of a table that is always empty, it is known what it says, and at most
/// one row has an aggregate.
pub(crate) fn simplify(expr: &mut Expr) {
    match expr {
        // Of identities, of which there are none.
        Expr::Subquery(query) if query.to_string().contains("json_build_object(") => *expr = no_text(query),
        Expr::Subquery(query) if reads_nothing(query) => *expr = of_no_rows(query),
        Expr::Subquery(query) => at_most_one_row(query),
        Expr::Exists { subquery, negated } if reads_nothing(subquery) && !has_parameters(subquery) => {
            *expr = Expr::value(Value::Boolean(*negated));
        }
        _ => {}
    }
}

/// `EXISTS` and `IN` among the columns of a query as counts, since they are planned in conditions only.
pub(crate) fn count_in_columns(query: &mut Query) {
    struct Counted;
    impl VisitorMut for Counted {
        type Break = ();

        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            let counted = match expr {
                Expr::Exists { subquery, negated } => count(subquery, None).map(|count| (count, *negated)),
                Expr::InSubquery { expr, subquery, negated } => {
                    count(subquery, Some(expr)).map(|count| (count, *negated))
                }
                _ => None,
            };
            if let Some((count, is_negated)) = counted
                && let Some(compared) = parsed(&format!("({count}) {} 0", if is_negated { "=" } else { ">" }))
            {
                *expr = Expr::Nested(Box::new(compared));
            }
            ControlFlow::Continue(())
        }
    }
    if let SetExpr::Select(select) = &mut *query.body {
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
                let _ = VisitMut::visit(expr, &mut Counted);
            }
        }
    }
}

/// How many rows a query has, with this value in its column if one is given; `None` if that is not as simple.
fn count(query: &Query, value: Option<&Expr>) -> Option<Query> {
    let mut counted = query.clone();
    (counted.order_by, counted.limit_clause) = (None, None);
    let SetExpr::Select(select) = &mut *counted.body else { return None };
    let is_plain = select.distinct.is_none() && select.having.is_none() && is_ungrouped(select);
    let item = select.projection.pop().filter(|_| is_plain)?;
    if let Some(value) = value {
        let SelectItem::UnnamedExpr(column) = item else { return None };
        let equal = parsed(&format!("({column}) = ({value})"))?;
        let op = BinaryOperator::And;
        select.selection = Some(match select.selection.take() {
            Some(condition) => {
                let left = Box::new(Expr::Nested(Box::new(condition)));
                Expr::BinaryOp { left, op, right: Box::new(equal) }
            }
            None => equal,
        });
    }
    select.projection = vec![SelectItem::UnnamedExpr(parsed("count(*)")?)];
    Some(counted)
}

fn is_ungrouped(select: &Select) -> bool {
    matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty())
}

/// Makes what is left of subqueries among the columns of a statement null or false. So a client has what it asked for
/// but for them.
pub(crate) fn give_up(statement: &mut Statement) {
    struct GivenUp;
    impl VisitorMut for GivenUp {
        type Break = ();

        fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
            struct InColumns;
            impl VisitorMut for InColumns {
                type Break = ();

                fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
                    match expr {
                        Expr::Subquery(query) => *expr = no_text(query),
                        Expr::Exists { .. } | Expr::InSubquery { .. } => *expr = Expr::value(Value::Boolean(false)),
                        _ => {}
                    }
                    ControlFlow::Continue(())
                }
            }
            if let SetExpr::Select(select) = &mut *query.body {
                for item in &mut select.projection {
                    if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
                        let _ = VisitMut::visit(expr, &mut InColumns);
                    }
                }
            }
            ControlFlow::Continue(())
        }
    }
    let _ = VisitMut::visit(statement, &mut GivenUp);
}

/// True if a query reads a table of the catalog that is always empty, so that it has no rows.
fn reads_nothing(query: &Query) -> bool {
    let SetExpr::Select(select) = &*query.body else { return false };
    let is_empty = |table: &TableFactor| match table {
        TableFactor::Table { name, .. } => last_name(&name.0).is_some_and(|name| EMPTY_TABLES.contains(&name)),
        _ => false,
    };
    let are_empty = |tables: &TableWithJoins| {
        let joined = tables.joins.iter().filter(|join| {
            let operator = &join.join_operator;
            matches!(operator, JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_))
        });
        is_empty(&tables.relation) || joined.map(|join| &join.relation).any(is_empty)
    };
    query.with.is_none() && is_ungrouped(select) && select.from.iter().any(are_empty)
}

/// What a scalar subquery says that has no rows.
fn of_no_rows(query: &Query) -> Expr {
    let SetExpr::Select(select) = &*query.body else { return no_text(query) };
    match &select.projection[..] {
        [
            SelectItem::UnnamedExpr(Expr::Function(function))
            | SelectItem::ExprWithAlias { expr: Expr::Function(function), .. },
        ] if has_name(function, "count") && !has_parameters(query) => Expr::value(Value::Number("0".to_owned(), false)),
        _ => no_text(query),
    }
}

fn has_parameters(query: &Query) -> bool {
    query.to_string().contains('$')
}

/// A null, in which the parameters of a query are still there, so that the others keep their places.
fn no_text(query: &Query) -> Expr {
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
