//! Window functions, kept exact while rows come, change and vanish.
//!
//! placeholder

mod counted;
mod frame;
mod function;
mod least;
mod limit;
mod offset;
mod order;
mod order_tree;
mod percentile;
mod ranges;
mod rank;
mod recompute;
mod share;
mod totals;
mod value;

use std::hash::Hash;

use differential_dataflow::lattice::Lattice;
use differential_dataflow::{ExchangeData, VecCollection};
use timely::order::TotalOrder;
use timely::progress::Timestamp;

pub use counted::{Counted, Every, NotNull, RowCount};
pub use frame::{Frame, range, rows};
pub use function::{At, Change, Epoch, Rows, Span, Summary, WindowFunction};
pub use least::{Extreme, Found, max, min};
pub use offset::{Offset, Or, lag, lead};
pub use order::{NullsLast, Reverse};
pub use percentile::{Between, Percentile, median, percentile};
pub use rank::{DenseRank, Distinct, Rank, RowNumber, dense_rank, rank, row_number};
pub use share::{CumeDist, Ntile, PercentRank, Share, ThroughPeers, cume_dist, ntile, percent_rank, through_peers};
pub use totals::{Added, Number, Read, Total, count, mean, sum, total};
pub use value::{Nth, first_value, last_value, nth_value};

use super::ByKey;

/// Opens a window over the rows of a collection.
pub trait WindowExt<'scope, T: Timestamp + Lattice, D: ExchangeData> {
    /// The rows, parted by `partition` and ordered by `order` and then by the row itself.
    fn window<P, O>(
        self,
        partition: impl Fn(&D) -> P + 'static,
        order: impl Fn(&D) -> O + 'static,
    ) -> Window<'scope, T, P, O, D>
    where
        P: ExchangeData + Hash,
        O: ExchangeData;
}

impl<'scope, T: Timestamp + Lattice, D: ExchangeData> WindowExt<'scope, T, D> for VecCollection<'scope, T, D> {
    fn window<P, O>(
        self,
        partition: impl Fn(&D) -> P + 'static,
        order: impl Fn(&D) -> O + 'static,
    ) -> Window<'scope, T, P, O, D>
    where
        P: ExchangeData + Hash,
        O: ExchangeData,
    {
        let rows = self.map(move |row| (partition(&row), (order(&row), row)));
        Window { partitions: rows.arrange_by_key_named("Window") }
    }
}

/// The rows of a collection by partition, in order.
#[derive(Clone)]
pub struct Window<'scope, T, P, O, D>
where
    T: Timestamp + Lattice,
    P: ExchangeData,
    O: ExchangeData,
    D: ExchangeData,
{
    partitions: ByKey<'scope, T, P, (O, D)>,
}

impl<'scope, T, P, O, D> Window<'scope, T, P, O, D>
where
    T: Timestamp + Lattice + TotalOrder,
    P: ExchangeData + Hash,
    O: ExchangeData,
    D: ExchangeData,
{
    /// Each row with what the functions answer for it.
    pub fn select<F: WindowFunction<O, D>>(self, functions: F) -> VecCollection<'scope, T, (D, F::Answer)> {
        ranges::each_row(self.partitions, "Window: ranges", functions, |(_, row), answer| Some((row.clone(), answer)))
    }

    /// Each partition that has rows, with what the functions answer for its last row.
    pub fn per_partition<F: WindowFunction<O, D>>(self, functions: F) -> VecCollection<'scope, T, (P, F::Answer)> {
        ranges::last_row(self.partitions, "Window: last row", functions, |partition, answer| {
            (partition.clone(), answer)
        })
    }

    /// The first `rows` rows of each partition.
    pub fn first(self, rows: u64) -> VecCollection<'scope, T, D> {
        ranges::each_row(self.partitions, "Window: first", limit::Within { rows }, |(_, row), is_within| {
            is_within.map(|()| row.clone())
        })
    }

    /// The first `rows` rows of each partition, numbered from 1.
    pub fn first_numbered(self, rows: u64) -> VecCollection<'scope, T, (D, u64)> {
        ranges::each_row(self.partitions, "Window: first", limit::Numbered { rows }, |(_, row), number| {
            number.map(|number| (row.clone(), number))
        })
    }
}

impl<'scope, T, P, O, D> Window<'scope, T, P, O, D>
where
    T: Timestamp + Lattice,
    P: ExchangeData + Hash,
    O: ExchangeData,
    D: ExchangeData,
{
    /// The window with every answer of a partition worked out again when it changes: for times that are not totally ordered.
    #[must_use]
    pub fn recomputed(self) -> Recomputed<'scope, T, P, O, D> {
        Recomputed { partitions: self.partitions }
    }
}

/// A window whose answers are worked out again, partition by partition.
#[derive(Clone)]
pub struct Recomputed<'scope, T, P, O, D>
where
    T: Timestamp + Lattice,
    P: ExchangeData,
    O: ExchangeData,
    D: ExchangeData,
{
    partitions: ByKey<'scope, T, P, (O, D)>,
}

impl<'scope, T, P, O, D> Recomputed<'scope, T, P, O, D>
where
    T: Timestamp + Lattice,
    P: ExchangeData,
    O: ExchangeData,
    D: ExchangeData,
{
    /// Each row with what the functions answer for it.
    pub fn select<F: WindowFunction<O, D>>(self, functions: F) -> VecCollection<'scope, T, (D, F::Answer)> {
        recompute::each_row(self.partitions, "Window: recompute", functions, |(_, row), answer| {
            Some((row.clone(), answer))
        })
    }

    /// Each partition that has rows, with what the functions answer for its last row.
    pub fn per_partition<F: WindowFunction<O, D>>(self, functions: F) -> VecCollection<'scope, T, (P, F::Answer)> {
        recompute::last_row(self.partitions, "Window: recompute", functions, |partition, answer| {
            (partition.clone(), answer)
        })
    }

    /// The first `rows` rows of each partition.
    pub fn first(self, rows: u64) -> VecCollection<'scope, T, D> {
        recompute::each_row(self.partitions, "Window: recompute", limit::Within { rows }, |(_, row), is_within| {
            is_within.map(|()| row.clone())
        })
    }

    /// The first `rows` rows of each partition, numbered from 1.
    pub fn first_numbered(self, rows: u64) -> VecCollection<'scope, T, (D, u64)> {
        recompute::each_row(self.partitions, "Window: recompute", limit::Numbered { rows }, |(_, row), number| {
            number.map(|number| (row.clone(), number))
        })
    }
}
