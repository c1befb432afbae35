//! The first rows of a partition.

use super::function::{AffectedRange, ChangedPartition, CurrentRow, PartitionRows, WindowFunction};

/// The row's number, if it is one of the first `rows`.
pub(super) struct FirstNumbered {
    pub(super) rows: u64,
}

/// `Some` if the row is one of the first `rows`.
pub(super) struct FirstRows {
    pub(super) rows: u64,
}

impl<O: Ord + 'static, D: Ord + 'static> WindowFunction<O, D> for FirstNumbered {
    type Answer = Option<u64>;
    type Summary = ();

    fn summary(&self, _row: &(O, D), _copies: u64) {}

    fn answer<'a, R: PartitionRows<'a, O, D, Summary = ()>>(&self, at: &CurrentRow<'a, '_, O, D, R>) -> Option<u64> {
        (at.position < self.rows).then_some(at.position + 1)
    }

    fn reach<'a, R: PartitionRows<'a, O, D, Summary = ()>>(
        &self,
        partition: &ChangedPartition<'a, '_, O, D, R>,
        affected: &mut Vec<AffectedRange<'a, O, D>>,
    ) {
        let is_within = |position: u64| position < self.rows;
        if partition.changes.iter().any(|change| is_within(change.old.start) || is_within(change.new.start)) {
            partition.reach_each(affected, false, |_, _, positions| positions.start.min(self.rows)..self.rows);
        }
    }
}

impl<O: Ord + 'static, D: Ord + 'static> WindowFunction<O, D> for FirstRows {
    type Answer = Option<()>;
    type Summary = ();

    fn summary(&self, _row: &(O, D), _copies: u64) {}

    fn answer<'a, R: PartitionRows<'a, O, D, Summary = ()>>(&self, at: &CurrentRow<'a, '_, O, D, R>) -> Option<()> {
        (at.position < self.rows).then_some(())
    }

    /// The rows that cross the boundary after the last of the first rows.
    fn reach<'a, R: PartitionRows<'a, O, D, Summary = ()>>(
        &self,
        partition: &ChangedPartition<'a, '_, O, D, R>,
        affected: &mut Vec<AffectedRange<'a, O, D>>,
    ) {
        partition.reach_between(affected, self.rows, self.rows);
    }
}
