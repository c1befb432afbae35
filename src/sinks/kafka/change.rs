//! A change of a row, before it is a record.

use crate::sinks::committed::Committed;

/// A change of a row, each side as it is written in values.
#[derive(Clone, Copy)]
pub(super) struct RecordChange<'a> {
    /// `c`, `u`, `d` or `r`, as Debezium has it.
    pub(super) op: &'static str,
    pub(super) before: Option<&'a [u8]>,
    pub(super) after: Option<&'a [u8]>,
}

/// Where and when a change was made.
#[derive(Clone, Copy)]
pub(super) struct ChangeOrigin<'a> {
    pub(super) sink: &'a str,
    pub(super) table: &'a str,
    pub(super) epoch: Committed,
}
