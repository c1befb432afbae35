//! Cumulative distribution, percent rank and tiles: the position of a row relative to its partition.

use serde::{Deserialize, Serialize};

use super::function::{AffectedRange, ChangedPartition, CurrentRow, PartitionRows, WindowFunction};
use super::functions::Functions;
use super::rank::Rank;

impl<O, D> Functions<O, D> {
    /// The fraction of the partition's rows that precede the row or are its peers, itself included.
    ///
    /// *Updates per change*: 2 for each row of the partition, plus 1, whenever the number of rows changes. To avoid
    /// that, keep the numerator, [`through_peers`](Self::through_peers), and the number of rows [per
    /// partition](super::Window::per_partition), and divide when the answer is read.
    ///
    /// ```
    /// # use millstream_operators::prelude::*;
    /// # timely::example(|scope| {
    /// let scores = scope.new_collection_from([10, 20, 20, 30]).1;
    /// let shares = window(scores, "Scores", |_| (), |score| *score).select(|w| w.cume_dist());
    /// let of_four = |part| Fraction { part, whole: 4 };
    /// shares.assert_eq(
    ///     scope.new_collection_from([(10, of_four(1)), (20, of_four(3)), (20, of_four(3)), (30, of_four(4))]).1,
    /// );
    /// assert_eq!(of_four(3).to_f64(), 0.75);
    /// # });
    /// ```
    #[must_use]
    pub fn cume_dist(self) -> CumeDist {
        CumeDist
    }

    /// The number of rows through the row's last peer: the numerator of [`cume_dist`](Self::cume_dist).
    ///
    /// *Updates per change*: 2 for each row from the changed row's first peer on, plus 1; if an epoch inserts and
    /// deletes as many rows, only rows between them change.
    ///
    /// ```
    /// # use millstream_operators::prelude::*;
    /// # timely::example(|scope| {
    /// let scores = scope.new_collection_from([10, 20, 20, 30]).1;
    /// let through = window(scores, "Scores", |_| (), |score| *score).select(|w| w.through_peers());
    /// through.assert_eq(scope.new_collection_from([(10, 1), (20, 3), (20, 3), (30, 4)]).1);
    /// # });
    /// ```
    #[must_use]
    pub fn through_peers(self) -> ThroughPeers {
        ThroughPeers
    }

    /// (rank − 1) / (rows − 1); 0 in a partition of one row.
    ///
    /// *Updates per change*: 2 for each row of the partition, plus 1, whenever the number of rows changes. To avoid
    /// that, keep [`rank`](Self::rank) and the number of rows [per partition](super::Window::per_partition), and divide
    /// when the answer is read.
    ///
    /// ```
    /// # use millstream_operators::prelude::*;
    /// # timely::example(|scope| {
    /// let scores = scope.new_collection_from([10, 20, 30]).1;
    /// let ranks = window(scores, "Scores", |_| (), |score| *score).select(|w| w.percent_rank());
    /// let of_two = |part| Fraction { part, whole: 2 };
    /// ranks.assert_eq(scope.new_collection_from([(10, of_two(0)), (20, of_two(1)), (30, of_two(2))]).1);
    /// # });
    /// ```
    #[must_use]
    pub fn percent_rank(self) -> PercentRank {
        PercentRank
    }

    /// The number of the row's tile, from 1, when the partition is divided into `tiles` tiles of equal size, or with
    /// the larger tiles first: ten rows in four tiles are 3, 3, 2, 2. With fewer rows than tiles, each row is a tile.
    ///
    /// *Updates per change*: ≤ 2 · (`tiles` − 1) + 1, since at most one row crosses each boundary. *Work*: O(log n) for
    /// each boundary.
    ///
    /// ```
    /// # use millstream_operators::prelude::*;
    /// # timely::example(|scope| {
    /// let scores = scope.new_collection_from([10, 20, 30, 40, 50]).1;
    /// let tiles = window(scores, "Scores", |_| (), |score| *score).select(|w| w.ntile(3));
    /// tiles.assert_eq(scope.new_collection_from([(10, 1), (20, 1), (30, 2), (40, 2), (50, 3)]).1);
    /// # });
    /// ```
    ///
    /// # Panics
    /// If `tiles` is zero.
    #[must_use]
    pub fn ntile(self, tiles: u64) -> Ntile {
        assert!(tiles > 0, "ntile: found 0 tiles, wanted at least 1");
        Ntile { tiles }
    }
}

/// A fraction of the rows of a partition. It is exact, and is divided only when read.
///
/// Two fractions are equal if their parts are: 1/2 is not 2/4. The order is that of the fields, not of the values; it
/// serves only to make fractions records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fraction {
    /// The numerator, a number of rows.
    pub part: u64,
    /// The denominator, at least 1.
    pub whole: u64,
}

impl Fraction {
    /// The fraction as a float.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of rows are below 2⁵³")]
    pub fn to_f64(self) -> f64 {
        self.part as f64 / self.whole as f64
    }
}

/// See [`Functions::cume_dist`].
#[derive(Clone, Copy, Debug)]
pub struct CumeDist;

/// See [`Functions::through_peers`].
#[derive(Clone, Copy, Debug)]
pub struct ThroughPeers;

