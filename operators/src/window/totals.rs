//! Sums over a frame: of anything that can be added up.

use std::fmt;

use differential_dataflow::Data;
use differential_dataflow::difference::{Monoid, Multiply};

use super::Functions;
use super::frame::{Frame, Framed};
use super::function::{At, Epoch, Rows, Span, Summary, WindowFunction};
use crate::{Overflow, Sum};

impl<O, D> Functions<O, D> {
    /// The sum of `term` over the frame: any diff, such as [`Moments`](crate::Moments), and so a moving
    /// variance or correlation.
    ///
    /// *Updates per change*: 2 for each row whose frame it is in. *Cost*: O(log n) for each. *State*: beside the rows, a
    /// sum for each node of the tree.
    ///
    /// ```
    /// # use differential_dataflow::input::Input;
    /// # use millstream_operators::Variance;
    /// # use millstream_operators::window::{Framed, WindowExt};
    /// # timely::example(|scope| {
    /// let prices = scope.new_collection_from([(1, 10), (2, 14), (3, 30)]).1;
    /// let spread = prices
    ///     .window(|_| (), |row| row.0)
    ///     .select(|w| w.total(|row| Variance::<0>::of(row.1)).rows(-1..=0))
    ///     .filter(|((day, _), _)| *day == 2);
    /// spread.inspect(|((_, variance), _, _)| assert_eq!(variance.population(), Ok(Some(4.0))));
    /// # });
    /// ```
    pub fn total<R, F: Fn(&D) -> R + 'static>(self, term: F) -> Total<O, F> {
        Total { term, frame: Frame::default() }
    }

    /// The number of rows in the frame for which `counts` holds: `count(|_| true)` counts rows, and
    /// `count(|order| order.note.is_some())` those whose note is not null.
    ///
    /// *Updates and cost*: as [`total`](Self::total).
    ///
    /// ```
    /// # use differential_dataflow::input::Input;
    /// # use millstream_operators::window::{Framed, WindowExt};
    /// # timely::example(|scope| {
    /// let notes = scope.new_collection_from([(1, Some('A')), (2, None), (3, Some('B'))]).1;
    /// let counts = notes
    ///     .window(|_| (), |row| row.0)
    ///     .select(|w| (w.count(|_| true), w.count(|row| row.1.is_some()).rows(-1..=1)))
    ///     .map(|((day, _), counts)| (day, counts));
    /// counts.assert_eq(scope.new_collection_from([(1, (1, 1)), (2, (2, 2)), (3, (3, 1))]).1);
    /// # });
    /// ```
    pub fn count<F: Fn(&D) -> bool + 'static>(
        self,
        counts: F,
    ) -> Read<Total<O, impl Fn(&D) -> isize + 'static>, impl Fn(isize) -> u64 + 'static> {
        let term = move |row: &D| isize::from(counts(row));
        Read { of: self.total(term), read: |count: isize| u64::try_from(count).unwrap_or(0) }
    }

    /// The sum of integers over the frame; `None` if there is no value that is not null.
    ///
    /// *Updates and cost*: as [`total`](Self::total). Values beyond 64 bits make it an [`Overflow`] while they are in the
    /// frame.
    ///
    /// ```
    /// # use differential_dataflow::input::Input;
    /// # use millstream_operators::window::{Framed, WindowExt};
    /// # timely::example(|scope| {
    /// let sales = scope.new_collection_from([(1_u32, Some(5)), (3, None), (9, Some(7))]).1;
    /// let in_a_week = sales
    ///     .window(|_| (), |row| row.0)
    ///     .select(|w| w.sum(|row| row.1).range(|day| day.saturating_sub(6)..=*day))
    ///     .map(|((day, _), sum)| (day, sum.unwrap()));
    /// in_a_week.assert_eq(scope.new_collection_from([(1, Some(5)), (3, Some(5)), (9, Some(7))]).1);
    /// # });
    /// ```
    pub fn sum<V: Number, F: Fn(&D) -> V + 'static>(
        self,
        value: F,
    ) -> Read<Total<O, impl Fn(&D) -> Sum + 'static>, impl Fn(Sum) -> Result<Option<i128>, Overflow> + 'static> {
        Read { of: self.mean(value), read: |sum: Sum| sum.total() }
    }

    /// The mean of integers over the frame, as their [`Sum`]: its [`mean`](Sum::mean) is a float, and floats are for
    /// whoever reads the answer.
    ///
    /// *Updates and cost*: as [`total`](Self::total).
    ///
    /// ```
    /// # use differential_dataflow::input::Input;
    /// # use millstream_operators::window::WindowExt;
    /// # timely::example(|scope| {
    /// let amounts = scope.new_collection_from([1, 2]).1;
    /// let means = amounts.window(|_| (), |_| ()).select(|w| w.mean(|amount| *amount));
    /// means.inspect(|((_, mean), _, _)| assert_eq!(mean.mean(), Ok(Some(1.5))));
    /// # });
    /// ```
    pub fn mean<V: Number, F: Fn(&D) -> V + 'static>(self, value: F) -> Total<O, impl Fn(&D) -> Sum + 'static> {
        self.total(move |row: &D| Sum::of_nullable(value(row).number()))
    }
}

