//! Rejected rows.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Text;

/// A rejected row and its reason: a row of `rejected`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rejection {
    /// The table: an input table, or an output table for which a function of the config failed.
    pub table: Text,
    /// The origin of an input row; `None` for a row of an output table.
    pub origin: Option<Origin>,
    /// The reason.
    pub reason: String,
    /// The row as a JSON object.
    pub row: String,
}

/// The position of a row in its source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The file, or another part of the source.
    pub file: Arc<str>,
    /// The row's number in it, from 0.
    pub row: u64,
}
