//! What a commit of the service says beside its rows.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use arrow::datatypes::FieldRef;
use serde_json::json;

use crate::durable::{Offset, State, column_of_text, column_to_text};
use crate::error::{Error, Result};
use crate::model::{Day, InputTable};
#[cfg(feature = "postgres")]
use crate::sources::postgres::{ReplicatedTable, shown_position};
use crate::sources::{FileLedger, RowDecoder, Source};

/// The name of a folder among the sources of a state: its path, so that a file is taken once whatever the folder is
/// for.
pub(super) fn offset_name(folder: &Path) -> String {
    format!("folder {}", folder.canonicalize().unwrap_or_else(|_| folder.to_owned()).display())
}

/// The files of a folder that a state has.
pub(super) fn ledger_of(state: &State, folder: &Path) -> Result<FileLedger> {
    let Some(offset) = state.offsets().get(&offset_name(folder)) else { return Ok(FileLedger::new()) };
    let ledger = serde_json::from_value(offset["files"].clone());
    ledger.map_err(|cause| Error::unusable(format!("the files taken of {}: {cause}", folder.display())))
}

/// What a commit says of an epoch: its files, the greatest day of the orders so far, and the columns that the state
/// does not have.
pub(super) fn of_epoch(
    folder: &Path,
    files: &FileLedger,
    seen: Option<Day>,
    new_columns: &[(InputTable, FieldRef)],
) -> Result<BTreeMap<String, Offset>> {
    let mut offsets = BTreeMap::new();
    if !files.is_empty() {
        offsets.insert(offset_name(folder), json!({ "files": files }));
    }
    // Null takes back what an earlier epoch says: it would be too little once late orders are rejected again.
    offsets.insert(SEEN.into(), seen.map_or(Offset::Null, |seen| json!({ "greatest": seen.days() })));
    for (table, column) in new_columns {
        let of_table = offsets.entry(NEW_COLUMNS.into()).or_insert_with(|| json!({}));
        of_table[table.name()][column.name()] = json!(column_to_text(column)?);
    }
    Ok(offsets)
}

/// The name of a database among the sources of a state.
#[cfg(feature = "postgres")]
pub(super) fn database_name(source: &str) -> String {
    format!("postgres {source}")
}

/// What a commit says of a database: the position behind the last transaction, and what identifies the server and the
/// tables.
#[cfg(feature = "postgres")]
pub(super) fn of_position(position: u64, system: &str, tables: &BTreeMap<String, u64>) -> Offset {
    json!({ "position": shown_position(position), "system": system, "tables": tables })
}

/// What identifies the tables that are followed there, by those of the job.
#[cfg(feature = "postgres")]
pub(super) fn followed_tables(replicated: &[ReplicatedTable]) -> BTreeMap<String, u64> {
    replicated.iter().map(|replicated| (replicated.table.name().to_owned(), replicated.id.into())).collect()
}

/// The greatest day of the orders.
const SEEN: &str = "order_date";
/// The columns that files had and the state did not have when they were read.
const NEW_COLUMNS: &str = "new columns";

/// The greatest day of the orders of a state, up to a limit.
pub(super) fn greatest_day(state: &State, decoder: &RowDecoder, limit: Day) -> Result<Option<Day>> {
    if let Some(days) = state.offsets().get(SEEN).and_then(|seen| seen["greatest"].as_i64()) {
        return Ok(i32::try_from(days).ok().and_then(Day::new));
    }
    let (source, mut greatest) = (state.source()?, None);
    for split in source.splits().iter().filter(|split| split.table == InputTable::Orders) {
        for batch in source.read(split, BATCH_ROWS)? {
            let days = decoder.days(&batch?)?.into_iter().flatten().filter(|day| *day <= limit);
            greatest = greatest.max(days.max());
        }
    }
    Ok(greatest)
}

/// The columns that files had and the state did not have when they were read.
pub(super) fn new_columns(state: &State) -> Result<Vec<(InputTable, FieldRef)>> {
    let mut columns = Vec::new();
    for table in InputTable::ALL {
        let of_table = state.offsets().get(NEW_COLUMNS).and_then(|tables| tables[table.name()].as_object());
        for text in of_table.into_iter().flatten().filter_map(|(_, column)| column.as_str()) {
            match column_of_text(text) {
                Ok(column) => columns.push((table, column)),
                Err(error) => tracing::warn!("{table}: a column that is new can't be carried: {error}"),
            }
        }
    }
    Ok(columns)
}

/// How many rows are read at a time.
const BATCH_ROWS: usize = 10_000;

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
