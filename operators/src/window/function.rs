//! The interface between window functions and the drivers: [`WindowFunction`] on one side, [`PartitionRows`] on the
//! other.
//!
//! Both drivers evaluate a function through this trait alone. A function reads its partition through [`PartitionRows`]:
//! *recompute* implements it on a sorted slice, *ranges* on a counted B-tree.

use std::cell::OnceCell;
use std::ops::Range;

use differential_dataflow::Data;

/// An aggregate of consecutive rows, such as a sum or a maximum: a monoid whose neutral element is `default()`.
///
/// [`append`](Self::append) must be associative; it need not be commutative. *Ranges* stores one summary in each node
/// of its tree, so that a frame of any length is aggregated from O(log n) of them. `()` is the summary of functions
/// that need none.
pub trait RangeSummary: Clone + Default + PartialEq + 'static {
    /// Extends the summary by that of the rows that follow.
    fn append(&mut self, next: &Self);
}

/// The rows of one partition at one time, ordered by order key and then by row, at positions from 0.
///
/// A row of weight w occupies w positions. All methods cost O(log n).
pub trait PartitionRows<'a, O: 'a, D: 'a>: Copy {
    /// The function's summary of consecutive rows.
    type Summary: RangeSummary;

    /// The number of rows.
    fn len(self) -> u64;

    /// True if the partition has no rows.
    fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The row at `position`, and the position of its first copy; `None` past the end.
    fn entry(self, position: u64) -> Option<(&'a (O, D), u64)>;

    /// The number of leading rows for which `before` holds. The rows must be partitioned by it, as for
    /// [`partition_point`](slice::partition_point).
    fn count_while(self, before: impl Fn(&(O, D)) -> bool) -> u64;

    /// The summary of the rows at `positions`.
    fn summary(self, positions: Range<u64>) -> Self::Summary;

    /// The least position p such that `is_enough` holds for the summary of the rows 0..=p; the number of rows if there
    /// is none. `is_enough` must be monotone.
    fn search(self, is_enough: impl Fn(&Self::Summary) -> bool) -> u64;

    /// The positions of the rows with this order key; an empty range at their place if there are none.
    fn peers(self, order: &O) -> Range<u64>
    where
        O: Ord,
    {
        self.count_while(|row| row.0 < *order)..self.count_while(|row| row.0 <= *order)
    }
}

/// The row for which a function is evaluated, in its partition.
pub struct CurrentRow<'a, 'b, O, D, R> {
    /// The partition.
    pub rows: R,
    /// The order key and the row.
    pub row: &'a (O, D),
    /// The position of this copy of the row.
    pub position: u64,
    pub(super) peers: &'b OnceCell<Range<u64>>,
}

impl<'a, 'b, O, D, R: Copy> CurrentRow<'a, 'b, O, D, R> {
    /// The same row for one function of a tuple: summaries are projected to that function's part.
    fn part<S, P>(&self, part: fn(&S) -> &P) -> CurrentRow<'a, 'b, O, D, RowsOfOne<R, S, P>> {
        CurrentRow {
            rows: RowsOfOne { rows: self.rows, part },
            row: self.row,
            position: self.position,
            peers: self.peers,
        }
    }
}

impl<'a, O: Ord + 'a, D: 'a, R: PartitionRows<'a, O, D>> CurrentRow<'a, '_, O, D, R> {
    /// The positions of the rows with the same order key, including this one.
    pub fn peers(&self) -> Range<u64> {
        self.peers.get_or_init(|| self.rows.peers(&self.row.0)).clone()
    }
}

/// A row whose weight changed, with its positions before and after.
pub struct RowChange<'a, O, D> {
    pub(super) row: &'a (O, D),
    /// Its positions before the change; if it was absent, an empty range at its place.
    pub(super) old: Range<u64>,
    /// Its positions after the change; if it is absent, an empty range at its place.
    pub(super) new: Range<u64>,
}

/// A partition before and after an epoch, and the rows that changed.
pub struct ChangedPartition<'a, 'b, O, D, R> {
    /// The rows before the epoch.
    pub old: R,
    /// The rows after the epoch.
    pub new: R,
    /// The changed rows, in order.
    pub(super) changes: &'b [RowChange<'a, O, D>],
}

