//! Columns whose rows share values, as dictionaries.

use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::error::{Error, Result};

/// The type of a dictionary of these values.
pub(crate) fn dictionary_of(values: &DataType) -> DataType {
    DataType::Dictionary(Box::new(DataType::UInt32), Box::new(values.clone()))
}

/// True if values of this type are worth sharing, and can be.
pub(crate) fn can_be_shared(values: &DataType) -> bool {
    use DataType::{Date32, Float64, Int32, Int64, LargeUtf8, Utf8};
    matches!(values, Utf8 | LargeUtf8 | Int32 | Int64 | Float64 | Date32)
}

/// How the rows of a column are made of the values that they share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Each row has a copy of its value.
    Copied,
    /// Rows are places in a dictionary, if the values [can be shared](can_be_shared).
    Dictionary,
}

impl Sharing {
    /// A column of which each row has the value at its place; null where the place is.
    pub(crate) fn spread(self, values: &ArrayRef, places: &UInt32Array) -> Result<ArrayRef> {
        if self == Sharing::Dictionary && can_be_shared(values.data_type()) {
            let shared = DictionaryArray::try_new(places.clone(), Arc::clone(values)).map_err(Error::failed)?;
            return Ok(Arc::new(shared));
        }
        take(values, places, None).map_err(Error::failed)
    }
}

/// The schema of columns some of which are dictionaries of what it has.
pub(crate) fn with_dictionaries(schema: &SchemaRef, columns: &[ArrayRef]) -> SchemaRef {
    let is_shared = |(field, column): (&Arc<Field>, &ArrayRef)| *column.data_type() == dictionary_of(field.data_type());
    if !schema.fields().iter().zip(columns).any(is_shared) {
        return Arc::clone(schema);
    }
    let fields = schema.fields().iter().zip(columns).map(|(field, column)| match is_shared((field, column)) {
        true => Arc::new(field.as_ref().clone().with_data_type(column.data_type().clone())),
        false => Arc::clone(field),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
