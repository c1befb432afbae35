//! JSON lines: one object per line. Numbers in core columns are read as their original text.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::json::ReaderBuilder;
use arrow::json::reader::{Decoder, infer_json_schema_from_iterator};
use indexmap::IndexMap;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::{Error, Result};
use crate::model::Reason;
use crate::sources::files::find::InputFile;
use crate::sources::files::schema::ColumnSource;
use crate::sources::{MalformedRow, RowNumbers, SourceBatches};

use super::file_columns::FileColumns;
use super::infer::{InferredColumn, Numbers};
use super::text::{BATCH_BYTES, LONGEST_RECORD, TextLine, TextLines};

/// The keys of an object and their values, as they are written.
struct Object<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// The narrowest type of the values of a key.
#[derive(Clone, Copy, Debug, PartialEq)]
enum JsonType {
    Nothing,
    Boolean,
    /// True if each is a double, too.
    Integer(bool),
    /// Numbers that doubles hold without loss.
    Double,
    /// Also values of different types, and numbers that doubles don't hold: as they are written.
    Text,
    /// Objects or arrays.
    Nested,
}

impl JsonType {
    fn of(value: &RawValue) -> JsonType {
        let text = value.get();
        match text.as_bytes()[0] {
            b'n' => JsonType::Nothing,
            b't' | b'f' => JsonType::Boolean,
            b'"' => JsonType::Text,
            b'{' | b'[' => JsonType::Nested,
            _ => match text.parse::<i64>() {
                Ok(integer) => JsonType::Integer(integer.unsigned_abs() <= 1 << f64::MANTISSA_DIGITS),
                Err(_) if is_double(text) => JsonType::Double,
                Err(_) => JsonType::Text,
            },
        }
    }

    fn widen(self, seen: JsonType) -> JsonType {
        match (self, seen) {
            (known, seen) if known == seen => known,
            (JsonType::Nothing, other) | (other, JsonType::Nothing) => other,
            (JsonType::Integer(one), JsonType::Integer(other)) => JsonType::Integer(one && other),
            (JsonType::Integer(true), JsonType::Double) | (JsonType::Double, JsonType::Integer(true)) => {
                JsonType::Double
            }
            _ => JsonType::Text,
        }
    }
}

/// True if a number has no more digits than the double nearest to it.
fn is_double(number: &str) -> bool {
    let double = number.parse::<f64>().unwrap_or(f64::INFINITY);
    double.is_finite() && significant(number) == significant(&format!("{double:e}"))
}

/// The digits of a number without the zeros around them. Numbers that differ in their exponents only do not occur.
fn significant(number: &str) -> String {
    let mantissa = number.split(['e', 'E']).next().unwrap_or(number);
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    digits.trim_matches('0').to_owned()
}

/// The keys of all objects in the order in which they appear, with their types. Lines that are not objects are
/// skipped.
pub(super) fn infer(file: &InputFile) -> Result<Vec<InferredColumn>> {
    let mut types: IndexMap<String, (JsonType, Numbers)> = IndexMap::new();
    for line in TextLines::open(file)? {
        let (number, TextLine::Whole(line)) = line? else { continue };
        let Ok(Object(members)) = serde_json::from_slice(&line) else {
            if number == 0 && line.trim_ascii_start().starts_with(b"[") {
                let path = file.path.display();
                return Err(Error::unusable(format!("{path}: found a JSON array, wanted one JSON object per line")));
            }
            continue;
        };
        for (key, value) in members {
            let (known, numbers) = types.entry(key).or_insert((JsonType::Nothing, Numbers::default()));
            *known = known.widen(JsonType::of(value));
            numbers.see(if value.get() == "null" { "" } else { value.get() });
        }
    }
    let column = |(key, (json, numbers)): (String, (JsonType, Numbers))| {
        let data_type = match json {
            JsonType::Nothing => DataType::Null,
            JsonType::Boolean => DataType::Boolean,
            JsonType::Integer(_) => DataType::Int64,
            JsonType::Double => DataType::Float64,
            JsonType::Text => DataType::Utf8,
            JsonType::Nested => nested_type(file, &key)?,
        };
        Ok(InferredColumn { name: key, data_type, numbers })
    };
    types.into_iter().map(column).collect()
}

/// The type of a key whose values are objects or arrays; text if they have no common type.
fn nested_type(file: &InputFile, key: &str) -> Result<DataType> {
    let mut broken = None;
    let lines = TextLines::open(file)?.map_while(|line| line.map_err(|error| broken = Some(error)).ok());
    let values = lines.filter_map(|(_, line)| {
        let TextLine::Whole(line) = line else { return None };
        let mut object: serde_json::Map<String, Value> = serde_json::from_slice(&line).ok()?;
        Some(Ok(Value::from_iter([(key, object.remove(key)?)])))
    });
    let inferred = infer_json_schema_from_iterator(values);
    match broken {
        Some(error) => Err(error),
        None => Ok(inferred.map_or(DataType::Utf8, |schema| schema.field(0).data_type().clone())),
    }
}

