//! The text of server-sent events.

use std::fmt::Write;

use arrow::record_batch::RecordBatch;
use axum::body::Bytes;
use serde_json::json;

use crate::error::Result;
use crate::sinks::Committed;

use super::rows::json_rows;
use super::stamp::timestamp;

/// The data of an event: the epoch, and rows by name.
pub(super) fn data_of(epoch: Committed, rows: &[(&str, &RecordBatch)]) -> Result<String> {
    let members = json!({ "epoch": epoch.epoch, "committed_at": timestamp(epoch.time_ms) }).to_string();
    let mut data = members.trim_end_matches('}').to_owned();
    for (name, rows) in rows {
        let rows = json_rows(rows)?;
        let _ = write!(data, ",\"{name}\":[{}]", String::from_utf8_lossy(&rows));
    }
    data.push('}');
    Ok(data)
}

pub(super) fn event(kind: &str, id: Option<u64>, data: &str) -> Bytes {
    let id = id.map_or_else(String::new, |id| format!("id: {id}\n"));
    format!("{id}event: {kind}\ndata: {data}\n\n").into()
}