/// A range of rows whose answers may have changed: the rows that *ranges* evaluates again.
#[derive(Clone, Copy)]
pub struct AffectedRange<'a, O, D> {
    pub(super) from: &'a (O, D),
    /// The last row; `None` for the end of the partition.
    pub(super) through: Option<&'a (O, D)>,
    /// True if the range continues past `through` until all functions have [converged](WindowFunction::converged).
    pub(super) open_ended: bool,
}

impl<'a, O: Ord, D: Ord, R: PartitionRows<'a, O, D>> ChangedPartition<'a, '_, O, D, R> {
    /// Adds, for each changed row, the rows at the positions that `reach` returns.
    ///
    /// `reach` is called twice for each changed row: with the partition before the epoch and with the partition after
    /// it, each time with the positions of the row in that partition (an empty range at its place if it is absent). If
    /// `open_ended`, the range continues past those positions until all functions have
    /// [converged](WindowFunction::converged).
    pub fn reach_each(
        &self,
        affected: &mut Vec<AffectedRange<'a, O, D>>,
        open_ended: bool,
        reach: impl Fn(R, &'a (O, D), Range<u64>) -> Range<u64>,
    ) {
        for change in self.changes {
            for (rows, positions) in [(self.old, &change.old), (self.new, &change.new)] {
                let reached = reach(rows, change.row, positions.clone());
                affected.extend(range_of(rows, reached, open_ended));
            }
        }
    }

    /// Adds the whole partition.
    pub fn reach_all(&self, affected: &mut Vec<AffectedRange<'a, O, D>>) {
        for rows in [self.old, self.new] {
            affected.extend(range_of(rows, 0..rows.len(), false));
        }
    }

    /// Adds the rows that crossed a boundary which was in front of position `old` before the epoch and is in front of
    /// position `new` after it.
    pub fn reach_between(&self, affected: &mut Vec<AffectedRange<'a, O, D>>, old: u64, new: u64) {
        if self.moved(old) == Some(new) {
            return;
        }
        let (old, new) = (self.old.entry(old), self.new.entry(new));
        let (from, through) = match (old, new) {
            (Some((old, _)), Some((new, _))) => (old.min(new), Some(old.max(new))),
            (Some((only, _)), None) | (None, Some((only, _))) => (only, None),
            (None, None) => return,
        };
        affected.push(AffectedRange { from, through, open_ended: false });
    }

    /// The new position of the row at position `old`, unless the row itself changed.
    fn moved(&self, old: u64) -> Option<u64> {
        let behind = self.changes.partition_point(|change| change.old.end <= old);
        let changes_itself = self.changes[behind..].first().is_some_and(|next| next.old.contains(&old));
        if changes_itself || old >= self.old.len() {
            return None;
        }
        Some(self.changes[..behind].last().map_or(old, |change| old - change.old.end + change.new.end))
    }
}

/// The rows at `positions`, but at least the first; `None` if that is past the end.
fn range_of<'a, O, D, R: PartitionRows<'a, O, D>>(
    rows: R,
    positions: Range<u64>,
    open_ended: bool,
) -> Option<AffectedRange<'a, O, D>> {
    let (from, _) = rows.entry(positions.start)?;
    let through = rows.entry(positions.end.saturating_sub(1).max(positions.start)).map(|(row, _)| row);
    Some(AffectedRange { from, through, open_ended })
}

