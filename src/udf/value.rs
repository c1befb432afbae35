//! Argument and result types of functions, and their Arrow representation.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, StringArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type};

use crate::columns::ColumnKind;
use crate::columns::cells::{days, money, texts};
use crate::error::{Error, Result};
use crate::model::{Amount, Day, Discount, Price, Reason, Text};

pub use crate::columns::cells::{CellReader, CellValue};

/// A value type and its Arrow representation.
///
/// All types except `bool`, `i64`, [`Amount`] and maps are also read from dictionary-encoded columns.
///
/// | type | written as | read from |
/// |---|---|---|
/// | `bool` | `Boolean` | the same |
/// | `i64` | `Int64` | integers |
/// | `f64` | `Float64` | floats, integers, decimals |
/// | [`Text`], `String` | `Utf8` | strings of any layout |
/// | [`Day`] | `Date32` | dates, timestamps, ISO 8601 strings; instants as UTC days |
/// | [`Price`], [`Discount`] | `Decimal128(38, 4)` | floats, integers, decimals; rounded half-even to 10⁻⁴ |
/// | [`Amount`] | `Decimal128(38, 8)`; in a table, the money type of the run | the same |
/// | [`TextMap`](crate::model::TextMap) | `Map<Utf8, Utf8>` | the same |
pub trait Value: Clone + Debug + Send + Sync + 'static {
    /// The Arrow type of the column.
    fn data_type() -> DataType;

    /// True if values can be read from a column of this type.
    fn is_read_from(found: &DataType) -> bool;

    /// Builds a column.
    fn column(values: impl Iterator<Item = Option<Self>>) -> ArrayRef;

    /// Returns a reader of the column's values. The column must have an accepted type.
    ///
    /// # Errors
    ///
    /// If the column can't be read as this type.
    fn cells(column: &ArrayRef) -> Result<CellReader<Self>>;

    /// Appends a self-delimiting encoding that identifies the value.
    fn encode(&self, bytes: &mut Vec<u8>);

    /// Heap memory in bytes, in addition to the size of the type.
    fn heap_bytes(&self) -> usize {
        0
    }
}

/// How error messages name the value.
const ARGUMENT: &str = "the argument";

impl Value for bool {
    fn data_type() -> DataType {
        DataType::Boolean
    }

    fn is_read_from(found: &DataType) -> bool {
        *found == DataType::Boolean
    }

    fn column(values: impl Iterator<Item = Option<Self>>) -> ArrayRef {
        Arc::new(BooleanArray::from_iter(values))
    }

    fn cells(column: &ArrayRef) -> Result<CellReader<Self>> {
        let column = column.as_boolean().clone();
        Ok(Box::new(move |row| Ok(column.is_valid(row).then(|| column.value(row)))))
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.push(u8::from(*self));
    }
}

impl Value for i64 {
    fn data_type() -> DataType {
        DataType::Int64
    }

    fn is_read_from(found: &DataType) -> bool {
        found.is_integer()
    }

    fn column(values: impl Iterator<Item = Option<Self>>) -> ArrayRef {
        Arc::new(Int64Array::from_iter(values))
    }

    fn cells(column: &ArrayRef) -> Result<CellReader<Self>> {
        let (values, column) = (
            cast(column, &DataType::Int64).map_err(Error::failed)?.as_primitive::<Int64Type>().clone(),
            Arc::clone(column),
        );
        Ok(Box::new(move |row| match (values.is_valid(row), column.is_valid(row)) {
            (true, _) => Ok(Some(values.value(row))),
            (false, true) => Err(Reason::plain(format!("{ARGUMENT} is beyond 64 bits"))),
            (false, false) => Ok(None),
        }))
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.to_le_bytes());
    }
}

impl Value for f64 {
    fn data_type() -> DataType {
        DataType::Float64
    }

    fn is_read_from(found: &DataType) -> bool {
        ColumnKind::Money.accepts(found)
    }

    fn column(values: impl Iterator<Item = Option<Self>>) -> ArrayRef {
        Arc::new(Float64Array::from_iter(values))
    }

    fn cells(column: &ArrayRef) -> Result<CellReader<Self>> {
        let column = cast(column, &DataType::Float64).map_err(Error::failed)?.as_primitive::<Float64Type>().clone();
        Ok(Box::new(move |row| Ok(column.is_valid(row).then(|| column.value(row)))))
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.to_bits().to_le_bytes());
    }
}

