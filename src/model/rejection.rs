//! Rejected rows.

use std::fmt;
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
    pub reason: Reason,
    /// The row as a JSON object.
    pub row: String,
}

/// Why a row can't be used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Reason {
    /// The reason in full, with the value that was found.
    pub text: String,
    /// The reason without the value. Rejected rows are counted by it.
    pub kind: Text,
}

impl Reason {
    /// A reason of this kind.
    #[must_use]
    pub fn new(kind: impl Into<Text>, text: impl Into<String>) -> Reason {
        Reason { text: text.into(), kind: kind.into() }
    }

    /// A reason that names no value.
    #[must_use]
    pub fn plain(text: impl Into<String>) -> Reason {
        let text = text.into();
        Reason { kind: Text::from(&text), text }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The position of a row in its source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The file, or another part of the source.
    pub file: Arc<str>,
    /// The row's number in it, from 0.
    pub row: u64,
}