/// A window function: the answer for a row of a partition, and the rows whose answers a change may affect.
///
/// [`reach`](Self::reach) is an upper bound: reporting too many rows costs time but not correctness, since only answers
/// that differ are emitted; reporting too few leaves stale answers. [`Window::recomputed`](super::Window::recomputed)
/// ignores `reach` and `converged`, so it is the oracle to test them against. A tuple of up to eight functions is a
/// function; nest tuples for more than eight. For a function of a frame's rows only, implement the simpler
/// [`FrameAggregate`](super::FrameAggregate).
///
/// # Example
///
/// A row is a *record* if its value is greater than all before it. The answer depends on the maximum of the preceding
/// rows, so a change affects all rows after it, up to the first row whose preceding maximum is as before:
///
/// ```
/// use millstream_operators::prelude::*;
/// use millstream_operators::window::{AffectedRange, ChangedPartition, CurrentRow, PartitionRows, RangeSummary};
///
/// /// Day and value.
/// type Reading = (u32, i64);
///
/// #[derive(Clone, Default, PartialEq)]
/// struct Maximum(Option<i64>);
///
/// impl RangeSummary for Maximum {
///     fn append(&mut self, next: &Self) {
///         self.0 = self.0.max(next.0);
///     }
/// }
///
/// struct IsRecord;
///
/// impl WindowFunction<u32, Reading> for IsRecord {
///     type Answer = bool;
///     type Summary = Maximum;
///
///     fn summary(&self, (_, reading): &(u32, Reading), _copies: u64) -> Maximum {
///         Maximum(Some(reading.1))
///     }
///
///     fn answer<'a, R>(&self, at: &CurrentRow<'a, '_, u32, Reading, R>) -> bool
///     where
///         R: PartitionRows<'a, u32, Reading, Summary = Maximum>,
///     {
///         let (_, reading) = at.row;
///         Some(reading.1) > at.rows.summary(0..at.position).0
///     }
///
///     fn reach<'a, R>(
///         &self,
///         partition: &ChangedPartition<'a, '_, u32, Reading, R>,
///         affected: &mut Vec<AffectedRange<'a, u32, Reading>>,
///     ) where
///         R: PartitionRows<'a, u32, Reading, Summary = Maximum>,
///     {
///         partition.reach_each(affected, true, |_, _, positions| positions);
///     }
///
///     fn converged<'a, R>(
///         &self,
///         old: &CurrentRow<'a, '_, u32, Reading, R>,
///         new: &CurrentRow<'a, '_, u32, Reading, R>,
///     ) -> bool
///     where
///         R: PartitionRows<'a, u32, Reading, Summary = Maximum>,
///     {
///         old.rows.summary(0..old.position) == new.rows.summary(0..new.position)
///     }
/// }
///
/// timely::example(|scope| {
///     let readings = scope.new_collection_from([(1, 20), (2, 15), (3, 31)]).1;
///     let records = window(readings, "Records", |_| (), |reading| reading.0).select(|w| (w.row_number(), IsRecord));
///     records.assert_eq(
///         scope.new_collection_from([((1, 20), (1, true)), ((2, 15), (2, false)), ((3, 31), (3, true))]).1,
///     );
/// });
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a window function of rows of type `{D}`",
    label = "not a window function of these rows",
    note = "a tuple of up to eight window functions is a window function; nest tuples for more than eight"
)]
pub trait WindowFunction<O: Ord + 'static, D: Ord + 'static>: 'static {
    /// The answer for a row.
    type Answer: Data;
    /// The summary of consecutive rows that answers are computed from; `()` if none is needed.
    type Summary: RangeSummary;

    /// The summary of `copies` copies of a row.
    fn summary(&self, row: &(O, D), copies: u64) -> Self::Summary;

    /// The answer for the current row: a function of the partition and the position alone.
    fn answer<'a, R>(&self, at: &CurrentRow<'a, '_, O, D, R>) -> Self::Answer
    where
        R: PartitionRows<'a, O, D, Summary = Self::Summary>;

    /// Adds the rows whose answers an epoch may have changed. The changed rows themselves are always included.
    fn reach<'a, R>(&self, partition: &ChangedPartition<'a, '_, O, D, R>, affected: &mut Vec<AffectedRange<'a, O, D>>)
    where
        R: PartitionRows<'a, O, D, Summary = Self::Summary>;

    /// True if the answers for this row and all rows after it are the same in both partitions, given that no changed
    /// row follows.
    ///
    /// Called for unchanged rows in an open-ended range, which may be another function's: a function that adds no
    /// open-ended ranges keeps the default, `true`.
    fn converged<'a, R: PartitionRows<'a, O, D, Summary = Self::Summary>>(
        &self,
        _old: &CurrentRow<'a, '_, O, D, R>,
        _new: &CurrentRow<'a, '_, O, D, R>,
    ) -> bool {
        true
    }
}

