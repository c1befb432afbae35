//! Rows of columns as data of Avro.

use std::sync::Arc;

use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use apache_avro::{Decimal, Schema as AvroSchema};
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Field, Float32Type, Float64Type, Int32Type, Int64Type,
    Schema, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType,
};
use arrow::record_batch::RecordBatch;
use serde_json::{Value as Json, json};

use crate::columns::row_json::json_lines;
use crate::error::{Error, Result};

/// The schema of rows, and how columns become its fields.
#[derive(Clone, Debug)]
pub(super) struct AvroRows {
    pub(super) json: Json,
    schema: AvroSchema,
    fields: Vec<AvroField>,
}

#[derive(Clone, Debug)]
struct AvroField {
    name: String,
    is_nullable: bool,
    /// What a column is made before it is read; `None` for JSON as text.
    data_type: Option<DataType>,
}

impl AvroRows {
    /// The rows of a schema, as a record with this name.
    pub(super) fn new(
        namespace: &str,
        name: &str,
        schema: &Schema,
        is_nullable: impl Fn(&Field) -> bool,
    ) -> Result<AvroRows> {
        let (mut fields, mut described) = (Vec::<AvroField>::new(), Vec::new());
        for column in schema.fields() {
            let is_known = |name: &String| fields.iter().any(|field| field.name == *name);
            // A column whose name Avro has keeps it, wherever it is.
            let is_of_another = |name: &String| name != column.name() && schema.index_of(name).is_ok();
            let names = (1..).map(|number| match number {
                1 => avro_name(column.name()),
                number => format!("{}_{number}", avro_name(column.name())),
            });
            let name = names.into_iter().find(|name| !is_known(name) && !is_of_another(name)).unwrap_or_default();
            let (kind, data_type) = avro_type(column.data_type());
            let is_nullable = is_nullable(column);
            let mut field = match is_nullable {
                true => json!({"name": name, "type": ["null", kind], "default": null}),
                false => json!({"name": name, "type": kind}),
            };
            if name != *column.name() {
                field["doc"] = json!(format!("the column {:?}", column.name()));
            }
            described.push(field);
            fields.push(AvroField { name, is_nullable, data_type });
        }
        let json = json!({"type": "record", "name": name, "namespace": namespace, "fields": described});
        let schema = AvroSchema::parse_str(&json.to_string()).map_err(Error::failed)?;
        Ok(AvroRows { json, schema, fields })
    }

    /// The datum of each row.
    pub(super) fn data(&self, rows: &RecordBatch) -> Result<Vec<Vec<u8>>> {
        let columns = self.fields.iter().zip(rows.columns()).map(|(field, column)| {
            let values = field.values(column)?.into_iter();
            Ok(values.map(|value| field.value(value)).collect::<Vec<_>>().into_iter())
        });
        let mut columns = columns.collect::<Result<Vec<_>>>()?;
        let writer = GenericDatumWriter::builder(&self.schema).validate(false).build().map_err(Error::failed)?;
        let mut row = || {
            let values = self.fields.iter().zip(&mut columns);
            let value = Value::Record(
                values.filter_map(|(field, column)| Some((field.name.clone(), column.next()?))).collect(),
            );
            writer.write_value_to_vec(value).map_err(Error::failed)
        };
        (0..rows.num_rows()).map(|_| row()).collect()
    }

    /// The datum of a row.
    pub(super) fn datum(&self, row: &Value) -> Result<Vec<u8>> {
        datum(&self.schema, row)
    }
}

/// A value as bytes.
pub(super) fn datum(schema: &AvroSchema, value: &Value) -> Result<Vec<u8>> {
    let writer = GenericDatumWriter::builder(schema).validate(false).build().map_err(Error::failed)?;
    let mut bytes = Vec::new();
    writer.write_value_ref(&mut bytes, value).map_err(Error::failed)?;
    Ok(bytes)
}

/// A name as Avro has it: letters, digits and `_`, and no digit first.
pub(super) fn avro_name(name: &str) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
    let plain: String = name.chars().map(plain).collect();
    match plain.starts_with(|first: char| first.is_ascii_digit()) || plain.is_empty() {
        true => format!("_{plain}"),
        false => plain,
    }
}

