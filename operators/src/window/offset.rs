//! What a row some places before or behind says: lag and lead.

use std::marker::PhantomData;

use differential_dataflow::Data;

use super::Functions;
use super::counted::{Counted, Every, NotNull};
use super::function::{At, Epoch, Rows, Span, WindowFunction};

impl<O, D> Functions<O, D> {
    /// What `value` says of the row `rows` places before this one; `None` if there is none. Zero places is the row itself.
    ///
    /// A null is a value like others, unless it is told to [ignore nulls](Offset::ignore_nulls).
    ///
    /// *Updates per change*: ≤ 2 · `rows` + 1. *Cost*: O(log n) for each.
    ///
    /// ```
    /// # use differential_dataflow::input::Input;
    /// # use millstream_operators::window::WindowExt;
    /// # timely::example(|scope| {
    /// let scores = scope.new_collection_from([10, 20, 30]).1;
    /// let before = scores.window(|_| (), |score| *score).select(|w| (w.lag(1, |score| *score), w.lag(2, |score| *score).or(0)));
    /// before.assert_eq(scope.new_collection_from([(10, (None, 0)), (20, (Some(10), 0)), (30, (Some(20), 10))]).1);
    /// # });
    /// ```
    pub fn lag<V, F: Fn(&D) -> V + 'static>(self, rows: u64, value: F) -> Offset<F> {
        Offset { rows, ahead: false, value, counted: PhantomData }
    }

    /// What `value` says of the row `rows` places behind this one; `None` if there is none. Zero places is the row itself.
    ///
    /// A null is a value like others, unless it is told to [ignore nulls](Offset::ignore_nulls).
    ///
    /// *Updates per change*: ≤ 2 · `rows` + 1. *Cost*: O(log n) for each.
    ///
    /// ```
    /// # use differential_dataflow::input::Input;
    /// # use millstream_operators::window::WindowExt;
    /// # timely::example(|scope| {
    /// let days = scope.new_collection_from([(1, Some(7)), (2, None), (3, Some(9))]).1;
    /// let ahead = days
    ///     .window(|_| (), |row| row.0)
    ///     .select(|w| (w.lead(1, |row| row.1), w.lead(1, |row| row.1).ignore_nulls()))
    ///     .map(|((day, _), answers)| (day, answers));
    /// ahead.assert_eq(
    ///     scope.new_collection_from([(1, (Some(None), Some(9))), (2, (Some(Some(9)), Some(9))), (3, (None, None))]).1,
    /// );
    /// # });
    /// ```
    pub fn lead<V, F: Fn(&D) -> V + 'static>(self, rows: u64, value: F) -> Offset<F> {
        Offset { rows, ahead: true, value, counted: PhantomData }
    }
}

/// See [`Functions::lag`] and [`Functions::lead`].
#[derive(Clone, Copy, Debug)]
pub struct Offset<F, C = Every> {
    rows: u64,
    ahead: bool,
    value: F,
    counted: PhantomData<C>,
}

impl<F> Offset<F> {
    /// Counts only rows whose value is not null, as if the others were not there; zero places is then the row itself,
    /// null or not.
    ///
    /// *Updates per change*: ≤ 2 for each row up to the `rows`-th value that is not null.
    #[must_use]
    pub fn ignore_nulls(self) -> Offset<F, NotNull> {
        Offset { rows: self.rows, ahead: self.ahead, value: self.value, counted: PhantomData }
    }
}

impl<F, C> Offset<F, C> {
    /// Says `default` where there is no such row; where the row is there and its value is null, it says null.
    #[must_use]
    pub fn or<V>(self, default: V) -> Or<F, C, V> {
        Or { offset: self, default }
    }
}

impl<O: Ord + 'static, D: Ord + 'static, F: Fn(&D) -> V + 'static, V: Data, C: Counted<V>> WindowFunction<O, D>
    for Offset<F, C>
{
    type Answer = Option<C::Value>;
    type Summary = C::Summary;

    fn summary(&self, row: &(O, D), copies: u64) -> C::Summary {
        C::summary(|| (self.value)(&row.1), copies)
    }

    fn answer<'a, R: Rows<'a, O, D, Summary = C::Summary>>(&self, at: &At<'a, '_, O, D, R>) -> Option<C::Value> {
        let position = if self.rows == 0 {
            at.position
        } else if self.ahead {
            C::nth(at.rows, C::before(at.rows, at.position + 1).saturating_add(self.rows - 1))
        } else {
            C::nth(at.rows, C::before(at.rows, at.position).checked_sub(self.rows)?)
        };
        let ((_, row), _) = at.rows.entry(position)?;
        C::value((self.value)(row))
    }

    fn reach<'a, R: Rows<'a, O, D, Summary = C::Summary>>(
        &self,
        epoch: &Epoch<'a, '_, O, D, R>,
        spans: &mut Vec<Span<'a, O, D>>,
    ) {
        epoch.reach_each(spans, false, |rows, _, positions| {
            if self.rows == 0 {
                positions
            } else if self.ahead {
                let first = C::before(rows, positions.start).checked_sub(self.rows);
                first.map_or(0, |first| C::nth(rows, first))..positions.end
            } else {
                positions.start..C::nth(rows, C::before(rows, positions.end).saturating_add(self.rows - 1)) + 1
            }
        });
    }
}

/// See [`Offset::or`].
#[derive(Clone, Copy, Debug)]
pub struct Or<F, C, V> {
    offset: Offset<F, C>,
    default: V,
}

impl<O: Ord + 'static, D: Ord + 'static, F, V, C> WindowFunction<O, D> for Or<F, C, C::Value>
where
    F: Fn(&D) -> V + 'static,
    V: Data,
    C: Counted<V>,
{
    type Answer = C::Value;
    type Summary = C::Summary;

    fn summary(&self, row: &(O, D), copies: u64) -> C::Summary {
        self.offset.summary(row, copies)
    }

    fn answer<'a, R: Rows<'a, O, D, Summary = C::Summary>>(&self, at: &At<'a, '_, O, D, R>) -> C::Value {
        self.offset.answer(at).unwrap_or_else(|| self.default.clone())
    }

    fn reach<'a, R: Rows<'a, O, D, Summary = C::Summary>>(
        &self,
        epoch: &Epoch<'a, '_, O, D, R>,
        spans: &mut Vec<Span<'a, O, D>>,
    ) {
        self.offset.reach(epoch, spans);
    }
}