/// See [`Functions::percent_rank`].
#[derive(Clone, Copy, Debug)]
pub struct PercentRank;

/// See [`Functions::ntile`].
#[derive(Clone, Copy, Debug)]
pub struct Ntile {
    tiles: u64,
}

impl<O: Ord + 'static, D: Ord + 'static> WindowFunction<O, D> for CumeDist {
    type Answer = Fraction;
    type Summary = ();

    fn summary(&self, _row: &(O, D), _copies: u64) {}

    fn answer<'a, R: PartitionRows<'a, O, D, Summary = ()>>(&self, at: &CurrentRow<'a, '_, O, D, R>) -> Fraction {
        Fraction { part: at.peers().end, whole: at.rows.len() }
    }

    fn reach<'a, R: PartitionRows<'a, O, D, Summary = ()>>(
        &self,
        partition: &ChangedPartition<'a, '_, O, D, R>,
        affected: &mut Vec<AffectedRange<'a, O, D>>,
    ) {
        if partition.old.len() == partition.new.len() {
            ThroughPeers.reach(partition, affected)
        } else {
            partition.reach_all(affected)
        }
    }

    fn converged<'a, R: PartitionRows<'a, O, D, Summary = ()>>(
        &self,
        old: &CurrentRow<'a, '_, O, D, R>,
        new: &CurrentRow<'a, '_, O, D, R>,
    ) -> bool {
        ThroughPeers.converged(old, new)
    }
}

impl<O: Ord + 'static, D: Ord + 'static> WindowFunction<O, D> for ThroughPeers {
    type Answer = u64;
    type Summary = ();

    fn summary(&self, _row: &(O, D), _copies: u64) {}

    fn answer<'a, R: PartitionRows<'a, O, D, Summary = ()>>(&self, at: &CurrentRow<'a, '_, O, D, R>) -> u64 {
        at.peers().end
    }

    fn reach<'a, R: PartitionRows<'a, O, D, Summary = ()>>(
        &self,
        partition: &ChangedPartition<'a, '_, O, D, R>,
        affected: &mut Vec<AffectedRange<'a, O, D>>,
    ) {
        partition.reach_each(affected, true, |rows, row, positions| {
            let peers = rows.peers(&row.0);
            peers.start..peers.end.max(positions.end)
        });
    }

    fn converged<'a, R: PartitionRows<'a, O, D, Summary = ()>>(
        &self,
        old: &CurrentRow<'a, '_, O, D, R>,
        new: &CurrentRow<'a, '_, O, D, R>,
    ) -> bool {
        old.peers().end == new.peers().end
    }
}

impl<O: Ord + 'static, D: Ord + 'static> WindowFunction<O, D> for PercentRank {
    type Answer = Fraction;
    type Summary = ();

    fn summary(&self, _row: &(O, D), _copies: u64) {}

    fn answer<'a, R: PartitionRows<'a, O, D, Summary = ()>>(&self, at: &CurrentRow<'a, '_, O, D, R>) -> Fraction {
        Fraction { part: at.peers().start, whole: (at.rows.len() - 1).max(1) }
    }

    fn reach<'a, R: PartitionRows<'a, O, D, Summary = ()>>(
        &self,
        partition: &ChangedPartition<'a, '_, O, D, R>,
        affected: &mut Vec<AffectedRange<'a, O, D>>,
    ) {
        if partition.old.len() == partition.new.len() {
            Rank.reach(partition, affected)
        } else {
            partition.reach_all(affected)
        }
    }

    fn converged<'a, R: PartitionRows<'a, O, D, Summary = ()>>(
        &self,
        old: &CurrentRow<'a, '_, O, D, R>,
        new: &CurrentRow<'a, '_, O, D, R>,
    ) -> bool {
        Rank.converged(old, new)
    }
}

impl<O: Ord + 'static, D: Ord + 'static> WindowFunction<O, D> for Ntile {
    type Answer = u64;
    type Summary = ();

    fn summary(&self, _row: &(O, D), _copies: u64) {}

    fn answer<'a, R: PartitionRows<'a, O, D, Summary = ()>>(&self, at: &CurrentRow<'a, '_, O, D, R>) -> u64 {
        let (small, large) = (at.rows.len() / self.tiles, at.rows.len() % self.tiles);
        let in_large = large * (small + 1);
        let before = match at.position.checked_sub(in_large) {
            None => at.position / (small + 1),
            Some(after) => large + after / small,
        };
        before + 1
    }

    /// An inserted row moves each boundary by at most one position, and the rows after it by one: at most one row
    /// crosses each boundary.
    fn reach<'a, R: PartitionRows<'a, O, D, Summary = ()>>(
        &self,
        partition: &ChangedPartition<'a, '_, O, D, R>,
        affected: &mut Vec<AffectedRange<'a, O, D>>,
    ) {
        let (old, new) = (partition.old.len(), partition.new.len());
        for tile in 1..self.tiles.min(old.max(new)) {
            partition.reach_between(affected, self.boundary(old, tile), self.boundary(new, tile));
        }
    }
}

impl Ntile {
    /// The number of rows in the first `tiles` tiles of a partition.
    fn boundary(self, rows: u64, tiles: u64) -> u64 {
        tiles * (rows / self.tiles) + tiles.min(rows % self.tiles)
    }
}
