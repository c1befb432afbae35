//! Rows to be written under keys.

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

/// Where a row stands in its source: of two rows with one key in one epoch, the one with the greater position wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position(NonZeroU64);

impl Position {
    /// The position after `rows_before` others.
    #[must_use]
    pub fn after(rows_before: u64) -> Position {
        Position(NonZeroU64::MIN.saturating_add(rows_before))
    }
}

/// A row to be written under a key, or `None` to delete what is there.
pub type Upsert<K, V> = (K, Position, Option<V>);
