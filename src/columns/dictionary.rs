//! Columns as dictionaries: the values that rows share, and for each row the key of its value.

use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::error::{Error, Result};

/// How the rows of a column have the values that they share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Each has a copy.
    Copied,
    /// Each has a key of a dictionary, if values of this type [can be shared](can_be_shared).
    Dictionary,
}

impl Sharing {
    /// A column of which each row has the value of its key; null where the key is.
    pub(crate) fn take(self, values: &ArrayRef, keys: &UInt32Array) -> Result<ArrayRef> {
        if self == Sharing::Dictionary && can_be_shared(values.data_type()) {
            let shared = DictionaryArray::try_new(keys.clone(), Arc::clone(values)).map_err(Error::failed)?;
            return Ok(Arc::new(shared));
        }
        take(values, keys, None).map_err(Error::failed)
    }
}

/// True if columns of these values may be dictionaries.
pub(crate) fn can_be_shared(values: &DataType) -> bool {
    use DataType::{Date32, Float64, Int32, Int64, Utf8};
    matches!(values, Utf8 | Int32 | Int64 | Float64 | Date32)
}

/// True if a column of this type is a dictionary of these values.
pub(crate) fn is_dictionary_of(found: &DataType, values: &DataType) -> bool {
    matches!(found, DataType::Dictionary(key, of) if **key == DataType::UInt32 && **of == *values)
}

/// The schema, with the types of the columns that are dictionaries.
pub(crate) fn with_dictionaries(schema: &SchemaRef, columns: &[ArrayRef]) -> SchemaRef {
    let typed = |(field, column): (&Arc<Field>, &ArrayRef)| match column.data_type() {
        found if is_dictionary_of(found, field.data_type()) => {
            Arc::new(field.as_ref().clone().with_data_type(found.clone()))
        }
        _ => Arc::clone(field),
    };
    Arc::new(Schema::new(schema.fields().iter().zip(columns).map(typed).collect::<Vec<_>>()))
}
