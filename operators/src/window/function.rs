//! What a window function is: an answer for a row in its partition, and how far a change to the partition reaches.
//!
//! Both drivers know a function by this one trait, and a function knows a partition by [`Rows`] alone: *recompute* lays
//! a slice under it, *ranges* a tree.

use std::cell::OnceCell;
use std::ops::Range;

use differential_dataflow::Data;

/// What is known of a stretch of rows without looking at each: the sum of their values, the least of them, nothing.
///
/// Appending must be associative, with `default()` as its neutral element.
pub trait Summary: Clone + Default + PartialEq + 'static {
    /// Adds the stretch of rows that comes next.
    fn append(&mut self, next: &Self);
}

/// The rows of one partition at one time, in order: by order key, then by row. A row of weight w is w rows.
pub trait Rows<'a, O: 'a, D: 'a>: Copy {
    /// What can be asked of a stretch of rows.
    type Summary: Summary;

    /// How many rows there are.
    fn len(self) -> u64;

    /// True if there are none.
    fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The row at a position, and the position of the first of the rows equal to it; `None` from the end on.
    fn entry(self, position: u64) -> Option<(&'a (O, D), u64)>;

    /// How many first rows are `before` something; it must hold for some first rows and for none after them.
    fn count_while(self, before: impl Fn(&(O, D)) -> bool) -> u64;

    /// The summary of the rows at these positions.
    fn summary(self, positions: Range<u64>) -> Self::Summary;

    /// The position of the row with which the summary of all rows up to it is enough; the number of rows if none is.
    fn search(self, is_enough: impl Fn(&Self::Summary) -> bool) -> u64;

    /// The positions of the rows with this order key.
    fn peers(self, order: &O) -> Range<u64>
    where
        O: Ord,
    {
        self.count_while(|row| row.0 < *order)..self.count_while(|row| row.0 <= *order)
    }
}

/// A row in its partition.
pub struct At<'a, 'b, O, D, R> {
    /// The partition.
    pub rows: R,
    /// The row: its order key and what it says.
    pub row: &'a (O, D),
    /// How many rows are before it.
    pub position: u64,
    pub(super) peers: &'b OnceCell<Range<u64>>,
}

impl<'a, 'b, O, D, R: Copy> At<'a, 'b, O, D, R> {
    /// The row, with its partition seen through one part of the summaries.
    fn part<S, P>(&self, part: fn(&S) -> &P) -> At<'a, 'b, O, D, Part<R, S, P>> {
        At { rows: Part { rows: self.rows, part }, row: self.row, position: self.position, peers: self.peers }
    }
}

impl<'a, O: Ord + 'a, D: 'a, R: Rows<'a, O, D>> At<'a, '_, O, D, R> {
    /// The positions of the rows with the same order key, this one among them.
    pub fn peers(&self) -> Range<u64> {
        self.peers.get_or_init(|| self.rows.peers(&self.row.0)).clone()
    }
}

/// A row whose weight has changed.
pub struct Change<'a, O, D> {
    pub(super) row: &'a (O, D),
    /// Where the row was; empty if it was not there.
    pub(super) old: Range<u64>,
    /// Where it is now.
    pub(super) new: Range<u64>,
}

/// A partition before and after some rows have changed.
pub struct Epoch<'a, 'b, O, D, R> {
    /// Before.
    pub old: R,
    /// After.
    pub new: R,
    /// Which rows, in order.
    pub(super) changes: &'b [Change<'a, O, D>],
}

/// Rows whose answers a change may reach, told by the first and the last; `None` is the end of the partition.
#[derive(Clone, Copy)]
pub struct Span<'a, O, D> {
    pub(super) from: &'a (O, D),
    pub(super) through: Option<&'a (O, D)>,
    /// True if it goes on behind the last, until the function is [settled](WindowFunction::settled).
    pub(super) runs_on: bool,
}

