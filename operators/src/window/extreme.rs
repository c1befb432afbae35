//! The least and the greatest value over a frame.

use std::marker::PhantomData;

use differential_dataflow::Data;

use super::aggregate::{FrameAggregate, OverFrame};
use super::function::RangeSummary;
use super::functions::Functions;
use super::nulls::{IgnoreNulls, NullTreatment, RespectNulls};

impl<O, D> Functions<O, D> {
    /// The least `value` over the frame; `None` if the frame is empty.
    ///
    /// A null is a value, the least of all; [`ignore_nulls`](OverFrame::ignore_nulls) skips nulls, as SQL does.
    ///
    /// *Updates per change*: 2 for each row whose answer differs, plus 1. *Work*: O(log n) for each row whose frame
    /// contains the changed row, up to the first row from which all answers are unchanged. *State*: the rows, and a
    /// value for each node of the tree.
    ///
    /// ```
    /// # use millstream_operators::prelude::*;
    /// # timely::example(|scope| {
    /// let prices = scope.new_collection_from([(1, Some(9)), (2, None), (3, Some(4))]).1;
    /// let least = window(prices, "Least", |_| (), |row| row.0)
    ///     .select(|w| (w.min(|row| row.1), w.min(|row| row.1).ignore_nulls()))
    ///     .map(|((day, _), answers)| (day, answers));
    /// let expected = [(1, (Some(Some(9)), Some(9))), (2, (Some(None), Some(9))), (3, (Some(None), Some(4)))];
    /// least.assert_eq(scope.new_collection_from(expected).1);
    /// # });
    /// ```
    pub fn min<V: Data, F: Fn(&D) -> V + 'static>(self, value: F) -> OverFrame<O, Extreme<F, RespectNulls, false>> {
        self.aggregate(Extreme { value, nulls: PhantomData })
    }

    /// The greatest `value` over the frame; `None` if the frame is empty. Nulls and cost as [`min`](Self::min).
    ///
    /// ```
    /// # use millstream_operators::prelude::*;
    /// # timely::example(|scope| {
    /// let prices = scope.new_collection_from([(1, 9), (2, 3), (3, 4)]).1;
    /// let greatest = window(prices, "Greatest", |_| (), |row| row.0).select(|w| w.max(|row| row.1).rows(-1..=0));
    /// greatest.assert_eq(scope.new_collection_from([((1, 9), Some(9)), ((2, 3), Some(9)), ((3, 4), Some(4))]).1);
    /// # });
    /// ```
    pub fn max<V: Data, F: Fn(&D) -> V + 'static>(self, value: F) -> OverFrame<O, Extreme<F, RespectNulls, true>> {
        self.aggregate(Extreme { value, nulls: PhantomData })
    }
}

/// See [`Functions::min`] and [`Functions::max`].
#[derive(Clone, Copy, Debug)]
pub struct Extreme<F, N, const GREATEST: bool> {
    value: F,
    nulls: PhantomData<N>,
}

impl<O, F, const GREATEST: bool> OverFrame<O, Extreme<F, RespectNulls, GREATEST>> {
    /// Skips rows whose value is `None`.
    ///
    /// ```
    /// # use millstream_operators::prelude::*;
    /// # timely::example(|scope| {
    /// let prices = scope.new_collection_from([(1, None), (2, Some(4))]).1;
    /// let least = window(prices, "Least", |_| (), |row| row.0).select(|w| w.min(|row| row.1).ignore_nulls());
    /// least.assert_eq(scope.new_collection_from([((1, None), None), ((2, Some(4)), Some(4))]).1);
    /// # });
    /// ```
    #[must_use]
    pub fn ignore_nulls(self) -> OverFrame<O, Extreme<F, IgnoreNulls, GREATEST>> {
        self.map(|extreme| Extreme { value: extreme.value, nulls: PhantomData })
    }
}

/// The least or the greatest value of some rows.
#[derive(Clone, Debug, PartialEq)]
pub struct ExtremeValue<V, const GREATEST: bool>(Option<V>);

impl<V, const GREATEST: bool> Default for ExtremeValue<V, GREATEST> {
    fn default() -> Self {
        ExtremeValue(None)
    }
}

impl<V: Ord + Clone + 'static, const GREATEST: bool> RangeSummary for ExtremeValue<V, GREATEST> {
    fn append(&mut self, next: &Self) {
        let is_better = |before: &V, after: &V| if GREATEST { after > before } else { after < before };
        match (&mut self.0, &next.0) {
            (Some(before), Some(after)) if is_better(before, after) => before.clone_from(after),
            (none @ None, Some(after)) => *none = Some(after.clone()),
            _ => {}
        }
    }
}

impl<D, F, V, N, const GREATEST: bool> FrameAggregate<D> for Extreme<F, N, GREATEST>
where
    F: Fn(&D) -> V + 'static,
    N: NullTreatment<V>,
{
    type Answer = Option<N::Value>;
    type Summary = ExtremeValue<N::Value, GREATEST>;

    fn summary(&self, row: &D, _copies: u64) -> Self::Summary {
        ExtremeValue(N::value((self.value)(row)))
    }

    fn answer(&self, frame: Self::Summary) -> Self::Answer {
        frame.0
    }
}
