//! Further columns to payloads and back, in Arrow's row format.

use arrow::array::{ArrayRef, UInt32Array, new_null_array};
use arrow::compute::{cast, take};
use arrow::datatypes::FieldRef;
use arrow::row::{RowConverter, SortField};
use foldhash::fast::FixedState;
use indexmap::IndexSet;

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
    ///
    /// Where payloads repeat, as a channel or a brand does, each is decoded once.
    pub(crate) fn decode<'a>(&self, payloads: impl Iterator<Item = Option<&'a Payload>>) -> Result<Vec<ArrayRef>> {
        if self.fields.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<&[u8]> = payloads.map(|payload| payload.unwrap_or(&self.nulls).as_bytes()).collect();
        let Some((distinct, places)) = repeated(&rows) else { return self.decode_each(&rows) };
        let decoded = self.decode_each(&distinct)?;
        decoded.iter().map(|column| take(column, &places, None).map_err(Error::failed)).collect()
    }

    fn decode_each(&self, rows: &[&[u8]]) -> Result<Vec<ArrayRef>> {
        let parser = self.converter.parser();
        let decoded = self.converter.convert_rows(rows.iter().map(|row| parser.parse(row))).map_err(Error::failed)?;
        // The row format keeps the values of a dictionary, not the dictionary.
        let typed = decoded.iter().zip(&self.fields).map(|(array, field)| cast(array, field.data_type()));
        typed.collect::<Result<_, _>>().map_err(Error::failed)
    }
}

/// The distinct ones of some rows, and which of them each row is; `None` where few are equal.
fn repeated<'a>(rows: &[&'a [u8]]) -> Option<(Vec<&'a [u8]>, UInt32Array)> {
    let most = rows.len() / 4;
    let mut known: IndexSet<&[u8], FixedState> = IndexSet::default();
    let mut places = Vec::with_capacity(rows.len());
    for row in rows {
        places.push(u32::try_from(known.insert_full(row).0).ok()?);
        if known.len() > most {
            return None;
        }
    }
    Some((known.into_iter().collect(), UInt32Array::from(places)))
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

    #[test]
    fn payloads_that_repeat_come_back_each_in_its_place() {
        let values: ArrayRef = Arc::new(Int32Array::from_iter((0..100).map(|row| (row % 7 != 0).then_some(row % 3))));
        let codec = Codec::new(&[Arc::new(Field::new("c", DataType::Int32, true))]).expect("types are carried");
        let payloads = codec.encode(std::slice::from_ref(&values), 100).expect("encodes");
        let rows: Vec<_> = payloads.iter().map(Payload::as_bytes).collect();
        assert_eq!(repeated(&rows).map(|(distinct, _)| distinct.len()), Some(4));
        assert_eq!(&codec.decode(payloads.iter().map(Some)).expect("decodes")[0], &values);
    }
}