impl<'a, O: Ord, D: Ord, R: Rows<'a, O, D>> Epoch<'a, '_, O, D, R> {
    /// Adds the rows at the positions that `reach` gives: it is shown each row that has changed, once in the partition
    /// before and once in the one after, with its positions there, or the empty range where it would be. With `runs_on`,
    /// also the rows behind them, up to one where all functions are [settled](WindowFunction::settled).
    pub fn reach_each(
        &self,
        spans: &mut Vec<Span<'a, O, D>>,
        runs_on: bool,
        reach: impl Fn(R, &'a (O, D), Range<u64>) -> Range<u64>,
    ) {
        for change in self.changes {
            for (rows, positions) in [(self.old, &change.old), (self.new, &change.new)] {
                let reached = reach(rows, change.row, positions.clone());
                spans.extend(stretch(rows, reached, runs_on));
            }
        }
    }

    /// Adds all rows.
    pub fn reach_all(&self, spans: &mut Vec<Span<'a, O, D>>) {
        for rows in [self.old, self.new] {
            spans.extend(stretch(rows, 0..rows.len(), false));
        }
    }

    /// Adds the rows that a boundary has passed over which was before the row at position `old` and is before the row at
    /// position `new` now.
    pub fn reach_between(&self, spans: &mut Vec<Span<'a, O, D>>, old: u64, new: u64) {
        if self.moved(old) == Some(new) {
            return;
        }
        let (old, new) = (self.old.entry(old), self.new.entry(new));
        let (from, through) = match (old, new) {
            (Some((old, _)), Some((new, _))) => (old.min(new), Some(old.max(new))),
            (Some((only, _)), None) | (None, Some((only, _))) => (only, None),
            (None, None) => return,
        };
        spans.push(Span { from, through, runs_on: false });
    }

    /// Where the row that was at a position is now, if it has not changed.
    fn moved(&self, old: u64) -> Option<u64> {
        let behind = self.changes.partition_point(|change| change.old.end <= old);
        let changes_itself = self.changes[behind..].first().is_some_and(|next| next.old.contains(&old));
        if changes_itself || old >= self.old.len() {
            return None;
        }
        Some(self.changes[..behind].last().map_or(old, |change| old - change.old.end + change.new.end))
    }
}

/// The rows at these positions, and at least the first; `None` if that is behind the end.
fn stretch<'a, O, D, R: Rows<'a, O, D>>(rows: R, positions: Range<u64>, runs_on: bool) -> Option<Span<'a, O, D>> {
    let (from, _) = rows.entry(positions.start)?;
    let through = rows.entry(positions.end.saturating_sub(1).max(positions.start)).map(|(row, _)| row);
    Some(Span { from, through, runs_on })
}

/// A function of a row and the partition it is in.
///
/// A new function says what it answers, and which rows a change may reach; saying too many costs time and never
/// correctness, for only answers that differ are sent.
pub trait WindowFunction<O: Ord + 'static, D: Ord + 'static>: 'static {
    /// What it answers.
    type Answer: Data;
    /// What it wants to know of stretches of rows.
    type Summary: Summary;

    /// The summary of some rows that are equal to this one.
    fn summary(&self, row: &(O, D), copies: u64) -> Self::Summary;

    /// The answer for a row.
    fn answer<'a, R>(&self, at: &At<'a, '_, O, D, R>) -> Self::Answer
    where
        R: Rows<'a, O, D, Summary = Self::Summary>;

    /// Which rows may have other answers after some have changed, beside these themselves.
    fn reach<'a, R>(&self, epoch: &Epoch<'a, '_, O, D, R>, spans: &mut Vec<Span<'a, O, D>>)
    where
        R: Rows<'a, O, D, Summary = Self::Summary>;

    /// True if, with no change ahead, this row's answer and those of all behind it must be as they were.
    ///
    /// It is asked where a span runs on, be it another function's: one that makes no such spans says true.
    fn settled<'a, R>(&self, _old: &At<'a, '_, O, D, R>, _new: &At<'a, '_, O, D, R>) -> bool
    where
        R: Rows<'a, O, D, Summary = Self::Summary>,
    {
        true
    }
}

