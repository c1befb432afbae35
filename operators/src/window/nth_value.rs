//! The value of the first, the last or the n-th row of a frame.

use std::fmt;
use std::ops::RangeBounds;

use super::frame::{FrameBounds, WindowFrame};
use super::function::{AffectedRange, ChangedPartition, CurrentRow, PartitionRows, WindowFunction};
use super::functions::Functions;
use super::nulls::{IgnoreNulls, NullTreatment, RespectNulls};

impl<O, D> Functions<O, D> {
    /// The `value` of the first row of the frame; `None` if the frame is empty.
    ///
    /// A null is a value; [`ignore_nulls`](NthValue::ignore_nulls) skips nulls.
    ///
    /// *Updates per change*: if the frame starts with the partition, 1, or 2 for each row of the partition if its first
    /// value changes; to avoid that, keep it [per partition](super::Window::per_partition). Otherwise ≤ 2 for each row
    /// whose frame contains the changed row, plus 1.
    ///
    /// ```
    /// # use millstream_operators::prelude::*;
    /// # timely::example(|scope| {
    /// let visits = scope.new_collection_from([(1, 'H'), (2, 'N')]).1;
    /// let first = window(visits, "Visits", |_| (), |row| row.0).select(|w| w.first_value(|row| row.1));
    /// first.assert_eq(scope.new_collection_from([((1, 'H'), Some('H')), ((2, 'N'), Some('H'))]).1);
    /// # });
    /// ```
    pub fn first_value<V, F: Fn(&D) -> V + 'static>(self, value: F) -> NthValue<O, F> {
        NthValue { from: FramePosition::First(1), value, nulls: RespectNulls, frame: WindowFrame::default() }
    }

    /// The `value` of the last row of the frame; `None` if the frame is empty. In the default frame that is the row's
    /// last peer; use `.rows(..)` for the last row of the partition.
    ///
    /// A null is a value; [`ignore_nulls`](NthValue::ignore_nulls) skips nulls.
    ///
    /// *Updates per change*: with the default frame ≤ 2 · peers + 1. If the frame ends with the partition, 1, or 2 for
    /// each row of the partition if its last value changes.
    ///
    /// ```
    /// # use millstream_operators::prelude::*;
    /// # timely::example(|scope| {
    /// let visits = scope.new_collection_from([(1, 'H'), (2, 'N')]).1;
    /// let last = window(visits, "Visits", |_| (), |row| row.0).select(|w| w.last_value(|row| row.1).rows(..));
    /// last.assert_eq(scope.new_collection_from([((1, 'H'), Some('N')), ((2, 'N'), Some('N'))]).1);
    /// # });
    /// ```
    pub fn last_value<V, F: Fn(&D) -> V + 'static>(self, value: F) -> NthValue<O, F> {
        NthValue { from: FramePosition::Last, value, nulls: RespectNulls, frame: WindowFrame::default() }
    }

    /// The `value` of the `nth` row of the frame, counted from 1; `None` if the frame has fewer rows.
    ///
    /// A null is a value; [`ignore_nulls`](NthValue::ignore_nulls) skips nulls.
    ///
    /// *Updates per change*: as [`first_value`](Self::first_value), for changes among the first `nth` rows.
    ///
    /// ```
    /// # use millstream_operators::prelude::*;
    /// # timely::example(|scope| {
    /// let visits = scope.new_collection_from([(1, 'H'), (2, 'N')]).1;
    /// let second = window(visits, "Visits", |_| (), |row| row.0).select(|w| w.nth_value(2, |row| row.1));
    /// second.assert_eq(scope.new_collection_from([((1, 'H'), None), ((2, 'N'), Some('N'))]).1);
    /// # });
    /// ```
    ///
    /// # Panics
    /// If `nth` is zero.
    pub fn nth_value<V, F: Fn(&D) -> V + 'static>(self, nth: u64, value: F) -> NthValue<O, F> {
        assert!(nth > 0, "nth_value: found row 0, wanted at least 1");
        NthValue { from: FramePosition::First(nth), value, nulls: RespectNulls, frame: WindowFrame::default() }
    }
}

