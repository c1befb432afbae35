//! The row of a record, as a line of JSON.

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