impl RangeSummary for () {
    fn append(&mut self, (): &Self) {}
}

/// The rows as one function of a tuple sees them: summaries are projected to that function's part.
struct RowsOfOne<R, S, P> {
    rows: R,
    part: fn(&S) -> &P,
}

impl<R: Copy, S, P> Clone for RowsOfOne<R, S, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R: Copy, S, P> Copy for RowsOfOne<R, S, P> {}

impl<'a, O: 'a, D: 'a, R: PartitionRows<'a, O, D>, P: RangeSummary> PartitionRows<'a, O, D>
    for RowsOfOne<R, R::Summary, P>
{
    type Summary = P;

    fn len(self) -> u64 {
        self.rows.len()
    }

    fn entry(self, position: u64) -> Option<(&'a (O, D), u64)> {
        self.rows.entry(position)
    }

    fn count_while(self, before: impl Fn(&(O, D)) -> bool) -> u64 {
        self.rows.count_while(before)
    }

    fn summary(self, positions: Range<u64>) -> P {
        (self.part)(&self.rows.summary(positions)).clone()
    }

    fn search(self, is_enough: impl Fn(&P) -> bool) -> u64 {
        self.rows.search(|summary| is_enough((self.part)(summary)))
    }

    fn peers(self, order: &O) -> Range<u64>
    where
        O: Ord,
    {
        self.rows.peers(order)
    }
}

/// Makes a tuple of functions a function.
macro_rules! tuple {
    ($($function:ident $index:tt),+) => {
        impl<$($function: RangeSummary),+> RangeSummary for ($($function,)+) {
            fn append(&mut self, next: &Self) {
                $(self.$index.append(&next.$index);)+
            }
        }

        impl<O, D, $($function),+> WindowFunction<O, D> for ($($function,)+)
        where
            O: Ord + 'static,
            D: Ord + 'static,
            $($function: WindowFunction<O, D>,)+
        {
            type Answer = ($($function::Answer,)+);
            type Summary = ($($function::Summary,)+);

            fn summary(&self, row: &(O, D), copies: u64) -> Self::Summary {
                ($(self.$index.summary(row, copies),)+)
            }

            fn answer<'a, R: PartitionRows<'a, O, D, Summary = Self::Summary>>(
                &self,
                at: &CurrentRow<'a, '_, O, D, R>,
            ) -> Self::Answer {
                ($(self.$index.answer(&at.part(|summary: &Self::Summary| &summary.$index)),)+)
            }

            fn reach<'a, R>(
                &self,
                partition: &ChangedPartition<'a, '_, O, D, R>,
                affected: &mut Vec<AffectedRange<'a, O, D>>,
            ) where
                R: PartitionRows<'a, O, D, Summary = Self::Summary>,
            {
                $(self.$index.reach(&ChangedPartition {
                    old: RowsOfOne { rows: partition.old, part: |summary: &Self::Summary| &summary.$index },
                    new: RowsOfOne { rows: partition.new, part: |summary: &Self::Summary| &summary.$index },
                    changes: partition.changes,
                }, affected);)+
            }

            fn converged<'a, R: PartitionRows<'a, O, D, Summary = Self::Summary>>(
                &self,
                old: &CurrentRow<'a, '_, O, D, R>,
                new: &CurrentRow<'a, '_, O, D, R>,
            ) -> bool {
                $(self.$index.converged(
                    &old.part(|summary: &Self::Summary| &summary.$index),
                    &new.part(|summary: &Self::Summary| &summary.$index),
                ))&&+
            }
        }
    };
}

tuple!(A 0);
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, E 3);
tuple!(A 0, B 1, C 2, E 3, F 4);
tuple!(A 0, B 1, C 2, E 3, F 4, G 5);
tuple!(A 0, B 1, C 2, E 3, F 4, G 5, H 6);
tuple!(A 0, B 1, C 2, E 3, F 4, G 5, H 6, I 7);