/// See [`Functions::first_value`], [`Functions::last_value`] and [`Functions::nth_value`].
pub struct NthValue<O, F, N = RespectNulls> {
    from: FramePosition,
    value: F,
    nulls: N,
    frame: WindowFrame<O>,
}

#[derive(Clone, Copy, Debug)]
enum FramePosition {
    /// Counted from the start of the frame, from 1.
    First(u64),
    /// The last row.
    Last,
}

impl<O, F> NthValue<O, F> {
    /// Skips rows whose value is `None`.
    ///
    /// ```
    /// # use millstream_operators::prelude::*;
    /// # timely::example(|scope| {
    /// let visits = scope.new_collection_from([(1, None), (2, Some('C'))]).1;
    /// let first = window(visits, "First", |_| (), |row| row.0).select(|w| w.first_value(|row| row.1).ignore_nulls());
    /// first.assert_eq(scope.new_collection_from([((1, None), None), ((2, Some('C')), Some('C'))]).1);
    /// # });
    /// ```
    #[must_use]
    pub fn ignore_nulls(self) -> NthValue<O, F, IgnoreNulls> {
        NthValue { from: self.from, value: self.value, nulls: IgnoreNulls, frame: self.frame }
    }
}

impl<O, F, N> NthValue<O, F, N> {
    /// Over this frame.
    #[must_use]
    pub fn over(self, frame: WindowFrame<O>) -> Self {
        NthValue { frame, ..self }
    }

    /// Over the rows at these offsets from the current row; see [`WindowFrame::rows`].
    #[must_use]
    pub fn rows(self, offsets: impl RangeBounds<i64>) -> Self {
        self.over(WindowFrame::rows(offsets))
    }

    /// Over the rows whose order keys lie within bounds; see [`WindowFrame::range`].
    #[must_use]
    pub fn range<B: RangeBounds<O>>(self, keys: impl Fn(&O) -> B + 'static) -> Self
    where
        O: Clone,
    {
        self.over(WindowFrame::range(keys))
    }
}

impl<O, F, N: fmt::Debug> fmt::Debug for NthValue<O, F, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {:?} over {:?}", self.from, self.nulls, self.frame)
    }
}

impl<O, D, F, V, N> WindowFunction<O, D> for NthValue<O, F, N>
where
    O: Ord + 'static,
    D: Ord + 'static,
    F: Fn(&D) -> V + 'static,
    N: NullTreatment<V>,
{
    type Answer = Option<N::Value>;
    type Summary = N::Summary;

    fn summary(&self, row: &(O, D), copies: u64) -> N::Summary {
        N::summary(|| (self.value)(&row.1), copies)
    }

    fn answer<'a, R: PartitionRows<'a, O, D, Summary = N::Summary>>(
        &self,
        at: &CurrentRow<'a, '_, O, D, R>,
    ) -> Self::Answer {
        let (rows, frame) = (at.rows, self.frame.of(at));
        let before = match self.from {
            FramePosition::First(nth) => N::before(rows, frame.start).saturating_add(nth - 1),
            FramePosition::Last => N::before(rows, frame.end).checked_sub(1)?,
        };
        let position = N::nth(rows, before);
        let ((_, row), _) = rows.entry(position).filter(|_| frame.contains(&position))?;
        N::value((self.value)(row))
    }

    fn reach<'a, R: PartitionRows<'a, O, D, Summary = N::Summary>>(
        &self,
        partition: &ChangedPartition<'a, '_, O, D, R>,
        affected: &mut Vec<AffectedRange<'a, O, D>>,
    ) {
        match (self.from, self.frame.bounds()) {
            (_, FrameBounds::Range(_) | FrameBounds::Rows(Some(_), Some(_))) => self.frame.reach(partition, affected),
            (FramePosition::First(nth), FrameBounds::Running) => Self::reach_first(partition, nth, 0, affected),
            (FramePosition::First(nth), FrameBounds::Rows(None, last)) => {
                Self::reach_first(partition, nth, last.unwrap_or(0), affected)
            }
            (FramePosition::First(nth), FrameBounds::Rows(Some(first), None)) => {
                Self::reach_back(partition, nth, *first, affected)
            }
            (FramePosition::Last, FrameBounds::Running) => Self::reach_on(partition, 0, affected),
            (FramePosition::Last, FrameBounds::Rows(None, Some(last))) => Self::reach_on(partition, *last, affected),
            (FramePosition::Last, FrameBounds::Rows(first, None)) => {
                Self::reach_last(partition, first.unwrap_or(0), affected)
            }
        }
    }
}

