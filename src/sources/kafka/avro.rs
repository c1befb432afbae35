//! Records of Avro as JSON.
//!
//! A value is in the wire format of Confluent: a zero, the id of its schema in a registry as four bytes, and the datum.
//! Each is read with the schema that it was written with, and its columns are found by name, so that a topic may have
//! records of many schemas.

use std::collections::{BTreeMap, HashMap};
use std::thread;
use std::time::{Duration, Instant};

use apache_avro::Schema;
use apache_avro::schema::ResolvedSchema;

use crate::error::Result;
use crate::kafka::{RegisteredSchema, RegistryError, SchemaRegistry};
use crate::model::Reason;
use crate::panics::caught;
use crate::printable::printable;

use super::avro_json::{SchemaNames, datum_json};

/// Reads records of Avro.
pub(super) struct AvroDecoder {
    registry: SchemaRegistry,
    schemas: HashMap<u32, KnownSchema>,
}

/// What is known of the schema with an id.
enum KnownSchema {
    Usable(WriterSchema),
    Unusable {
        cause: String,
        /// When the registry is asked again.
        until: Option<Instant>,
    },
}

/// A schema that records were written with.
struct WriterSchema {
    schema: Schema,
    names: SchemaNames,
}

/// So long a schema that the registry does not know is not asked for again.
const MISSING_FOR: Duration = Duration::from_secs(5);
/// Room for a hundred references of a hundred levels. It is taken only as far as it is used.
const STACK: usize = 1 << 30;

impl AvroDecoder {
    pub(super) fn new(registry: SchemaRegistry) -> AvroDecoder {
        AvroDecoder { registry, schemas: HashMap::new() }
    }

    /// A key or value as JSON, or why it is none.
    ///
    /// # Errors
    ///
    /// If the registry can't be reached.
    pub(super) fn json(&mut self, message: &[u8]) -> Result<Result<Vec<u8>, Reason>> {
        let Some((id, datum)) = split_id(message) else {
            let found = message.iter().take(5).map(|byte| format!("{byte:02x}")).collect::<String>();
            let what = "not in the wire format of Confluent";
            let wanted = "wanted 00 and a schema id of four bytes";
            return Ok(Err(Reason::new(what, format!("{what}: found {found:?}, {wanted}"))));
        };
        Ok(match self.schema(id)? {
            KnownSchema::Usable(WriterSchema { schema, names }) => datum_json(datum, schema, names)
                .map_err(|cause| Reason::new("not of its schema", format!("not of its schema, id {id}: {cause}"))),
            KnownSchema::Unusable { cause, .. } => {
                Err(Reason::new("its schema can't be used", format!("its schema, id {id}, can't be used: {cause}")))
            }
        })
    }

    fn schema(&mut self, id: u32) -> Result<&KnownSchema> {
        let is_known = self.schemas.get(&id).is_some_and(|known| match known {
            KnownSchema::Unusable { until: Some(until), .. } => Instant::now() < *until,
            _ => true,
        });
        if !is_known {
            let known = match self.registry.schema(id) {
                Ok(registered) => match parsed(registered) {
                    Ok(schema) => KnownSchema::Usable(schema),
                    Err(cause) => KnownSchema::Unusable { cause, until: None },
                },
                Err(RegistryError::Unusable(cause)) => KnownSchema::Unusable { cause, until: None },
                Err(RegistryError::Missing(cause)) => {
                    KnownSchema::Unusable { cause, until: Some(Instant::now() + MISSING_FOR) }
                }
                Err(RegistryError::Failed(error)) => return Err(error),
            };
            self.schemas.insert(id, known);
        }
        Ok(&self.schemas[&id])
    }
}

/// Parses a schema. References lead from one to the next, and each may have many levels, so this takes a stack of its
/// own.
fn parsed(registered: RegisteredSchema) -> Result<WriterSchema, String> {
    let parse = move || caught(|| WriterSchema::parse(&registered)).map_err(String::from).flatten();
    let thread = thread::Builder::new().stack_size(STACK).spawn(parse).map_err(|error| error.to_string())?;
    thread.join().map_err(|_| "it can't be parsed".to_owned())?
}

/// The id of the schema, and the datum.
fn split_id(message: &[u8]) -> Option<(u32, &[u8])> {
    let (id, datum) = message.strip_prefix(&[0])?.split_first_chunk()?;
    Some((u32::from_be_bytes(*id), datum))
}

