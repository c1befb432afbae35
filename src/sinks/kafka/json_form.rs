//! Rows and keys as JSON.

use arrow::record_batch::RecordBatch;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::columns::row_json::json_lines;
use crate::error::Result;
use crate::sinks::committed::Committed;

use super::change::{ChangeOrigin, RecordChange};

/// A part of the envelope of Debezium.
#[derive(Deserialize)]
struct RowAfter<'a> {
    #[serde(borrow)]
    after: Option<&'a RawValue>,
}

/// Each row as a JSON object.
pub(super) fn rows(rows: &RecordBatch) -> Result<Vec<Vec<u8>>> {
    let text = json_lines(rows)?;
    Ok(text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect())
}

/// The envelope of Debezium around a change.
pub(super) fn envelope(change: RecordChange, origin: ChangeOrigin) -> Vec<u8> {
    let RecordChange { op, before, after } = change;
    let Committed { epoch, time_ms } = origin.epoch;
    let source = json!({
        "version": env!("CARGO_PKG_VERSION"), "connector": "millstream", "name": origin.sink, "ts_ms": time_ms,
        "snapshot": if op == "r" { "true" } else { "false" }, "table": origin.table, "epoch": epoch,
    });
    let row = |row: Option<&[u8]>| row.unwrap_or(b"null").to_owned();
    let parts = [
        b"{\"before\":".to_vec(),
        row(before),
        b",\"after\":".to_vec(),
        row(after),
        format!(",\"source\":{source},\"op\":\"{op}\",\"ts_ms\":{time_ms},\"transaction\":null}}").into_bytes(),
    ];
    parts.concat()
}

/// The row after the change that an envelope has.
pub(super) fn row_of_envelope(value: &[u8]) -> Option<&[u8]> {
    let envelope: RowAfter = serde_json::from_slice(value).ok()?;
    envelope.after.map(|row| row.get().as_bytes())
}
