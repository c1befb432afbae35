//! What a commit of the service says beside its rows.

use std::time::SystemTime;

/// The name of the folder source in the offsets.
pub(super) const FOLDER: &str = "folder";
/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
