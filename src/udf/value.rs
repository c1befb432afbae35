//! Values that functions take and give, and the columns they lie in.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, StringArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type};

use crate::columns::Kind;
use crate::columns::cells::{days, money, texts};
use crate::error::{Error, Result};
use crate::model::{Amount, Day, Discount, Price, Text};

/// A value, a null, or the reason for which there is none.
pub type Cell<V> = std::result::Result<Option<V>, String>;

/// The values of a column, each read when it is asked for.
pub type Cells<V> = Box<dyn Fn(usize) -> Cell<V>>;

/// A type of values: how they lie in Arrow columns. All but `bool`, `i64`, [`Amount`] and maps are read from dictionaries, too.
///
/// | type | column that functions give | columns that are read |
/// |---|---|---|
/// | `bool` | `Boolean` | that |
/// | `i64` | `Int64` | integers |
/// | `f64` | `Float64` | floats, integers, decimals |
/// | [`Text`], `String` | `Utf8` | strings of any layout |
/// | [`Day`] | `Date32` | dates, timestamps, ISO 8601 strings; an instant is its day in UTC, whatever zone a run has |
/// | [`Price`], [`Discount`] | `Decimal128(38, 4)` | floats, integers, decimals: rounded half-even to 10⁻⁴ |
/// | [`Amount`] | `Decimal128(38, 8)`; as money is where a table is written | that |
/// | [`TextMap`](crate::model::TextMap) | `Map<Utf8, Utf8>` | that |
pub trait Value: Clone + Debug + Send + Sync + 'static {
    /// The type of a column of such values.
    fn data_type() -> DataType;

    /// True if such values can be read from a column of this type.
    fn is_read_from(found: &DataType) -> bool;

    /// A column of values.
    fn column(values: impl Iterator<Item = Option<Self>>) -> ArrayRef;

    /// The values of a column of a type that is accepted.
    ///
    /// # Errors
    ///
    /// If the column can't be read as such values.
    fn cells(column: &ArrayRef) -> Result<Cells<Self>>;

    /// Appends what tells the value from all others, of whatever length.
    fn encode(&self, bytes: &mut Vec<u8>);

    /// How many bytes of memory it has beside those of its type.
    fn heap_bytes(&self) -> usize {
        0
    }
}

/// What a value is called where it can't be read.
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

    fn cells(column: &ArrayRef) -> Result<Cells<Self>> {
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

    fn cells(column: &ArrayRef) -> Result<Cells<Self>> {
        let (values, column) = (
            cast(column, &DataType::Int64).map_err(Error::failed)?.as_primitive::<Int64Type>().clone(),
            Arc::clone(column),
        );
        Ok(Box::new(move |row| match (values.is_valid(row), column.is_valid(row)) {
            (true, _) => Ok(Some(values.value(row))),
            (false, true) => Err(format!("{ARGUMENT} is beyond 64 bits")),
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
        Kind::Money.accepts(found)
    }

    fn column(values: impl Iterator<Item = Option<Self>>) -> ArrayRef {
        Arc::new(Float64Array::from_iter(values))
    }

    fn cells(column: &ArrayRef) -> Result<Cells<Self>> {
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
        Kind::Text.accepts(found)
    }

    fn column(values: impl Iterator<Item = Option<Self>>) -> ArrayRef {
        Arc::new(StringArray::from_iter(values))
    }

    fn cells(column: &ArrayRef) -> Result<Cells<Self>> {
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

    fn cells(column: &ArrayRef) -> Result<Cells<Self>> {
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
        Kind::Date.accepts(found)
    }

    fn column(values: impl Iterator<Item = Option<Self>>) -> ArrayRef {
        Arc::new(Date32Array::from_iter(values.map(|day| day.map(Day::days))))
    }

    fn cells(column: &ArrayRef) -> Result<Cells<Self>> {
        days(column, ARGUMENT, chrono_tz::UTC)
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
        Kind::Money.accepts(found)
    }

    fn column(values: impl Iterator<Item = Option<Self>>) -> ArrayRef {
        decimals(values.map(|price| price.map(|price| price.e4().into())), 4)
    }

    fn cells(column: &ArrayRef) -> Result<Cells<Self>> {
        money(column, ARGUMENT, Price::from_e4, "is out of range: wanted below 10^10")
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
        Kind::Money.accepts(found)
    }

    fn column(values: impl Iterator<Item = Option<Self>>) -> ArrayRef {
        decimals(values.map(|discount| discount.map(|discount| discount.e4().into())), 4)
    }

    fn cells(column: &ArrayRef) -> Result<Cells<Self>> {
        money(column, ARGUMENT, Discount::from_e4, "is out of range: wanted below 10^5")
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

    fn cells(column: &ArrayRef) -> Result<Cells<Self>> {
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
