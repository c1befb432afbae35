//! JSON lines: one object per line. Numbers in core columns are read as their original text.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, StringBuilder};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::ReaderBuilder;
use arrow::json::reader::{Decoder, infer_json_schema_from_iterator};
use indexmap::IndexMap;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::columns::integer_text::whole;
use crate::error::{Error, Result};
use crate::model::Reason;
use crate::sources::files::find::InputFile;
use crate::sources::files::schema::{ColumnSource, NESTING_MAX, nesting};
use crate::sources::{MalformedRow, RowNumbers, SourceBatches};

use super::file_columns::FileColumns;
use super::infer::{IdNumbers, InferredColumn};
use super::text::{BATCH_BYTES, LONGEST_RECORD, TextLine, TextLines};

/// The keys of an object and their values, as they are written.
pub(crate) struct JsonObject<'a>(pub(crate) Vec<(Cow<'a, str>, &'a RawValue)>);

/// A text, which is copied only if it has escapes.
#[derive(Deserialize)]
struct JsonText<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for JsonObject<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = JsonObject<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((JsonText(key), value)) = map.next_entry()? {
                    members.push((key, value));
                }
                Ok(JsonObject(members))
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
    // Of fifteen digits, a double has each.
    if number.len() <= 15 && !number.contains(['e', 'E']) {
        return true;
    }
    let double = number.parse::<f64>().unwrap_or(f64::INFINITY);
    double.is_finite() && significant(number) == significant(&format!("{double:e}"))
}

/// The digits of a number without the zeros around them. Numbers that differ in their exponents only do not occur.
fn significant(number: &str) -> String {
    let mantissa = number.split(['e', 'E']).next().unwrap_or(number);
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    digits.trim_matches('0').to_owned()
}

/// The most keys of the objects of a file. With more, values were written where names belong.
const KEYS_MAX: usize = 2000;
/// The most keys whose objects and arrays are kept as such; others are kept as text.
const NESTED_MAX: usize = 50;

/// The keys of all objects in the order in which they appear, with their types. Lines that are not objects are
/// skipped.
pub(super) fn infer(file: &InputFile) -> Result<Vec<InferredColumn>> {
    let mut types: IndexMap<String, (JsonType, IdNumbers)> = IndexMap::new();
    for line in TextLines::open(file)? {
        let (number, TextLine::Whole(line)) = line? else { continue };
        let Ok(JsonObject(members)) = serde_json::from_slice(&line) else {
            if number == 0 && line.trim_ascii_start().starts_with(b"[") {
                let path = file.path.display();
                return Err(Error::unusable(format!("{path}: found a JSON array, wanted one JSON object per line")));
            }
            continue;
        };
        if types.len() > KEYS_MAX {
            let path = file.path.display();
            return Err(Error::unusable(format!("{path}: found more than {KEYS_MAX} keys, wanted names of columns")));
        }
        for (key, value) in members {
            if !types.contains_key(&*key) {
                types.insert(key.to_string(), (JsonType::Nothing, IdNumbers::default()));
            }
            let (known, numbers) = &mut types[&*key];
            *known = known.widen(JsonType::of(value));
            numbers.see(if value.get() == "null" { "" } else { value.get() });
        }
    }
    let mut nested = 0;
    let column = |(key, (json, numbers)): (String, (JsonType, IdNumbers))| {
        let data_type = match json {
            JsonType::Nothing => DataType::Null,
            JsonType::Boolean => DataType::Boolean,
            JsonType::Integer(_) => DataType::Int64,
            JsonType::Double => DataType::Float64,
            JsonType::Text => DataType::Utf8,
            JsonType::Nested => {
                nested += 1;
                // For each, the file is read twice.
                if nested <= NESTED_MAX { nested_type(file, &key)? } else { DataType::Utf8 }
            }
        };
        Ok(InferredColumn { name: key, data_type, numbers })
    };
    types.into_iter().map(column).collect()
}

/// The type of a key whose values are objects or arrays; text if no type holds all of them.
fn nested_type(file: &InputFile, key: &str) -> Result<DataType> {
    let mut broken = None;
    let inferred = infer_json_schema_from_iterator(values_of(file, key, &mut broken)?.map(|text| {
        let value: Value = serde_json::from_str(&text).map_err(|error| ArrowError::JsonError(error.to_string()))?;
        Ok(Value::from_iter([(key, value)]))
    }));
    let inferred = inferred.ok().and_then(|schema| schema.fields().first().cloned());
    let is_held = |data_type: &DataType| can_be_written(data_type) && nesting(data_type) <= NESTING_MAX;
    let Some(field) = inferred.filter(|field| is_held(field.data_type())) else {
        return broken.map_or(Ok(DataType::Utf8), Err);
    };
    let mut decoder = nested_decoder(vec![Arc::clone(&field)], 1)?;
    let mut values = values_of(file, key, &mut broken)?;
    let is_held = values.all(|text| {
        let object = format!("{{{}:{text}}}", Value::from(key));
        decoder.decode(object.as_bytes()).and_then(|_| decoder.flush()).is_ok()
    });
    drop(values);
    match broken {
        Some(error) => Err(error),
        None if is_held => Ok(field.data_type().clone()),
        None => Ok(DataType::Utf8),
    }
}

