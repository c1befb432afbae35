//! The least and the greatest value over a frame.

use std::fmt;

use super::Functions;
use super::counted::{Counted, Every, NotNull};
use super::frame::{Frame, Framed};
use super::function::{At, Epoch, Rows, Span, Summary, WindowFunction};

impl<O, D> Functions<O, D> {
    /// The least `value` over the frame; `None` for an empty frame.
    ///
    /// A null counts as a value, and the least one, unless it is told to [ignore nulls](Extreme::ignore_nulls), as SQL
    /// does.
    ///
    /// *Updates per change*: 2 for each row whose answer differs. *Cost*: O(log n) for each row in whose frame it is, up
    /// to the first whose answer and those of all behind it are as before. *State*: beside the rows, one value for each
    /// node of the tree.
    ///
    /// ```
    /// # use differential_dataflow::input::Input;
    /// # use millstream_operators::window::{Framed, WindowExt};
    /// # timely::example(|scope| {
    /// let prices = scope.new_collection_from([(1, Some(9)), (2, None), (3, Some(4))]).1;
    /// let least = prices
    ///     .window(|_| (), |row| row.0)
    ///     .select(|w| (w.min(|row| row.1), w.min(|row| row.1).ignore_nulls()))
    ///     .map(|((day, _), answers)| (day, answers));
    /// least.assert_eq(
    ///     scope.new_collection_from([(1, (Some(Some(9)), Some(9))), (2, (Some(None), Some(9))), (3, (Some(None), Some(4)))]).1,
    /// );
    /// # });
    /// ```
    pub fn min<V, F: Fn(&D) -> V + 'static>(self, value: F) -> Extreme<O, F, Every, false> {
        Extreme { value, counted: Every, frame: Frame::default() }
    }

    /// The greatest `value` over the frame; `None` for an empty frame. See [`min`](Self::min).
    ///
    /// ```
    /// # use differential_dataflow::input::Input;
    /// # use millstream_operators::window::{Framed, WindowExt};
    /// # timely::example(|scope| {
    /// let prices = scope.new_collection_from([(1, 9), (2, 3), (3, 4)]).1;
    /// let greatest = prices.window(|_| (), |row| row.0).select(|w| w.max(|row| row.1).rows(-1..=0));
    /// greatest.assert_eq(scope.new_collection_from([((1, 9), Some(9)), ((2, 3), Some(9)), ((3, 4), Some(4))]).1);
    /// # });
    /// ```
    pub fn max<V, F: Fn(&D) -> V + 'static>(self, value: F) -> Extreme<O, F, Every, true> {
        Extreme { value, counted: Every, frame: Frame::default() }
    }
}

/// See [`Functions::min`] and [`Functions::max`].
pub struct Extreme<O, F, C, const GREATEST: bool> {
    value: F,
    counted: C,
    frame: Frame<O>,
}

impl<O, F, const GREATEST: bool> Extreme<O, F, Every, GREATEST> {
    /// Looks only at values that are not null.
    #[must_use]
    pub fn ignore_nulls(self) -> Extreme<O, F, NotNull, GREATEST> {
        Extreme { value: self.value, counted: NotNull, frame: self.frame }
    }
}

impl<O: Clone, F, C, const GREATEST: bool> Framed for Extreme<O, F, C, GREATEST> {
    type Order = O;

    fn over(mut self, frame: Frame<O>) -> Self {
        self.frame = frame;
        self
    }
}

impl<O, F, C: fmt::Debug, const GREATEST: bool> fmt::Debug for Extreme<O, F, C, GREATEST> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if GREATEST { "max" } else { "min" };
        write!(f, "{name} of {:?} over {:?}", self.counted, self.frame)
    }
}

/// The least or the greatest value of a stretch of rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Found<V, const GREATEST: bool>(Option<V>);

impl<V, const GREATEST: bool> Default for Found<V, GREATEST> {
    fn default() -> Self {
        Found(None)
    }
}

impl<V: Ord + Clone + 'static, const GREATEST: bool> Summary for Found<V, GREATEST> {
    fn append(&mut self, next: &Self) {
        let is_better = |before: &V, after: &V| if GREATEST { after > before } else { after < before };
        match (&mut self.0, &next.0) {
            (Some(before), Some(after)) if is_better(before, after) => before.clone_from(after),
            (none @ None, Some(after)) => *none = Some(after.clone()),
            _ => {}
        }
    }
}

impl<O, D, F, V, C, const GREATEST: bool> WindowFunction<O, D> for Extreme<O, F, C, GREATEST>
where
    O: Ord + 'static,
    D: Ord + 'static,
    F: Fn(&D) -> V + 'static,
    C: Counted<V>,
{
    type Answer = Option<C::Value>;
    type Summary = Found<C::Value, GREATEST>;

    fn summary(&self, row: &(O, D), _copies: u64) -> Self::Summary {
        Found(C::value((self.value)(&row.1)))
    }

    fn answer<'a, R: Rows<'a, O, D, Summary = Self::Summary>>(&self, at: &At<'a, '_, O, D, R>) -> Self::Answer {
        at.rows.summary(self.frame.of(at)).0
    }

    fn reach<'a, R: Rows<'a, O, D, Summary = Self::Summary>>(
        &self,
        epoch: &Epoch<'a, '_, O, D, R>,
        spans: &mut Vec<Span<'a, O, D>>,
    ) {
        self.frame.reach(epoch, spans);
    }

    fn settled<'a, R: Rows<'a, O, D, Summary = Self::Summary>>(
        &self,
        old: &At<'a, '_, O, D, R>,
        new: &At<'a, '_, O, D, R>,
    ) -> bool {
        self.frame.ends_alike(old, new, |old, new| old == new)
    }
}
