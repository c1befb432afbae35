//! The envelope of Debezium.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::model::{Day, Reason};
use crate::sources::files::JsonObject;

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

/// What stands for a value that the database did not send, for it has not changed.
const UNAVAILABLE: &str = "\"__debezium_unavailable_value\"";

/// The row of a value. `key` is that of its record.
pub(super) fn unwrapped(value: &[u8], key: Option<&[u8]>) -> Result<RecordRow, Reason> {
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
            if after.get().contains(UNAVAILABLE) {
                let wanted = "wanted REPLICA IDENTITY FULL, or the connector's column filter";
                return Err(Reason::plain(format!("a value that did not change is not in the record; {wanted}")));
            }
            Ok(as_line(with_meaning(after, columns("after"))?.as_bytes()))
        }
        Some("d") => {
            if let Some(before) = envelope.before {
                return Ok(with_operation(&with_meaning(before, columns("before"))?));
            }
            let key = key.and_then(key_of).ok_or_else(|| lacks("before, in a record without a key"))?;
            Ok(with_operation(key))
        }
        // A message that is of no table.
        Some("m") => Ok(RecordRow::Nothing),
        Some("t") => Err(Reason::plain("a table was truncated, which deletes no rows here")),
        Some(other) => Err(Reason::new("unknown op", format!("found op {other:?}, wanted c, r, u or d"))),
        None => Err(lacks("op")),
    }
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
    let means = |column: &&DebeziumField| column.name.as_deref().is_some_and(|name| MEANINGS.contains(&name));
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

const DATES: [&str; 2] = ["io.debezium.time.Date", "org.apache.kafka.connect.data.Date"];
const DECIMAL: &str = "org.apache.kafka.connect.data.Decimal";
/// No decimal has more places than digits.
const SCALE_MAX: usize = 38;
/// Points in time, by how many of their units are in a second.
const TIMES: [(&str, i64); 4] = [
    ("io.debezium.time.Timestamp", 1_000),
    ("org.apache.kafka.connect.data.Timestamp", 1_000),
    ("io.debezium.time.MicroTimestamp", 1_000_000),
    ("io.debezium.time.NanoTimestamp", 1_000_000_000),
];
const MEANINGS: [&str; 7] = [DATES[0], DATES[1], DECIMAL, TIMES[0].0, TIMES[1].0, TIMES[2].0, TIMES[3].0];

impl DebeziumField<'_> {
    /// What a value of this column means, as JSON.
    fn meaning(&self, value: &RawValue) -> Option<String> {
        let kind = self.name.as_deref()?;
        if kind == DECIMAL {
            return self.decimal(value);
        }
        let number: i64 = value.get().parse().ok()?;
        if DATES.contains(&kind) {
            return Some(format!("\"{}\"", Day::new(i32::try_from(number).ok()?)?));
        }
        let (_, units) = TIMES.iter().find(|(name, _)| *name == kind)?;
        let (seconds, rest) = (number.div_euclid(*units), number.rem_euclid(*units));
        let nanos = u32::try_from(rest * (1_000_000_000 / units)).ok()?;
        let time = chrono::DateTime::from_timestamp(seconds, nanos)?;
        Some(format!("\"{}\"", time.format("%Y-%m-%dT%H:%M:%S%.fZ")))
    }

    /// A decimal: the bytes of an integer, whose scale the schema has.
    fn decimal(&self, value: &RawValue) -> Option<String> {
        #[derive(Deserialize)]
        struct Parameters {
            scale: String,
        }
        let scale = match self.parameters {
            Some(parameters) => serde_json::from_str::<Parameters>(parameters.get()).ok()?.scale.parse().ok()?,
            None => 0_usize,
        };
        if scale > SCALE_MAX {
            return None;
        }
        let text: String = serde_json::from_str(value.get()).ok()?;
        let bytes = STANDARD.decode(text).ok()?;
        let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
        let sign = if negative { u8::MAX } else { 0 };
        if bytes.is_empty() || bytes.len() > 16 {
            return None;
        }
        let mut wide = [sign; 16];
        wide[16 - bytes.len()..].copy_from_slice(&bytes);
        let number = i128::from_be_bytes(wide);
        let digits = format!("{:0>width$}", number.unsigned_abs(), width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        let point = if scale > 0 { "." } else { "" };
        Some(format!("{}{whole}{point}{fraction}", if negative { "-" } else { "" }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(value: &str) -> Result<String, String> {
        match unwrapped(value.as_bytes(), Some(br#"{"payload":{"id":7}}"#)) {
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
            column("day", DATES[0], "null"),
            column("ms", TIMES[0].0, "null"),
            column("us", TIMES[2].0, "null"),
            column("price", DECIMAL, r#"{"scale":"2","connect.decimal.precision":"10"}"#),
            column("none", DATES[0], "null"),
            column("other", "io.debezium.data.Json", "null"),
        ];
        let value = |row: &str| {
            let side = format!(r#"{{"type":"struct","field":"after","fields":[{}]}}"#, columns.join(","));
            format!(r#"{{"schema":{{"type":"struct","fields":[{side}]}},"payload":{{"after":{row},"op":"c"}}}}"#)
        };
        let row = r#"{"day":19723,"ms":1704067200123,"us":-1,"price":"AfQ=","none":null,"other":"{}"}"#;
        let wanted = r#"{"day":"2024-01-01","ms":"2024-01-01T00:00:00.123Z","us":"1969-12-31T23:59:59.999999Z""#;
        let wanted = format!(r#"{wanted},"price":5.00,"none":null,"other":"{{}}"}}"#);
        assert_eq!(line(&value(row)), Ok(wanted));
        assert_eq!(line(&value(r#"{"price":"/w=="}"#)).as_deref(), Ok(r#"{"price":-0.01}"#));
        let reason = line(&value(r#"{"day":"x"}"#)).expect_err("no day");
        assert!(reason.contains("day: found \"x\", wanted a io.debezium.time.Date"), "{reason}");
    }
}
