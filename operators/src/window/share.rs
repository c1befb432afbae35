//! How much of the partition stands before a row: cumulative distribution, percent rank, tiles.

use serde::{Deserialize, Serialize};

use super::Functions;
use super::function::{At, Epoch, Rows, Span, WindowFunction};
use super::rank::Rank;

impl<O, D> Functions<O, D> {
    /// The share of the partition's rows that do not stand behind the row and its peers.
    ///
    /// *Updates per change*: 2 for each row, always, if the number of rows changes. Where that is too much, keep the
    /// numerator, [`through_peers`](Self::through_peers), and the number of rows apart, and divide where a table is
    /// written.
    ///
    /// ```
    /// # use differential_dataflow::input::Input;
    /// # use millstream_operators::window::{Share, WindowExt};
    /// # timely::example(|scope| {
    /// let scores = scope.new_collection_from([10, 20, 20, 30]).1;
    /// let shares = scores.window(|_| (), |score| *score).select(|w| w.cume_dist());
    /// let of_four = |part| Share { part, whole: 4 };
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

    /// How many rows do not stand behind the row and its peers: the numerator of [`cume_dist`](Self::cume_dist).
    ///
    /// *Updates per change*: 2 for each row from its first peer on, until as many rows have come as have gone.
    ///
    /// ```
    /// # use differential_dataflow::input::Input;
    /// # use millstream_operators::window::WindowExt;
    /// # timely::example(|scope| {
    /// let scores = scope.new_collection_from([10, 20, 20, 30]).1;
    /// let through = scores.window(|_| (), |score| *score).select(|w| w.through_peers());
    /// through.assert_eq(scope.new_collection_from([(10, 1), (20, 3), (20, 3), (30, 4)]).1);
    /// # });
    /// ```
    #[must_use]
    pub fn through_peers(self) -> ThroughPeers {
        ThroughPeers
    }

    /// (rank − 1) / (rows − 1); 0 for a single row.
    ///
    /// *Updates per change*: 2 for each row, always, if the number of rows changes. Where that is too much, keep
    /// [`rank`](Self::rank) and the number of rows apart, and divide where a table is written.
    ///
    /// ```
    /// # use differential_dataflow::input::Input;
    /// # use millstream_operators::window::{Share, WindowExt};
    /// # timely::example(|scope| {
    /// let scores = scope.new_collection_from([10, 20, 30]).1;
    /// let ranks = scores.window(|_| (), |score| *score).select(|w| w.percent_rank());
    /// let of_two = |part| Share { part, whole: 2 };
    /// ranks.assert_eq(scope.new_collection_from([(10, of_two(0)), (20, of_two(1)), (30, of_two(2))]).1);
    /// # });
    /// ```
    #[must_use]
    pub fn percent_rank(self) -> PercentRank {
        PercentRank
    }

    /// The number, from 1, of the row's tile, of `tiles` as equal as they can be, the larger ones first: ten rows in four
    /// tiles are 3, 3, 2, 2. With fewer rows than tiles, each row is a tile of its own.
    ///
    /// *Updates per change*: at most one row crosses each boundary between tiles: ≤ 2 · (`tiles` − 1) + 1.
    ///
    /// ```
    /// # use differential_dataflow::input::Input;
    /// # use millstream_operators::window::WindowExt;
    /// # timely::example(|scope| {
    /// let scores = scope.new_collection_from([10, 20, 30, 40, 50]).1;
    /// let tiles = scores.window(|_| (), |score| *score).select(|w| w.ntile(3));
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

/// A fraction that is not divided until it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Share {
    /// Rows of which there are some.
    pub part: u64,
    /// Rows in all; at least 1.
    pub whole: u64,
}

impl Share {
    /// The share as a float.
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
    type Answer = Share;
    type Summary = ();

    fn summary(&self, _row: &(O, D), _copies: u64) {}

    fn answer<'a, R: Rows<'a, O, D, Summary = ()>>(&self, at: &At<'a, '_, O, D, R>) -> Share {
        Share { part: at.peers().end, whole: at.rows.len() }
    }