pub(super) fn read<'a>(
    columns: FileColumns<'a>,
    file: &'a InputFile,
    schema: &Schema,
    batch_size: usize,
) -> Result<SourceBatches<'a>> {
    let (mut lines, schema) = (TextLines::open(file)?, Arc::new(as_text(schema, &columns)));
    let mut batch = move || -> Result<Option<_>> {
        let mut rows = RowsBuilder::new(&schema, &columns, batch_size)?;
        while rows.has_room(batch_size) {
            let Some(line) = lines.next() else { break };
            match line? {
                (number, TextLine::Whole(line)) => rows.add(number, &line).map_err(Error::reading(&file.path))?,
                (number, TextLine::TooLong(start)) => {
                    let reason = Reason::plain(format!("a line of more than {LONGEST_RECORD} bytes"));
                    rows.reject(number, &start, reason);
                }
            }
        }
        let (arrays, numbers, malformed) = rows.finish().map_err(Error::reading(&file.path))?;
        if numbers.is_empty() && malformed.is_empty() {
            return Ok(None);
        }
        columns.arrange(&arrays, RowNumbers::Listed(numbers), malformed).map(Some)
    };
    Ok(Box::new(std::iter::from_fn(move || batch().transpose())))
}

/// The schema with the core columns as text.
fn as_text(schema: &Schema, columns: &FileColumns<'_>) -> Schema {
    let fields = schema.fields().iter().enumerate().map(|(position, field)| {
        let data_type = if is_core(columns, position) { DataType::Utf8 } else { field.data_type().clone() };
        Field::new(field.name(), data_type, true)
    });
    Schema::new(fields.collect::<Vec<_>>())
}

fn is_core(columns: &FileColumns<'_>, position: usize) -> bool {
    columns.plan.cores.iter().any(|place| matches!(place, ColumnSource::Column(core) if *core == position))
}

/// Builds the columns of a batch.
struct RowsBuilder {
    schema: SchemaRef,
    columns: Vec<ColumnBuilder>,
    /// Decodes objects and arrays.
    nested: Decoder,
    numbers: Vec<u64>,
    malformed: Vec<MalformedRow>,
    bytes: usize,
}

enum ColumnBuilder {
    Core(StringBuilder),
    Text(StringBuilder),
    Integer(Int64Builder),
    Double(Float64Builder),
    Boolean(BooleanBuilder),
    /// The next column of the decoder.
    Nested,
}

impl RowsBuilder {
    fn new(schema: &SchemaRef, columns: &FileColumns<'_>, batch_size: usize) -> Result<RowsBuilder> {
        let builder = |(position, field): (usize, &Arc<Field>)| match field.data_type() {
            _ if is_core(columns, position) => ColumnBuilder::Core(StringBuilder::new()),
            DataType::Boolean => ColumnBuilder::Boolean(BooleanBuilder::new()),
            DataType::Int64 => ColumnBuilder::Integer(Int64Builder::new()),
            DataType::Float64 => ColumnBuilder::Double(Float64Builder::new()),
            nested if nested.is_nested() => ColumnBuilder::Nested,
            _ => ColumnBuilder::Text(StringBuilder::new()),
        };
        let nested = schema.fields().iter().filter(|field| field.data_type().is_nested()).cloned();
        let nested = ReaderBuilder::new(Arc::new(Schema::new(nested.collect::<Vec<_>>()))).with_batch_size(batch_size);
        Ok(RowsBuilder {
            schema: Arc::clone(schema),
            columns: schema.fields().iter().enumerate().map(builder).collect(),
            nested: nested.build_decoder().map_err(Error::failed)?,
            numbers: Vec::new(),
            malformed: Vec::new(),
            bytes: 0,
        })
    }

    fn has_room(&self, batch_size: usize) -> bool {
        self.numbers.len() + self.malformed.len() < batch_size && self.bytes < BATCH_BYTES
    }

    fn reject(&mut self, number: u64, line: &[u8], reason: Reason) {
        let json = Value::from(String::from_utf8_lossy(line)).to_string();
        self.malformed.push(MalformedRow { number, reason, json });
    }

