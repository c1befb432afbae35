//! Data of Avro as JSON.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;

use apache_avro::Schema;
use apache_avro::schema::{Name, RecordSchema, UuidSchema};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::NaiveTime;

use super::datum::Datum;
use super::meaning::{VARIABLE_DECIMAL, day, decimal, has_meaning, number, time};

/// What the schema of a datum says, besides its own structure.
#[derive(Default)]
pub(super) struct SchemaNames {
    /// The named types.
    pub(super) types: HashMap<Name, Schema>,
    /// What the values of a field mean, by the full name of its record, as Kafka Connect writes it into schemas.
    pub(super) meanings: BTreeMap<(String, String), String>,
}

/// Writes a datum as JSON: with the names of its fields, days and points in time as text, decimals as numbers with all
/// their places, and bytes in base64.
struct JsonWriter<'a> {
    names: &'a SchemaNames,
    datum: Datum<'a>,
    json: Vec<u8>,
    levels: usize,
}

/// So many levels has a datum at most. A type may be a part of itself.
const LEVELS_MAX: usize = 100;
/// The longest JSON: a value may take no bytes, so that a short datum could have any number of them.
const JSON_MAX: usize = 16 << 20;
/// The longest cause, in bytes.
const CAUSE_MAX: usize = 300;
/// What days and points in time are limited to.
const YEARS: &str = "a day or time of the years 1 to 9999";

/// A datum as JSON.
pub(super) fn datum_json(datum: &[u8], schema: &Schema, names: &SchemaNames) -> Result<Vec<u8>, String> {
    let mut writer = JsonWriter { names, datum: Datum(datum), json: Vec::with_capacity(2 * datum.len()), levels: 0 };
    writer.write(schema, None)?;
    match writer.datum.0.len() {
        0 => Ok(writer.json),
        count => Err(format!("unread bytes behind the datum: {count}")),
    }
}