impl WriterSchema {
    fn parse(registered: &RegisteredSchema) -> Result<WriterSchema, String> {
        let cause = |error: apache_avro::Error| printable(&error.to_string());
        let RegisteredSchema { schema, references } = registered;
        let mut meanings = BTreeMap::new();
        for json in references.iter().chain([schema]) {
            let json = serde_json::from_str(json).map_err(|error| format!("not JSON: {error}"))?;
            add_meanings(&json, None, &mut meanings);
        }
        let (schema, references) = Schema::parse_str_with_list(schema, references).map_err(cause)?;
        let resolved =
            ResolvedSchema::new_with_schemata(references.iter().chain([&schema]).collect()).map_err(cause)?;
        let types = resolved.get_names().iter().map(|(name, schema)| (name.clone(), (*schema).clone())).collect();
        Ok(WriterSchema { schema, names: SchemaNames { types, meanings } })
    }
}

/// Adds what Kafka Connect says of fields: `connect.name` of their types, which are no logical types of Avro.
fn add_meanings(
    schema: &serde_json::Value,
    namespace: Option<&str>,
    meanings: &mut BTreeMap<(String, String), String>,
) {
    use serde_json::Value;
    let (name, namespace) = match (schema["name"].as_str(), schema["namespace"].as_str().or(namespace)) {
        (Some(name), namespace) => match (name.rsplit_once('.'), namespace) {
            (Some((own, _)), _) => (name.to_owned(), Some(own.to_owned())),
            (None, Some(namespace)) if !namespace.is_empty() => {
                (format!("{namespace}.{name}"), Some(namespace.to_owned()))
            }
            (None, _) => (name.to_owned(), None),
        },
        (None, namespace) => (String::new(), namespace.map(str::to_owned)),
    };
    let namespace = namespace.as_deref();
    match schema {
        Value::Array(variants) => variants.iter().for_each(|variant| add_meanings(variant, namespace, meanings)),
        Value::Object(_) => {
            for field in schema["fields"].as_array().into_iter().flatten() {
                let kind = &field["type"];
                let own = |kind: &Value| kind["connect.name"].as_str().map(str::to_owned);
                let means = own(kind).or_else(|| kind.as_array()?.iter().find_map(own));
                if let (Some(means), Some(field)) = (means, field["name"].as_str()) {
                    meanings.insert((name.clone(), field.to_owned()), means);
                }
                add_meanings(kind, namespace, meanings);
            }
            [&schema["items"], &schema["values"]].into_iter().for_each(|part| add_meanings(part, namespace, meanings));
            if schema["type"].is_object() || schema["type"].is_array() {
                add_meanings(&schema["type"], namespace, meanings);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json_of(schema: &str, datum: &[u8]) -> Result<String, String> {
        let schema = RegisteredSchema { schema: schema.to_owned(), references: Vec::new() };
        let WriterSchema { schema, names } = WriterSchema::parse(&schema)?;
        datum_json(datum, &schema, &names).map(|json| String::from_utf8(json).expect("UTF-8"))
    }

    #[test]
    fn each_type_becomes_what_it_means() {
        let logical = |of: &str, name: &str| format!(r#"{{"type": "{of}", "logicalType": "{name}"}}"#);
        let fixed =
            |size: usize, further: &str| format!(r#"{{"type": "fixed", "name": "F", "size": {size}{further}}}"#);
        for (schema, datum, wanted) in [
            ("\"null\"".to_owned(), &[][..], "null"),
            ("\"boolean\"".to_owned(), &[1], "true"),
            ("\"int\"".to_owned(), &[0x01], "-1"),
            (
                "\"long\"".to_owned(),
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
                "-9223372036854775808",
            ),
            ("\"float\"".to_owned(), &[0, 0, 0xc0, 0x3f], "1.5"),
            ("\"double\"".to_owned(), &0.1_f64.to_le_bytes(), "0.1"),
            ("\"double\"".to_owned(), &f64::NAN.to_le_bytes(), "\"NaN\""),
            ("\"string\"".to_owned(), &[4, b'"', b'\n'], r#""\"\n""#),
            ("\"bytes\"".to_owned(), &[4, 0, 0xff], "\"AP8=\""),
            (fixed(2, ""), &[0, 0xff], "\"AP8=\""),
            (fixed(2, r#", "logicalType": "decimal", "precision": 4, "scale": 2"#), &[0xff, 0xfe], "-0.02"),
            (r#"{"type": "enum", "name": "E", "symbols": ["A", "B"]}"#.to_owned(), &[2], "\"B\""),
            (r#"{"type": "array", "items": "int"}"#.to_owned(), &[3, 2, 2, 4, 2, 6, 0], "[1,2,3]"),
            (r#"{"type": "map", "values": "int"}"#.to_owned(), &[4, 2, b'b', 2, 2, b'a', 4, 0], r#"{"b":1,"a":2}"#),
            (r#"["null", "int", "string"]"#.to_owned(), &[4, 2, b'x'], "\"x\""),
            (logical("int", "date"), &[0x96, 0xb4, 0x02], "\"2024-01-01\""),
            (logical("int", "time-millis"), &[0x02], "\"00:00:00.001\""),
            (logical("long", "time-micros"), &[0x02], "\"00:00:00.000001\""),
            (logical("long", "timestamp-millis"), &[0x01], "\"1969-12-31T23:59:59.999Z\""),
            (logical("long", "timestamp-nanos"), &[0x02], "\"1970-01-01T00:00:00.000000001Z\""),
            (logical("long", "local-timestamp-micros"), &[0], "\"1970-01-01T00:00:00\""),
            (logical("string", "uuid"), &[2, b'u'], "\"u\""),
            (fixed(16, r#", "logicalType": "uuid""#), &[1; 16], "\"01010101-0101-0101-0101-010101010101\""),
            (
                fixed(12, r#", "logicalType": "duration""#),
                &[1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0],
                "\"1 months 2 days 3 ms\"",
            ),
        ] {
            assert_eq!(json_of(&schema, datum).as_deref(), Ok(wanted), "{schema}");
        }
    }

    #[test]
    fn types_are_found_by_name_and_meanings_by_record() {
        let schema = r#"{"type": "record", "name": "a.b.Row", "fields": [
            {"name": "day", "type": ["null", {"type": "int", "connect.name": "io.debezium.time.Date"}]},
            {"name": "part", "type": {"type": "record", "name": "Part", "fields": [{"name": "day", "type": "int"}]}},
            {"name": "again", "type": "a.b.Part"},
            {"name": "parts", "type": {"type": "array", "items": "Part"}}]}"#;
        let wanted = r#"{"day":"1970-01-02","part":{"day":2},"again":{"day":3},"parts":[{"day":4}]}"#;
        assert_eq!(json_of(schema, &[2, 2, 4, 6, 2, 8, 0]).as_deref(), Ok(wanted));
    }

    #[test]
    fn a_datum_takes_neither_more_levels_nor_more_room_than_there_is() {
        let node = r#"{"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}"#;
        assert_eq!(json_of(node, &[2, 2, 0]).as_deref(), Ok(r#"{"next":{"next":{"next":null}}}"#));
        // Each doubles the one before, and takes no bytes.
        let types: Vec<String> = (0..40)
            .map(|level| match level {
                0 => r#"{"type": "record", "name": "L0", "fields": []}"#.to_owned(),
                level => {
                    let field = |name: &str| format!(r#"{{"name": "{name}", "type": "L{}"}}"#, level - 1);
                    format!(r#"{{"type": "record", "name": "L{level}", "fields": [{}, {}]}}"#, field("p"), field("q"))
                }
            })
            .collect();
        let doubling = RegisteredSchema { schema: types[39].clone(), references: types[..39].to_vec() };
        let WriterSchema { schema, names } = WriterSchema::parse(&doubling).expect("a schema");
        let error = datum_json(&[], &schema, &names).expect_err("too long");
        assert!(error.ends_with("longer than 16777216 bytes as JSON"), "{error}");
        let nulls = r#"{"type": "array", "items": "null"}"#;
        for (schema, datum, words) in [
            (node, vec![2; 1000], "nested more than 100 levels deep"),
            (nulls, vec![0xfe, 0xff, 0xff, 0xff, 0x7f, 0], "longer than 16777216 bytes"),
            (r#"{"type": "fixed", "name": "F", "size": 1125899906842624}"#, vec![1], "the datum ends too early"),
            ("\"string\"", vec![0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x1f], "the datum ends too early"),
            ("\"string\"", vec![1], "found the length -1"),
            ("\"string\"", vec![2, 0xff], "not UTF-8"),
            ("\"int\"", vec![0xff, 0xff, 0xff, 0xff, 0x7f], "wanted an int"),
            ("\"long\"", vec![0xff; 11], "more than 64 bits"),
            ("\"int\"", vec![], "the datum ends too early"),
            ("\"int\"", vec![2, 2], "unread bytes behind the datum: 1"),
            ("\"boolean\"", vec![2], "wanted a boolean"),
            (r#"["null", "int"]"#, vec![4], "found variant 2 of a union of 2"),
        ] {
            let error = json_of(schema, &datum).expect_err(schema);
            assert!(error.contains(words), "{schema}: {error}");
        }
    }
}
