//! Encoding carried columns as payloads, in Arrow's row format.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{FieldRef, Schema};
use arrow::json::ReaderBuilder;
use arrow::row::{RowConverter, SortField};
use foldhash::fast::FixedState;
use indexmap::IndexSet;

use crate::error::{Error, Result};
use crate::model::Payload;

use super::dictionary::Sharing;

/// Encodes and decodes the carried columns of one table.
pub(crate) struct PayloadCodec {
    fields: Vec<FieldRef>,
    converter: RowConverter,
    /// The payload of a missing row: null in every column.
    nulls: Payload,
}

impl PayloadCodec {
    pub(crate) fn new(fields: &[FieldRef]) -> Result<PayloadCodec> {
        let sorted = fields.iter().map(|field| SortField::new(field.data_type().clone())).collect();
        let converter = RowConverter::new(sorted).map_err(Error::failed)?;
        let mut codec = PayloadCodec { fields: fields.to_vec(), converter, nulls: Payload::default() };
        let nulls: Vec<_> = fields.iter().map(|field| new_null_array(field.data_type(), 1)).collect();
        codec.nulls = codec.encode(&nulls, 1)?.pop().unwrap_or_default();
        Ok(codec)
    }

    /// Encodes `rows` rows as payloads.
    pub(crate) fn encode(&self, columns: &[ArrayRef], rows: usize) -> Result<Vec<Payload>> {
        if columns.is_empty() {
            return Ok(vec![Payload::default(); rows]);
        }
        let encoded = self.converter.convert_columns(columns).map_err(Error::failed)?;
        Ok(encoded.iter().map(|row| Payload::new(row.as_ref())).collect())
    }

    /// Encodes a JSON object; missing columns are null.
    ///
    /// # Errors
    ///
    /// If the JSON is not an object, has unknown columns, or a value has the wrong type.
    pub(crate) fn of_json(&self, json: &str) -> Result<Payload> {
        let refused = |cause: &dyn std::fmt::Display| Error::usage(format!("carried columns {json}: {cause}"));
        let schema = Arc::new(Schema::new(self.fields.clone()));
        let reader = ReaderBuilder::new(schema).with_strict_mode(true);
        let mut decoder = reader.build_decoder().map_err(|cause| refused(&cause))?;
        decoder.decode(json.as_bytes()).map_err(|cause| refused(&cause))?;
        match decoder.flush().map_err(|cause| refused(&cause))? {
            Some(rows) if rows.num_rows() == 1 => Ok(self.encode(rows.columns(), 1)?.pop().unwrap_or_default()),
            _ => Err(refused(&"wanted one JSON object")),
        }
    }

    /// Decodes payloads as columns; `None` and empty payloads become nulls.
    ///
    /// Repeated payloads are decoded once.
    ///
    /// # Errors
    ///
    /// If a payload was not encoded from the columns of this table.
    pub(crate) fn decode<'a>(&self, payloads: impl Iterator<Item = Option<&'a Payload>>) -> Result<Vec<ArrayRef>> {
        self.decode_shared(payloads, Sharing::Copied)
    }

    /// As [`decode`](Self::decode), with columns whose rows may share values.
    pub(crate) fn decode_shared<'a>(
        &self,
        payloads: impl Iterator<Item = Option<&'a Payload>>,
        sharing: Sharing,
    ) -> Result<Vec<ArrayRef>> {
        if self.fields.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<&[u8]> = payloads.map(|payload| self.bytes_of(payload)).collect();
        let (columns, places) = match repeated(&rows) {
            Some((distinct, places)) => (self.decode_each(&distinct)?, places),
            None => return self.decode_each(&rows),
        };
        columns.iter().map(|column| sharing.take(column, &places)).collect()
    }

    /// True if payloads are empty, or were encoded from columns of the types of this table.
    pub(crate) fn are_own<'a>(&self, payloads: impl Iterator<Item = &'a Payload>) -> bool {
        let bytes: Vec<_> = payloads.map(Payload::as_bytes).filter(|bytes| !bytes.is_empty()).collect();
        if bytes.is_empty() || self.fields.is_empty() {
            return bytes.is_empty();
        }
        let again = self.decode_each(&bytes).and_then(|columns| self.encode(&columns, bytes.len()));
        again.is_ok_and(|again| again.iter().map(Payload::as_bytes).eq(bytes))
    }

    fn bytes_of<'a>(&'a self, payload: Option<&'a Payload>) -> &'a [u8] {
        let bytes = payload.map_or(&[][..], Payload::as_bytes);
        if bytes.is_empty() { self.nulls.as_bytes() } else { bytes }
    }

    fn decode_each(&self, rows: &[&[u8]]) -> Result<Vec<ArrayRef>> {
        // The converter panics on bytes of other columns.
        let decoded = catch_unwind(AssertUnwindSafe(|| {
            let parser = self.converter.parser();
            self.converter.convert_rows(rows.iter().map(|row| parser.parse(row)))
        }));
        let names = || self.fields.iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ");
        let foreign =
            |_| Error::usage(format!("a row's payload does not have the carried columns of its table: {}", names()));
        let decoded = decoded.map_err(foreign)?.map_err(Error::failed)?;
        // The row format stores values, not dictionaries.
        let typed = decoded.iter().zip(&self.fields).map(|(array, field)| cast(array, field.data_type()));
        typed.collect::<Result<_, _>>().map_err(Error::failed)
    }
}