/// The values of a key in all lines that are objects, as they are written.
fn values_of<'a>(
    file: &'a InputFile,
    key: &'a str,
    broken: &'a mut Option<Error>,
) -> Result<impl Iterator<Item = String> + 'a> {
    let lines = TextLines::open(file)?.map_while(|line| line.map_err(|error| *broken = Some(error)).ok());
    Ok(lines.filter_map(move |(_, line)| {
        let TextLine::Whole(line) = line else { return None };
        let JsonObject(members) = serde_json::from_slice(&line).ok()?;
        members.iter().rfind(|(known, _)| known == key).map(|(_, value)| value.get().to_owned())
    }))
}

fn nested_decoder(fields: Vec<FieldRef>, batch_size: usize) -> Result<Decoder> {
    let reader = ReaderBuilder::new(Arc::new(Schema::new(fields))).with_batch_size(batch_size);
    reader.with_coerce_primitive(true).build_decoder().map_err(Error::failed)
}

/// False for an object without keys, which Parquet can't hold.
fn can_be_written(found: &DataType) -> bool {
    match found {
        DataType::Struct(fields) => !fields.is_empty() && fields.iter().all(|field| can_be_written(field.data_type())),
        DataType::List(field) => can_be_written(field.data_type()),
        _ => true,
    }
}

pub(super) fn read<'a>(
    columns: FileColumns<'a>,
    file: &'a InputFile,
    schema: &Schema,
    batch_size: usize,
) -> Result<SourceBatches<'a>> {
    let (mut lines, schema) = (TextLines::open(file)?, Arc::new(schema.clone()));
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

fn is_core(columns: &FileColumns<'_>, position: usize) -> bool {
    columns.plan.cores.iter().any(|place| matches!(place, ColumnSource::Column(core) if *core == position))
}

/// The values of an object in the order of columns. Of equal keys, the last counts.
fn values_in_order<'a>(schema: &Schema, members: &[(Cow<'_, str>, &'a RawValue)]) -> Vec<Option<&'a RawValue>> {
    let fields = schema.fields();
    // As most objects have them, so that none is equal to another.
    if members.len() == fields.len() && fields.iter().zip(members).all(|(field, (key, _))| field.name() == key) {
        return members.iter().map(|(_, value)| Some(*value)).collect();
    }
    let find = |name: &str| members.iter().rfind(|(key, _)| key == name).map(|(_, value)| *value);
    fields.iter().map(|field| find(field.name())).collect()
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
    /// Integers may be written as floats.
    Core {
        texts: StringBuilder,
        is_whole: bool,
    },
    Text(StringBuilder),
    Integer(Int64Builder),
    Double(Float64Builder),
    Boolean(BooleanBuilder),
    /// The next column of the decoder.
    Nested,
    /// It is not read.
    Skipped,
}

