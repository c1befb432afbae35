//! The columns of `enriched_data`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;

use crate::error::{Error, Result};
use crate::io::InputTable;
use crate::io::cells::IdColumn;
use crate::io::layout::{EnrichedColumn, EnrichedSource as Source, Layout};
use crate::io::schema::is_decimal;
use crate::model::money::e4_to_f64;
use crate::model::{Account, Enriched, Line};

use super::columns::{dates, decimals, ids, money, texts, typed};

/// A row of `enriched_data`, in the parts in which it is kept.
#[derive(Clone, Copy)]
pub(crate) struct EnrichedParts<'a, I> {
    pub(crate) customer: &'a Option<I>,
    pub(crate) line: &'a Line<I>,
    pub(crate) account: &'a Account,
}

impl<'a, I> From<&'a Enriched<I>> for EnrichedParts<'a, I> {
    fn from(row: &'a Enriched<I>) -> Self {
        EnrichedParts { customer: &row.customer, line: &row.line, account: &row.account }
    }
}

/// Rows as a record batch.
pub(crate) fn batch<I: IdColumn>(rows: &[EnrichedParts<'_, I>], layout: &Layout) -> Result<RecordBatch> {
    RecordBatch::try_new(layout.enriched_schema(), columns(rows, layout)?).map_err(Error::failed)
}

/// All columns of some rows.
pub(super) fn columns<I: IdColumn>(rows: &[EnrichedParts<'_, I>], layout: &Layout) -> Result<Vec<ArrayRef>> {
    let accounts = Accounts::of(rows);
    let distinct = || accounts.distinct.iter().map(|account| account.details.as_ref().map(|details| &details.extra));
    let of_orders = layout.order_extras.decode(rows.iter().map(|row| Some(&row.line.extra)))?;
    let items = rows.iter().map(|row| row.line.item.as_ref().map(|item| &item.extra));
    let of_products = layout.product_extras.decode(items)?;
    let of_customers = layout.customer_extras.decode(distinct())?;
    let column = |column: &EnrichedColumn| match column.source {
        Source::Further(InputTable::Orders, at) => Ok(Arc::clone(&of_orders[at])),
        Source::Further(InputTable::Products, at) => Ok(Arc::clone(&of_products[at])),
        Source::Further(InputTable::Customers, at) => accounts.spread(&of_customers[at]),
        Source::CustomerId => ids(rows.iter().map(|row| row.customer.as_ref()), &column.data_type),
        Source::TotalSpent => {
            accounts.spread(&money(accounts.distinct.iter().map(|account| account.spent), &column.data_type)?)
        }
        Source::CustomerTier => {
            let names = accounts.distinct.iter().map(|account| account.tier.map(|tier| layout.tiers.name(tier)));
            accounts.spread(&texts(names))
        }
        _ => line_column(rows, column),
    };
    layout.enriched.iter().map(column).collect()
}

/// A column that depends on the order line alone.
fn line_column<I: IdColumn>(rows: &[EnrichedParts<'_, I>], column: &EnrichedColumn) -> Result<ArrayRef> {
    let lines = rows.iter().map(|row| row.line);
    match column.source {
        Source::OrderId => ids(lines.map(|line| Some(&line.order)), &column.data_type),
        Source::ProductId => ids(lines.map(|line| line.product.as_ref()), &column.data_type),
        Source::OrderDate => Ok(dates(lines.map(|line| line.day))),
        Source::Quantity => {
            let quantities = Int32Array::from_iter_values(lines.map(|line| line.quantity));
            typed(Arc::new(quantities), &column.data_type)
        }
        Source::Discount => fixed_point(lines.map(|line| Some(i64::from(line.discount.e4()))), &column.data_type),
        Source::ProductName => Ok(texts(lines.map(|line| line.item.as_ref()?.name.as_deref()))),
        Source::Category => Ok(texts(lines.map(|line| Some(line.item.as_ref()?.category.as_str())))),
        Source::Price => {
            let prices = lines.map(|line| line.item.as_ref().map(|_| line.price.e4()));
            fixed_point(prices, &column.data_type)
        }
        Source::TotalAmount => money(lines.map(Line::amount), &column.data_type),
        _ => unreachable!("{:?} does not depend on the line alone", column.source),
    }
}

/// Values in units of 10⁻⁴, as floats or decimals.
fn fixed_point(values: impl Iterator<Item = Option<i64>>, data_type: &DataType) -> Result<ArrayRef> {
    if is_decimal(data_type) {
        return decimals(values.map(|e4| e4.map(i128::from)), 4, data_type);
    }
    let floats = Float64Array::from_iter(values.map(|e4| e4.map(e4_to_f64)));
    typed(Arc::new(floats), data_type)
}

/// The accounts of some rows, each once where its rows stand together, as they mostly do.
struct Accounts<'a> {
    distinct: Vec<&'a Account>,
    of_row: UInt32Array,
}

impl<'a> Accounts<'a> {
    fn of<I>(rows: &[EnrichedParts<'a, I>]) -> Self {
        let mut distinct: Vec<&Account> = Vec::new();
        let mut last = 0;
        let of_row = rows.iter().map(|row| {
            if !distinct.last().is_some_and(|account| std::ptr::eq(*account, row.account)) {
                last = u32::try_from(distinct.len()).expect("a batch has fewer than 2³² rows");
                distinct.push(row.account);
            }
            last
        });
        let of_row = UInt32Array::from_iter_values(of_row);
        Accounts { of_row, distinct }
    }

    /// A column of the accounts as a column of the rows.
    fn spread(&self, column: &ArrayRef) -> Result<ArrayRef> {
        take(column, &self.of_row, None).map_err(Error::failed)
    }
}
