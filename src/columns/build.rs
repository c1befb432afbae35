//! Building output columns. Money is converted to doubles or decimals here, as the last step.

use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Decimal128Array, Float64Array, Int32Array, ListBuilder, StringBuilder};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;

use super::cells::ShopId;
use crate::error::{Error, Result};
use crate::model::{Amount, AmountSum, Day, Text};

pub(crate) fn ids<'a, I: ShopId>(ids: impl Iterator<Item = Option<&'a I>>, data_type: &DataType) -> Result<ArrayRef> {
    typed(I::column(ids), data_type)
}

pub(crate) fn texts<S: AsRef<str>>(texts: impl Iterator<Item = Option<S>> + Clone) -> ArrayRef {
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

pub(crate) fn dates(days: impl Iterator<Item = Option<Day>>) -> ArrayRef {
    Arc::new(Date32Array::from_iter(days.map(|day| day.map(Day::days))))
}

pub(crate) fn floats(numbers: impl Iterator<Item = Option<f64>>) -> ArrayRef {
    Arc::new(Float64Array::from_iter(numbers))
}

/// Lists of texts.
pub(crate) fn lists<'a>(lists: impl Iterator<Item = &'a [Text]>) -> ArrayRef {
    let mut column = ListBuilder::new(StringBuilder::new());
    lists.for_each(|list| column.append_value(list.iter().map(Some)));
    Arc::new(column.finish())
}

pub(crate) fn int32s(integers: impl Iterator<Item = Option<i32>>) -> ArrayRef {
    Arc::new(Int32Array::from_iter(integers))
}

/// Amounts as doubles, rounded to nearest, or as decimals.
pub(crate) fn money(amounts: impl Iterator<Item = Option<Amount>>, data_type: &DataType) -> Result<ArrayRef> {
    match data_type {
        DataType::Float64 => Ok(Arc::new(Float64Array::from_iter(amounts.map(|amount| amount.map(Amount::to_f64))))),
        _ => decimals(amounts.map(|amount| amount.map(Amount::e8)), 8, data_type),
    }
}

/// Means of sums, in the same types as `money`; decimals are rounded half-even.
pub(crate) fn means(sums: impl Iterator<Item = AmountSum>, data_type: &DataType) -> Result<ArrayRef> {
    match data_type {
        DataType::Float64 => Ok(Arc::new(Float64Array::from_iter(sums.map(|sum| sum.total.mean(sum.count))))),
        _ => decimals(sums.map(|sum| sum.total.mean_e8(sum.count)), 8, data_type),
    }
}

/// Decimals of scale `scale`, cast to `data_type`.
pub(crate) fn decimals(
    unscaled: impl Iterator<Item = Option<i128>>,
    scale: i8,
    data_type: &DataType,
) -> Result<ArrayRef> {
    let decimals = Decimal128Array::from_iter(unscaled).with_precision_and_scale(38, scale).map_err(Error::failed)?;
    decimals.validate_decimal_precision(38).map_err(Error::failed)?;
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
