//! The columns of `enriched_data`.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int32Array, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, UInt32Type};
use arrow::record_batch::RecordBatch;

use crate::error::{Error, Result};
use crate::io::cells::IdColumn;
use crate::io::derived::Made;
use crate::io::layout::{EnrichedColumn, EnrichedSource as Source, Layout};
use crate::io::schema::is_decimal;
use crate::io::{InputTable, OutputTable};
use crate::model::money::e4_to_f64;
use crate::model::{Account, Enriched, Line, Price, Product};

use super::columns::{dates, decimals, ids, money, texts, typed};

/// A row of `enriched_data`, in the parts in which it is kept.
#[derive(Clone, Copy)]
pub(crate) struct EnrichedParts<'a, I> {
    pub(crate) customer: &'a Option<I>,
    pub(crate) line: &'a Line<I>,
    /// Which of the items it is; `None` where the product is unknown.
    pub(crate) item: Option<u32>,
    pub(crate) account: &'a Account,
}

/// The columns that products bring, with a row for each product.
pub(crate) struct Items {
    names: Column,
    categories: Column,
    brands: Column,
    metadata: Column,
    further: Vec<Column>,
}

impl Items {
    pub(crate) fn of<'a>(
        products: impl Iterator<Item = Option<&'a Product>> + Clone,
        layout: &Layout,
    ) -> Result<Items> {
        let further = layout.product_extras.decode(products.clone().map(|product| Some(&product?.extra)))?;
        Ok(Items {
            names: Column::of(texts(products.clone().map(|product| product?.name.as_deref())))?,
            categories: Column::of(texts(products.clone().map(|product| Some(product?.category.as_str()))))?,
            brands: Column::of(texts(products.clone().map(|product| product?.brand.as_deref())))?,
            metadata: Column::of(texts(products.map(|product| product?.metadata.as_deref())))?,
            further: further.into_iter().map(Column::of).collect::<Result<_>>()?,
        })
    }
}

/// A column from which rows are taken at random: values that repeat lie once, and so in the cache.
struct Column {
    values: ArrayRef,
    /// Which of the values each row has; where there are none, its own.
    places: Option<UInt32Array>,
}

impl Column {
    fn of(column: ArrayRef) -> Result<Column> {
        let texts = column.data_type();
        if !matches!(texts, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) {
            return Ok(Column { values: column, places: None });
        }
        let dictionary = DataType::Dictionary(Box::new(DataType::UInt32), Box::new(texts.clone()));
        let dictionary = cast(&column, &dictionary).map_err(Error::failed)?;
        let dictionary = dictionary.as_dictionary::<UInt32Type>();
        if dictionary.values().len() > column.len() / 4 {
            return Ok(Column { values: column, places: None });
        }
        Ok(Column { values: Arc::clone(dictionary.values()), places: Some(dictionary.keys().clone()) })
    }

    fn take(&self, rows: &UInt32Array) -> Result<ArrayRef> {
        let taken = match &self.places {
            Some(places) => take(places, rows, None).and_then(|places| take(&self.values, &places, None)),
            None => take(&self.values, rows, None),
        };
        taken.map_err(Error::failed)
    }
}

/// Rows as a record batch, with the columns that functions make.
pub(crate) fn batch<I: IdColumn>(rows: &[EnrichedParts<'_, I>], items: &Items, layout: &Layout) -> Result<Made> {
    let own = RecordBatch::try_new(layout.enriched_schema(), columns(rows, items, layout)?).map_err(Error::failed)?;
    layout.derived.add(OutputTable::EnrichedData, own)
}

/// All columns of rows that are joined already.
pub(super) fn joined<I: IdColumn>(rows: &[Enriched<I>], layout: &Layout) -> Result<Vec<ArrayRef>> {
    let items = Items::of(rows.iter().map(|row| row.item.as_deref()), layout)?;
    let parts = rows.iter().zip(0..).map(|(row, item)| EnrichedParts {
        customer: &row.customer,
        line: &row.line,
        item: Some(item),
        account: &row.account,
    });
    columns(&parts.collect::<Vec<_>>(), &items, layout)
}

/// All columns of some rows.
fn columns<I: IdColumn>(rows: &[EnrichedParts<'_, I>], items: &Items, layout: &Layout) -> Result<Vec<ArrayRef>> {
    let accounts = Accounts::of(rows);
    let distinct = || accounts.distinct.iter().map(|account| account.details.as_ref().map(|details| &details.extra));
    let of_orders = layout.order_extras.decode(rows.iter().map(|row| Some(&row.line.extra)))?;
    let item_of_row = UInt32Array::from_iter(rows.iter().map(|row| row.item));
    let of_customers = layout.customer_extras.decode(distinct())?;
    let column = |column: &EnrichedColumn| match column.source {
        Source::Further(InputTable::Orders, at) => Ok(Arc::clone(&of_orders[at])),
        Source::Further(InputTable::Products, at) => items.further[at].take(&item_of_row),
        Source::ProductName => items.names.take(&item_of_row),
        Source::Category => items.categories.take(&item_of_row),
        Source::Brand => items.brands.take(&item_of_row),
        Source::Metadata => items.metadata.take(&item_of_row),
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
        Source::Price => fixed_point(lines.map(|line| line.price.map(Price::e4)), &column.data_type),
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