/// The type of a column, and what the column is made before it is read: nothing for what Avro has no type for, which
/// is text with JSON.
fn avro_type(data_type: &DataType) -> (Json, Option<DataType>) {
    let logical = |of: &str, name: &str| json!({"type": of, "logicalType": name});
    let decimal = |precision: u8, scale: i8| {
        let kind = json!({"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale});
        (kind, Some(DataType::Decimal128(precision, scale)))
    };
    match data_type {
        DataType::Dictionary(_, values) => avro_type(values),
        DataType::Boolean => (json!("boolean"), Some(DataType::Boolean)),
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => {
            (json!("int"), Some(DataType::Int32))
        }
        DataType::Int64 | DataType::UInt32 => (json!("long"), Some(DataType::Int64)),
        DataType::UInt64 => decimal(20, 0),
        DataType::Float16 | DataType::Float32 => (json!("float"), Some(DataType::Float32)),
        DataType::Float64 => (json!("double"), Some(DataType::Float64)),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => (json!("string"), Some(DataType::Utf8)),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            (json!("bytes"), Some(DataType::Binary))
        }
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
            if *scale >= 0 =>
        {
            decimal(*precision, *scale)
        }
        DataType::Date32 => (logical("int", "date"), Some(DataType::Date32)),
        DataType::Time32(_) | DataType::Time64(_) => {
            (logical("long", "time-micros"), Some(DataType::Time64(TimeUnit::Microsecond)))
        }
        DataType::Date64 => {
            (logical("long", "local-timestamp-micros"), Some(DataType::Timestamp(TimeUnit::Microsecond, None)))
        }
        DataType::Timestamp(unit, zone) => {
            let (unit, name) = match unit {
                TimeUnit::Nanosecond => (TimeUnit::Nanosecond, "timestamp-nanos"),
                _ => (TimeUnit::Microsecond, "timestamp-micros"),
            };
            let name = if zone.is_some() { name.to_owned() } else { format!("local-{name}") };
            (logical("long", &name), Some(DataType::Timestamp(unit, zone.clone())))
        }
        _ => (json!("string"), None),
    }
}

impl AvroField {
    fn value(&self, value: Option<Value>) -> Value {
        match (self.is_nullable, value) {
            (true, None) => Value::Union(0, Box::new(Value::Null)),
            (true, Some(value)) => Value::Union(1, Box::new(value)),
            (false, value) => value.unwrap_or(Value::Null),
        }
    }

    fn values(&self, column: &ArrayRef) -> Result<Vec<Option<Value>>> {
        let Some(data_type) = &self.data_type else { return json_texts(column) };
        let column = cast(column, data_type).map_err(Error::failed)?;
        Ok(match data_type {
            DataType::Boolean => column.as_boolean().iter().map(|value| Some(Value::Boolean(value?))).collect(),
            DataType::Int32 => each::<Int32Type>(&column, Value::Int),
            DataType::Int64 => each::<Int64Type>(&column, Value::Long),
            DataType::Float32 => each::<Float32Type>(&column, Value::Float),
            DataType::Float64 => each::<Float64Type>(&column, Value::Double),
            DataType::Date32 => each::<Date32Type>(&column, Value::Date),
            DataType::Time64(_) => each::<Time64MicrosecondType>(&column, Value::TimeMicros),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                each::<TimestampNanosecondType>(&column, Value::TimestampNanos)
            }
            DataType::Timestamp(..) => each::<TimestampMicrosecondType>(&column, Value::TimestampMicros),
            DataType::Decimal128(..) => each::<Decimal128Type>(&column, |value| Value::Decimal(decimal(value))),
            DataType::Binary => {
                let column: &BinaryArray = column.as_binary();
                column.iter().map(|value| Some(Value::Bytes(value?.to_vec()))).collect()
            }
            _ => {
                let column: &StringArray = column.as_string();
                column.iter().map(|value| Some(Value::String(value?.to_owned()))).collect()
            }
        })
    }
}

fn each<T: ArrowPrimitiveType>(column: &dyn Array, value: impl Fn(T::Native) -> Value) -> Vec<Option<Value>> {
    column.as_primitive::<T>().iter().map(|found| found.map(&value)).collect()
}

/// An integer in the fewest big-endian bytes.
fn decimal(value: i128) -> Decimal {
    let bytes = value.to_be_bytes();
    let sign = if value < 0 { u8::MAX } else { 0 };
    let is_needless = |pair: &[u8]| pair[0] == sign && (pair[1] ^ sign) & 0x80 == 0;
    let needless = bytes.windows(2).take_while(|pair| is_needless(pair)).count();
    Decimal::from(&bytes[needless..])
}

/// Values as the text of JSON.
fn json_texts(column: &ArrayRef) -> Result<Vec<Option<Value>>> {
    let field = Field::new("v", column.data_type().clone(), true);
    let alone = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![Arc::clone(column)]);
    let lines = json_lines(&alone.map_err(Error::failed)?)?;
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let text = |line: &[u8]| {
        let value = line.strip_prefix(b"{\"v\":")?.strip_suffix(b"}")?;
        (value != b"null").then(|| Value::String(String::from_utf8_lossy(value).into_owned()))
    };
    Ok(lines.map(text).collect())
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, ListArray};

    use super::*;

    #[test]
    fn a_name_that_avro_has_is_kept_and_others_are_numbered() {
        let names = ["a b", "a_b", "1x", "a-b", "a_b_2", "ü"];
        let fields: Vec<_> = names.iter().map(|name| Field::new(*name, DataType::Int64, true)).collect();
        let rows = AvroRows::new("n", "Value", &Schema::new(fields), |_| true).expect("a schema");
        let found: Vec<_> = rows.fields.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(found, ["a_b_3", "a_b", "_1x", "a_b_4", "a_b_2", "_"]);
        assert_eq!(rows.json["fields"][0]["doc"], "the column \"a b\"");
        assert_eq!(rows.json["fields"][1].get("doc"), None);
    }

    #[test]
    fn decimals_have_the_fewest_bytes_and_lists_are_json() {
        for (value, wanted) in [(0, &[0][..]), (127, &[127]), (128, &[0, 128]), (-128, &[128]), (-129, &[255, 127])] {
            assert_eq!(Vec::<u8>::try_from(decimal(value)).expect("bytes"), wanted, "{value}");
        }
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1), None]), None]);
        let lists: ArrayRef = Arc::new(lists);
        let texts = json_texts(&lists).expect("texts");
        assert_eq!(texts, [Some(Value::String("[1,null]".to_owned())), None]);
        let (kind, data_type) = avro_type(&DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)));
        assert_eq!((kind, data_type), (json!("string"), Some(DataType::Utf8)));
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
        let batch = RecordBatch::try_from_iter_with_nullable([("id", ids, true)]).expect("a batch");
        let rows = AvroRows::new("n", "Value", &batch.schema(), |_| true).expect("a schema");
        assert_eq!(rows.data(&batch).expect("data"), [vec![2, 2], vec![0]]);
    }
}
