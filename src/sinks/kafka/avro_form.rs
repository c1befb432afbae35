//! Rows and keys as records of Avro, in the frame of a schema registry: a zero, the number of the schema as four bytes,
//! and the datum.

use std::borrow::Cow;

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::schema::Schema as AvroSchema;
use apache_avro::types::Value;
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use serde_json::{Value as Json, json};

use crate::error::{Error, Result};
use crate::kafka::SchemaRegistry;
use crate::sinks::committed::Committed;

use super::avro_rows::{AvroRows, avro_name, datum};
use super::change::{ChangeOrigin, RecordChange};

/// How the keys and values of a topic are written.
#[derive(Clone, Debug)]
pub(super) struct AvroForm {
    keys: AvroRows,
    rows: AvroRows,
    envelope: Option<Envelope>,
    /// The numbers of the schemas of keys and values, once a registry has given them.
    key_id: u32,
    value_id: u32,
}

/// The envelope of Debezium. A record of Avro is its fields one after the other, so it is put together from parts.
#[derive(Clone, Debug)]
struct Envelope {
    json: Json,
    schema: AvroSchema,
    /// What follows the row before and after the change.
    tail: AvroSchema,
}

/// A union of null and a type begins with the number of one of both.
const NULL: u8 = 0;
const SOME: u8 = 2;

impl AvroForm {
    pub(super) fn new(table: &str, schema: &Schema, key: &[usize], is_debezium: bool) -> Result<AvroForm> {
        let namespace = format!("millstream.{}", avro_name(table));
        let key = schema.project(key).map_err(Error::failed)?;
        let rows = AvroRows::new(&namespace, "Value", schema, |_| true)?;
        let keys = AvroRows::new(&namespace, "Key", &key, |field| field.is_nullable())?;
        let envelope = is_debezium.then(|| Envelope::new(&namespace, &rows)).transpose()?;
        Ok(AvroForm { keys, rows, envelope, key_id: 0, value_id: 0 })
    }

    pub(super) fn register(&mut self, registry: &SchemaRegistry, topic: &str) -> Result<()> {
        let value = self.envelope.as_ref().map_or(&self.rows.json, |envelope| &envelope.json);
        self.key_id = registry.register(&format!("{topic}-key"), &self.keys.json.to_string())?;
        self.value_id = registry.register(&format!("{topic}-value"), &value.to_string())?;
        Ok(())
    }

    pub(super) fn is_debezium(&self) -> bool {
        self.envelope.is_some()
    }

    pub(super) fn keys(&self, rows: &RecordBatch) -> Result<Vec<Vec<u8>>> {
        let keys = self.keys.data(rows)?;
        Ok(keys.into_iter().map(|key| [framed(self.key_id), key].concat()).collect())
    }

    pub(super) fn rows(&self, rows: &RecordBatch) -> Result<Vec<Vec<u8>>> {
        self.rows.data(rows)
    }

    pub(super) fn value(&self, change: RecordChange, origin: ChangeOrigin) -> Result<Vec<u8>> {
        let mut value = framed(self.value_id);
        let Some(envelope) = &self.envelope else {
            value.extend(change.after.unwrap_or_default());
            return Ok(value);
        };
        for row in [change.before, change.after] {
            value.push(if row.is_some() { SOME } else { NULL });
            value.extend(row.unwrap_or_default());
        }
        value.extend(datum(&envelope.tail, &tail(change.op, origin))?);
        Ok(value)
    }

    pub(super) fn row_of<'a>(&self, value: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let mut datum = value.strip_prefix(framed(self.value_id).as_slice())?;
        let Some(envelope) = &self.envelope else { return Some(Cow::Borrowed(datum)) };
        let reader = GenericDatumReader::builder(&envelope.schema).build().ok()?;
        let Ok(Value::Record(fields)) = reader.read_value(&mut datum) else { return None };
        let (_, after) = fields.into_iter().find(|(name, _)| name == "after")?;
        let Value::Union(_, row) = after else { return None };
        self.rows.datum(&row).ok().map(Cow::Owned)
    }

    pub(super) fn fingerprint(&self) -> String {
        format!(" schemas {} {}", self.key_id, self.value_id)
    }
}

impl Envelope {
    fn new(namespace: &str, rows: &AvroRows) -> Result<Envelope> {
        let source = json!({"type": "record", "name": "Source", "fields": [
            {"name": "version", "type": "string"}, {"name": "connector", "type": "string"},
            {"name": "name", "type": "string"}, {"name": "ts_ms", "type": "long"},
            {"name": "snapshot", "type": "string"}, {"name": "table", "type": "string"},
            {"name": "epoch", "type": "long"},
        ]});
        let tail = [
            json!({"name": "source", "type": source}),
            json!({"name": "op", "type": "string"}),
            json!({"name": "ts_ms", "type": ["null", "long"], "default": null}),
            json!({"name": "transaction", "type": ["null", "string"], "default": null}),
        ];
        let sides = [
            json!({"name": "before", "type": ["null", rows.json], "default": null}),
            json!({"name": "after", "type": ["null", "Value"], "default": null}),
        ];
        let record = |name: &str, fields: Vec<Json>| {
            let name = json!(name);
            json!({"type": "record", "namespace": namespace, "name": name, "fields": fields})
        };
        let json = record("Envelope", sides.into_iter().chain(tail.clone()).collect());
        let parsed = |json: &Json| AvroSchema::parse_str(&json.to_string()).map_err(Error::failed);
        Ok(Envelope { schema: parsed(&json)?, tail: parsed(&record("Tail", tail.to_vec()))?, json })
    }
}

/// What follows the row before and after the change.
fn tail(op: &str, origin: ChangeOrigin) -> Value {
    let Committed { epoch, time_ms } = origin.epoch;
    let text = |text: &str| Value::String(text.to_owned());
    let number = |number: u64| Value::Long(i64::try_from(number).unwrap_or(i64::MAX));
    let record = |fields: Vec<(&str, Value)>| {
        Value::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    };
    let source = record(vec![
        ("version", text(env!("CARGO_PKG_VERSION"))),
        ("connector", text("millstream")),
        ("name", text(origin.sink)),
        ("ts_ms", number(time_ms)),
        ("snapshot", text(if op == "r" { "true" } else { "false" })),
        ("table", text(origin.table)),
        ("epoch", number(epoch)),
    ]);
    record(vec![
        ("source", source),
        ("op", text(op)),
        ("ts_ms", Value::Union(1, Box::new(number(time_ms)))),
        ("transaction", Value::Union(0, Box::new(Value::Null))),
    ])
}

/// What stands before a datum.
fn framed(id: u32) -> Vec<u8> {
    [&[0][..], &id.to_be_bytes()].concat()
}
