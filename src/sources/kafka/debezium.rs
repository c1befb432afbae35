//! The envelope of Debezium.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::model::Reason;
use crate::sources::files::JsonObject;

use super::meaning::{DECIMAL, VARIABLE_DECIMAL, decimal, has_meaning, number};
use super::row::{RecordRow, as_line, with_operation};

/// A record, with its schema or without.
#[derive(Deserialize)]
struct WithDebeziumSchema<'a> {
    #[serde(borrow)]
    schema: Option<DebeziumSchema<'a>>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct DebeziumSchema<'a> {
    #[serde(borrow, default)]
    fields: Vec<DebeziumField<'a>>,
}

/// A column, or a part of the envelope that has columns.
#[derive(Deserialize)]
struct DebeziumField<'a> {
    #[serde(default)]
    field: String,
    /// What a value means, such as `io.debezium.time.Date`.
    #[serde(default)]
    name: Option<String>,
    #[serde(borrow, default)]
    fields: Vec<DebeziumField<'a>>,
    #[serde(borrow, default)]
    parameters: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct DebeziumEnvelope<'a> {
    #[serde(borrow)]
    before: Option<&'a RawValue>,
    #[serde(borrow)]
    after: Option<&'a RawValue>,
    op: Option<String>,
}

/// What stands for a value that the database did not send, for it has not changed: as text, and as bytes in base64.
const UNAVAILABLE: [&str; 2] = ["\"__debezium_unavailable_value\"", "\"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==\""];

/// What an envelope has.
pub(super) enum Unwrapped {
    Row(RecordRow),
    /// The row of the record's key is deleted.
    DeletedByKey,
}

/// Takes a row out of its envelope.
pub(super) fn unwrapped(value: &[u8]) -> Result<Unwrapped, Reason> {
    let not_json = |error: serde_json::Error| Reason::new("not JSON", format!("not JSON: {error}"));
    let WithDebeziumSchema { schema, payload } = serde_json::from_slice(value).map_err(not_json)?;
    let envelope: DebeziumEnvelope = match payload {
        Some(payload) => serde_json::from_str(payload.get()),
        None => serde_json::from_slice(value),
    }
    .map_err(not_json)?;
    let lacks = |what: &str| Reason::plain(format!("an envelope of Debezium without {what}"));
    let fields = schema.map(|schema| schema.fields).unwrap_or_default();
    let columns = |side: &str| fields.iter().find(|field| field.field == side).map_or(&[][..], |field| &field.fields);
    match envelope.op.as_deref() {
        Some("c" | "r" | "u") => {
            let after = envelope.after.ok_or_else(|| lacks("after"))?;
            if UNAVAILABLE.iter().any(|unavailable| after.get().contains(unavailable)) {
                let wanted = "wanted REPLICA IDENTITY FULL, or the connector's column filter";
                return Err(Reason::plain(format!("a value that did not change is not in the record; {wanted}")));
            }
            Ok(Unwrapped::Row(as_line(with_meaning(after, columns("after"))?.as_bytes())))
        }
        Some("d") => match envelope.before {
            Some(before) => Ok(Unwrapped::Row(with_operation(&with_meaning(before, columns("before"))?))),
            None => Ok(Unwrapped::DeletedByKey),
        },
        // A message that is of no table.
        Some("m") => Ok(Unwrapped::Row(RecordRow::Nothing)),
        Some("t") => Err(Reason::plain("a table was truncated, which deletes no rows here")),
        Some(other) => Err(Reason::new("unknown op", format!("found op {other:?}, wanted c, r, u or d"))),
        None => Err(lacks("op")),
    }
}

/// The delete of the row of a key.
pub(super) fn deleted_by(key: Option<&[u8]>) -> Result<RecordRow, Reason> {
    let wanted = "an envelope of Debezium without before: wanted a key that is an object with the id";
    key.and_then(key_of).map(with_operation).ok_or_else(|| Reason::plain(wanted))
}

/// The columns of a key, with its schema or without.
fn key_of(key: &[u8]) -> Option<&str> {
    let WithDebeziumSchema { payload, .. } = serde_json::from_slice(key).ok()?;
    let key = match payload {
        Some(payload) => payload.get(),
        None => std::str::from_utf8(key).ok()?,
    };
    key.trim_start().starts_with('{').then_some(key)
}

/// A row in which values that mean something else than they are written as are written as what they mean.
fn with_meaning(row: &RawValue, columns: &[DebeziumField]) -> Result<String, Reason> {
    let means = |column: &&DebeziumField| column.name.as_deref().is_some_and(has_meaning);
    if !columns.iter().any(|column| means(&column)) {
        return Ok(row.get().to_owned());
    }
    let members: Result<JsonObject, _> = serde_json::from_str(row.get());
    let JsonObject(members) = members.map_err(|_| Reason::plain("not a JSON object"))?;
    let mut text = String::with_capacity(row.get().len());
    for (name, value) in members {
        let column = columns.iter().find(|column| column.field == name && means(column));
        let value = match column.filter(|_| value.get() != "null") {
            Some(column) => column.meaning(value).ok_or_else(|| {
                let kind = column.name.as_deref().unwrap_or_default();
                Reason::new(format!("{name} is no {kind}"), format!("{name}: found {}, wanted a {kind}", value.get()))
            })?,
            None => value.get().to_owned(),
        };
        let separator = if text.is_empty() { '{' } else { ',' };
        _ = write!(text, "{separator}{}:{value}", Value::from(name));
    }
    Ok(if text.is_empty() { "{}".to_owned() } else { text + "}" })
}

