//! Sums over a frame, of anything that can be added.

use differential_dataflow::Data;
use differential_dataflow::difference::{Monoid, Multiply};

use super::aggregate::{FrameAggregate, MappedAnswer, OverFrame};
use super::function::RangeSummary;
use super::functions::Functions;
use crate::{Overflow, Sum};

impl<O, D> Functions<O, D> {
    /// The sum over the frame of `term`, which may be any diff: with [`Variance`](crate::Variance) or
    /// [`Covariance`](crate::Covariance), a moving variance or correlation.
    ///
    /// *Updates per change*: 2 for each row whose frame contains the changed row, plus 1. *Work*: O(log n) for each.
    /// *State*: the rows, and a sum for each node of the tree.
    ///
    /// ```
    /// # use millstream_operators::prelude::*;
    /// # timely::example(|scope| {
    /// let prices = scope.new_collection_from([(1, 10), (2, 14), (3, 30)]).1;
    /// let spread = window(prices, "Spread", |_| (), |row| row.0)
    ///     .select(|w| w.total(|row| Variance::<0>::of(row.1)).rows(-1..=0))
    ///     .filter(|((day, _), _)| *day == 2);
    /// spread.inspect(|((_, variance), _, _)| assert_eq!(variance.population(), Ok(Some(4.0))));
    /// # });
    /// ```
    pub fn total<R: Data + Monoid + Multiply<isize, Output = R>, F: Fn(&D) -> R + 'static>(
        self,
        term: F,
    ) -> OverFrame<O, Total<F>> {
        self.aggregate(Total { term })
    }

    /// The number of rows in the frame that satisfy `predicate`: `count(|_| true)` is SQL's `count(*)`, and
    /// `count(|order| order.note.is_some())` is `count(note)`.
    ///
    /// *Updates, work*: as [`total`](Self::total).
    ///
    /// ```
    /// # use millstream_operators::prelude::*;
    /// # timely::example(|scope| {
    /// let notes = scope.new_collection_from([(1, Some('A')), (2, None), (3, Some('B'))]).1;
    /// let counts = window(notes, "Counts", |_| (), |row| row.0)
    ///     .select(|w| (w.count(|_| true), w.count(|row| row.1.is_some()).rows(-1..=1)))
    ///     .map(|((day, _), counts)| (day, counts));
    /// counts.assert_eq(scope.new_collection_from([(1, (1, 1)), (2, (2, 2)), (3, (3, 1))]).1);
    /// # });
    /// ```
    pub fn count<F: Fn(&D) -> bool + 'static>(
        self,
        predicate: F,
    ) -> OverFrame<O, impl FrameAggregate<D, Answer = u64>> {
        let counted = self.total(move |row: &D| isize::from(predicate(row)));
        counted.map(|of| MappedAnswer { of, to: |count: isize| u64::try_from(count).unwrap_or(0) })
    }

    /// The sum of integers over the frame, nulls skipped; `None` if the frame has no value that is not null.
    ///
    /// *Updates, work*: as [`total`](Self::total). While the frame contains a value that does not fit 64 bits, the
    /// answer is [`Overflow`].
    ///
    /// ```
    /// # use millstream_operators::prelude::*;
    /// # timely::example(|scope| {
    /// let sales = scope.new_collection_from([(1_u32, Some(5)), (3, None), (9, Some(7))]).1;
    /// let in_a_week = window(sales, "Week", |_| (), |row| row.0)
    ///     .select(|w| w.sum(|row| row.1).range(|day| day.saturating_sub(6)..=*day))
    ///     .map(|((day, _), sum)| (day, sum.unwrap()));
    /// in_a_week.assert_eq(scope.new_collection_from([(1, Some(5)), (3, Some(5)), (9, Some(7))]).1);
    /// # });
    /// ```
    pub fn sum<V: Integer, F: Fn(&D) -> V + 'static>(
        self,
        value: F,
    ) -> OverFrame<O, impl FrameAggregate<D, Answer = Result<Option<i128>, Overflow>>> {
        self.mean(value).map(|of| MappedAnswer { of, to: |sum: Sum| sum.total() })
    }

    /// The mean of integers over the frame, nulls skipped, as a [`Sum`]: [`Sum::mean`] divides. The answer itself is
    /// not a float because floats are no keys (they have no total order).
    ///
    /// *Updates, work*: as [`total`](Self::total).
    ///
    /// ```
    /// # use millstream_operators::prelude::*;
    /// # timely::example(|scope| {
    /// let amounts = scope.new_collection_from([1, 2]).1;
    /// let means = window(amounts, "Means", |_| (), |_| ()).select(|w| w.mean(|amount| *amount));
    /// means.inspect(|((_, mean), _, _)| assert_eq!(mean.mean(), Ok(Some(1.5))));
    /// # });
    /// ```
    pub fn mean<V: Integer, F: Fn(&D) -> V + 'static>(
        self,
        value: F,
    ) -> OverFrame<O, Total<impl Fn(&D) -> Sum + 'static>> {
        self.total(move |row: &D| Sum::of_nullable(value(row).value()))
    }
}

/// An integer or a nullable integer: the values that can be summed exactly.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an integer, so it cannot be summed",
    note = "sums are exact: use an integer of any width, or an `Option` of one; represent decimals and floats in fixed \
            point, such as cents or milli-units"
)]
pub trait Integer {
    /// The value, unless it is null.
    fn value(self) -> Option<i128>;
}

macro_rules! integers {
    ($($integer:ty)*) => {
        $(
            impl Integer for $integer {
                fn value(self) -> Option<i128> {
                    Some(self.into())
                }
            }
        )*
    };
}

integers!(i8 i16 i32 i64 i128 u8 u16 u32 u64);

impl Integer for isize {
    fn value(self) -> Option<i128> {
        Some(self as i128)
    }
}

impl Integer for usize {
    fn value(self) -> Option<i128> {
        Some(self as i128)
    }
}

impl<N: Integer> Integer for Option<N> {
    fn value(self) -> Option<i128> {
        self.and_then(N::value)
    }
}

/// See [`Functions::total`].
#[derive(Clone, Copy, Debug)]
pub struct Total<F> {
    term: F,
}

/// The sum of the terms of some rows.
#[derive(Clone, Debug, PartialEq)]
pub struct TermSum<R>(pub(super) R);

impl<R: Monoid> Default for TermSum<R> {
    fn default() -> Self {
        TermSum(R::zero())
    }
}

impl<R: Monoid + PartialEq + 'static> RangeSummary for TermSum<R> {
    fn append(&mut self, next: &Self) {
        self.0.plus_equals(&next.0);
    }
}

impl<D, F: Fn(&D) -> R + 'static, R: Data + Monoid + Multiply<isize, Output = R>> FrameAggregate<D> for Total<F> {
    type Answer = R;
    type Summary = TermSum<R>;

    fn summary(&self, row: &D, copies: u64) -> TermSum<R> {
        let weight = isize::try_from(copies).expect("a weight is an isize");
        TermSum((self.term)(row).multiply(&weight))
    }

    fn answer(&self, frame: TermSum<R>) -> R {
        frame.0
    }
}
