//! The row of a record, as a line of JSON.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::columns::OPERATION;
use crate::model::Reason;

/// What a record has.
pub(super) enum RecordRow {
    /// A row, or that a row is deleted, as a JSON object.
    Line(Vec<u8>),
    /// Nothing that changes a row.
    Nothing,
    /// Something else, and why.
    Malformed(Reason),
}

/// A value as a line.
pub(super) fn as_line(value: &[u8]) -> RecordRow {
    if value.trim_ascii().is_empty() {
        return RecordRow::Malformed(Reason::plain("an empty value"));
    }
    if !value.contains(&b'\n') {
        return RecordRow::Line(value.to_owned());
    }
    // Between values, a line break means no more than a space; within one, there is none.
    match serde_json::from_slice::<&RawValue>(value) {
        Ok(_) => RecordRow::Line(value.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }).collect()),
        Err(error) => RecordRow::Malformed(Reason::new("not JSON", format!("not JSON: {error}"))),
    }
}

/// An object that says that its row is deleted.
pub(super) fn with_operation(object: &str) -> RecordRow {
    let Some(members) = object.trim().strip_prefix('{').and_then(|text| text.strip_suffix('}')) else {
        return RecordRow::Malformed(Reason::plain("not a JSON object"));
    };
    let separator = if members.trim().is_empty() { "" } else { "," };
    as_line(format!("{{{members}{separator}\"{OPERATION}\":\"d\"}}").as_bytes())
}

/// The delete of the row whose id is a key. `id` is the name of the id; `None` if several columns are the id.
pub(super) fn deleted(key: Option<&[u8]>, id: Option<&str>) -> RecordRow {
    let wanted = "a record without a value deletes a row: wanted a key that is its id, or an object with it";
    let malformed = || RecordRow::Malformed(Reason::plain(wanted));
    let Some(key) = key else { return malformed() };
    match (serde_json::from_slice::<&RawValue>(key), id) {
        (Ok(object), _) if object.get().starts_with('{') => with_operation(object.get()),
        (Ok(value), Some(name)) if !value.get().starts_with(['[', 'n']) => {
            with_operation(&format!("{{{}:{}}}", Value::from(name), value.get()))
        }
        // A text without quotes.
        (Err(_), Some(name)) => match std::str::from_utf8(key) {
            Ok(text) if !text.is_empty() => with_operation(&format!("{{{}:{}}}", Value::from(name), Value::from(text))),
            _ => malformed(),
        },
        _ => malformed(),
    }
}
