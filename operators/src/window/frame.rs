//! Frames: the stretch of rows around each row that a function looks at.

use std::fmt;
use std::ops::{Bound, Range, RangeBounds};
use std::rc::Rc;

use super::function::{At, Epoch, Rows, Span};

/// A stretch of rows, told from the current row.
///
/// The default is SQL's: from the start of the partition through the current row and its peers.
pub struct Frame<O>(Kind<O>);

/// Bounds of order keys, told from the current row's.
type Keys<O> = Rc<dyn Fn(&O) -> (Bound<O>, Bound<O>)>;

pub(super) enum Kind<O> {
    /// From the start through the current row and its peers.
    Running,
    /// Rows from so many places behind the current row through so many, `None` for no bound.
    Rows(Option<i64>, Option<i64>),
    /// Rows whose order keys lie within bounds.
    Range(Keys<O>),
}

/// A function that looks at the rows of a frame. Unless told otherwise, it is SQL's default: from the start of the
/// partition through the current row and its peers.
pub trait Framed: Sized {
    /// The window's order key.
    type Order: Clone;

    /// Over this frame.
    #[must_use]
    fn over(self, frame: Frame<Self::Order>) -> Self;

    /// ROWS: the rows from some places before or behind the current row through some places before or behind it.
    ///
    /// `rows(-2..=0)` is the current row and the two before it, `rows(..=0)` all rows up to this one, `rows(1..)` all
    /// behind it, `rows(..)` the partition.
    ///
    /// ```
    /// # use differential_dataflow::input::Input;
    /// # use millstream_operators::window::{Framed, WindowExt};
    /// # timely::example(|scope| {
    /// let amounts = scope.new_collection_from([1, 2, 4, 8]).1;
    /// let sums = amounts.window(|_| (), |amount| *amount).select(|w| w.sum(|amount| *amount).rows(-1..=1));
    /// let sums = sums.map(|(amount, sum)| (amount, sum.unwrap().unwrap()));
    /// sums.assert_eq(scope.new_collection_from([(1, 3), (2, 7), (4, 14), (8, 12)]).1);
    /// # });
    /// ```
    #[must_use]
    fn rows(self, places: impl RangeBounds<i64>) -> Self {
        let first = match places.start_bound() {
            Bound::Included(first) => Some(*first),
            Bound::Excluded(before) => Some(before.saturating_add(1)),
            Bound::Unbounded => None,
        };
        let last = match places.end_bound() {
            Bound::Included(last) => Some(*last),
            Bound::Excluded(behind) => Some(behind.saturating_sub(1)),
            Bound::Unbounded => None,
        };
        self.over(Frame(Kind::Rows(first, last)))
    }

    /// RANGE: the rows whose order keys lie within bounds that `keys` gives for the current row's.
    ///
    /// `range(|day| day.saturating_sub(6)..=*day)` is the seven days up to the row's. With a greater order key, neither
    /// bound may be lesser; a subtraction that wraps would break that. Order keys that are descending or nullable are
    /// their own type, and `keys` says what is meant there:
    ///
    /// ```
    /// # use differential_dataflow::input::Input;
    /// # use millstream_operators::window::{Framed, Reverse, WindowExt};
    /// # timely::example(|scope| {
    /// let days = scope.new_collection_from([10, 14, 30]).1;
    /// let near = days
    ///     .window(|_| (), |day| Reverse(*day))
    ///     .select(|w| w.count(|_| true).range(|Reverse(day)| Reverse(day + 6)..=Reverse(*day)));
    /// near.assert_eq(scope.new_collection_from([(10, 2), (14, 1), (30, 1)]).1);
    /// # });
    /// ```
    #[must_use]
    fn range<B: RangeBounds<Self::Order>>(self, keys: impl Fn(&Self::Order) -> B + 'static) -> Self {
        self.over(Frame(Kind::Range(Rc::new(move |order| {
            let bounds = keys(order);
            (bounds.start_bound().cloned(), bounds.end_bound().cloned())
        }))))
    }
}

impl<O> Default for Frame<O> {
    fn default() -> Self {
        Frame(Kind::Running)
    }
}

