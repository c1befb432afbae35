//! CSV with a header. All fields are read as text; empty fields are null.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema};
use csv::{ByteRecord, Reader, ReaderBuilder, StringRecord};
use serde_json::Value;

use crate::error::{Error, Result};

use super::file_columns::FileColumns;
use crate::sources::{MalformedRow, RowNumbers, SourceBatches};

fn open(path: &Path) -> Result<Reader<File>> {
    ReaderBuilder::new().flexible(true).from_path(path).map_err(Error::reading(path))
}

/// The columns of the header, each with the narrowest type of its values.
pub(super) fn infer(path: &Path) -> Result<Schema> {
    let mut reader = open(path)?;
    let header = reader.headers().map_err(Error::reading(path))?.clone();
    if header.is_empty() {
        return Err(Error::unusable(format!("{}: no header, wanted column names in the first line", path.display())));
    }
    let mut types = vec![InferredType::Nothing; header.len()];
    let mut record = StringRecord::new();
    loop {
        match reader.read_record(&mut record) {
            Ok(false) => break,
            Ok(true) if record.len() == header.len() => {
                types.iter_mut().zip(&record).for_each(|(narrowest, value)| narrowest.widen(value));
            }
            Ok(true) => {}
            Err(error) if error.is_io_error() => return Err(Error::reading(path)(error)),
            Err(_) => {}
        }
    }
    let fields = header.iter().zip(&types).map(|(name, narrowest)| Field::new(name, narrowest.data_type(), true));
    Ok(Schema::new(fields.collect::<Vec<_>>()))
}

/// The narrowest type of the values seen.
#[derive(Clone, Copy, PartialEq)]
enum InferredType {
    Nothing,
    Boolean,
    Integer,
    Float,
    Text,
}

fn starts_with_zeros(value: &str) -> bool {
    let digits = value.trim_start_matches('-').as_bytes();
    digits.len() > 1 && digits[0] == b'0' && digits[1].is_ascii_digit()
}

impl InferredType {
    fn widen(&mut self, value: &str) {
        if value.is_empty() || *self == InferredType::Text {
            return;
        }
        let seen = match value {
            "true" | "false" => InferredType::Boolean,
            // Numbers in a non-canonical form, such as 007, are text, to keep their zeros.
            _ if value.parse().is_ok_and(|integer: i64| integer.to_string() == value) => InferredType::Integer,
            _ if value.contains('.') && !starts_with_zeros(value) && value.parse::<f64>().is_ok() => {
                InferredType::Float
            }
            _ => InferredType::Text,
        };
        *self = match (*self, seen) {
            (InferredType::Nothing, seen) => seen,
            (known, seen) if known == seen => known,
            (InferredType::Integer | InferredType::Float, InferredType::Integer | InferredType::Float) => {
                InferredType::Float
            }
            _ => InferredType::Text,
        };
    }

    fn data_type(self) -> DataType {
        match self {
            InferredType::Nothing => DataType::Null,
            InferredType::Text => DataType::Utf8,
            InferredType::Boolean => DataType::Boolean,
            InferredType::Integer => DataType::Int64,
            InferredType::Float => DataType::Float64,
        }
    }
}

/// The fields of a malformed record, as a JSON list.
fn as_json(record: &ByteRecord) -> String {
    record.iter().map(|field| Value::from(String::from_utf8_lossy(field))).collect::<Value>().to_string()
}

pub(super) fn read(columns: FileColumns<'_>, batch_size: usize) -> Result<SourceBatches<'_>> {
    let mut reader = open(columns.path)?;
    let width = reader.headers().map_err(Error::reading(columns.path))?.len();
    let mut number = 0;
    let mut batch = move || -> Result<Option<_>> {
        let mut builders: Vec<_> = (0..width).map(|_| StringBuilder::new()).collect();
        let (mut numbers, mut malformed) = (Vec::new(), Vec::new());
        let mut record = ByteRecord::new();
        while numbers.len() + malformed.len() < batch_size {
            if !reader.read_byte_record(&mut record).map_err(Error::reading(columns.path))? {
                break;
            }
            match StringRecord::from_byte_record(record.clone()) {
                Ok(fields) if fields.len() == width => {
                    for (builder, value) in builders.iter_mut().zip(&fields) {
                        builder.append_option(Some(value).filter(|value| !value.is_empty()));
                    }
                    numbers.push(number);
                }
                Ok(fields) => malformed.push(MalformedRow {
                    number,
                    reason: format!("{} fields, wanted {width}", fields.len()),
                    json: as_json(&record),
                }),
                Err(error) => {
                    malformed.push(MalformedRow { number, reason: error.to_string(), json: as_json(&record) })
                }
            }
            number += 1;
        }
        if numbers.is_empty() && malformed.is_empty() {
            return Ok(None);
        }
        let arrays: Vec<ArrayRef> = builders.iter_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef).collect();
        columns.arrange(&arrays, RowNumbers::Listed(numbers), malformed).map(Some)
    };
    Ok(Box::new(std::iter::from_fn(move || batch().transpose())))
}
