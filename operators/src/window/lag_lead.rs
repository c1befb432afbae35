//! Lag and lead: the value of a row at an offset.

use std::marker::PhantomData;

use differential_dataflow::Data;

use super::function::{AffectedRange, ChangedPartition, CurrentRow, PartitionRows, WindowFunction};
use super::functions::Functions;
use super::nulls::{IgnoreNulls, NullTreatment, RespectNulls};

impl<O, D> Functions<O, D> {
    /// The `value` of the row `rows` rows before the current one; `None` if there is none. `lag(0, …)` is the current
    /// row's.
    ///
    /// A null is a value; [`ignore_nulls`](LagLead::ignore_nulls) skips nulls. [`or`](LagLead::or) sets a default.
    ///
    /// *Updates per change*: ≤ 2 · `rows` + 1. *Work*: O(log n) for each of `rows` + 1 rows.
    ///
    /// ```
    /// # use millstream_operators::prelude::*;
    /// # timely::example(|scope| {
    /// let scores = scope.new_collection_from([10, 20, 30]).1;
    /// let before = window(scores, "Scores", |_| (), |score| *score)
    ///     .select(|w| (w.lag(1, |score| *score), w.lag(2, |score| *score).or(0)));
    /// before.assert_eq(scope.new_collection_from([(10, (None, 0)), (20, (Some(10), 0)), (30, (Some(20), 10))]).1);
    /// # });
    /// ```
    pub fn lag<V, F: Fn(&D) -> V + 'static>(self, rows: u64, value: F) -> LagLead<F> {
        LagLead { rows, ahead: false, value, nulls: PhantomData }
    }

    /// The `value` of the row `rows` rows after the current one; `None` if there is none. Nulls, default and cost as
    /// [`lag`](Self::lag).
    ///
    /// ```
    /// # use millstream_operators::prelude::*;
    /// # timely::example(|scope| {
    /// let days = scope.new_collection_from([(1, Some(7)), (2, None), (3, Some(9))]).1;
    /// let ahead = window(days, "Ahead", |_| (), |row| row.0)
    ///     .select(|w| (w.lead(1, |row| row.1), w.lead(1, |row| row.1).ignore_nulls()))
    ///     .map(|((day, _), answers)| (day, answers));
    /// ahead.assert_eq(
    ///     scope.new_collection_from([(1, (Some(None), Some(9))), (2, (Some(Some(9)), Some(9))), (3, (None, None))]).1,
    /// );
    /// # });
    /// ```
    pub fn lead<V, F: Fn(&D) -> V + 'static>(self, rows: u64, value: F) -> LagLead<F> {
        LagLead { rows, ahead: true, value, nulls: PhantomData }
    }
}

/// See [`Functions::lag`] and [`Functions::lead`].
#[derive(Clone, Copy, Debug)]
pub struct LagLead<F, N = RespectNulls> {
    rows: u64,
    ahead: bool,
    value: F,
    nulls: PhantomData<N>,
}

impl<F> LagLead<F> {
    /// Skips rows whose value is `None`, as if they did not exist. `lag(0, …)` remains the current row, null or not.
    ///
    /// *Updates per change*: ≤ 2 for each row up to the `rows`-th value that is not null.
    ///
    /// ```
    /// # use millstream_operators::prelude::*;
    /// # timely::example(|scope| {
    /// let days = scope.new_collection_from([(1, Some(7)), (2, None), (3, Some(9))]).1;
    /// let before = window(days, "Before", |_| (), |row| row.0)
    ///     .select(|w| w.lag(1, |row| row.1).ignore_nulls())
    ///     .map(|((day, _), value)| (day, value));
    /// before.assert_eq(scope.new_collection_from([(1, None), (2, Some(7)), (3, Some(7))]).1);
    /// # });
    /// ```
    #[must_use]
    pub fn ignore_nulls(self) -> LagLead<F, IgnoreNulls> {
        LagLead { rows: self.rows, ahead: self.ahead, value: self.value, nulls: PhantomData }
    }
}

impl<F, N> LagLead<F, N> {
    /// Answers `default` if the row at the offset does not exist. If it exists and its value is null, the answer is
    /// null.
    ///
    /// ```
    /// # use millstream_operators::prelude::*;
    /// # timely::example(|scope| {
    /// let scores = scope.new_collection_from([10, 20]).1;
    /// let before = window(scores, "Before", |_| (), |score| *score).select(|w| w.lag(1, |score| *score).or(0));
    /// before.assert_eq(scope.new_collection_from([(10, 0), (20, 10)]).1);
    /// # });
    /// ```
    #[must_use]
    pub fn or<V>(self, default: V) -> WithDefault<F, N, V> {
        WithDefault { offset: self, default }
    }
}

impl<O: Ord + 'static, D: Ord + 'static, F: Fn(&D) -> V + 'static, V: Data, N: NullTreatment<V>> WindowFunction<O, D>
    for LagLead<F, N>
{
    type Answer = Option<N::Value>;
    type Summary = N::Summary;

    fn summary(&self, row: &(O, D), copies: u64) -> N::Summary {
        N::summary(|| (self.value)(&row.1), copies)
    }

    fn answer<'a, R: PartitionRows<'a, O, D, Summary = N::Summary>>(
        &self,
        at: &CurrentRow<'a, '_, O, D, R>,
    ) -> Option<N::Value> {
        let position = if self.rows == 0 {
            at.position
        } else if self.ahead {
            N::nth(at.rows, N::before(at.rows, at.position + 1).saturating_add(self.rows - 1))
        } else {
            N::nth(at.rows, N::before(at.rows, at.position).checked_sub(self.rows)?)
        };
        let ((_, row), _) = at.rows.entry(position)?;
        N::value((self.value)(row))
    }

    fn reach<'a, R: PartitionRows<'a, O, D, Summary = N::Summary>>(
        &self,
        partition: &ChangedPartition<'a, '_, O, D, R>,
        affected: &mut Vec<AffectedRange<'a, O, D>>,
    ) {
        partition.reach_each(affected, false, |rows, _, positions| {
            if self.rows == 0 {
                positions
            } else if self.ahead {
                let first = N::before(rows, positions.start).checked_sub(self.rows);
                first.map_or(0, |first| N::nth(rows, first))..positions.end
            } else {
                positions.start..N::nth(rows, N::before(rows, positions.end).saturating_add(self.rows - 1)) + 1
            }
        });
    }
}

/// See [`LagLead::or`].
#[derive(Clone, Copy, Debug)]
pub struct WithDefault<F, N, V> {
    offset: LagLead<F, N>,
    default: V,
}

impl<O: Ord + 'static, D: Ord + 'static, F, V, N> WindowFunction<O, D> for WithDefault<F, N, N::Value>
where
    F: Fn(&D) -> V + 'static,
    V: Data,
    N: NullTreatment<V>,
{
    type Answer = N::Value;
    type Summary = N::Summary;

    fn summary(&self, row: &(O, D), copies: u64) -> N::Summary {
        self.offset.summary(row, copies)
    }

    fn answer<'a, R: PartitionRows<'a, O, D, Summary = N::Summary>>(
        &self,
        at: &CurrentRow<'a, '_, O, D, R>,
    ) -> N::Value {
        self.offset.answer(at).unwrap_or_else(|| self.default.clone())
    }

    fn reach<'a, R: PartitionRows<'a, O, D, Summary = N::Summary>>(
        &self,
        partition: &ChangedPartition<'a, '_, O, D, R>,
        affected: &mut Vec<AffectedRange<'a, O, D>>,
    ) {
        self.offset.reach(partition, affected);
    }
}