impl Value for Text {
    fn data_type() -> DataType {
        DataType::Utf8
    }

    fn is_read_from(found: &DataType) -> bool {
        ColumnKind::Text.accepts(found)
    }

    fn column(values: impl Iterator<Item = Option<Self>>) -> ArrayRef {
        Arc::new(StringArray::from_iter(values))
    }

    fn cells(column: &ArrayRef) -> Result<CellReader<Self>> {
        texts(column, ARGUMENT)
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.len().to_le_bytes());
        bytes.extend(self.as_bytes());
    }

    fn heap_bytes(&self) -> usize {
        if self.is_heap_allocated() { self.capacity() } else { 0 }
    }
}

impl Value for String {
    fn data_type() -> DataType {
        Text::data_type()
    }

    fn is_read_from(found: &DataType) -> bool {
        Text::is_read_from(found)
    }

    fn column(values: impl Iterator<Item = Option<Self>>) -> ArrayRef {
        Arc::new(StringArray::from_iter(values))
    }

    fn cells(column: &ArrayRef) -> Result<CellReader<Self>> {
        let texts = Text::cells(column)?;
        Ok(Box::new(move |row| texts(row).map(|text| text.map(String::from))))
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.len().to_le_bytes());
        bytes.extend(self.as_bytes());
    }

    fn heap_bytes(&self) -> usize {
        self.capacity()
    }
}

impl Value for Day {
    fn data_type() -> DataType {
        DataType::Date32
    }

    fn is_read_from(found: &DataType) -> bool {
        ColumnKind::Date.accepts(found)
    }

    fn column(values: impl Iterator<Item = Option<Self>>) -> ArrayRef {
        Arc::new(Date32Array::from_iter(values.map(|day| day.map(Day::days))))
    }

    fn cells(column: &ArrayRef) -> Result<CellReader<Self>> {
        days(column, ARGUMENT, chrono_tz::UTC, None)
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.days().to_le_bytes());
    }
}

impl Value for Price {
    fn data_type() -> DataType {
        DataType::Decimal128(38, 4)
    }

    fn is_read_from(found: &DataType) -> bool {
        ColumnKind::Money.accepts(found)
    }

    fn column(values: impl Iterator<Item = Option<Self>>) -> ArrayRef {
        decimals(values.map(|price| price.map(|price| price.e4().into())), 4)
    }

    fn cells(column: &ArrayRef) -> Result<CellReader<Self>> {
        money(column, ARGUMENT, 0, Price::from_e4, "is out of range: wanted below 10^10")
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.e4().to_le_bytes());
    }
}

impl Value for Discount {
    fn data_type() -> DataType {
        DataType::Decimal128(38, 4)
    }

    fn is_read_from(found: &DataType) -> bool {
        ColumnKind::Money.accepts(found)
    }

    fn column(values: impl Iterator<Item = Option<Self>>) -> ArrayRef {
        decimals(values.map(|discount| discount.map(|discount| discount.e4().into())), 4)
    }

    fn cells(column: &ArrayRef) -> Result<CellReader<Self>> {
        money(column, ARGUMENT, 0, Discount::from_e4, "is out of range: wanted below 10^5")
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.e4().to_le_bytes());
    }
}

impl Value for Amount {
    fn data_type() -> DataType {
        DataType::Decimal128(38, 8)
    }

    fn is_read_from(found: &DataType) -> bool {
        *found == Self::data_type()
    }

    fn column(values: impl Iterator<Item = Option<Self>>) -> ArrayRef {
        decimals(values.map(|amount| amount.map(Amount::e8)), 8)
    }

    fn cells(column: &ArrayRef) -> Result<CellReader<Self>> {
        let column = column.as_primitive::<Decimal128Type>().clone();
        Ok(Box::new(move |row| Ok(column.is_valid(row).then(|| Amount::from_e8(column.value(row))))))
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.e8().to_le_bytes());
    }
}

fn decimals(unscaled: impl Iterator<Item = Option<i128>>, scale: i8) -> ArrayRef {
    let decimals = Decimal128Array::from_iter(unscaled).with_precision_and_scale(38, scale);
    Arc::new(decimals.expect("38 digits with a few places are a type"))
}