impl RowsBuilder {
    fn new(schema: &SchemaRef, columns: &FileColumns<'_>, batch_size: usize) -> Result<RowsBuilder> {
        let is_skipped = |position| !columns.plan.reads(position);
        let builder = |(position, field): (usize, &Arc<Field>)| match field.data_type() {
            _ if is_skipped(position) => ColumnBuilder::Skipped,
            data_type if is_core(columns, position) => {
                ColumnBuilder::Core { texts: StringBuilder::new(), is_whole: *data_type == DataType::Int64 }
            }
            DataType::Boolean => ColumnBuilder::Boolean(BooleanBuilder::new()),
            DataType::Int64 => ColumnBuilder::Integer(Int64Builder::new()),
            DataType::Float64 => ColumnBuilder::Double(Float64Builder::new()),
            nested if nested.is_nested() => ColumnBuilder::Nested,
            _ => ColumnBuilder::Text(StringBuilder::new()),
        };
        let is_nested =
            |(position, field): &(usize, &Arc<Field>)| field.data_type().is_nested() && !is_skipped(*position);
        let nested = schema.fields().iter().enumerate().filter(is_nested).map(|(_, field)| Arc::clone(field));
        let nested = nested_decoder(nested.collect(), batch_size)?;
        Ok(RowsBuilder {
            schema: Arc::clone(schema),
            columns: schema.fields().iter().enumerate().map(builder).collect(),
            nested,
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

    fn add(&mut self, number: u64, line: &[u8]) -> std::result::Result<(), ArrowError> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        self.bytes += line.len();
        let members = match serde_json::from_slice(line) {
            Ok(JsonObject(members)) => members,
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
        let schema = Arc::clone(&self.schema);
        let values = values_in_order(&schema, &members);
        let is_core = |column: &ColumnBuilder| matches!(column, ColumnBuilder::Core { .. });
        let is_nested = |value: Option<&RawValue>| value.is_some_and(|value| JsonType::of(value) == JsonType::Nested);
        let wrong = (0..values.len()).find(|at| is_core(&self.columns[*at]) && is_nested(values[*at]));
        if let Some(wrong) = wrong {
            let reason = format!("{} is an object or a list, wanted one value", schema.field(wrong).name());
            self.reject(number, line, Reason::plain(reason));
            return Ok(());
        }
        let texts = self.columns.iter().zip(&values).map(|(column, value)| column.text_of(*value));
        let texts = match texts.collect::<Result<Vec<_>, _>>() {
            Ok(texts) => texts,
            Err(error) => {
                self.reject(number, line, Reason::new("not JSON", format!("not JSON: {error}")));
                return Ok(());
            }
        };
        for (column, text) in self.columns.iter_mut().zip(texts) {
            column.append(text.as_deref());
        }
        let nested = self.columns.iter().zip(schema.fields()).zip(&values);
        let nested = nested.filter(|((column, _), _)| matches!(column, ColumnBuilder::Nested));
        let nested: BTreeMap<&str, Option<&RawValue>> =
            nested.map(|((_, field), value)| (field.name().as_str(), *value)).collect();
        if !nested.is_empty() {
            let nested = serde_json::to_string(&nested).map_err(|error| ArrowError::JsonError(error.to_string()))?;
            self.nested.decode(nested.as_bytes())?;
        }
        self.numbers.push(number);
        Ok(())
    }

    fn finish(mut self) -> std::result::Result<(Vec<ArrayRef>, Vec<u64>, Vec<MalformedRow>), ArrowError> {
        let nested = self.nested.flush()?;
        let fields = self.schema.fields().iter();
        let mut nested = nested.map_or_else(Vec::new, |nested| nested.columns().to_vec()).into_iter();
        let arrays = self.columns.iter_mut().zip(fields).map(|(column, field)| match column {
            ColumnBuilder::Core { texts, .. } | ColumnBuilder::Text(texts) => Arc::new(texts.finish()) as ArrayRef,
            ColumnBuilder::Integer(integers) => Arc::new(integers.finish()),
            ColumnBuilder::Double(doubles) => Arc::new(doubles.finish()),
            ColumnBuilder::Boolean(booleans) => Arc::new(booleans.finish()),
            ColumnBuilder::Skipped => arrow::array::new_null_array(&DataType::Null, self.numbers.len()),
            ColumnBuilder::Nested => nested.next().unwrap_or_else(|| arrow::array::new_empty_array(field.data_type())),
        });
        Ok((arrays.collect(), self.numbers, self.malformed))
    }
}

impl ColumnBuilder {
    /// A value as the text that is appended; none for null, and for what is decoded elsewhere.
    fn text_of<'a>(&self, value: Option<&'a RawValue>) -> serde_json::Result<Option<Cow<'a, str>>> {
        let json = value.map(RawValue::get).filter(|text| *text != "null");
        match (self, json) {
            (ColumnBuilder::Nested | ColumnBuilder::Skipped, _) | (_, None) => Ok(None),
            (_, Some(quoted)) if quoted.starts_with('"') => {
                serde_json::from_str(quoted).map(|JsonText(text)| Some(text))
            }
            (_, Some(other)) => Ok(Some(Cow::Borrowed(other))),
        }
    }

    /// Appends a value, or a null.
    fn append(&mut self, text: Option<&str>) {
        match self {
            ColumnBuilder::Core { texts, is_whole: true } => texts.append_option(text.map(whole)),
            ColumnBuilder::Core { texts, .. } | ColumnBuilder::Text(texts) => texts.append_option(text),
            ColumnBuilder::Integer(integers) => integers.append_option(text.and_then(|text| text.parse().ok())),
            ColumnBuilder::Double(doubles) => doubles.append_option(text.and_then(|text| text.parse().ok())),
            ColumnBuilder::Boolean(booleans) => booleans.append_option(text.map(|text| text == "true")),
            ColumnBuilder::Nested | ColumnBuilder::Skipped => {}
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