/// An integer, or none.
pub trait Number {
    /// The number, unless it is null.
    fn number(self) -> Option<i128>;
}

macro_rules! numbers {
    ($($integer:ty)*) => {
        $(
            impl Number for $integer {
                fn number(self) -> Option<i128> {
                    Some(self.into())
                }
            }
        )*
    };
}

numbers!(i8 i16 i32 i64 i128 u8 u16 u32 u64);

impl Number for isize {
    fn number(self) -> Option<i128> {
        Some(self as i128)
    }
}

impl Number for usize {
    fn number(self) -> Option<i128> {
        Some(self as i128)
    }
}

impl<N: Number> Number for Option<N> {
    fn number(self) -> Option<i128> {
        self.and_then(N::number)
    }
}

/// See [`Functions::total`].
pub struct Total<O, F> {
    term: F,
    frame: Frame<O>,
}

impl<O: Clone, F> Framed for Total<O, F> {
    type Order = O;

    fn over(mut self, frame: Frame<O>) -> Self {
        self.frame = frame;
        self
    }
}

impl<O, F> fmt::Debug for Total<O, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "total over {:?}", self.frame)
    }
}

/// Adds up the terms of a stretch of rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Added<R>(pub(super) R);

impl<R: Monoid> Default for Added<R> {
    fn default() -> Self {
        Added(R::zero())
    }
}

impl<R: Monoid + PartialEq + 'static> Summary for Added<R> {
    fn append(&mut self, next: &Self) {
        self.0.plus_equals(&next.0);
    }
}

impl<O, D, F, R> WindowFunction<O, D> for Total<O, F>
where
    O: Ord + 'static,
    D: Ord + 'static,
    F: Fn(&D) -> R + 'static,
    R: Data + Monoid + Multiply<isize, Output = R>,
{
    type Answer = R;
    type Summary = Added<R>;

    fn summary(&self, row: &(O, D), copies: u64) -> Added<R> {
        let weight = isize::try_from(copies).expect("a weight is an isize");
        Added((self.term)(&row.1).multiply(&weight))
    }

    fn answer<'a, S: Rows<'a, O, D, Summary = Added<R>>>(&self, at: &At<'a, '_, O, D, S>) -> R {
        at.rows.summary(self.frame.of(at)).0
    }

    fn reach<'a, S: Rows<'a, O, D, Summary = Added<R>>>(
        &self,
        epoch: &Epoch<'a, '_, O, D, S>,
        spans: &mut Vec<Span<'a, O, D>>,
    ) {
        self.frame.reach(epoch, spans);
    }

    fn settled<'a, S: Rows<'a, O, D, Summary = Added<R>>>(
        &self,
        old: &At<'a, '_, O, D, S>,
        new: &At<'a, '_, O, D, S>,
    ) -> bool {
        self.frame.ends_alike(old, new, |old, new| old == new)
    }
}

/// What is read from a function's answer.
#[derive(Clone, Copy, Debug)]
pub struct Read<W, L> {
    of: W,
    read: L,
}

impl<W: Framed, L> Framed for Read<W, L> {
    type Order = W::Order;

    fn over(mut self, frame: Frame<W::Order>) -> Self {
        self.of = self.of.over(frame);
        self
    }
}

impl<O, D, W, L, A> WindowFunction<O, D> for Read<W, L>
where
    O: Ord + 'static,
    D: Ord + 'static,
    W: WindowFunction<O, D>,
    L: Fn(W::Answer) -> A + 'static,
    A: Data,
{
    type Answer = A;
    type Summary = W::Summary;

    fn summary(&self, row: &(O, D), copies: u64) -> W::Summary {
        self.of.summary(row, copies)
    }

    fn answer<'a, R: Rows<'a, O, D, Summary = W::Summary>>(&self, at: &At<'a, '_, O, D, R>) -> A {
        (self.read)(self.of.answer(at))
    }

    fn reach<'a, R: Rows<'a, O, D, Summary = W::Summary>>(
        &self,
        epoch: &Epoch<'a, '_, O, D, R>,
        spans: &mut Vec<Span<'a, O, D>>,
    ) {
        self.of.reach(epoch, spans);
    }

    fn settled<'a, R: Rows<'a, O, D, Summary = W::Summary>>(
        &self,
        old: &At<'a, '_, O, D, R>,
        new: &At<'a, '_, O, D, R>,
    ) -> bool {
        self.of.settled(old, new)
    }
}
