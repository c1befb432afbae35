//! What certain rows of a frame say: the first, the last, the m-th.

use std::fmt;

use super::Functions;
use super::counted::{Counted, Every, NotNull};
use super::frame::{Frame, Framed, Kind};
use super::function::{At, Epoch, Rows, Span, WindowFunction};

impl<O, D> Functions<O, D> {
    /// What `value` says of the first row of the frame; `None` for an empty frame.
    ///
    /// A null is a value like others, unless it is told to [ignore nulls](Nth::ignore_nulls).
    ///
    /// *Updates per change*: for a frame from the partition's start, none unless its first row differs, and then 2 a row;
    /// where that is too much, keep it [per partition](super::Window::per_partition). For others, 2 for each row whose
    /// frame it is in.
    ///
    /// ```
    /// # use differential_dataflow::input::Input;
    /// # use millstream_operators::window::WindowExt;
    /// # timely::example(|scope| {
    /// let visits = scope.new_collection_from([(1, 'H'), (2, 'C')]).1;
    /// let first = visits.window(|_| (), |row| row.0).select(|w| w.first_value(|row| row.1));
    /// first.assert_eq(scope.new_collection_from([((1, 'H'), Some('H')), ((2, 'C'), Some('H'))]).1);
    /// # });
    /// ```
    pub fn first_value<V, F: Fn(&D) -> V + 'static>(self, value: F) -> Nth<O, F> {
        Nth { from: Place::First(1), value, counted: Every, frame: Frame::default() }
    }

    /// What `value` says of the last row of the frame, with the default frame the last peer; `None` for an empty frame.
    ///
    /// A null is a value like others, unless it is told to [ignore nulls](Nth::ignore_nulls).
    ///
    /// *Updates per change*: with the default frame ≤ 2 · peers + 1; for a frame to the partition's end, none unless its
    /// last row differs, and then 2 a row.
    ///
    /// ```
    /// # use differential_dataflow::input::Input;
    /// # use millstream_operators::window::{Framed, WindowExt};
    /// # timely::example(|scope| {
    /// let visits = scope.new_collection_from([(1, 'H'), (2, 'C')]).1;
    /// let last = visits.window(|_| (), |row| row.0).select(|w| w.last_value(|row| row.1).rows(..));
    /// last.assert_eq(scope.new_collection_from([((1, 'H'), Some('C')), ((2, 'C'), Some('C'))]).1);
    /// # });
    /// ```
    pub fn last_value<V, F: Fn(&D) -> V + 'static>(self, value: F) -> Nth<O, F> {
        Nth { from: Place::Last, value, counted: Every, frame: Frame::default() }
    }

    /// What `value` says of the row at place `nth` of the frame, from 1; `None` if the frame has fewer.
    ///
    /// A null is a value like others, unless it is told to [ignore nulls](Nth::ignore_nulls).
    ///
    /// *Updates per change*: as [`first_value`](Self::first_value), for the first `nth` rows.
    ///
    /// ```
    /// # use differential_dataflow::input::Input;
    /// # use millstream_operators::window::WindowExt;
    /// # timely::example(|scope| {
    /// let visits = scope.new_collection_from([(1, 'H'), (2, 'C')]).1;
    /// let second = visits.window(|_| (), |row| row.0).select(|w| w.nth_value(2, |row| row.1));
    /// second.assert_eq(scope.new_collection_from([((1, 'H'), None), ((2, 'C'), Some('C'))]).1);
    /// # });
    /// ```
    ///
    /// # Panics
    /// If `nth` is zero.
    pub fn nth_value<V, F: Fn(&D) -> V + 'static>(self, nth: u64, value: F) -> Nth<O, F> {
        assert!(nth > 0, "nth_value: found place 0, wanted at least 1");
        Nth { from: Place::First(nth), value, counted: Every, frame: Frame::default() }
    }
}

/// See [`Functions::first_value`], [`Functions::last_value`] and [`Functions::nth_value`].
pub struct Nth<O, F, C = Every> {
    from: Place,
    value: F,
    counted: C,
    frame: Frame<O>,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// From the start of the frame; 1 is the first.
    First(u64),
    Last,
}

impl<O, F> Nth<O, F> {
    /// Counts only rows whose value is not null.
    #[must_use]
    pub fn ignore_nulls(self) -> Nth<O, F, NotNull> {
        Nth { from: self.from, value: self.value, counted: NotNull, frame: self.frame }
    }
}

impl<O: Clone, F, C> Framed for Nth<O, F, C> {
    type Order = O;

    fn over(mut self, frame: Frame<O>) -> Self {
        self.frame = frame;
        self
    }
}

impl<O, F, C: fmt::Debug> fmt::Debug for Nth<O, F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {:?} over {:?}", self.from, self.counted, self.frame)
    }
}

