//! Which rows a value function counts: every one, or those whose value is not null.

use differential_dataflow::Data;

use super::function::{Rows, Summary};

/// Which rows count.
pub trait Counted<V>: 'static {
    /// What a row that counts says.
    type Value: Data;
    /// How many rows of a stretch count, if that has to be known.
    type Summary: Summary;

    /// The summary of some rows with this value.
    fn summary(value: impl FnOnce() -> V, copies: u64) -> Self::Summary;

    /// What a row says, if it counts.
    fn value(value: V) -> Option<Self::Value>;

    /// How many rows that count are before a position.
    fn before<'a, O: 'a, D: 'a, R: Rows<'a, O, D, Summary = Self::Summary>>(rows: R, position: u64) -> u64;

    /// The position of the row that counts with this many others before it; the number of rows if there is none.
    fn nth<'a, O: 'a, D: 'a, R: Rows<'a, O, D, Summary = Self::Summary>>(rows: R, before: u64) -> u64;
}

/// Every row counts.
#[derive(Clone, Copy, Debug)]
pub struct Every;

/// Rows count whose value is not `None`.
#[derive(Clone, Copy, Debug)]
pub struct NotNull;

impl<V: Data> Counted<V> for Every {
    type Value = V;
    type Summary = ();

    fn summary(_value: impl FnOnce() -> V, _copies: u64) {}

    fn value(value: V) -> Option<V> {
        Some(value)
    }

    fn before<'a, O: 'a, D: 'a, R: Rows<'a, O, D, Summary = ()>>(rows: R, position: u64) -> u64 {
        position.min(rows.len())
    }

    fn nth<'a, O: 'a, D: 'a, R: Rows<'a, O, D, Summary = ()>>(rows: R, before: u64) -> u64 {
        before.min(rows.len())
    }
}

impl<V: Data> Counted<Option<V>> for NotNull {
    type Value = V;
    type Summary = RowCount;

    fn summary(value: impl FnOnce() -> Option<V>, copies: u64) -> RowCount {
        RowCount(if value().is_some() { copies } else { 0 })
    }

    fn value(value: Option<V>) -> Option<V> {
        value
    }

    fn before<'a, O: 'a, D: 'a, R: Rows<'a, O, D, Summary = RowCount>>(rows: R, position: u64) -> u64 {
        rows.summary(0..position).0
    }

    fn nth<'a, O: 'a, D: 'a, R: Rows<'a, O, D, Summary = RowCount>>(rows: R, before: u64) -> u64 {
        rows.search(|count| count.0 > before)
    }
}

/// How many rows of a stretch count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowCount(pub(super) u64);

impl Summary for RowCount {
    fn append(&mut self, next: &Self) {
        self.0 += next.0;
    }
}
