//! Further columns to payloads and back, in Arrow's row format.

use arrow::array::{ArrayRef, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::FieldRef;
use arrow::row::{RowConverter, SortField};

use crate::error::{Error, Result};
use crate::model::Payload;

/// Encodes and decodes the further columns of one table.
pub(crate) struct Codec {
    fields: Vec<FieldRef>,
    converter: RowConverter,
    /// What stands for a row that is not there: a null in each column.
    nulls: Payload,
}

impl Codec {
    pub(crate) fn new(fields: &[FieldRef]) -> Result<Codec> {
        let sorted = fields.iter().map(|field| SortField::new(field.data_type().clone())).collect();
        let converter = RowConverter::new(sorted).map_err(Error::failed)?;
        let mut codec = Codec { fields: fields.to_vec(), converter, nulls: Payload::default() };
        let nulls: Vec<_> = fields.iter().map(|field| new_null_array(field.data_type(), 1)).collect();
        codec.nulls = codec.encode(&nulls, 1)?.pop().unwrap_or_default();
        Ok(codec)
    }

    /// A payload for each of `rows` rows.
    pub(crate) fn encode(&self, columns: &[ArrayRef], rows: usize) -> Result<Vec<Payload>> {
        if columns.is_empty() {
            return Ok(vec![Payload::default(); rows]);
        }
        let encoded = self.converter.convert_columns(columns).map_err(Error::failed)?;
        Ok(encoded.iter().map(|row| Payload::new(row.as_ref())).collect())
    }

    /// The columns of payloads; `None` is a row of nulls.
    pub(crate) fn decode<'a>(&self, payloads: impl Iterator<Item = Option<&'a Payload>>) -> Result<Vec<ArrayRef>> {
        if self.fields.is_empty() {
            return Ok(Vec::new());
        }
        let parser = self.converter.parser();
        let rows = payloads.map(|payload| parser.parse(payload.unwrap_or(&self.nulls).as_bytes()));
        let decoded = self.converter.convert_rows(rows).map_err(Error::failed)?;
        // The row format keeps the values of a dictionary, not the dictionary.
        let typed = decoded.iter().zip(&self.fields).map(|(array, field)| cast(array, field.data_type()));
        typed.collect::<Result<_, _>>().map_err(Error::failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, AsArray, Int32Array, StringArray};
    use arrow::datatypes::{DataType, Field};
    use std::sync::Arc;

    #[test]
    fn columns_come_back_with_their_values_and_types() {
        let dictionary = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
        let names: ArrayRef =
            Arc::new(StringArray::from(vec![Some("a"), None, Some("a longer text than fits inline")]));
        let columns =
            [Arc::new(Int32Array::from(vec![1, 2, 3])) as ArrayRef, cast(&names, &dictionary).expect("casts")];
        let fields = columns.iter().map(|column| Arc::new(Field::new("c", column.data_type().clone(), true)));
        let codec = Codec::new(&fields.collect::<Vec<_>>()).expect("types are carried");
        let payloads = codec.encode(&columns, 3).expect("encodes");
        let with_gap = codec.decode(payloads.iter().map(Some).chain([None])).expect("decodes");
        assert_eq!(with_gap[0].slice(0, 3).as_ref(), columns[0].as_ref());
        assert_eq!(with_gap[1].data_type(), &dictionary);
        assert_eq!(&cast(&with_gap[1].slice(0, 3), &DataType::Utf8).expect("casts"), &names);
        assert!(with_gap.iter().all(|column| column.is_null(3)));
        assert_eq!(with_gap[0].as_primitive::<arrow::datatypes::Int32Type>().value(2), 3);
    }
}
