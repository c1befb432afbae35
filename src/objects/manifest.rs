//! Which version of the tables is the current one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What `current.json` says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct VersionManifest {
    /// The current version: a folder in `versions`.
    pub(super) version: String,
    /// The version before it, whose files are still there.
    pub(super) previous: Option<String>,
    /// When it was published, in milliseconds since 1970.
    pub(super) published_ms: u64,
    /// The files of each table.
    pub(super) tables: BTreeMap<String, Vec<VersionedFile>>,
}

/// A file of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct VersionedFile {
    /// Its path below the folder of `current.json`.
    pub(super) path: String,
    pub(super) bytes: u64,
    /// A digest of its content (XXH3, 128 bits).
    pub(super) digest: String,
}

impl VersionManifest {
    /// The file of the current version with this path below it, if its content is the same.
    pub(super) fn same(&self, below: &str, bytes: u64, digest: &str) -> Option<&VersionedFile> {
        let path = format!("versions/{}/{below}", self.version);
        let files = self.tables.values().flatten();
        files.into_iter().find(|file| file.path == path && file.bytes == bytes && file.digest == digest)
    }
}