impl DebeziumField<'_> {
    /// What a value of this column means, as JSON.
    fn meaning(&self, value: &RawValue) -> Option<String> {
        let kind = self.name.as_deref()?;
        match kind {
            DECIMAL => self.decimal(value),
            VARIABLE_DECIMAL => {
                let DecimalOfRow { scale, value } = serde_json::from_str(value.get()).ok()?;
                decimal(&STANDARD.decode(value).ok()?, scale)
            }
            _ => number(kind, value.get().parse().ok()?),
        }
    }

    /// A decimal: the bytes of an integer, whose scale the schema has.
    fn decimal(&self, value: &RawValue) -> Option<String> {
        #[derive(Deserialize)]
        struct Parameters {
            scale: String,
        }
        let scale = match self.parameters {
            Some(parameters) => serde_json::from_str::<Parameters>(parameters.get()).ok()?.scale.parse().ok()?,
            None => 0,
        };
        let text: String = serde_json::from_str(value.get()).ok()?;
        decimal(&STANDARD.decode(text).ok()?, scale)
    }
}

/// A decimal of a column that has no scale of its own.
#[derive(Deserialize)]
struct DecimalOfRow {
    scale: i64,
    value: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(value: &str) -> Result<String, String> {
        let row = match unwrapped(value.as_bytes()) {
            Ok(Unwrapped::Row(row)) => Ok(row),
            Ok(Unwrapped::DeletedByKey) => deleted_by(Some(br#"{"payload":{"id":7}}"#)),
            Err(reason) => Err(reason),
        };
        match row {
            Ok(RecordRow::Line(line)) => Ok(String::from_utf8(line).expect("UTF-8")),
            Ok(RecordRow::Nothing) => Ok("nothing".to_owned()),
            Ok(RecordRow::Malformed(reason)) | Err(reason) => Err(reason.text),
        }
    }

    #[test]
    fn the_row_of_an_envelope_is_taken() {
        for (value, wanted) in [
            (r#"{"before":null,"after":{"id":1,"x":1.10},"op":"c"}"#, r#"{"id":1,"x":1.10}"#),
            (r#"{"payload":{"after":{"id":1},"op":"r"},"schema":null}"#, r#"{"id":1}"#),
            (r#"{"before":{"id":1},"after":{"id":2},"op":"u"}"#, r#"{"id":2}"#),
            (r#"{"before":{"id":1},"after":null,"op":"d"}"#, r#"{"id":1,"_op":"d"}"#),
            (r#"{"before":null,"op":"d"}"#, r#"{"id":7,"_op":"d"}"#),
            (r#"{"op":"m","message":{}}"#, "nothing"),
        ] {
            assert_eq!(line(value).as_deref(), Ok(wanted), "{value}");
        }
        for (value, words) in [
            (r#"{"after":null,"op":"c"}"#, "without after"),
            (r#"{"after":{"id":1,"note":"__debezium_unavailable_value"},"op":"u"}"#, "REPLICA IDENTITY FULL"),
            (r#"{"id":1}"#, "without op"),
            (r#"{"op":"x"}"#, "found op \"x\", wanted c, r, u or d"),
            (r#"{"op":"t"}"#, "truncated"),
            ("{", "not JSON"),
        ] {
            let reason = line(value).expect_err(value);
            assert!(reason.contains(words), "{reason}");
        }
    }

    #[test]
    fn values_are_what_their_schema_says() {
        let column = |field: &str, name: &str, parameters: &str| {
            format!(r#"{{"type":"int64","optional":true,"name":"{name}","field":"{field}","parameters":{parameters}}}"#)
        };
        let columns = [
            column("day", "io.debezium.time.Date", "null"),
            column("ms", "io.debezium.time.Timestamp", "null"),
            column("us", "io.debezium.time.MicroTimestamp", "null"),
            column("price", DECIMAL, r#"{"scale":"2","connect.decimal.precision":"10"}"#),
            column("loose", VARIABLE_DECIMAL, "null"),
            column("none", "io.debezium.time.Date", "null"),
            column("other", "io.debezium.data.Json", "null"),
        ];
        let value = |row: &str| {
            let side = format!(r#"{{"type":"struct","field":"after","fields":[{}]}}"#, columns.join(","));
            format!(r#"{{"schema":{{"type":"struct","fields":[{side}]}},"payload":{{"after":{row},"op":"c"}}}}"#)
        };
        let times = r#""day":19723,"ms":1704067200123,"us":-1"#;
        let decimals = r#""price":"AfQ=","loose":{"scale":3,"value":"AfQ="}"#;
        let row = format!(r#"{{{times},{decimals},"none":null,"other":"{{}}"}}"#);
        let wanted = r#"{"day":"2024-01-01","ms":"2024-01-01T00:00:00.123Z","us":"1969-12-31T23:59:59.999999Z""#;
        let wanted = format!(r#"{wanted},"price":5.00,"loose":0.500,"none":null,"other":"{{}}"}}"#);
        assert_eq!(line(&value(&row)), Ok(wanted));
        assert_eq!(line(&value(r#"{"price":"/w=="}"#)).as_deref(), Ok(r#"{"price":-0.01}"#));
        let reason = line(&value(r#"{"day":"x"}"#)).expect_err("no day");
        assert!(reason.contains("day: found \"x\", wanted a io.debezium.time.Date"), "{reason}");
    }
}
