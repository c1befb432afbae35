//! Columns of the tables as the overview adds them up.

use arrow::array::{Array, ArrayRef, AsArray, Date32Array, Decimal128Array, Int64Array, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Int64Type};
use arrow::record_batch::RecordBatch;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::model::{AnyId, Day};

/// The digits behind the point of an amount.
const PLACES: i8 = 8;

/// A sum of amounts, in units of 10⁻⁸: what is added can be taken away again exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Money(i128);

impl Money {
    /// Adds an amount, or with a negative sign, takes it away.
    pub(super) fn add(&mut self, other: Money, sign: i64) {
        self.0 = self.0.wrapping_add(other.0.wrapping_mul(sign.into()));
    }

    pub(super) fn json(self) -> Value {
        json!(self.0 as f64 / 1e8)
    }
}

fn column(rows: &RecordBatch, name: &str, data_type: &DataType) -> Result<ArrayRef> {
    let found = rows.column_by_name(name).ok_or_else(|| Error::failed(format!("internal error: no column {name}")))?;
    cast(found, data_type).map_err(Error::failed)
}

pub(super) fn integers(rows: &RecordBatch, name: &str) -> Result<Int64Array> {
    Ok(column(rows, name, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
}

pub(super) fn texts(rows: &RecordBatch, name: &str) -> Result<StringArray> {
    Ok(column(rows, name, &DataType::Utf8)?.as_string().clone())
}

pub(super) fn dates(rows: &RecordBatch, name: &str) -> Result<Date32Array> {
    Ok(column(rows, name, &DataType::Date32)?.as_primitive::<Date32Type>().clone())
}

/// Amounts: as the tables have them, of type DOUBLE or DECIMAL.
pub(super) struct MoneyColumn(Decimal128Array);

pub(super) fn amounts(rows: &RecordBatch, name: &str) -> Result<MoneyColumn> {
    let column = column(rows, name, &DataType::Decimal128(38, PLACES))?;
    Ok(MoneyColumn(column.as_primitive::<Decimal128Type>().clone()))
}

impl MoneyColumn {
    /// The amount of a row; `None` if it is null.
    pub(super) fn get(&self, row: usize) -> Option<Money> {
        self.0.is_valid(row).then(|| Money(self.0.value(row)))
    }
}

/// Ids, integers or texts.
pub(super) enum IdColumn {
    Integers(Int64Array),
    Texts(StringArray),
}

pub(super) fn ids(rows: &RecordBatch, name: &str) -> Result<IdColumn> {
    let found = rows.column_by_name(name).map(|column| column.data_type().clone());
    match found {
        Some(found) if found.is_integer() => integers(rows, name).map(IdColumn::Integers),
        _ => texts(rows, name).map(IdColumn::Texts),
    }
}

impl IdColumn {
    /// The id of a row; `None` if it is null.
    pub(super) fn get(&self, row: usize) -> Option<AnyId> {
        match self {
            IdColumn::Integers(values) => values.is_valid(row).then(|| values.value(row).into()),
            IdColumn::Texts(values) => values.is_valid(row).then(|| values.value(row).into()),
        }
    }
}

/// An id as JSON.
pub(super) fn id_json(id: Option<&AnyId>) -> Value {
    match id {
        None => Value::Null,
        Some(AnyId::Int(number)) => json!(number),
        Some(AnyId::Text(text)) => json!(text.as_str()),
    }
}

/// A day of an Arrow column.
pub(super) fn day(days: &Date32Array, row: usize) -> Option<Day> {
    days.is_valid(row).then(|| Day::new(days.value(row))).flatten()
}

/// A text of a column; `None` if it is null.
pub(super) fn text(texts: &StringArray, row: usize) -> Option<&str> {
    texts.is_valid(row).then(|| texts.value(row))
}
