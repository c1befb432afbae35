//! Rows as the server writes them, and as the job reads them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryBuilder, BooleanArray, StringArray, StringBuilder, new_null_array};
use arrow::compute::{can_cast_types, cast, filter};
use arrow::datatypes::DataType;
use serde_json::{Map, Value as Json};

use crate::columns::OPERATION;
use crate::error::{Error, Result};
use crate::model::Reason;
use crate::sources::files::ForeignTable;
use crate::sources::source::{MalformedRow, RowNumbers, SourceBatch, shortened};

use super::catalog::Relation;

/// Rows of a table, column by column.
pub(super) struct TextRows {
    columns: Vec<StringBuilder>,
    operations: StringBuilder,
    /// Why rows can't be used, by their place.
    unusable: Vec<(usize, Reason)>,
    rows: usize,
    bytes: usize,
}

/// So many rows, or bytes of text, are one batch: a column of texts holds less than 2 GiB.
const BATCH_ROWS: usize = 8192;
const BATCH_BYTES: usize = 64 << 20;

impl TextRows {
    pub(super) fn new(columns: usize) -> TextRows {
        let columns = (0..columns).map(|_| StringBuilder::new()).collect();
        TextRows { columns, operations: StringBuilder::new(), unusable: Vec::new(), rows: 0, bytes: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.rows
    }

    /// True once there are as many as are one batch.
    pub(super) fn is_full(&self) -> bool {
        self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }

    /// Adds a row. Columns that it lacks are null.
    pub(super) fn push<'a>(&mut self, values: impl IntoIterator<Item = Option<&'a str>>, operation: Option<&str>) {
        let mut values = values.into_iter();
        for column in &mut self.columns {
            let value = values.next().flatten();
            self.bytes += value.map_or(0, str::len);
            column.append_option(value);
        }
        self.operations.append_option(operation);
        self.rows += 1;
    }

    /// Adds a row that can't be used.
    pub(super) fn push_unusable<'a>(&mut self, values: impl IntoIterator<Item = Option<&'a str>>, reason: Reason) {
        self.unusable.push((self.rows, reason));
        self.push(values, None);
    }

    /// The rows, none of which can be used, for one reason; none are left. The first has this number.
    pub(super) fn take_rejected(&mut self, relation: &Relation, first: u64, reason: &Reason) -> Vec<MalformedRow> {
        self.unusable.clear();
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        let texts: Vec<StringArray> = self.columns.iter_mut().map(StringBuilder::finish).collect();
        let operations = self.operations.finish();
        let row = |row: usize| {
            let json = shortened(json_of(relation, &texts, &operations, row));
            MalformedRow { number: first + row as u64, reason: reason.clone(), json }
        };
        (0..rows).map(row).collect()
    }

    /// The rows as a batch; none are left. The first has this number. Rows with a value that its type does not have
    /// are rejected.
    pub(super) fn take(
        &mut self,
        relation: &Relation,
        foreign: &ForeignTable,
        origin: &Arc<str>,
        part: usize,
        first: u64,
    ) -> Result<SourceBatch> {
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        let texts: Vec<StringArray> = self.columns.iter_mut().map(StringBuilder::finish).collect();
        let operations = self.operations.finish();
        let mut reasons: Vec<Option<Reason>> = vec![None; rows];
        std::mem::take(&mut self.unusable).into_iter().for_each(|(row, reason)| reasons[row] = Some(reason));
        let mut columns = Vec::with_capacity(texts.len() + 1);
        for (position, (text, column)) in texts.iter().zip(&relation.columns).enumerate() {
            if !foreign.reads(position) {
                columns.push(new_null_array(&column.data_type, rows));
                continue;
            }
            let mut typed = typed(text, &column.data_type)?;
            let wanted = foreign.carried_as(position).unwrap_or(&column.data_type);
            if wanted != typed.data_type() && can_cast_types(typed.data_type(), wanted) {
                // Each value that does not fit is one row's fault, and not that of all.
                typed = cast(&typed, wanted).map_err(Error::failed)?;
            }
            for row in (0..rows).filter(|row| typed.is_null(*row) && text.is_valid(*row)) {
                let found = text.value(row);
                reasons[row].get_or_insert_with(|| {
                    let name = &column.name;
                    let told =
                        format!("{name}: found {}, wanted a value that a {wanted} has", shortened(found.to_owned()));
                    Reason::new(format!("{name} has no {wanted}"), told)
                });
            }
            columns.push(typed);
        }
        columns.push(Arc::new(operations.clone()) as ArrayRef);
        let numbers = RowNumbers::Consecutive { first, count: rows };
        if reasons.iter().all(Option::is_none) {
            return foreign.batch(origin, part, &columns, numbers, Vec::new());
        }
        let is_usable = BooleanArray::from_iter(reasons.iter().map(|reason| Some(reason.is_none())));
        let usable = columns.iter().map(|column| filter(column, &is_usable)).collect::<Result<Vec<_>, _>>();
        let numbers = (0..rows).filter(|row| is_usable.value(*row)).map(|row| first + row as u64).collect();
        let malformed = reasons.into_iter().enumerate().filter_map(|(row, reason)| {
            let json = shortened(json_of(relation, &texts, &operations, row));
            Some(MalformedRow { number: first + row as u64, reason: reason?, json })
        });
        let malformed = malformed.collect();
        foreign.batch(origin, part, &usable.map_err(Error::failed)?, RowNumbers::Listed(numbers), malformed)
    }
}

