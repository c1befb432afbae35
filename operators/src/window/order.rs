//! Orders: descending, and nulls last.

use serde::{Deserialize, Serialize};
pub use std::cmp::Reverse;

/// A value that may be null, with nulls behind all others.
///
/// A plain `Option` has nulls before all others; [`Reverse`] turns either around:
///
/// | order | ascending | descending |
/// |---|---|---|
/// | nulls first (Spark's ascending) | `value` | `Reverse(NullsLast(value))` |
/// | nulls last (Spark's descending) | `NullsLast(value)` | `Reverse(value)` |
///
/// ```
/// use millstream_operators::window::{NullsLast, Reverse};
///
/// assert!(None < Some(1) && NullsLast(None) > NullsLast(Some(1)));
/// assert!(Reverse(NullsLast(None)) < Reverse(NullsLast(Some(1))));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NullsLast<V>(pub Option<V>);

impl<V: Ord> Ord for NullsLast<V> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let key = |value: &Self| value.0.is_none();
        key(self).cmp(&key(other)).then_with(|| self.0.cmp(&other.0))
    }
}

impl<V: Ord> PartialOrd for NullsLast<V> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
