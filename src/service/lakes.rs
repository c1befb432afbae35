//! The lakes of a configuration.

use crate::config::{DeltaModeKey, DeltaSinkKeys};
use crate::sinks::delivery::DeliveredTables;
use crate::sinks::delta::{DeltaMode, DeltaTarget};

/// A sink, as the configuration has it.
pub(super) fn sink_target(keys: &DeltaSinkKeys) -> DeltaTarget {
    let DeltaSinkKeys { name, path, mode, every, retention, tables } = keys.clone();
    let mode = match mode {
        DeltaModeKey::Rows => DeltaMode::Rows,
        DeltaModeKey::Changes => DeltaMode::Changes,
    };
    DeltaTarget { name, path, mode, every, retention, tables: DeliveredTables(tables) }
}
