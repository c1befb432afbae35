//! Row number, rank and dense rank.

use super::function::{AffectedRange, ChangedPartition, CurrentRow, PartitionRows, RangeSummary, WindowFunction};
use super::functions::Functions;

impl<O, D> Functions<O, D> {
    /// The number of the row in its partition, from 1. Peers are numbered in the order of the rows themselves.
    ///
    /// *Updates per change*: 2 for each row after the changed one, plus 1; if an epoch inserts and deletes as many
    /// rows, only rows between them are renumbered. *Work*: the same rows.
    ///
    /// ```
    /// # use millstream_operators::prelude::*;
    /// # timely::example(|scope| {
    /// let scores = scope.new_collection_from([10, 20, 20, 30]).1;
    /// let numbers = window(scores, "Scores", |_| (), |score| *score).select(|w| w.row_number());
    /// numbers.assert_eq(scope.new_collection_from([(10, 1), (20, 2), (20, 3), (30, 4)]).1);
    /// # });
    /// ```
    #[must_use]
    pub fn row_number(self) -> RowNumber {
        RowNumber
    }

    /// One more than the number of rows with a lesser order key: peers share a rank, and a gap follows them.
    ///
    /// *Updates per change*: 2 for each row after the changed one and its peers, plus 1; if an epoch inserts and
    /// deletes as many rows, only rows between them are ranked anew. *Work*: the same rows.
    ///
    /// ```
    /// # use millstream_operators::prelude::*;
    /// # timely::example(|scope| {
    /// let scores = scope.new_collection_from([10, 20, 20, 30]).1;
    /// let ranks = window(scores, "Scores", |_| (), |score| *score).select(|w| w.rank());
    /// ranks.assert_eq(scope.new_collection_from([(10, 1), (20, 2), (20, 2), (30, 4)]).1);
    /// # });
    /// ```
    #[must_use]
    pub fn rank(self) -> Rank {
        Rank
    }

    /// One more than the number of distinct lesser order keys: peers share a rank, and no gap follows them.
    ///
    /// *Updates per change*: 1 if the order key has other rows, else as [`rank`](Self::rank). *State*: the rows, and
    /// the first and last order key of each node of the tree.
    ///
    /// ```
    /// # use millstream_operators::prelude::*;
    /// # timely::example(|scope| {
    /// let scores = scope.new_collection_from([10, 20, 20, 30]).1;
    /// let ranks = window(scores, "Scores", |_| (), |score| *score).select(|w| w.dense_rank());
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

    fn answer<'a, R: PartitionRows<'a, O, D, Summary = ()>>(&self, at: &CurrentRow<'a, '_, O, D, R>) -> u64 {
        at.position + 1
    }

    fn reach<'a, R: PartitionRows<'a, O, D, Summary = ()>>(
        &self,
        partition: &ChangedPartition<'a, '_, O, D, R>,
        affected: &mut Vec<AffectedRange<'a, O, D>>,
    ) {
        partition.reach_each(affected, true, |_, _, positions| positions);
    }

    fn converged<'a, R: PartitionRows<'a, O, D, Summary = ()>>(
        &self,
        old: &CurrentRow<'a, '_, O, D, R>,
        new: &CurrentRow<'a, '_, O, D, R>,
    ) -> bool {
        old.position == new.position
    }
}

impl<O: Ord + 'static, D: Ord + 'static> WindowFunction<O, D> for Rank {
    type Answer = u64;
    type Summary = ();

    fn summary(&self, _row: &(O, D), _copies: u64) {}

    fn answer<'a, R: PartitionRows<'a, O, D, Summary = ()>>(&self, at: &CurrentRow<'a, '_, O, D, R>) -> u64 {
        at.peers().start + 1
    }

    fn reach<'a, R: PartitionRows<'a, O, D, Summary = ()>>(
        &self,
        partition: &ChangedPartition<'a, '_, O, D, R>,
        affected: &mut Vec<AffectedRange<'a, O, D>>,
    ) {
        partition.reach_each(affected, true, |_, _, positions| positions);
    }

    /// A new peer leaves its peers' rank as it is but not the ranks after them, so equal answers are not enough.
    fn converged<'a, R: PartitionRows<'a, O, D, Summary = ()>>(
        &self,
        old: &CurrentRow<'a, '_, O, D, R>,
        new: &CurrentRow<'a, '_, O, D, R>,
    ) -> bool {
        old.position == new.position && old.peers().start == new.peers().start
    }
}

impl<O: Ord + Clone + 'static, D: Ord + 'static> WindowFunction<O, D> for DenseRank {
    type Answer = u64;
    type Summary = DistinctKeys<O>;

    fn summary(&self, row: &(O, D), _copies: u64) -> DistinctKeys<O> {
        DistinctKeys { keys: 1, ends: Some((row.0.clone(), row.0.clone())) }
    }

    fn answer<'a, R: PartitionRows<'a, O, D, Summary = DistinctKeys<O>>>(
        &self,
        at: &CurrentRow<'a, '_, O, D, R>,
    ) -> u64 {
        // The distinct keys through the current row's.
        at.rows.summary(0..at.position + 1).keys
    }

    fn reach<'a, R: PartitionRows<'a, O, D, Summary = DistinctKeys<O>>>(
        &self,
        partition: &ChangedPartition<'a, '_, O, D, R>,
        affected: &mut Vec<AffectedRange<'a, O, D>>,
    ) {
        partition.reach_each(affected, true, |_, _, positions| positions);
    }

    fn converged<'a, R: PartitionRows<'a, O, D, Summary = DistinctKeys<O>>>(
        &self,
        old: &CurrentRow<'a, '_, O, D, R>,
        new: &CurrentRow<'a, '_, O, D, R>,
    ) -> bool {
        self.answer(old) == self.answer(new)
    }
}

/// The number of distinct order keys of some rows, and the first and the last of them.
#[derive(Clone, PartialEq)]
pub struct DistinctKeys<O> {
    keys: u64,
    ends: Option<(O, O)>,
}

impl<O> Default for DistinctKeys<O> {
    fn default() -> Self {
        DistinctKeys { keys: 0, ends: None }
    }
}

impl<O: Clone + PartialEq + 'static> RangeSummary for DistinctKeys<O> {
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
