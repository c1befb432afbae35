//! JSON objects as maps of texts.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, MapBuilder, StringBuilder};
use arrow::datatypes::{DataType, Field};

use crate::error::Result;
use crate::model::{Text, TextMap};

use super::function::Udf;
use super::value::{CellReader, Value};

/// `parse_json_metadata`: a JSON object as a map of texts; an empty map for anything else, including null.
///
/// Strings are unquoted, `null` is null, and all other values keep their JSON text: `1.50` stays `1.50`, arrays and
/// objects stay JSON. The last of several values for one key wins.
///
/// ```
/// use millstream::udf::parse_json_metadata;
/// let parse = |json: &str| parse_json_metadata().call(Some(json.into())).unwrap().unwrap().0;
/// let map = parse(r#"{"color": "red", "size": 1.50, "tags": ["a"], "note": null}"#);
/// assert_eq!(map["color"].as_deref(), Some("red"));
/// assert_eq!((map["size"].as_deref(), map["tags"].as_deref(), &map["note"]), (Some("1.50"), Some(r#"["a"]"#), &None));
/// assert!(parse("{broken").is_empty() && parse("[1]").is_empty());
/// ```
#[must_use]
pub fn parse_json_metadata() -> Udf<Option<Text>, TextMap> {
    Udf::scalar("parse_json_metadata", |json: Option<Text>| TextMap::parsed(json.as_deref()))
}

impl Value for TextMap {
    fn data_type() -> DataType {
        let entry = vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, true)];
        DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entry.into()), false)), false)
    }

    fn is_read_from(found: &DataType) -> bool {
        *found == Self::data_type()
    }

    fn column(values: impl Iterator<Item = Option<Self>>) -> ArrayRef {
        let names = arrow::array::MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() };
        let mut column = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
        for map in values {
            for (key, value) in map.iter().flat_map(|map| &map.0) {
                column.keys().append_value(key);
                column.values().append_option(value.as_ref());
            }
            column.append(map.is_some()).expect("each key has a value");
        }
        Arc::new(column.finish())
    }

    fn cells(column: &ArrayRef) -> Result<CellReader<Self>> {
        let column = column.as_map().clone();
        Ok(Box::new(move |row| {
            let map = column.is_valid(row).then(|| {
                let entries = column.value(row);
                let (keys, values) = (entries.column(0).as_string::<i32>(), entries.column(1).as_string::<i32>());
                let entry = |(key, value): (Option<&str>, Option<&str>)| Some((key?.into(), value.map(Text::from)));
                TextMap(keys.iter().zip(values.iter()).filter_map(entry).collect())
            });
            Ok(map)
        }))
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.0.len().to_le_bytes());
        for (key, value) in &self.0 {
            key.encode(bytes);
            bytes.push(u8::from(value.is_some()));
            value.iter().for_each(|value| value.encode(bytes));
        }
    }

    fn heap_bytes(&self) -> usize {
        // A B-tree node holds up to eleven entries, and is at least half full unless it is the root.
        const NODE_ENTRIES: usize = 11;
        let nodes = self.0.len().div_ceil(NODE_ENTRIES / 2 + 1);
        let texts =
            |(key, value): (&Text, &Option<Text>)| key.heap_bytes() + value.as_ref().map_or(0, Value::heap_bytes);
        nodes * (NODE_ENTRIES * 2 * size_of::<Text>() + 16) + self.0.iter().map(texts).sum::<usize>()
    }
}
