//! Which keys the filters of a query leave, as ranges of keys.
//!
//! Filters are applied to the rows once more, so a range may be too large, but not too small.

use datafusion::arrow::array::AsArray;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown};

/// What filters say of a column: the values that it may have, or bounds of them, as texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ColumnFilter {
    /// The only values, if they are known.
    pub(crate) values: Option<Vec<String>>,
    pub(crate) from: Option<String>,
    pub(crate) to: Option<String>,
}

/// Keys from these first values to those; both are included, with all keys that begin with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BoundedKeys {
    pub(crate) from: Vec<String>,
    pub(crate) to: Vec<String>,
}

/// The most ranges that are read one after the other.
const RANGES_MAX: usize = 10_000;

/// The keys that some filters leave, of which these are the columns.
pub(crate) fn key_bounds<'a>(filters: &[Expr], key: impl Iterator<Item = &'a str>) -> Vec<BoundedKeys> {
    let mut all = vec![BoundedKeys::default()];
    for column in key {
        let filter = column_filter(filters, column);
        match filter.values {
            Some(values) if all.len() * values.len() <= RANGES_MAX => {
                let with = |known: &BoundedKeys| {
                    let known = known.from.clone();
                    values.clone().into_iter().map(move |value| {
                        let from = [&known[..], &[value]].concat();
                        BoundedKeys { to: from.clone(), from }
                    })
                };
                all = all.iter().flat_map(with).collect();
            }
            _ => {
                for bounds in &mut all {
                    bounds.from.extend(filter.from.clone());
                    bounds.to.extend(filter.to.clone());
                }
                break;
            }
        }
    }
    all
}

/// What filters, all of which hold, say of a column.
pub(crate) fn column_filter(filters: &[Expr], column: &str) -> ColumnFilter {
    filters.iter().fold(ColumnFilter::default(), |found, filter| found.and(of(filter, column)))
}

/// Which filters say something of one of these columns. They are applied once more to the rows that are found.
pub(crate) fn usable<'a>(
    filters: &[&Expr],
    columns: impl Iterator<Item = &'a str> + Clone,
) -> Vec<TableProviderFilterPushDown> {
    let is_usable = |filter: &Expr| columns.clone().any(|column| of(filter, column) != ColumnFilter::default());
    let pushed = |filter: &&Expr| match is_usable(filter) {
        true => TableProviderFilterPushDown::Inexact,
        false => TableProviderFilterPushDown::Unsupported,
    };
    filters.iter().map(pushed).collect()
}

impl ColumnFilter {
    fn only(mut values: Vec<String>) -> ColumnFilter {
        values.sort_unstable();
        values.dedup();
        ColumnFilter { values: Some(values), ..ColumnFilter::default() }
    }

    /// What both say; of two bounds any one.
    fn and(self, other: ColumnFilter) -> ColumnFilter {
        let values = match (self.values, other.values) {
            (Some(mut values), Some(others)) => {
                values.retain(|value| others.contains(value));
                Some(values)
            }
            (values, others) => values.or(others),
        };
        ColumnFilter { values, from: self.from.or(other.from), to: self.to.or(other.to) }
    }

    /// What at least one of them says.
    fn or(self, other: ColumnFilter) -> ColumnFilter {
        match (self.values, other.values) {
            (Some(values), Some(others)) => ColumnFilter::only([values, others].concat()),
            _ => ColumnFilter::default(),
        }
    }
}

/// What a filter says of a column.
fn of(filter: &Expr, column: &str) -> ColumnFilter {
    let is_column = |expr: &Expr| matches!(expr, Expr::Column(known) if known.name == column);
    let nothing = ColumnFilter::default();
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => of(left, column).and(of(right, column)),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => of(left, column).or(of(right, column)),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (op, value) = match (is_column(left), is_column(right)) {
                (true, false) => (Some(*op), text(right)),
                (false, true) => (op.swap(), text(left)),
                _ => return nothing,
            };
            match (op, value) {
                (Some(Operator::Eq), Some(value)) => ColumnFilter::only(vec![value]),
                (Some(Operator::Gt | Operator::GtEq), from) => ColumnFilter { from, ..nothing },
                (Some(Operator::Lt | Operator::LtEq), to) => ColumnFilter { to, ..nothing },
                _ => nothing,
            }
        }
        Expr::Between(between) if !between.negated && is_column(&between.expr) => {
            ColumnFilter { from: text(&between.low), to: text(&between.high), ..nothing }
        }
        Expr::InList(list) if !list.negated && is_column(&list.expr) => {
            list.list.iter().map(text).collect::<Option<Vec<_>>>().map_or(nothing, ColumnFilter::only)
        }
        _ => nothing,
    }
}

/// A value that is known, as the text that a key is given by.
fn text(value: &Expr) -> Option<String> {
    let Expr::Literal(value, _) = value else { return None };
    if value.is_null() {
        return None;
    }
    let value = if let ScalarValue::Dictionary(_, value) = value { value } else { value };
    let text = cast(&value.to_array().ok()?, &DataType::Utf8).ok()?;
    Some(text.as_string::<i32>().value(0).to_owned())
}
