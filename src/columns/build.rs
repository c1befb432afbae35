//! Builders of table columns. Money is converted to doubles or decimals here, as the last step.
//!
//! `None` becomes null. The types of ids and money are those of the job's [`Layout`](crate::tables::Layout).

use std::cell::Cell;
use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Decimal128Array, Float64Array, Int32Array, ListBuilder, StringBuilder};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;

use super::cells::ShopId;
use crate::error::{Error, Result};
use crate::model::{Amount, AmountSum, Day, Text};

/// Ids, in the type of an id column: [`Layout::customer_id`](crate::tables::Layout::customer_id) and the like.
///
/// # Errors
///
/// If an id does not fit the type.
pub fn ids<'a, I: ShopId>(ids: impl Iterator<Item = Option<&'a I>>, data_type: &DataType) -> Result<ArrayRef> {
    typed(I::column(ids), data_type)
}

/// Texts. The iterator is run twice.
pub fn texts<S: AsRef<str>>(texts: impl Iterator<Item = Option<S>> + Clone) -> ArrayRef {
    // Two passes: sizing the buffer first avoids copies while it grows.
    let (mut rows, mut bytes) = (0, 0);
    for text in texts.clone() {
        rows += 1;
        bytes += text.map_or(0, |text| text.as_ref().len());
    }
    let mut column = StringBuilder::with_capacity(rows, bytes);
    column.extend(texts);
    Arc::new(column.finish())
}

/// Days, as dates.
pub fn dates(days: impl Iterator<Item = Option<Day>>) -> ArrayRef {
    Arc::new(Date32Array::from_iter(days.map(|day| day.map(Day::days))))
}

/// Doubles.
pub fn floats(numbers: impl Iterator<Item = Option<f64>>) -> ArrayRef {
    Arc::new(Float64Array::from_iter(numbers))
}

/// Lists of texts.
pub fn lists<'a>(lists: impl Iterator<Item = &'a [Text]>) -> ArrayRef {
    let mut column = ListBuilder::new(StringBuilder::new());
    lists.for_each(|list| column.append_value(list.iter().map(Some)));
    Arc::new(column.finish())
}

/// Integers of 32 bits.
pub fn int32s(integers: impl Iterator<Item = Option<i32>>) -> ArrayRef {
    Arc::new(Int32Array::from_iter(integers))
}

/// Amounts, as doubles rounded to nearest or as decimals, in the type [`Layout::money`](crate::tables::Layout::money).
///
/// # Errors
///
/// If an amount does not fit the type.
pub fn money(amounts: impl Iterator<Item = Option<Amount>>, data_type: &DataType) -> Result<ArrayRef> {
    let is_beyond = Cell::new(false);
    let amounts = amounts.inspect(|amount| is_beyond.set(is_beyond.get() | amount.is_some_and(Amount::is_beyond)));
    let column = match data_type {
        DataType::Float64 => {
            Ok(Arc::new(Float64Array::from_iter(amounts.map(|amount| amount.map(Amount::to_f64)))) as _)
        }
        _ => decimals(amounts.map(|amount| amount.map(Amount::e8)), 8, data_type),
    };
    if is_beyond.get() { Err(no_room()) } else { column }
}

fn no_room() -> Error {
    Error::failed("a sum of amounts is beyond 8.5·10^29, the most that can be added exactly")
}

/// Means of sums, in the same types as [`money`]; decimals are rounded half-even.
///
/// # Errors
///
/// If a mean does not fit the type.
pub fn means(sums: impl Iterator<Item = AmountSum>, data_type: &DataType) -> Result<ArrayRef> {
    let is_beyond = Cell::new(false);
    let sums = sums.inspect(|sum| is_beyond.set(is_beyond.get() | sum.total.is_beyond()));
    let column = match data_type {
        DataType::Float64 => Ok(Arc::new(Float64Array::from_iter(sums.map(|sum| sum.total.mean(sum.count)))) as _),
        _ => decimals(sums.map(|sum| sum.total.mean_e8(sum.count)), 8, data_type),
    };
    if is_beyond.get() { Err(no_room()) } else { column }
}

/// Decimals of scale `scale`, cast to `data_type`.
///
/// # Errors
///
/// If a value does not fit the type.
pub fn decimals(unscaled: impl Iterator<Item = Option<i128>>, scale: i8, data_type: &DataType) -> Result<ArrayRef> {
    let decimals = Decimal128Array::from_iter(unscaled).with_precision_and_scale(38, scale).map_err(Error::failed)?;
    let no_room = |_| Error::failed("a value has more than 38 digits, the most that a decimal can have");
    decimals.validate_decimal_precision(38).map_err(no_room)?;
    typed(Arc::new(decimals), data_type)
}

/// Casts a column, if its type differs.
///
/// # Errors
///
/// If a value does not fit.
pub(crate) fn typed(column: ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    if column.data_type() == data_type {
        return Ok(column);
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(&column, data_type, &options).map_err(Error::failed)
}
