//! Values as the server reads them: text, one array for each column.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use arrow::record_batch::RecordBatch;

use crate::columns::row_json::row_json;
use crate::error::{Error, Result};

/// The type of a column there, as the server writes it.
pub(super) fn sql_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "boolean".into(),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => "smallint".into(),
        DataType::Int32 | DataType::UInt16 => "integer".into(),
        DataType::Int64 | DataType::UInt32 => "bigint".into(),
        DataType::UInt64 => "numeric(20,0)".into(),
        DataType::Float16 | DataType::Float32 => "real".into(),
        DataType::Float64 => "double precision".into(),
        DataType::Decimal32(digits, scale) => numeric(*digits, *scale),
        DataType::Decimal64(digits, scale) => numeric(*digits, *scale),
        DataType::Decimal128(digits, scale) => numeric(*digits, *scale),
        DataType::Decimal256(digits, scale) => numeric(*digits, *scale),
        DataType::Date32 | DataType::Date64 => "date".into(),
        DataType::Time32(_) | DataType::Time64(_) => "time without time zone".into(),
        DataType::Timestamp(_, None) => "timestamp without time zone".into(),
        DataType::Timestamp(_, Some(_)) => "timestamp with time zone".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            "bytea".into()
        }
        DataType::Dictionary(_, values) => sql_type(values),
        nested if nested.is_nested() => "jsonb".into(),
        _ => "text".into(),
    }
}

fn numeric(digits: u8, scale: i8) -> String {
    format!("numeric({digits},{scale})")
}

/// The values of a column as the server reads them.
pub(super) fn texts(rows: &RecordBatch, column: usize) -> Result<Vec<Option<String>>> {
    let (array, field) = (rows.column(column), Arc::clone(&rows.schema().fields()[column]));
    let values = match array.data_type() {
        DataType::Dictionary(_, values) => cast(array, values).map_err(Error::failed)?,
        _ => Arc::clone(array),
    };
    let data_type = values.data_type();
    match sql_type(data_type).as_str() {
        "jsonb" => {
            let alone = rows.project(&[column]).map_err(Error::failed)?;
            let json = |row| (!values.is_null(row)).then(|| json_of(&alone, row, field.name())).transpose();
            (0..values.len()).map(json).collect()
        }
        "bytea" => {
            let bytes = cast(&values, &DataType::Binary).map_err(Error::failed)?;
            Ok(bytes.as_binary::<i32>().iter().map(|bytes| bytes.map(hexadecimal)).collect())
        }
        // Without fractions that the server does not have.
        kind if kind.starts_with("timestamp") => {
            let zone = if let DataType::Timestamp(_, zone) = data_type { zone.clone() } else { None };
            let micros = DataType::Timestamp(TimeUnit::Microsecond, zone);
            printed(&cast(&values, &micros).map_err(Error::failed)?)
        }
        _ => printed(&values),
    }
}

fn printed(values: &ArrayRef) -> Result<Vec<Option<String>>> {
    let texts = cast(values, &DataType::Utf8).map_err(Error::failed)?;
    Ok(texts.as_string::<i32>().iter().map(|text| text.map(|text| without_nul(text).into_owned())).collect())
}

/// Texts of the server can't have the character NUL.
fn without_nul(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

fn hexadecimal(bytes: &[u8]) -> String {
    std::iter::once("\\x".to_owned()).chain(bytes.iter().map(|byte| format!("{byte:02x}"))).collect()
}

/// The value of a column as JSON.
fn json_of(rows: &RecordBatch, row: usize, name: &str) -> Result<String> {
    let object = row_json(rows, row)?;
    let mut object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&object).map_err(Error::failed)?;
    Ok(json_without_nul(object.remove(name).unwrap_or_default()).to_string())
}

/// A text in `jsonb` can't have the character NUL either.
fn json_without_nul(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::String(text) => without_nul(&text).into_owned().into(),
        Value::Array(items) => items.into_iter().map(json_without_nul).collect(),
        Value::Object(entries) => {
            let entries = entries.into_iter();
            entries.map(|(key, value)| (without_nul(&key).into_owned(), json_without_nul(value))).collect()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{BinaryArray, Decimal128Array, DictionaryArray, Float64Array, StringArray};
    use arrow::array::{ListArray, TimestampNanosecondArray};
    use arrow::datatypes::{Int32Type, Int64Type};

    use super::*;

    #[test]
    fn values_are_written_as_the_server_reads_them() {
        let decimal = Decimal128Array::from(vec![Some(-1_050), None]).with_precision_and_scale(38, 2).expect("fits");
        let time = TimestampNanosecondArray::from(vec![Some(1_700_000_000_123_456_789), None]).with_timezone("UTC");
        let list = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), None]), None]);
        let columns: [(&str, ArrayRef, &str, &str); 7] = [
            ("text", Arc::new(StringArray::from(vec![Some("a\0b"), None])), "text", "a\u{fffd}b"),
            ("decimal", Arc::new(decimal), "numeric(38,2)", "-10.50"),
            ("double", Arc::new(Float64Array::from(vec![Some(0.1), None])), "double precision", "0.1"),
            ("time", Arc::new(time), "timestamp with time zone", "2023-11-14T22:13:20.123456Z"),
            ("bytes", Arc::new(BinaryArray::from_opt_vec(vec![Some(b"\x01\xff"), None])), "bytea", "\\x01ff"),
            ("list", Arc::new(list), "jsonb", "[1,null]"),
            ("dictionary", Arc::new(DictionaryArray::<Int32Type>::from_iter([Some("a"), None])), "text", "a"),
        ];
        let rows = RecordBatch::try_from_iter(columns.iter().map(|(name, array, ..)| (*name, Arc::clone(array))));
        let rows = rows.expect("a batch");
        for (index, (name, array, kind, text)) in columns.iter().enumerate() {
            assert_eq!(sql_type(array.data_type()), *kind, "{name}");
            assert_eq!(texts(&rows, index).expect("texts"), [Some((*text).to_owned()), None], "{name}");
        }
    }
}
