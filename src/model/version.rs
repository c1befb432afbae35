//! Versions of rows.

use serde::{Deserialize, Serialize};

/// The version of a row: of the rows with one id, the one with the greatest version counts. Numbers are less than
/// instants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Version {
    /// A number that increases.
    Number(i64),
    /// Nanoseconds since 1970-01-01 UTC.
    Instant(i128),
}
