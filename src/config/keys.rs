//! The known keys of a config file. The error for an unknown key suggests the nearest known one.

use serde::de::value::Error as NotAStruct;
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::Value;

use crate::suggest::nearest;

use super::cluster::ClusterKeys;
use super::ends::{LateKeys, PublishKeys, SinkKeys, SourceKeys};
use super::file::{
    AnomalyKeys, BucketBy, ConfigFile, CsvKeys, DataKeys, OutputKeys, PriceBound, PriceBounds, ProcessingKeys,
    TierBound, UdfKeys,
};
use super::listen::{ListenKeys, TlsKeys};
use super::topics::RegistryKeys;

/// The keys below each key that has some; `""` is the top level.
pub(super) fn known() -> [(&'static str, &'static [&'static str]); 20] {
    [
        ("", fields::<ConfigFile>()),
        ("data", fields::<DataKeys>()),
        ("processing", fields::<ProcessingKeys>()),
        ("output", fields::<OutputKeys>()),
        ("output.bucket_by", fields::<BucketBy>()),
        ("csv", fields::<CsvKeys>()),
        ("tiers", fields::<TierBound>()),
        ("price_categories", fields::<PriceBounds>()),
        ("price_categories.known", fields::<PriceBound>()),
        ("anomaly", fields::<AnomalyKeys>()),
        ("udfs", fields::<UdfKeys>()),
        ("cluster", fields::<ClusterKeys>()),
        ("late", fields::<LateKeys>()),
        ("serve", fields::<ListenKeys>()),
        ("serve.tls", fields::<TlsKeys>()),
        ("sources", fields::<SourceKeys>()),
        ("sources.schema_registry", fields::<RegistryKeys>()),
        ("sinks", fields::<SinkKeys>()),
        ("sinks.publish", fields::<PublishKeys>()),
        ("sinks.schema_registry", fields::<RegistryKeys>()),
    ]
}

/// Checks for unknown keys.
pub(super) fn check(document: &Value) -> Result<(), String> {
    match document {
        Value::Object(_) => check_below("", document),
        _ => Err("wanted a mapping of keys, such as `data:`".into()),
    }
}

fn check_below(path: &str, value: &Value) -> Result<(), String> {
    if let Value::Array(items) = value {
        return items.iter().try_for_each(|item| check_below(path, item));
    }
    let known = known().into_iter().find(|(known, _)| *known == path);
    let (Value::Object(entries), Some((_, known))) = (value, known) else { return Ok(()) };
    for (key, value) in entries {
        if !known.contains(&key.as_str()) {
            let hint = match nearest(key, known) {
                Some(nearest) => format!("did you mean {}?", join(path, nearest)),
                None => format!("known are {}", known.join(", ")),
            };
            return Err(format!("unknown key {}: {hint}", join(path, key)));
        }
        check_below(&join(path, key), value)?;
    }
    Ok(())
}

pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.into() } else { format!("{path}.{key}") }
}

/// The names of the fields that a struct is deserialized from.
fn fields<'de, S: Deserialize<'de>>() -> &'static [&'static str] {
    let mut fields: &'static [&'static str] = &[];
    // It always fails, because no struct is there; by then it has named its fields.
    let _ = S::deserialize(FieldNames(&mut fields));
    fields
}

/// A deserializer that has no values and keeps the names of the fields that it is asked for.
struct FieldNames<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for FieldNames<'_> {
    type Error = NotAStruct;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, NotAStruct> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, NotAStruct> {
        Err(NotAStruct::custom("only the names of its fields were wanted"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