/// A row as a JSON object of texts.
fn json_of(relation: &Relation, texts: &[StringArray], operations: &StringArray, row: usize) -> String {
    let value = |text: &StringArray| if text.is_null(row) { Json::Null } else { text.value(row).into() };
    let columns = relation.columns.iter().zip(texts).map(|(column, text)| (column.name.clone(), value(text)));
    let operation = operations.is_valid(row).then(|| (OPERATION.to_owned(), value(operations)));
    Json::Object(columns.chain(operation).collect::<Map<_, _>>()).to_string()
}

/// Texts as values; null where a type has no such value.
fn typed(texts: &StringArray, data_type: &DataType) -> Result<ArrayRef> {
    match data_type {
        DataType::Utf8 => Ok(Arc::new(texts.clone())),
        DataType::Binary => {
            let mut bytes = BinaryBuilder::new();
            texts.iter().for_each(|text| bytes.append_option(text.and_then(of_hexadecimal)));
            Ok(Arc::new(bytes.finish()))
        }
        data_type => cast(texts, data_type).map_err(Error::failed),
    }
}

/// The bytes that `\x` and digits stand for.
fn of_hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?.as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    digits.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::TimeUnit;

    use super::*;

    fn shown(array: &ArrayRef) -> Vec<Option<String>> {
        let texts = cast(array, &DataType::Utf8).expect("texts");
        texts.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
    }

    #[test]
    fn texts_of_the_server_are_values_of_their_types() {
        let micros = |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
        for (data_type, text, wanted) in [
            (DataType::Boolean, "t", Some("true")),
            (DataType::Int32, "-17", Some("-17")),
            (DataType::Int16, "32768", None),
            (DataType::Decimal128(10, 2), "1234.50", Some("1234.50")),
            (DataType::Decimal128(10, 2), "NaN", None),
            (DataType::Float64, "NaN", Some("NaN")),
            (DataType::Float64, "-Infinity", Some("-inf")),
            (DataType::Date32, "2024-02-29", Some("2024-02-29")),
            (DataType::Date32, "infinity", None),
            (DataType::Date32, "0044-03-15 BC", None),
            (micros(None), "2024-02-29 13:14:15.123456", Some("2024-02-29T13:14:15.123456")),
            (micros(Some("UTC")), "2024-02-29 13:14:15.5+00", Some("2024-02-29T13:14:15.500Z")),
            (micros(Some("UTC")), "2024-02-29 13:14:15+05:30", Some("2024-02-29T07:44:15Z")),
            (micros(Some("UTC")), "-infinity", None),
        ] {
            let array = typed(&StringArray::from(vec![text]), &data_type).expect("an array");
            assert_eq!(shown(&array), [wanted.map(str::to_owned)], "{text} as {data_type}");
        }
        let bytes = typed(&StringArray::from(vec!["\\x00ff", "\\x0", "00"]), &DataType::Binary).expect("bytes");
        assert_eq!(bytes.as_binary::<i32>().iter().collect::<Vec<_>>(), [Some(&b"\x00\xff"[..]), None, None]);
    }
}
