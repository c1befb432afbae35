//! Rows that could not be used.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Text;

/// A row that could not be used, and why: a row of `rejected`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rejection {
    /// The table: one that is read, or one of whose rows a function of the config could not handle.
    pub table: Text,
    /// Where a row that was read comes from; `None` for a row of an output table.
    pub origin: Option<Origin>,
    /// Why it could not be used.
    pub reason: String,
    /// The row as a JSON object.
    pub row: String,
}

/// A row's place in its source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The file, or whatever else a source consists of.
    pub file: Arc<str>,
    /// The row's number in it, from 0.
    pub row: u64,
}
