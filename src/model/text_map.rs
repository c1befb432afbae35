//! JSON objects as maps of texts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Text;

/// A map of texts, by key; a value may be null.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TextMap(pub BTreeMap<Text, Option<Text>>);

impl TextMap {
    /// Parses a JSON object; an empty map for anything else, including null.
    #[must_use]
    pub fn parsed(json: Option<&str>) -> TextMap {
        let object = json.and_then(|json| serde_json::from_str::<BTreeMap<Text, &RawValue>>(json).ok());
        let entries = object.into_iter().flatten().map(|(key, value)| (key, text_of(value.get())));
        TextMap(entries.collect())
    }
}

fn text_of(value: &str) -> Option<Text> {
    match value.as_bytes().first() {
        Some(b'n') => None,
        // Strings that are valid JSON but not Unicode, such as a lone surrogate, keep their JSON text.
        Some(b'"') => Some(serde_json::from_str(value).unwrap_or_else(|_| value.into())),
        _ => Some(value.into()),
    }
}