/// The distinct rows, and the index of each row among them; `None` if more than a quarter are distinct.
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

    #[test]
    fn columns_come_back_with_their_values_and_types() {
        let dictionary = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
        let names: ArrayRef =
            Arc::new(StringArray::from(vec![Some("a"), None, Some("a longer text than fits inline")]));
        let columns =
            [Arc::new(Int32Array::from(vec![1, 2, 3])) as ArrayRef, cast(&names, &dictionary).expect("casts")];
        let fields = columns.iter().map(|column| Arc::new(Field::new("c", column.data_type().clone(), true)));
        let codec = PayloadCodec::new(&fields.collect::<Vec<_>>()).expect("types are carried");
        let payloads = codec.encode(&columns, 3).expect("encodes");
        let with_gap = codec.decode(payloads.iter().map(Some).chain([None])).expect("decodes");
        assert_eq!(with_gap[0].slice(0, 3).as_ref(), columns[0].as_ref());
        assert_eq!(with_gap[1].data_type(), &dictionary);
        assert_eq!(&cast(&with_gap[1].slice(0, 3), &DataType::Utf8).expect("casts"), &names);
        assert!(with_gap.iter().all(|column| column.is_null(3)));
        assert_eq!(with_gap[0].as_primitive::<arrow::datatypes::Int32Type>().value(2), 3);
    }

    #[test]
    fn a_payload_without_columns_is_a_row_of_nulls_and_one_of_other_columns_an_error() {
        let text = PayloadCodec::new(&[Arc::new(Field::new("note", DataType::Utf8, true))]).expect("types are carried");
        let decoded = text.decode([Some(&Payload::default())].into_iter()).expect("decodes");
        assert!(decoded[0].is_null(0));
        let foreign = Payload::new(&[2, 1, 1]);
        let error = text.decode([Some(&foreign)].into_iter()).expect_err("refused");
        assert!(error.to_string().contains("carried columns of its table: note"), "{error}");
    }

    #[test]
    fn payloads_that_repeat_come_back_each_in_its_place() {
        let values: ArrayRef = Arc::new(Int32Array::from_iter((0..100).map(|row| (row % 7 != 0).then_some(row % 3))));
        let codec = PayloadCodec::new(&[Arc::new(Field::new("c", DataType::Int32, true))]).expect("types are carried");
        let payloads = codec.encode(std::slice::from_ref(&values), 100).expect("encodes");
        let rows: Vec<_> = payloads.iter().map(Payload::as_bytes).collect();
        assert_eq!(repeated(&rows).map(|(distinct, _)| distinct.len()), Some(4));
        assert_eq!(&codec.decode(payloads.iter().map(Some)).expect("decodes")[0], &values);
    }
}