impl JsonWriter<'_> {
    /// Writes a value. `means` is what Kafka Connect says of its field.
    fn write(&mut self, schema: &Schema, means: Option<&str>) -> Result<(), String> {
        if self.levels >= LEVELS_MAX {
            return Err(format!("nested more than {LEVELS_MAX} levels deep"));
        }
        if self.json.len() > JSON_MAX {
            return Err(format!("longer than {JSON_MAX} bytes as JSON"));
        }
        self.levels += 1;
        match schema {
            Schema::Ref { name } => {
                let names = self.names;
                self.write(names.types.get(name).ok_or("its schema lacks a type")?, means)?;
            }
            Schema::Union(union) => {
                let index = self.datum.index()?;
                let unknown = || format!("found variant {index} of a union of {}", union.variants().len());
                self.write(union.variants().get(index).ok_or_else(unknown)?, means)?;
            }
            Schema::Record(schema) => self.record(schema)?,
            Schema::Array(array) => self.blocks(b"[]", |writer| writer.write(&array.items, None))?,
            Schema::Map(map) => self.blocks(b"{}", |writer| {
                let key = writer.datum.text()?;
                writer.quoted(key)?;
                writer.json.push(b':');
                writer.write(&map.types, None)
            })?,
            schema => self.scalar(schema, means)?,
        }
        self.levels -= 1;
        Ok(())
    }

    fn record(&mut self, schema: &RecordSchema) -> Result<(), String> {
        let (names, of) = (self.names, schema.name.to_string());
        if of == VARIABLE_DECIMAL && schema.fields.len() == 2 {
            let (scale, bytes) = (i64::from(self.datum.int()?), self.datum.bytes()?);
            return self.text(decimal(bytes, scale), "a decimal of at most 38 digits");
        }
        let means = |field: &str| {
            let known = (!names.meanings.is_empty()).then(|| (of.clone(), field.to_owned()));
            known.and_then(|field| names.meanings.get(&field)).map(String::as_str)
        };
        self.json.push(b'{');
        for (index, field) in schema.fields.iter().enumerate() {
            if index > 0 {
                self.json.push(b',');
            }
            self.quoted(&field.name)?;
            self.json.push(b':');
            let written = self.write(&field.schema, means(&field.name));
            written.map_err(|cause| within(&field.name, cause))?;
        }
        self.json.push(b'}');
        Ok(())
    }

    /// Writes the items of an array or map.
    fn blocks(&mut self, brackets: &[u8; 2], item: impl Fn(&mut Self) -> Result<(), String>) -> Result<(), String> {
        self.json.push(brackets[0]);
        let mut is_first = true;
        loop {
            match self.datum.block()? {
                0 => break,
                count => (0..count).try_for_each(|_| {
                    if !std::mem::replace(&mut is_first, false) {
                        self.json.push(b',');
                    }
                    item(self)
                })?,
            }
        }
        self.json.push(brackets[1]);
        Ok(())
    }

    fn scalar(&mut self, schema: &Schema, means: Option<&str>) -> Result<(), String> {
        let means = means.filter(|means| has_meaning(means));
        match schema {
            Schema::Null => self.text(Some("null".to_owned()), ""),
            Schema::Boolean => {
                let value = self.datum.boolean()?;
                self.text(Some(value.to_string()), "")
            }
            Schema::Int | Schema::Long => {
                let is_int = matches!(schema, Schema::Int);
                let value = if is_int { i64::from(self.datum.int()?) } else { self.datum.long()? };
                match means {
                    Some(means) => self.text(number(means, value), YEARS),
                    None => self.text(Some(value.to_string()), ""),
                }
            }
            Schema::Float => {
                let value = f32::from_le_bytes(self.datum.array()?);
                self.float(f64::from(value), value.to_string())
            }
            Schema::Double => {
                let value = f64::from_le_bytes(self.datum.array()?);
                self.float(value, serde_json::to_string(&value).unwrap_or_default())
            }
            Schema::Bytes => {
                let bytes = self.datum.bytes()?;
                self.quoted(&STANDARD.encode(bytes))
            }
            Schema::Fixed(fixed) => {
                let bytes = self.datum.take(fixed.size)?;
                self.quoted(&STANDARD.encode(bytes))
            }
            Schema::String => {
                let text = self.datum.text()?;
                self.quoted(text)
            }
            Schema::Enum(symbols) => {
                let index = self.datum.index()?;
                let unknown = || format!("found symbol {index} of an enum of {}", symbols.symbols.len());
                self.quoted(symbols.symbols.get(index).ok_or_else(unknown)?)
            }
            schema => self.logical(schema),
        }
    }

    fn logical(&mut self, schema: &Schema) -> Result<(), String> {
        use apache_avro::schema::InnerDecimalSchema::{Bytes, Fixed};
        match schema {
            Schema::Decimal(schema) => {
                let bytes = match &schema.inner {
                    Bytes => self.datum.bytes()?,
                    Fixed(fixed) => self.datum.take(fixed.size)?,
                };
                let scale = i64::try_from(schema.scale).unwrap_or(i64::MAX);
                self.text(decimal(bytes, scale), "a decimal of at most 38 digits")
            }
            Schema::BigDecimal => {
                let mut inner = Datum(self.datum.bytes()?);
                let (bytes, scale) = (inner.bytes()?, inner.long()?);
                self.text(decimal(bytes, scale), "a decimal of at most 38 digits")
            }
            Schema::Uuid(UuidSchema::String) => {
                let text = self.datum.text()?;
                self.quoted(text)
            }
            Schema::Uuid(UuidSchema::Bytes) => {
                let bytes = self.datum.bytes()?;
                self.uuid(bytes)
            }
            Schema::Uuid(UuidSchema::Fixed(fixed)) => {
                let bytes = self.datum.take(fixed.size)?;
                self.uuid(bytes)
            }
            Schema::Date => {
                let value = i64::from(self.datum.int()?);
                self.text(day(value), YEARS)
            }
            Schema::TimeMillis => {
                let value = i64::from(self.datum.int()?);
                self.text(time_of_day(value, 1_000), "a time of day")
            }
            Schema::TimeMicros => {
                let value = self.datum.long()?;
                self.text(time_of_day(value, 1_000_000), "a time of day")
            }
            Schema::TimestampMillis => self.time(1_000, "Z"),
            Schema::TimestampMicros => self.time(1_000_000, "Z"),
            Schema::TimestampNanos => self.time(1_000_000_000, "Z"),
            Schema::LocalTimestampMillis => self.time(1_000, ""),
            Schema::LocalTimestampMicros => self.time(1_000_000, ""),
            Schema::LocalTimestampNanos => self.time(1_000_000_000, ""),
            Schema::Duration(_) => {
                let parts = [self.datum.array()?, self.datum.array()?, self.datum.array()?];
                let [months, days, millis] = parts.map(u32::from_le_bytes);
                self.quoted(&format!("{months} months {days} days {millis} ms"))
            }
            _ => Err("its schema has a type that is not known".to_owned()),
        }
    }

    /// Writes a point in time; so many units are a second.
    fn time(&mut self, units: i64, zone: &str) -> Result<(), String> {
        let value = self.datum.long()?;
        self.text(time(value, units, zone), YEARS)
    }

    fn uuid(&mut self, bytes: &[u8]) -> Result<(), String> {
        let bytes: [u8; 16] = bytes.try_into().map_err(|_| format!("found {} bytes, wanted a UUID", bytes.len()))?;
        let number = u128::from_be_bytes(bytes);
        let digits = format!("{number:032x}");
        let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
        self.quoted(&parts.join("-"))
    }

    /// Writes a number; what JSON has no number for, as text.
    fn float(&mut self, value: f64, json: String) -> Result<(), String> {
        match value.is_finite() {
            true => self.text(Some(json), ""),
            false => self.quoted(&value.to_string()),
        }
    }

    /// Writes JSON, or fails if there is none.
    fn text(&mut self, json: Option<String>, wanted: &str) -> Result<(), String> {
        let json = json.ok_or_else(|| format!("a value is out of range, wanted {wanted}"))?;
        self.json.extend(json.into_bytes());
        Ok(())
    }

    fn quoted(&mut self, text: &str) -> Result<(), String> {
        serde_json::to_writer(self.json.by_ref(), text).map_err(|error| error.to_string())
    }
}

/// A cause with the field that it is in, unless there are many around it.
fn within(field: &str, cause: String) -> String {
    match field.len() + cause.len() < CAUSE_MAX {
        true => format!("{field}: {cause}"),
        false => cause,
    }
}

fn time_of_day(value: i64, units: i64) -> Option<String> {
    let seconds = u32::try_from(value.div_euclid(units)).ok()?;
    let nanos = u32::try_from(value.rem_euclid(units) * (1_000_000_000 / units)).ok()?;
    let time = NaiveTime::from_num_seconds_from_midnight_opt(seconds, nanos)?;
    Some(format!("\"{}\"", time.format("%H:%M:%S%.f")))
}
