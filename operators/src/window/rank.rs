//! Where a row stands: row number, rank, dense rank.

use super::Functions;
use super::function::{At, Epoch, Rows, Span, Summary, WindowFunction};

impl<O, D> Functions<O, D> {
    /// The number of the row in its partition, from 1; of peers, the lesser row is the first.
    ///
    /// *Updates per change*: 2 for each row behind it, until as many rows have come as have gone.
    ///
    /// ```
    /// # use differential_dataflow::input::Input;
    /// # use millstream_operators::window::WindowExt;
    /// # timely::example(|scope| {
    /// let scores = scope.new_collection_from([10, 20, 20, 30]).1;
    /// let numbers = scores.window(|_| (), |score| *score).select(|w| w.row_number());
    /// numbers.assert_eq(scope.new_collection_from([(10, 1), (20, 2), (20, 3), (30, 4)]).1);
    /// # });
    /// ```
    #[must_use]
    pub fn row_number(self) -> RowNumber {
        RowNumber
    }

    /// One more than the rows with a lesser order key: peers share it, and leave a gap behind them.
    ///
    /// *Updates per change*: 2 for each row behind it and its peers, until as many rows have come as have gone.
    ///
    /// ```
    /// # use differential_dataflow::input::Input;
    /// # use millstream_operators::window::WindowExt;
    /// # timely::example(|scope| {
    /// let scores = scope.new_collection_from([10, 20, 20, 30]).1;
    /// let ranks = scores.window(|_| (), |score| *score).select(|w| w.rank());
    /// ranks.assert_eq(scope.new_collection_from([(10, 1), (20, 2), (20, 2), (30, 4)]).1);
    /// # });
    /// ```
    #[must_use]
    pub fn rank(self) -> Rank {
        Rank
    }

    /// One more than the distinct lesser order keys: peers share it, and leave no gap.
    ///
    /// *Updates per change*: 1 where the order key has other rows, else as [`rank`](Self::rank). *State*: beside the
    /// rows, the first and the last order key of each node of the tree.
    ///
    /// ```
    /// # use differential_dataflow::input::Input;
    /// # use millstream_operators::window::WindowExt;
    /// # timely::example(|scope| {
    /// let scores = scope.new_collection_from([10, 20, 20, 30]).1;
    /// let ranks = scores.window(|_| (), |score| *score).select(|w| w.dense_rank());
    /// ranks.assert_eq(scope.new_collection_from([(10, 1), (20, 2), (20, 2), (30, 3)]).1);
    /// # });
    /// ```
    #[must_use]
    pub fn dense_rank(self) -> DenseRank {
        DenseRank
    }
}

/// See [`Functions::row_number`].
#[derive(Clone, Copy, Debug)]
pub struct RowNumber;

/// See [`Functions::rank`].
#[derive(Clone, Copy, Debug)]
pub struct Rank;

/// See [`Functions::dense_rank`].
#[derive(Clone, Copy, Debug)]
pub struct DenseRank;

impl<O: Ord + 'static, D: Ord + 'static> WindowFunction<O, D> for RowNumber {
    type Answer = u64;
    type Summary = ();

    fn summary(&self, _row: &(O, D), _copies: u64) {}

    fn answer<'a, R: Rows<'a, O, D, Summary = ()>>(&self, at: &At<'a, '_, O, D, R>) -> u64 {
        at.position + 1
    }

    fn reach<'a, R: Rows<'a, O, D, Summary = ()>>(
        &self,
        epoch: &Epoch<'a, '_, O, D, R>,
        spans: &mut Vec<Span<'a, O, D>>,
    ) {
        epoch.reach_each(spans, true, |_, _, positions| positions);
    }

    fn settled<'a, R: Rows<'a, O, D, Summary = ()>>(
        &self,
        old: &At<'a, '_, O, D, R>,
        new: &At<'a, '_, O, D, R>,
    ) -> bool {
        old.position == new.position
    }
}

impl<O: Ord + 'static, D: Ord + 'static> WindowFunction<O, D> for Rank {
    type Answer = u64;
    type Summary = ();

    fn summary(&self, _row: &(O, D), _copies: u64) {}

    fn answer<'a, R: Rows<'a, O, D, Summary = ()>>(&self, at: &At<'a, '_, O, D, R>) -> u64 {
        at.peers().start + 1
    }

    fn reach<'a, R: Rows<'a, O, D, Summary = ()>>(
        &self,
        epoch: &Epoch<'a, '_, O, D, R>,
        spans: &mut Vec<Span<'a, O, D>>,
    ) {
        epoch.reach_each(spans, true, |_, _, positions| positions);
    }

    /// A new tie changes no tie but every row after: the rows before count too, not only the answer.
    fn settled<'a, R: Rows<'a, O, D, Summary = ()>>(
        &self,
        old: &At<'a, '_, O, D, R>,
        new: &At<'a, '_, O, D, R>,
    ) -> bool {
        old.position == new.position && old.peers().start == new.peers().start
    }
}

impl<O: Ord + Clone + 'static, D: Ord + 'static> WindowFunction<O, D> for DenseRank {
    type Answer = u64;
    type Summary = Distinct<O>;

    fn summary(&self, row: &(O, D), _copies: u64) -> Distinct<O> {
        Distinct { keys: 1, ends: Some((row.0.clone(), row.0.clone())) }
    }

    fn answer<'a, R: Rows<'a, O, D, Summary = Distinct<O>>>(&self, at: &At<'a, '_, O, D, R>) -> u64 {
        // The keys up to the row, its own among them.
        at.rows.summary(0..at.position + 1).keys
    }

    fn reach<'a, R: Rows<'a, O, D, Summary = Distinct<O>>>(
        &self,
        epoch: &Epoch<'a, '_, O, D, R>,
        spans: &mut Vec<Span<'a, O, D>>,
    ) {
        epoch.reach_each(spans, true, |_, _, positions| positions);
    }

    fn settled<'a, R: Rows<'a, O, D, Summary = Distinct<O>>>(
        &self,
        old: &At<'a, '_, O, D, R>,
        new: &At<'a, '_, O, D, R>,
    ) -> bool {
        self.answer(old) == self.answer(new)
    }
}

/// How many distinct order keys a stretch of rows has, and the first and the last of them.
#[derive(Clone, PartialEq)]
pub struct Distinct<O> {
    keys: u64,
    ends: Option<(O, O)>,
}

impl<O> Default for Distinct<O> {
    fn default() -> Self {
        Distinct { keys: 0, ends: None }
    }
}

impl<O: Clone + PartialEq + 'static> Summary for Distinct<O> {
    fn append(&mut self, next: &Self) {
        match (&mut self.ends, &next.ends) {
            (Some((_, last)), Some((first, next_last))) => {
                self.keys += next.keys - u64::from(last == first);
                last.clone_from(next_last);
            }
            (None, Some(_)) => self.clone_from(next),
            (_, None) => {}
        }
    }
}
