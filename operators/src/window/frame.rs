//! Frames: the rows around each row that a function aggregates.

use std::fmt;
use std::ops::{Bound, Range, RangeBounds};
use std::rc::Rc;

use super::function::{AffectedRange, ChangedPartition, CurrentRow, PartitionRows};

/// A frame: the rows of the partition that a function aggregates, relative to the current row.
///
/// The default is SQL's, `RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW`: from the start of the partition through
/// the current row and its peers.
pub struct WindowFrame<O>(FrameBounds<O>);

/// Maps the current row's order key to bounds of order keys.
type KeyBounds<O> = Rc<dyn Fn(&O) -> (Bound<O>, Bound<O>)>;

pub(super) enum FrameBounds<O> {
    /// From the start of the partition through the current row and its peers.
    Running,
    /// From this many rows after the current row (before it if negative) through this many; `None` is unbounded.
    Rows(Option<i64>, Option<i64>),
    /// The rows whose order keys lie within bounds.
    Range(KeyBounds<O>),
}

impl<O> WindowFrame<O> {
    /// A `ROWS` frame: the rows at these offsets from the current row.
    ///
    /// `-2..=0` is the current row and the two before it, `..=0` all rows through the current row, `1..` all rows after
    /// it, `..` the partition.
    pub fn rows(offsets: impl RangeBounds<i64>) -> Self {
        let first = match offsets.start_bound() {
            Bound::Included(first) => Some(*first),
            Bound::Excluded(before) => Some(before.saturating_add(1)),
            Bound::Unbounded => None,
        };
        let last = match offsets.end_bound() {
            Bound::Included(last) => Some(*last),
            Bound::Excluded(after) => Some(after.saturating_sub(1)),
            Bound::Unbounded => None,
        };
        WindowFrame(FrameBounds::Rows(first, last))
    }

    /// A `RANGE` frame: the rows whose order keys lie within the bounds that `keys` returns for the current row's order
    /// key.
    ///
    /// `|day| day.saturating_sub(6)..=*day` is the seven days that end with the current row's. Both bounds must be
    /// monotone in the order key; a subtraction that wraps would violate that.
    pub fn range<B: RangeBounds<O>>(keys: impl Fn(&O) -> B + 'static) -> Self
    where
        O: Clone,
    {
        WindowFrame(FrameBounds::Range(Rc::new(move |order| {
            let bounds = keys(order);
            (bounds.start_bound().cloned(), bounds.end_bound().cloned())
        })))
    }
}

impl<O> Default for WindowFrame<O> {
    fn default() -> Self {
        WindowFrame(FrameBounds::Running)
    }
}

impl<O> Clone for WindowFrame<O> {
    fn clone(&self) -> Self {
        WindowFrame(match &self.0 {
            FrameBounds::Running => FrameBounds::Running,
            FrameBounds::Rows(first, last) => FrameBounds::Rows(*first, *last),
            FrameBounds::Range(keys) => FrameBounds::Range(Rc::clone(keys)),
        })
    }
}

impl<O> fmt::Debug for WindowFrame<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            FrameBounds::Running => f.write_str("range unbounded preceding"),
            FrameBounds::Rows(first, last) => write!(f, "rows {first:?} to {last:?}"),
            FrameBounds::Range(_) => f.write_str("range by key"),
        }
    }
}

impl<O: Ord + 'static> WindowFrame<O> {
    pub(super) fn bounds(&self) -> &FrameBounds<O> {
        &self.0
    }

    /// The positions of the rows in the current row's frame.
    pub(super) fn of<'a, D: 'a, R: PartitionRows<'a, O, D>>(&self, at: &CurrentRow<'a, '_, O, D, R>) -> Range<u64> {
        let rows = at.rows;
        let (start, end) = match &self.0 {
            FrameBounds::Running => (0, at.peers().end),
            FrameBounds::Rows(first, last) => (
                first.map_or(0, |first| at.position.saturating_add_signed(first)),
                last.map_or(rows.len(), |last| (at.position + 1).saturating_add_signed(last).min(rows.len())),
            ),
            FrameBounds::Range(keys) => {
                let (first, last) = keys(&at.row.0);
                (
                    rows.count_while(|(key, _)| is_before(key, &first)),
                    rows.count_while(|(key, _)| !is_after(key, &last)),
                )
            }
        };
        start.min(end)..end
    }

    /// Adds the rows whose frames contain a changed row.
    pub(super) fn reach<'a, D: Ord, R: PartitionRows<'a, O, D>>(
        &self,
        partition: &ChangedPartition<'a, '_, O, D, R>,
        affected: &mut Vec<AffectedRange<'a, O, D>>,
    ) {
        match &self.0 {
            FrameBounds::Running => partition.reach_each(affected, true, |rows, row, positions| {
                rows.count_while(|other| other.0 < row.0)..positions.end
            }),
            // A frame that ends after its row is affected by changes ahead of the row; one that starts before it, by
            // changes behind.
            FrameBounds::Rows(first, last) => partition.reach_each(affected, first.is_none(), |rows, _, positions| {
                let start = last.map_or(0, |last| positions.start.saturating_add_signed(last.saturating_neg()));
                let end = (positions.start + 1).max(positions.end);
                let after = first.or(*last).map_or(end, |place| end.saturating_add_signed(place.saturating_neg()));
                if first.is_none() && last.is_none() {
                    0..rows.len()
                } else {
                    start.min(positions.start)..after.max(end)
                }
            }),
            FrameBounds::Range(keys) => partition.reach_each(affected, false, |rows, (changed, _), _| {
                let start = rows.count_while(|(key, _)| is_after(changed, &keys(key).1));
                start..rows.count_while(|(key, _)| !is_before(changed, &keys(key).0)).max(start)
            }),
        }
    }

    /// True if a frame from the partition's start has the same summary through the current row before and after an
    /// epoch: with no changed row ahead, no later answer differs. Other frames reach a known range, so they are always
    /// converged.
    pub(super) fn prefix_unchanged<'a, D: 'a, R: PartitionRows<'a, O, D>>(
        &self,
        old: &CurrentRow<'a, '_, O, D, R>,
        new: &CurrentRow<'a, '_, O, D, R>,
    ) -> bool {
        let is_running = matches!(self.0, FrameBounds::Running | FrameBounds::Rows(None, _));
        !is_running || old.rows.summary(0..self.of(old).end) == new.rows.summary(0..self.of(new).end)
    }
}

fn is_before<O: Ord>(key: &O, first: &Bound<O>) -> bool {
    match first {
        Bound::Included(first) => key < first,
        Bound::Excluded(before) => key <= before,
        Bound::Unbounded => false,
    }
}

fn is_after<O: Ord>(key: &O, last: &Bound<O>) -> bool {
    match last {
        Bound::Included(last) => key > last,
        Bound::Excluded(behind) => key >= behind,
        Bound::Unbounded => false,
    }
}
