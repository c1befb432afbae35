//! Null treatment: whether value functions take rows whose value is null into account.

use differential_dataflow::Data;

use super::function::{PartitionRows, RangeSummary};

/// SQL's null treatment: [`RespectNulls`] or [`IgnoreNulls`].
pub trait NullTreatment<V>: 'static {
    /// The value of a row that is taken into account.
    type Value: Data;
    /// How many of some rows are taken into account, unless it is all.
    type Summary: RangeSummary;

    /// The summary of `copies` rows with this value.
    fn summary(value: impl FnOnce() -> V, copies: u64) -> Self::Summary;

    /// The value of a row, if the row is taken into account.
    fn value(value: V) -> Option<Self::Value>;

    /// The number of rows before `position` that are taken into account.
    fn before<'a, O: 'a, D: 'a, R: PartitionRows<'a, O, D, Summary = Self::Summary>>(rows: R, position: u64) -> u64;

    /// The position of the row with exactly `before` such rows before it; the number of rows if there is none.
    fn nth<'a, O: 'a, D: 'a, R: PartitionRows<'a, O, D, Summary = Self::Summary>>(rows: R, before: u64) -> u64;
}

/// Every row is taken into account, the default.
#[derive(Clone, Copy, Debug)]
pub struct RespectNulls;

/// Rows whose value is `None` are skipped.
#[derive(Clone, Copy, Debug)]
pub struct IgnoreNulls;

impl<V: Data> NullTreatment<V> for RespectNulls {
    type Value = V;
    type Summary = ();

    fn summary(_value: impl FnOnce() -> V, _copies: u64) {}

    fn value(value: V) -> Option<V> {
        Some(value)
    }

    fn before<'a, O: 'a, D: 'a, R: PartitionRows<'a, O, D, Summary = ()>>(rows: R, position: u64) -> u64 {
        position.min(rows.len())
    }

    fn nth<'a, O: 'a, D: 'a, R: PartitionRows<'a, O, D, Summary = ()>>(rows: R, before: u64) -> u64 {
        before.min(rows.len())
    }
}

impl<V: Data> NullTreatment<Option<V>> for IgnoreNulls {
    type Value = V;
    type Summary = NotNullCount;

    fn summary(value: impl FnOnce() -> Option<V>, copies: u64) -> NotNullCount {
        NotNullCount(if value().is_some() { copies } else { 0 })
    }

    fn value(value: Option<V>) -> Option<V> {
        value
    }

    fn before<'a, O: 'a, D: 'a, R: PartitionRows<'a, O, D, Summary = NotNullCount>>(rows: R, position: u64) -> u64 {
        rows.summary(0..position).0
    }

    fn nth<'a, O: 'a, D: 'a, R: PartitionRows<'a, O, D, Summary = NotNullCount>>(rows: R, before: u64) -> u64 {
        rows.search(|count| count.0 > before)
    }
}

/// The number of rows whose value is not null.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NotNullCount(pub(super) u64);

impl RangeSummary for NotNullCount {
    fn append(&mut self, next: &Self) {
        self.0 += next.0;
    }
}