impl<O: Ord + 'static, F, N> NthValue<O, F, N> {
    /// Frames that start with the partition share their n-th row, so only changes up to it matter.
    fn reach_first<'a, V, D: Ord, R>(
        partition: &ChangedPartition<'a, '_, O, D, R>,
        nth: u64,
        last: i64,
        affected: &mut Vec<AffectedRange<'a, O, D>>,
    ) where
        N: NullTreatment<V>,
        R: PartitionRows<'a, O, D, Summary = N::Summary>,
    {
        let margin = last.unsigned_abs();
        if [partition.old, partition.new].iter().all(|rows| N::nth(*rows, nth - 1) == rows.len()) {
            return; // No row has an answer, before or after.
        }
        let [old, new] = [partition.old, partition.new].map(|rows| N::nth(rows, nth - 1).saturating_add(margin));
        if partition.changes.iter().any(|change| change.old.start <= old || change.new.start <= new) {
            partition.reach_all(affected);
        }
    }

    /// Frames that end with the partition share their last row.
    fn reach_last<'a, V, D: Ord, R>(
        partition: &ChangedPartition<'a, '_, O, D, R>,
        first: i64,
        affected: &mut Vec<AffectedRange<'a, O, D>>,
    ) where
        N: NullTreatment<V>,
        R: PartitionRows<'a, O, D, Summary = N::Summary>,
    {
        if [partition.old, partition.new].iter().all(|rows| N::before(*rows, rows.len()) == 0) {
            return; // No row has an answer, before or after.
        }
        let margin = first.unsigned_abs() + 1;
        let [old, new] = [partition.old, partition.new].map(|rows| {
            let last = N::before(rows, rows.len()).checked_sub(1).map_or(0, |last| N::nth(rows, last));
            last.saturating_sub(margin)
        });
        if partition.changes.iter().any(|change| change.old.end >= old || change.new.end >= new) {
            partition.reach_all(affected);
        }
    }

    /// Frames from `first` rows after the current one to the end: rows with the change among the first n of their
    /// frame.
    fn reach_back<'a, V, D: Ord, R>(
        partition: &ChangedPartition<'a, '_, O, D, R>,
        nth: u64,
        first: i64,
        affected: &mut Vec<AffectedRange<'a, O, D>>,
    ) where
        N: NullTreatment<V>,
        R: PartitionRows<'a, O, D, Summary = N::Summary>,
    {
        let margin = first.unsigned_abs();
        partition.reach_each(affected, false, |rows, _, positions| {
            let start = N::before(rows, positions.start).checked_sub(nth).map_or(0, |before| N::nth(rows, before));
            start.saturating_sub(margin)..positions.end.saturating_add(margin + 1)
        });
    }

    /// Frames from the start through `last` rows after the current one: rows up to the next that is the last of a
    /// frame.
    fn reach_on<'a, V, D: Ord, R>(
        partition: &ChangedPartition<'a, '_, O, D, R>,
        last: i64,
        affected: &mut Vec<AffectedRange<'a, O, D>>,
    ) where
        N: NullTreatment<V>,
        R: PartitionRows<'a, O, D, Summary = N::Summary>,
    {
        let margin = last.unsigned_abs();
        partition.reach_each(affected, false, |rows, row, positions| {
            let peers = rows.count_while(|other| other.0 < row.0);
            let next = N::nth(rows, N::before(rows, positions.end));
            peers.min(positions.start.saturating_sub(margin))..next.saturating_add(margin + 1)
        });
    }
}
