//! Sinks of the type `delta`.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

/// A sink of the type `delta`.
#[derive(Clone, Debug)]
pub struct DeltaSinkKeys {
    /// Its name.
    pub name: String,
    /// The folder of its tables, or the URL of one in object storage.
    pub path: PathBuf,
    /// What its tables have.
    pub mode: DeltaModeKey,
    /// The least time between two commits.
    pub every: Duration,
    /// How long files are kept that the tables do not have any more.
    pub retention: Duration,
    /// Its tables; `None` for the default ones.
    pub tables: Option<Vec<String>>,
}

/// What the tables of a lake have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeltaModeKey {
    /// The rows of the newest commit.
    #[default]
    Rows,
    /// All changes since the first commit.
    Changes,
}

/// By default a commit has what ten seconds have changed: it writes whole files again.
pub(super) const EVERY: Duration = Duration::from_secs(10);
/// As Delta Lake has it by default.
pub(super) const RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);
