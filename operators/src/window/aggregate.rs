//! Aggregates over a frame.

use std::fmt;
use std::ops::RangeBounds;

use differential_dataflow::Data;

use super::frame::WindowFrame;
use super::function::{AffectedRange, ChangedPartition, CurrentRow, PartitionRows, RangeSummary, WindowFunction};
use super::functions::Functions;

/// A function of the rows of a frame, computed from their summary: the simplest way to write a window function.
/// [`Functions::aggregate`] evaluates it over a frame.
///
/// *Updates per change*: 2 for each row whose frame contains the changed row and whose answer differs, plus 1 for the
/// changed row. *Work*: O(log n) for each row whose frame contains the changed row. *State*: the rows, and a summary
/// for each node of the tree.
///
/// # Example
///
/// The spread of the last three prices:
///
/// ```
/// use millstream_operators::prelude::*;
/// use millstream_operators::window::RangeSummary;
///
/// #[derive(Clone, Default, PartialEq)]
/// struct MinMax(Option<(i64, i64)>);
///
/// impl RangeSummary for MinMax {
///     fn append(&mut self, next: &Self) {
///         self.0 = match (self.0, next.0) {
///             (Some(left), Some(right)) => Some((left.0.min(right.0), left.1.max(right.1))),
///             (left, right) => left.or(right),
///         };
///     }
/// }
///
/// struct Spread;
///
/// impl FrameAggregate<(u32, i64)> for Spread {
///     type Answer = Option<i64>;
///     type Summary = MinMax;
///
///     fn summary(&self, row: &(u32, i64), _copies: u64) -> MinMax {
///         MinMax(Some((row.1, row.1)))
///     }
///
///     fn answer(&self, frame: MinMax) -> Option<i64> {
///         frame.0.map(|(min, max)| max - min)
///     }
/// }
///
/// timely::example(|scope| {
///     let prices = scope.new_collection_from([(1, 10), (2, 14), (3, 30), (4, 31)]).1;
///     let spreads = window(prices, "Spread", |_| (), |row| row.0).select(|w| w.aggregate(Spread).rows(-2..=0));
///     let spreads = spreads.map(|((day, _), spread)| (day, spread.unwrap()));
///     spreads.assert_eq(scope.new_collection_from([(1, 0), (2, 4), (3, 20), (4, 17)]).1);
/// });
/// ```
pub trait FrameAggregate<D>: 'static {
    /// The answer for a row.
    type Answer: Data;
    /// The summary of consecutive rows.
    type Summary: RangeSummary;

    /// The summary of `copies` copies of a row.
    fn summary(&self, row: &D, copies: u64) -> Self::Summary;

    /// The answer, from the summary of the frame; `default()` is that of an empty frame.
    fn answer(&self, frame: Self::Summary) -> Self::Answer;
}

/// A [`FrameAggregate`] over a frame, by default the [default frame](WindowFrame).
pub struct OverFrame<O, A> {
    aggregate: A,
    frame: WindowFrame<O>,
}

impl<O, D> Functions<O, D> {
    /// A user-defined aggregate over the frame; see [`FrameAggregate`].
    pub fn aggregate<A: FrameAggregate<D>>(self, aggregate: A) -> OverFrame<O, A> {
        OverFrame { aggregate, frame: WindowFrame::default() }
    }
}

impl<O, A> OverFrame<O, A> {
    /// Another aggregate over the same frame.
    pub(super) fn map<B>(self, to: impl FnOnce(A) -> B) -> OverFrame<O, B> {
        OverFrame { aggregate: to(self.aggregate), frame: self.frame }
    }

    /// Over this frame.
    #[must_use]
    pub fn over(self, frame: WindowFrame<O>) -> Self {
        OverFrame { frame, ..self }
    }

    /// Over the rows at these offsets from the current row; see [`WindowFrame::rows`].
    ///
    /// ```
    /// # use millstream_operators::prelude::*;
    /// # timely::example(|scope| {
    /// let amounts = scope.new_collection_from([1, 2, 4, 8]).1;
    /// let sums = window(amounts, "Sums", |_| (), |amount| *amount).select(|w| w.sum(|amount| *amount).rows(-1..=1));
    /// let sums = sums.map(|(amount, sum)| (amount, sum.unwrap().unwrap()));
    /// sums.assert_eq(scope.new_collection_from([(1, 3), (2, 7), (4, 14), (8, 12)]).1);
    /// # });
    /// ```
    #[must_use]
    pub fn rows(self, offsets: impl RangeBounds<i64>) -> Self {
        self.over(WindowFrame::rows(offsets))
    }

    /// Over the rows whose order keys lie within bounds; see [`WindowFrame::range`].
    ///
    /// The bounds have the type of the order key, so `keys` decides what a range of a descending or nullable key is:
    ///
    /// ```
    /// # use millstream_operators::prelude::*;
    /// # timely::example(|scope| {
    /// let days = scope.new_collection_from([10, 14, 30]).1;
    /// let near = window(days, "Near", |_| (), |day| Reverse(*day))
    ///     .select(|w| w.count(|_| true).range(|Reverse(day)| Reverse(day + 6)..=Reverse(*day)));
    /// near.assert_eq(scope.new_collection_from([(10, 2), (14, 1), (30, 1)]).1);
    /// # });
    /// ```
    #[must_use]
    pub fn range<B: RangeBounds<O>>(self, keys: impl Fn(&O) -> B + 'static) -> Self
    where
        O: Clone,
    {
        self.over(WindowFrame::range(keys))
    }
}

impl<O, A> fmt::Debug for OverFrame<O, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} over {:?}", std::any::type_name::<A>(), self.frame)
    }
}

impl<O: Ord + 'static, D: Ord + 'static, A: FrameAggregate<D>> WindowFunction<O, D> for OverFrame<O, A> {
    type Answer = A::Answer;
    type Summary = A::Summary;

    fn summary(&self, row: &(O, D), copies: u64) -> A::Summary {
        self.aggregate.summary(&row.1, copies)
    }

    fn answer<'a, R: PartitionRows<'a, O, D, Summary = A::Summary>>(
        &self,
        at: &CurrentRow<'a, '_, O, D, R>,
    ) -> A::Answer {
        self.aggregate.answer(at.rows.summary(self.frame.of(at)))
    }

    fn reach<'a, R: PartitionRows<'a, O, D, Summary = A::Summary>>(
        &self,
        partition: &ChangedPartition<'a, '_, O, D, R>,
        affected: &mut Vec<AffectedRange<'a, O, D>>,
    ) {
        self.frame.reach(partition, affected);
    }

    fn converged<'a, R: PartitionRows<'a, O, D, Summary = A::Summary>>(
        &self,
        old: &CurrentRow<'a, '_, O, D, R>,
        new: &CurrentRow<'a, '_, O, D, R>,
    ) -> bool {
        self.frame.prefix_unchanged(old, new)
    }
}

/// A value computed from another aggregate's answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct MappedAnswer<A, L> {
    pub(super) of: A,
    pub(super) to: L,
}

impl<D, A: FrameAggregate<D>, L: Fn(A::Answer) -> B + 'static, B: Data> FrameAggregate<D> for MappedAnswer<A, L> {
    type Answer = B;
    type Summary = A::Summary;

    fn summary(&self, row: &D, copies: u64) -> A::Summary {
        self.of.summary(row, copies)
    }

    fn answer(&self, frame: A::Summary) -> B {
        (self.to)(self.of.answer(frame))
    }
}