impl<O> Clone for Frame<O> {
    fn clone(&self) -> Self {
        Frame(match &self.0 {
            Kind::Running => Kind::Running,
            Kind::Rows(first, last) => Kind::Rows(*first, *last),
            Kind::Range(keys) => Kind::Range(Rc::clone(keys)),
        })
    }
}

impl<O> fmt::Debug for Frame<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Running => f.write_str("range unbounded preceding"),
            Kind::Rows(first, last) => write!(f, "rows {first:?} to {last:?}"),
            Kind::Range(_) => f.write_str("range by key"),
        }
    }
}

impl<O: Ord + 'static> Frame<O> {
    pub(super) fn kind(&self) -> &Kind<O> {
        &self.0
    }

    /// The positions of the rows in the frame of a row.
    pub(super) fn of<'a, D: 'a, R: Rows<'a, O, D>>(&self, at: &At<'a, '_, O, D, R>) -> Range<u64> {
        let rows = at.rows;
        let (start, end) = match &self.0 {
            Kind::Running => (0, at.peers().end),
            Kind::Rows(first, last) => (
                first.map_or(0, |first| at.position.saturating_add_signed(first)),
                last.map_or(rows.len(), |last| (at.position + 1).saturating_add_signed(last).min(rows.len())),
            ),
            Kind::Range(keys) => {
                let (first, last) = keys(&at.row.0);
                (
                    rows.count_while(|(key, _)| is_before(key, &first)),
                    rows.count_while(|(key, _)| !is_behind(key, &last)),
                )
            }
        };
        start.min(end)..end
    }

    /// The rows whose frames have other rows in them.
    pub(super) fn reach<'a, D: Ord, R: Rows<'a, O, D>>(
        &self,
        epoch: &Epoch<'a, '_, O, D, R>,
        spans: &mut Vec<Span<'a, O, D>>,
    ) {
        match &self.0 {
            Kind::Running => epoch.reach_each(spans, true, |rows, row, positions| {
                rows.count_while(|other| other.0 < row.0)..positions.end
            }),
            // A frame that ends behind its row changes before the row does; one that starts before it, after.
            Kind::Rows(first, last) => epoch.reach_each(spans, first.is_none(), |rows, _, positions| {
                let start = last.map_or(0, |last| positions.start.saturating_add_signed(last.saturating_neg()));
                let end = (positions.start + 1).max(positions.end);
                let after = first.or(*last).map_or(end, |place| end.saturating_add_signed(place.saturating_neg()));
                if first.is_none() && last.is_none() {
                    0..rows.len()
                } else {
                    start.min(positions.start)..after.max(end)
                }
            }),
            Kind::Range(keys) => epoch.reach_each(spans, false, |rows, (changed, _), _| {
                let start = rows.count_while(|(key, _)| is_behind(changed, &keys(key).1));
                start..rows.count_while(|(key, _)| !is_before(changed, &keys(key).0)).max(start)
            }),
        }
    }

    /// True if, with no change ahead, what a frame that runs on has added up is the same before and after an epoch.
    /// Others do not run on: the rows they reach are known.
    pub(super) fn ends_alike<'a, D: 'a, R: Rows<'a, O, D>>(
        &self,
        old: &At<'a, '_, O, D, R>,
        new: &At<'a, '_, O, D, R>,
        are_alike: impl Fn(R::Summary, R::Summary) -> bool,
    ) -> bool {
        let runs_on = matches!(self.0, Kind::Running | Kind::Rows(None, _));
        !runs_on || are_alike(old.rows.summary(0..self.of(old).end), new.rows.summary(0..self.of(new).end))
    }
}

fn is_before<O: Ord>(key: &O, first: &Bound<O>) -> bool {
    match first {
        Bound::Included(first) => key < first,
        Bound::Excluded(before) => key <= before,
        Bound::Unbounded => false,
    }
}

fn is_behind<O: Ord>(key: &O, last: &Bound<O>) -> bool {
    match last {
        Bound::Included(last) => key > last,
        Bound::Excluded(behind) => key >= behind,
        Bound::Unbounded => false,
    }
}
