//! The first rows of a partition.

use super::function::{At, Epoch, Rows, Span, WindowFunction};

/// The number of the row, if it is among the first `rows`.
pub(super) struct Numbered {
    pub(super) rows: u64,
}

/// Whether the row is among the first `rows`.
pub(super) struct Within {
    pub(super) rows: u64,
}

impl<O: Ord + 'static, D: Ord + 'static> WindowFunction<O, D> for Numbered {
    type Answer = Option<u64>;
    type Summary = ();

    fn summary(&self, _row: &(O, D), _copies: u64) {}

    fn answer<'a, R: Rows<'a, O, D, Summary = ()>>(&self, at: &At<'a, '_, O, D, R>) -> Option<u64> {
        (at.position < self.rows).then_some(at.position + 1)
    }

    fn reach<'a, R: Rows<'a, O, D, Summary = ()>>(
        &self,
        epoch: &Epoch<'a, '_, O, D, R>,
        spans: &mut Vec<Span<'a, O, D>>,
    ) {
        let is_within = |position: u64| position < self.rows;
        if epoch.changes.iter().any(|change| is_within(change.old.start) || is_within(change.new.start)) {
            epoch.reach_each(spans, false, |_, _, positions| positions.start.min(self.rows)..self.rows);
        }
    }
}

impl<O: Ord + 'static, D: Ord + 'static> WindowFunction<O, D> for Within {
    type Answer = Option<()>;
    type Summary = ();

    fn summary(&self, _row: &(O, D), _copies: u64) {}

    fn answer<'a, R: Rows<'a, O, D, Summary = ()>>(&self, at: &At<'a, '_, O, D, R>) -> Option<()> {
        (at.position < self.rows).then_some(())
    }

    /// Only rows that cross the boundary behind the last.
    fn reach<'a, R: Rows<'a, O, D, Summary = ()>>(
        &self,
        epoch: &Epoch<'a, '_, O, D, R>,
        spans: &mut Vec<Span<'a, O, D>>,
    ) {
        epoch.reach_between(spans, self.rows, self.rows);
    }
}
