//! What a sink in a lake is configured with.

use std::path::PathBuf;
use std::time::Duration;

use crate::sinks::delivery::DeliveredTables;

/// A folder of Delta tables.
#[derive(Clone, Debug)]
pub(crate) struct DeltaTarget {
    /// The name of the sink.
    pub(crate) name: String,
    /// The folder, or the URL of one in object storage.
    pub(crate) path: PathBuf,
    /// What the tables have.
    pub(crate) mode: DeltaMode,
    /// The least time between two commits.
    pub(crate) every: Duration,
    /// How long files are kept that the tables do not have any more.
    pub(crate) retention: Duration,
    /// The tables.
    pub(crate) tables: DeliveredTables,
}

/// What the tables of a lake have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeltaMode {
    /// The rows of the newest commit.
    Rows,
    /// All changes since the first commit.
    Changes,
}

impl DeltaMode {
    pub(super) fn name(self) -> &'static str {
        match self {
            DeltaMode::Rows => "rows",
            DeltaMode::Changes => "changes",
        }
    }

    /// The description of a table.
    pub(super) fn description(self, table: &str) -> String {
        match self {
            DeltaMode::Rows => {
                format!("The table {table} of millstream, as of the epoch that the newest commit names.")
            }
            DeltaMode::Changes => format!("What each epoch changes in the table {table} of millstream."),
        }
    }
}