impl<O, D, F, V, C> WindowFunction<O, D> for Nth<O, F, C>
where
    O: Ord + 'static,
    D: Ord + 'static,
    F: Fn(&D) -> V + 'static,
    C: Counted<V>,
{
    type Answer = Option<C::Value>;
    type Summary = C::Summary;

    fn summary(&self, row: &(O, D), copies: u64) -> C::Summary {
        C::summary(|| (self.value)(&row.1), copies)
    }

    fn answer<'a, R: Rows<'a, O, D, Summary = C::Summary>>(&self, at: &At<'a, '_, O, D, R>) -> Self::Answer {
        let (rows, frame) = (at.rows, self.frame.of(at));
        let before = match self.from {
            Place::First(nth) => C::before(rows, frame.start).saturating_add(nth - 1),
            Place::Last => C::before(rows, frame.end).checked_sub(1)?,
        };
        let position = C::nth(rows, before);
        let ((_, row), _) = rows.entry(position).filter(|_| frame.contains(&position))?;
        C::value((self.value)(row))
    }

    fn reach<'a, R: Rows<'a, O, D, Summary = C::Summary>>(
        &self,
        epoch: &Epoch<'a, '_, O, D, R>,
        spans: &mut Vec<Span<'a, O, D>>,
    ) {
        match (self.from, self.frame.kind()) {
            (_, Kind::Range(_) | Kind::Rows(Some(_), Some(_))) => self.frame.reach(epoch, spans),
            (Place::First(nth), Kind::Running) => Self::reach_first(epoch, nth, 0, spans),
            (Place::First(nth), Kind::Rows(None, last)) => Self::reach_first(epoch, nth, last.unwrap_or(0), spans),
            (Place::First(nth), Kind::Rows(Some(first), None)) => Self::reach_back(epoch, nth, *first, spans),
            (Place::Last, Kind::Running) => Self::reach_on(epoch, 0, spans),
            (Place::Last, Kind::Rows(None, Some(last))) => Self::reach_on(epoch, *last, spans),
            (Place::Last, Kind::Rows(first, None)) => Self::reach_last(epoch, first.unwrap_or(0), spans),
        }
    }
}

impl<O: Ord + 'static, F, C> Nth<O, F, C> {
    /// Frames from the partition's start: all have the same m-th row, and only changes up to it count.
    fn reach_first<'a, V, D: Ord, R>(
        epoch: &Epoch<'a, '_, O, D, R>,
        nth: u64,
        last: i64,
        spans: &mut Vec<Span<'a, O, D>>,
    ) where
        C: Counted<V>,
        R: Rows<'a, O, D, Summary = C::Summary>,
    {
        let margin = last.unsigned_abs();
        if [epoch.old, epoch.new].iter().all(|rows| C::nth(*rows, nth - 1) == rows.len()) {
            return; // There was none and there is none, for no row.
        }
        let [old, new] = [epoch.old, epoch.new].map(|rows| C::nth(rows, nth - 1).saturating_add(margin));
        if epoch.changes.iter().any(|change| change.old.start <= old || change.new.start <= new) {
            epoch.reach_all(spans);
        }
    }

    /// Frames to the partition's end: all have the same last row.
    fn reach_last<'a, V, D: Ord, R>(epoch: &Epoch<'a, '_, O, D, R>, first: i64, spans: &mut Vec<Span<'a, O, D>>)
    where
        C: Counted<V>,
        R: Rows<'a, O, D, Summary = C::Summary>,
    {
        if [epoch.old, epoch.new].iter().all(|rows| C::before(*rows, rows.len()) == 0) {
            return; // There was none and there is none, for no row.
        }
        let margin = first.unsigned_abs() + 1;
        let [old, new] = [epoch.old, epoch.new].map(|rows| {
            let last = C::before(rows, rows.len()).checked_sub(1).map_or(0, |last| C::nth(rows, last));
            last.saturating_sub(margin)
        });
        if epoch.changes.iter().any(|change| change.old.end >= old || change.new.end >= new) {
            epoch.reach_all(spans);
        }
    }

    /// Frames from `first` places behind the row to the partition's end: rows that see the change among the first m.
    fn reach_back<'a, V, D: Ord, R>(
        epoch: &Epoch<'a, '_, O, D, R>,
        nth: u64,
        first: i64,
        spans: &mut Vec<Span<'a, O, D>>,
    ) where
        C: Counted<V>,
        R: Rows<'a, O, D, Summary = C::Summary>,
    {
        let margin = first.unsigned_abs();
        epoch.reach_each(spans, false, |rows, _, positions| {
            let start = C::before(rows, positions.start).checked_sub(nth).map_or(0, |before| C::nth(rows, before));
            start.saturating_sub(margin)..positions.end.saturating_add(margin + 1)
        });
    }

    /// Frames from the partition's start to `last` places behind the row: rows up to where another row is the last.
    fn reach_on<'a, V, D: Ord, R>(epoch: &Epoch<'a, '_, O, D, R>, last: i64, spans: &mut Vec<Span<'a, O, D>>)
    where
        C: Counted<V>,
        R: Rows<'a, O, D, Summary = C::Summary>,
    {
        let margin = last.unsigned_abs();
        epoch.reach_each(spans, false, |rows, row, positions| {
            let peers = rows.count_while(|other| other.0 < row.0);
            let next = C::nth(rows, C::before(rows, positions.end));
            peers.min(positions.start.saturating_sub(margin))..next.saturating_add(margin + 1)
        });
    }
}
