//! What a commit of the service says beside its rows.

use std::path::Path;
use std::time::SystemTime;

use crate::durable::State;
use crate::error::{Error, Result};
use crate::sources::FileLedger;

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

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