    fn add(&mut self, number: u64, line: &[u8]) -> std::result::Result<(), arrow::error::ArrowError> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        self.bytes += line.len();
        let members = match serde_json::from_slice(line) {
            Ok(Object(members)) => members,
            Err(error) => {
                let is_json = serde_json::from_slice::<&RawValue>(line).is_ok();
                let reason = match is_json {
                    true => Reason::plain("not a JSON object"),
                    false => Reason::new("not JSON", format!("not JSON: {error}")),
                };
                self.reject(number, line, reason);
                return Ok(());
            }
        };
        // Of equal keys, the last counts.
        let find = |key: &str| members.iter().rfind(|(known, _)| known == key).map(|(_, value)| *value);
        let schema = Arc::clone(&self.schema);
        let values: Vec<Option<&RawValue>> = schema.fields().iter().map(|field| find(field.name())).collect();
        let is_core = |column: &ColumnBuilder| matches!(column, ColumnBuilder::Core(_));
        let is_nested = |value: Option<&RawValue>| value.is_some_and(|value| JsonType::of(value) == JsonType::Nested);
        let wrong = (0..values.len()).find(|at| is_core(&self.columns[*at]) && is_nested(values[*at]));
        if let Some(wrong) = wrong {
            let reason = format!("{} is an object or a list, wanted one value", schema.field(wrong).name());
            self.reject(number, line, Reason::plain(reason));
            return Ok(());
        }
        for (column, value) in self.columns.iter_mut().zip(values) {
            column.append(value.map(RawValue::get).filter(|text| *text != "null"));
        }
        if self.columns.iter().any(|column| matches!(column, ColumnBuilder::Nested)) {
            self.nested.decode(line)?;
        }
        self.numbers.push(number);
        Ok(())
    }

    #[expect(clippy::type_complexity, reason = "the parts of a batch")]
    fn finish(mut self) -> std::result::Result<(Vec<ArrayRef>, Vec<u64>, Vec<MalformedRow>), arrow::error::ArrowError> {
        let nested = self.nested.flush()?;
        let fields = self.schema.fields().iter();
        let mut nested = nested.map_or_else(Vec::new, |nested| nested.columns().to_vec()).into_iter();
        let arrays = self.columns.iter_mut().zip(fields).map(|(column, field)| match column {
            ColumnBuilder::Core(texts) | ColumnBuilder::Text(texts) => Arc::new(texts.finish()) as ArrayRef,
            ColumnBuilder::Integer(integers) => Arc::new(integers.finish()),
            ColumnBuilder::Double(doubles) => Arc::new(doubles.finish()),
            ColumnBuilder::Boolean(booleans) => Arc::new(booleans.finish()),
            ColumnBuilder::Nested => nested.next().unwrap_or_else(|| arrow::array::new_empty_array(field.data_type())),
        });
        Ok((arrays.collect(), self.numbers, self.malformed))
    }
}

impl ColumnBuilder {
    /// Appends a value as it is written, or a null.
    fn append(&mut self, json: Option<&str>) {
        match self {
            ColumnBuilder::Core(texts) | ColumnBuilder::Text(texts) => match json {
                Some(quoted) if quoted.starts_with('"') => {
                    texts.append_option(serde_json::from_str::<String>(quoted).ok())
                }
                other => texts.append_option(other),
            },
            ColumnBuilder::Integer(integers) => integers.append_option(json.and_then(|json| json.parse().ok())),
            ColumnBuilder::Double(doubles) => doubles.append_option(json.and_then(|json| json.parse().ok())),
            ColumnBuilder::Boolean(booleans) => booleans.append_option(json.map(|json| json == "true")),
            ColumnBuilder::Nested => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_a_double_would_change_are_no_doubles() {
        for number in ["0.5", "1.10", "-1e3", "1E-7", "100.0", "0.1", "5e-324", "1e308"] {
            assert!(is_double(number), "{number}");
        }
        for number in ["0.12345678901234567890123", "9223372036854775813", "1e400", "18446744073709551615"] {
            assert!(!is_double(number), "{number}");
        }
    }

    #[test]
    fn types_widen_to_the_narrowest_that_loses_nothing() {
        let widest = |values: &[&str]| {
            let of = |json: &&str| JsonType::of(&RawValue::from_string((*json).to_owned()).expect("JSON"));
            values.iter().map(of).fold(JsonType::Nothing, JsonType::widen)
        };
        assert_eq!(widest(&["null", "1", "null"]), JsonType::Integer(true));
        assert_eq!(widest(&["1", "0.5"]), JsonType::Double);
        assert_eq!(widest(&["9007199254740993", "0.5"]), JsonType::Text);
        assert_eq!(widest(&["9007199254740993", "5"]), JsonType::Integer(false));
        assert_eq!(widest(&["true", "1"]), JsonType::Text);
        assert_eq!(widest(&["[1]", "5"]), JsonType::Text);
        assert_eq!(widest(&["[1]", "{}"]), JsonType::Nested);
    }
}