impl Summary for () {
    fn append(&mut self, (): &Self) {}
}

/// The rows as one function of several sees them: with its own part of their summary.
struct Part<R, S, P> {
    rows: R,
    part: fn(&S) -> &P,
}

impl<R: Copy, S, P> Clone for Part<R, S, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R: Copy, S, P> Copy for Part<R, S, P> {}

impl<'a, O: 'a, D: 'a, R: Rows<'a, O, D>, P: Summary> Rows<'a, O, D> for Part<R, R::Summary, P> {
    type Summary = P;

    fn len(self) -> u64 {
        self.rows.len()
    }

    fn entry(self, position: u64) -> Option<(&'a (O, D), u64)> {
        self.rows.entry(position)
    }

    fn count_while(self, before: impl Fn(&(O, D)) -> bool) -> u64 {
        self.rows.count_while(before)
    }

    fn summary(self, positions: Range<u64>) -> P {
        (self.part)(&self.rows.summary(positions)).clone()
    }

    fn search(self, is_enough: impl Fn(&P) -> bool) -> u64 {
        self.rows.search(|summary| is_enough((self.part)(summary)))
    }

    fn peers(self, order: &O) -> Range<u64>
    where
        O: Ord,
    {
        self.rows.peers(order)
    }
}

/// Several functions over one window are one function.
macro_rules! several {
    ($($function:ident $index:tt),+) => {
        impl<$($function: Summary),+> Summary for ($($function,)+) {
            fn append(&mut self, next: &Self) {
                $(self.$index.append(&next.$index);)+
            }
        }

        impl<O: Ord + 'static, D: Ord + 'static, $($function: WindowFunction<O, D>),+> WindowFunction<O, D> for ($($function,)+) {
            type Answer = ($($function::Answer,)+);
            type Summary = ($($function::Summary,)+);

            fn summary(&self, row: &(O, D), copies: u64) -> Self::Summary {
                ($(self.$index.summary(row, copies),)+)
            }

            fn answer<'a, R>(&self, at: &At<'a, '_, O, D, R>) -> Self::Answer
            where
                R: Rows<'a, O, D, Summary = Self::Summary>,
            {
                ($(self.$index.answer(&at.part(|summary: &Self::Summary| &summary.$index)),)+)
            }

            fn reach<'a, R>(&self, epoch: &Epoch<'a, '_, O, D, R>, spans: &mut Vec<Span<'a, O, D>>)
            where
                R: Rows<'a, O, D, Summary = Self::Summary>,
            {
                $(self.$index.reach(&Epoch {
                    old: Part { rows: epoch.old, part: |summary: &Self::Summary| &summary.$index },
                    new: Part { rows: epoch.new, part: |summary: &Self::Summary| &summary.$index },
                    changes: epoch.changes,
                }, spans);)+
            }

            fn settled<'a, R>(&self, old: &At<'a, '_, O, D, R>, new: &At<'a, '_, O, D, R>) -> bool
            where
                R: Rows<'a, O, D, Summary = Self::Summary>,
            {
                $(self.$index.settled(
                    &old.part(|summary: &Self::Summary| &summary.$index),
                    &new.part(|summary: &Self::Summary| &summary.$index),
                ))&&+
            }
        }
    };
}

several!(A 0);
several!(A 0, B 1);
several!(A 0, B 1, C 2);
several!(A 0, B 1, C 2, E 3);
several!(A 0, B 1, C 2, E 3, F 4);
several!(A 0, B 1, C 2, E 3, F 4, G 5);
several!(A 0, B 1, C 2, E 3, F 4, G 5, H 6);
several!(A 0, B 1, C 2, E 3, F 4, G 5, H 6, I 7);
