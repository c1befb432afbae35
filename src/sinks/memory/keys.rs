//! Keys as texts: what a reader asks for.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, FieldRef};
use arrow::row::{RowConverter, SortField};

use crate::error::{Error, Result};

/// A range of keys.
///
/// Keys are given as the texts of the first key columns, or of all of them; an empty text is a null, unless the column
/// is a text. Fewer columns stand for all keys that begin with them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyRange {
    /// The first bytes of the encoded keys.
    pub(super) from: Vec<u8>,
    /// The first encoded key that is above the range; `None` if there is none.
    pub(super) to: Option<Vec<u8>>,
}

impl KeyRange {
    /// The keys above one that was encoded.
    #[must_use]
    pub fn after(mut self, encoded: &[u8]) -> KeyRange {
        let mut next = encoded.to_vec();
        next.push(0);
        self.from = self.from.max(next);
        self
    }

    /// All keys that begin with these values.
    pub(super) fn prefix(columns: &[FieldRef], values: &[String]) -> Result<KeyRange> {
        let from = encoded(columns, values)?;
        Ok(KeyRange { to: after_all_with(&from), from })
    }

    /// The keys from these values to those, which are in the range.
    pub(super) fn between(columns: &[FieldRef], from: Option<&[String]>, to: Option<&[String]>) -> Result<KeyRange> {
        let from = from.map(|from| encoded(columns, from)).transpose()?.unwrap_or_default();
        let to = to.map(|to| encoded(columns, to)).transpose()?;
        Ok(KeyRange { from, to: to.and_then(|to| after_all_with(&to)) })
    }
}

/// The first values of a key as bytes.
fn encoded(columns: &[FieldRef], values: &[String]) -> Result<Vec<u8>> {
    if values.len() > columns.len() {
        let names: Vec<_> = columns.iter().map(|column| column.name().as_str()).collect();
        let (found, names) = (values.len(), names.join(","));
        return Err(Error::usage(format!("key: found {found} values, wanted at most those of {names}")));
    }
    let columns = &columns[..values.len()];
    let arrays = columns.iter().zip(values).map(|(column, value)| parsed(column, value)).collect::<Result<Vec<_>>>()?;
    if arrays.is_empty() {
        return Ok(Vec::new());
    }
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let rows = RowConverter::new(fields).and_then(|converter| converter.convert_columns(&arrays));
    Ok(rows.map_err(Error::failed)?.row(0).data().to_vec())
}

/// A value of a column.
fn parsed(column: &FieldRef, value: &str) -> Result<ArrayRef> {
    let data_type = column.data_type();
    let is_text = matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let text: ArrayRef = Arc::new(StringArray::from(vec![(is_text || !value.is_empty()).then_some(value)]));
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(&text, data_type, &options)
        .map_err(|_| Error::usage(format!("key: {}: found {value:?}, wanted a value of {data_type}", column.name())))
}

/// The least bytes above all that begin with these.
fn after_all_with(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut next = bytes.to_vec();
    while let Some(last) = next.pop() {
        if let Some(more) = last.checked_add(1) {
            next.push(more);
            return Some(next);
        }
    }
    None
}