    fn reach<'a, R: Rows<'a, O, D, Summary = ()>>(
        &self,
        epoch: &Epoch<'a, '_, O, D, R>,
        spans: &mut Vec<Span<'a, O, D>>,
    ) {
        if epoch.old.len() == epoch.new.len() { ThroughPeers.reach(epoch, spans) } else { epoch.reach_all(spans) }
    }

    fn settled<'a, R: Rows<'a, O, D, Summary = ()>>(
        &self,
        old: &At<'a, '_, O, D, R>,
        new: &At<'a, '_, O, D, R>,
    ) -> bool {
        ThroughPeers.settled(old, new)
    }
}

impl<O: Ord + 'static, D: Ord + 'static> WindowFunction<O, D> for ThroughPeers {
    type Answer = u64;
    type Summary = ();

    fn summary(&self, _row: &(O, D), _copies: u64) {}

    fn answer<'a, R: Rows<'a, O, D, Summary = ()>>(&self, at: &At<'a, '_, O, D, R>) -> u64 {
        at.peers().end
    }

    fn reach<'a, R: Rows<'a, O, D, Summary = ()>>(
        &self,
        epoch: &Epoch<'a, '_, O, D, R>,
        spans: &mut Vec<Span<'a, O, D>>,
    ) {
        epoch.reach_each(spans, true, |rows, row, positions| {
            let peers = rows.peers(&row.0);
            peers.start..peers.end.max(positions.end)
        });
    }

    fn settled<'a, R: Rows<'a, O, D, Summary = ()>>(
        &self,
        old: &At<'a, '_, O, D, R>,
        new: &At<'a, '_, O, D, R>,
    ) -> bool {
        old.peers().end == new.peers().end
    }
}

impl<O: Ord + 'static, D: Ord + 'static> WindowFunction<O, D> for PercentRank {
    type Answer = Share;
    type Summary = ();

    fn summary(&self, _row: &(O, D), _copies: u64) {}

    fn answer<'a, R: Rows<'a, O, D, Summary = ()>>(&self, at: &At<'a, '_, O, D, R>) -> Share {
        Share { part: at.peers().start, whole: (at.rows.len() - 1).max(1) }
    }

    fn reach<'a, R: Rows<'a, O, D, Summary = ()>>(
        &self,
        epoch: &Epoch<'a, '_, O, D, R>,
        spans: &mut Vec<Span<'a, O, D>>,
    ) {
        if epoch.old.len() == epoch.new.len() { Rank.reach(epoch, spans) } else { epoch.reach_all(spans) }
    }

    fn settled<'a, R: Rows<'a, O, D, Summary = ()>>(
        &self,
        old: &At<'a, '_, O, D, R>,
        new: &At<'a, '_, O, D, R>,
    ) -> bool {
        Rank.settled(old, new)
    }
}

impl<O: Ord + 'static, D: Ord + 'static> WindowFunction<O, D> for Ntile {
    type Answer = u64;
    type Summary = ();

    fn summary(&self, _row: &(O, D), _copies: u64) {}

    fn answer<'a, R: Rows<'a, O, D, Summary = ()>>(&self, at: &At<'a, '_, O, D, R>) -> u64 {
        let (small, large) = (at.rows.len() / self.tiles, at.rows.len() % self.tiles);
        let in_large = large * (small + 1);
        let before = match at.position.checked_sub(in_large) {
            None => at.position / (small + 1),
            Some(behind) => large + behind / small,
        };
        before + 1
    }

    /// One more row moves each boundary by one or not at all, and the rows behind it by one too: at most one row crosses
    /// each boundary, and only those are looked at.
    fn reach<'a, R: Rows<'a, O, D, Summary = ()>>(
        &self,
        epoch: &Epoch<'a, '_, O, D, R>,
        spans: &mut Vec<Span<'a, O, D>>,
    ) {
        let (old, new) = (epoch.old.len(), epoch.new.len());
        for tile in 1..self.tiles.min(old.max(new)) {
            epoch.reach_between(spans, self.boundary(old, tile), self.boundary(new, tile));
        }
    }
}

impl Ntile {
    /// How many rows are in the first `tiles` tiles of a partition.
    fn boundary(self, rows: u64, tiles: u64) -> u64 {
        tiles * (rows / self.tiles) + tiles.min(rows % self.tiles)
    }
}
