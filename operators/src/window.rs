//! Window functions, kept exact as rows are inserted, corrected and deleted.
//!
//! A window partitions the rows of a collection and orders each partition. Window functions compute an answer for every
//! row from the rows around it:
//!
//! ```
//! use millstream_operators::prelude::*;
//!
//! #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
//! struct Order {
//!     customer: u32,
//!     day: u32,
//!     id: u32,
//!     amount: i64,
//! }
//!
//! timely::example(|scope| {
//!     let order = |id, day, amount| Order { customer: 7, day, id, amount };
//!     let orders = scope.new_collection_from([order(1, 20, 500), order(2, 10, 300)]).1;
//!
//!     let answers = window(orders, "By day", |order| order.customer, |order| (order.day, order.id))
//!         .select(|w| (w.row_number(), w.lag(1, |order| order.amount), w.ntile(4)));
//!
//!     answers.map(|(order, answers)| (order.id, answers)).assert_eq(
//!         scope.new_collection_from([(2, (1, None, 1)), (1, (2, Some(300), 2))]).1,
//!     );
//! });
//! ```
//!
//! [`window()`] takes a collection, [`window_over`] an existing arrangement.
//!
//! # Functions
//!
//! The functions are methods of [`Functions`], which [`Window::select`] passes to its closure. The table gives the cost
//! of one inserted row in a partition of n rows. *Updates* is both an upper bound and what is sent: an unchanged answer
//! is never sent. *Rows evaluated* is the work of [`Window::select`], besides O(log n) for each range of rows.
//!
//! | function | answer | updates | rows evaluated |
//! |---|---|---|---|
//! | [`row_number`](Functions::row_number), [`rank`](Functions::rank) | position of the row; of the row and its peers | 2 · rows after it + 1 | those |
//! | [`dense_rank`](Functions::dense_rank) | position of its order key | 1 if the key exists, else 2 · rows after it + 1 | those |
//! | [`lag`](Functions::lag), [`lead`](Functions::lead) | value of the row k rows before or after | ≤ 2k + 1 | k + 1 |
//! | [`ntile`](Functions::ntile) | number of its tile, of b tiles | ≤ 2(b − 1) + 1 | b |
//! | [`cume_dist`](Functions::cume_dist), [`percent_rank`](Functions::percent_rank) | relative position | 2n + 1 | n |
//! | [`through_peers`](Functions::through_peers) | numerator of `cume_dist` | 2 · rows from its first peer on + 1 | those |
//! | [`first_value`](Functions::first_value), [`nth_value`](Functions::nth_value) | value of a row of the frame | default frame: 1, or 2n + 1 if that value changes | 1, or n |
//! | [`last_value`](Functions::last_value) | value of the frame's last row | default frame: ≤ 2 · peers + 1 | peers + 1 |
//! | [`sum`](Functions::sum), [`count`](Functions::count), [`mean`](Functions::mean), [`total`](Functions::total) | sum over the frame | 2 · rows whose frame contains it + 1 | those |
//! | [`min`](Functions::min), [`max`](Functions::max) | least or greatest value of the frame | 2 · those whose answer changes + 1 | rows whose frame contains it, until no answer can change |
//! | [`aggregate`](Functions::aggregate) | a [`FrameAggregate`] of your own | as `min` | as `min` |
//!
//! A tuple of up to eight functions is a function; nest tuples for more than eight. The functions of a tuple share the
//! window's state, and their answers are sent together.
//!
//! If an answer, or part of it, is the same for the whole partition, keep that part separately: 2 updates instead of 2
//! for each row. [`Window::per_partition`] answers for the last row of each partition, whose default frame is the
//! partition; [`median`](Functions::median) and [`percentile`](Functions::percentile) are meant for it.
//! [`Window::first`] and [`Window::first_numbered`] keep the first k rows of each partition: ≤ 2 updates, or ≤ 2k if
//! numbered.
//!
//! # Order, ties, nulls, duplicates
//!
//! Rows are ordered by the order key and then by the row itself, so answers are determined by the *set* of rows and not
//! by the history that produced it. Rows with equal order keys are *peers*: they share ranks and default frames. Order
//! is ascending, nulls first; [`Reverse`] and [`NullsLast`] give the other orders.
//!
//! A row of weight w is w rows, each with its own number, and costs as many. A row whose weight is not positive is no
//! row, but its weight is kept: a retraction may precede its row.
//!
//! Value functions, `min` and `max` treat nulls (`None`) as values unless `ignore_nulls` is called. Sums skip nulls.
//!
//! Keys and rows need a total order, and answers are compared for equality, so neither can contain floats. Sums are
//! exact for the same reason: a float sum depends on the order of additions, so a retraction would leave an error
//! behind. Use integers or fixed point (cents, milli-units), and divide when an answer is read.
//!
//! # Frames
//!
//! The default is SQL's, from the start of the partition through the row's last peer. `.rows(..)` counts rows,
//! `.range(..)` compares order keys; see [`WindowFrame`].
//! `GROUPS` frames and `EXCLUDE` are not supported.
//!
//! # Two drivers
//!
//! | | [`Window::select`]: *ranges* | [`Window::recomputed`]: *recompute* |
//! |---|---|---|
//! | times | totally ordered | any lattice |
//! | one change | O(log n), and the rows evaluated | the partition |
//! | state | the rows, in a counted B-tree for each partition | the rows, and the rows with their answers |
//!
//! Use *ranges* unless times are only partially ordered, as in a loop. `benches/window.rs` found no crossover in the
//! cost of a change, from one change per epoch to ten thousand: *ranges* took half the time in partitions of ten to a
//! hundred rows, a thousandth or less in partitions of a million where few answers change, and a third even where every
//! answer changes or ten thousand rows of a million change at once. Loading takes both about as long.
//!
//! *Ranges* evaluates the whole partition once d changed rows of n make d · log₂ n ≥ n. That rule follows from the
//! costs, a search for each range against a step for each row; it has not been measured by itself.
//!
//! Definitions are those of SQL:2016, except that `min` and `max` treat nulls as values. Where engines disagree, they
//! are PostgreSQL's: `operators/tests/postgres.sh` compares with it.

mod aggregate;
mod distribution;
mod extreme;
mod frame;
mod function;
mod functions;
mod lag_lead;
mod limit;
mod nth_value;
mod nulls;
mod order;
mod order_tree;
mod partitions;
mod percentile;
mod ranges;
mod rank;
mod recompute;
mod row_diff;
mod totals;

use std::rc::Rc;

use differential_dataflow::{AsCollection, ExchangeData, VecCollection};
use timely::dataflow::operators::vec::Map;

pub use aggregate::{FrameAggregate, OverFrame};
pub use distribution::{CumeDist, Fraction, Ntile, PercentRank, ThroughPeers};
pub use extreme::{Extreme, ExtremeValue};
pub use frame::WindowFrame;
pub use function::{
    AffectedRange, ChangedPartition, CurrentRow, PartitionRows, RangeSummary, RowChange, WindowFunction,
};
pub use functions::Functions;
pub use lag_lead::{LagLead, WithDefault};
pub use nth_value::NthValue;
pub use nulls::{IgnoreNulls, NotNullCount, NullTreatment, RespectNulls};
pub use order::{NullsLast, Reverse};
pub use percentile::{Percentile, PercentileValue};
pub use rank::{DenseRank, DistinctKeys, Rank, RowNumber};
pub use row_diff::RowDiff;
pub use totals::{Integer, TermSum, Total};

use crate::batch::ByKey;
use crate::bounds::{Epochs, Key, Times};
use partitions::Partitions;

/// The rows of a collection, partitioned by `partition` and ordered by `order` and then by the row itself; see the
/// [module](self).
///
/// The rows are exchanged by partition, so each partition is kept by one worker.
pub fn window<'scope, T: Times, P: Key, O: ExchangeData, D: ExchangeData, R: RowDiff>(
    rows: VecCollection<'scope, T, D, R>,
    name: &str,
    partition: impl Fn(&D) -> P + 'static,
    order: impl Fn(&D) -> O + 'static,
) -> Window<'scope, T, P, O, D> {
    let keyed = rows.inner.map(move |(row, time, diff)| ((partition(&row), (order(&row), row)), time, diff.copies()));
    let partitions = Partitions::Ordered(keyed.as_collection().arrange_by_key_named(&format!("{name}: rows")));
    Window { name: name.into(), partitions }
}

/// The rows of an existing arrangement, partitioned by its key and ordered by `order` and then by the row itself.
///
/// The rows are neither exchanged nor arranged again: each changed row is sorted once more, by its order key.
/// [`window()`] answers the same.
///
/// *State*: as [`window()`]. [`Window::select`] and its siblings keep the rows in trees of their own, and hold no
/// handle to the arrangement.
///
/// ```
/// # use millstream_operators::prelude::*;
/// # timely::example(|scope| {
/// let amounts = scope.new_collection_from([('T', 3), ('T', 9), ('U', 4)]).1.arrange_by_key();
/// let best = window_over(amounts.clone(), "Best", |amount| Reverse(*amount)).first(1);
/// best.assert_eq(scope.new_collection_from([9, 4]).1);
/// let numbers = window_over(amounts, "Numbers", |amount| *amount).select(|w| w.row_number());
/// numbers.assert_eq(scope.new_collection_from([(3, 1), (9, 2), (4, 1)]).1);
/// # });
/// ```
pub fn window_over<'scope, T: Times, P: Key, O: ExchangeData, D: ExchangeData>(
    rows: ByKey<'scope, T, P, D>,
    name: &str,
    order: impl Fn(&D) -> O + 'static,
) -> Window<'scope, T, P, O, D> {
    Window { name: name.into(), partitions: Partitions::Unordered(rows, Rc::new(order)) }
}

/// The rows of a collection by partition, in order; made by [`window()`] or [`window_over`].
///
/// Clones share the arrangement, so one window can be queried several times.
#[derive(Clone)]
#[must_use = "a window does nothing until it is queried: call `select`, `per_partition`, `first` or `first_numbered`"]
pub struct Window<'scope, T: Times, P: Key, O: ExchangeData, D: ExchangeData> {
    name: String,
    partitions: Partitions<'scope, T, P, O, D>,
}

impl<'scope, T: Times, P: Key, O: ExchangeData, D: ExchangeData> Window<'scope, T, P, O, D> {
    /// Each row with its answers. `functions` returns one function or a tuple of up to eight; nest tuples for more.
    ///
    /// *Updates*: 2 for each row whose answer changes. *Work*: O(log n) for each range of rows that a change may
    /// affect, and the rows in it; at most the partition. *State*: every row once, and a summary for each node of the
    /// tree if a function needs one.
    pub fn select<F: WindowFunction<O, D>>(
        self,
        functions: impl FnOnce(Functions<O, D>) -> F,
    ) -> VecCollection<'scope, T, (D, F::Answer)>
    where
        T: Epochs,
    {
        ranges::each_row(self.partitions, &self.name, functions(Functions::new()), with_answer)
    }

    /// Each partition that has rows, with the answers for its last row.
    ///
    /// The last row's default frame is the partition, so this is the partition's first value, sum, row count or median.
    ///
    /// *Updates*: ≤ 2. *Work*: O(log n). *State*: as [`select`](Self::select).
    ///
    /// ```
    /// # use millstream_operators::prelude::*;
    /// # timely::example(|scope| {
    /// let amounts = scope.new_collection_from([('T', 3), ('T', 4), ('T', 9)]).1;
    /// let found = window(amounts, "Products", |row| row.0, |row| row.1)
    ///     .per_partition(|w| (w.median(), w.sum(|row| row.1)))
    ///     .map(|(product, (median, sum))| (product, median.unwrap().lower, sum.unwrap().unwrap()));
    /// found.assert_eq(scope.new_collection_from([('T', 4, 16)]).1);
    /// # });
    /// ```
    pub fn per_partition<F: WindowFunction<O, D>>(
        self,
        functions: impl FnOnce(Functions<O, D>) -> F,
    ) -> VecCollection<'scope, T, (P, F::Answer)>
    where
        T: Epochs,
    {
        ranges::last_row(self.partitions, &self.name, functions(Functions::new()), of_partition)
    }

    /// The first `rows` rows of each partition. Of equal rows, as many as fit.
    ///
    /// *Updates*: ≤ 2. *Work*: O(log n). *State*: as [`select`](Self::select), since deletions can make any row one of
    /// the first.
    ///
    /// ```
    /// # use millstream_operators::prelude::*;
    /// # timely::example(|scope| {
    /// let amounts = scope.new_collection_from([('T', 3), ('T', 4), ('T', 9)]).1;
    /// let best = window(amounts, "Best", |row| row.0, |row| Reverse(row.1)).first(2);
    /// best.assert_eq(scope.new_collection_from([('T', 9), ('T', 4)]).1);
    /// # });
    /// ```
    pub fn first(self, rows: u64) -> VecCollection<'scope, T, D>
    where
        T: Epochs,
    {
        ranges::each_row(self.partitions, &self.name, limit::FirstRows { rows }, if_within)
    }

    /// The first `rows` rows of each partition, numbered from 1.
    ///
    /// *Updates*: ≤ 2 · `rows`. *Work*: O(log n + `rows`). *State*: as [`select`](Self::select).
    ///
    /// ```
    /// # use millstream_operators::prelude::*;
    /// # timely::example(|scope| {
    /// let amounts = scope.new_collection_from([('T', 3), ('T', 4), ('T', 9)]).1;
    /// let best = window(amounts, "Best", |row| row.0, |row| Reverse(row.1)).first_numbered(2);
    /// best.assert_eq(scope.new_collection_from([(('T', 9), 1), (('T', 4), 2)]).1);
    /// # });
    /// ```
    pub fn first_numbered(self, rows: u64) -> VecCollection<'scope, T, (D, u64)>
    where
        T: Epochs,
    {
        ranges::each_row(self.partitions, &self.name, limit::FirstNumbered { rows }, if_numbered)
    }

    /// The same window, evaluated by recomputing each partition that changes: for times that are only partially
    /// ordered, as in a loop.
    pub fn recomputed(self) -> RecomputedWindow<'scope, T, P, O, D> {
        RecomputedWindow(self)
    }
}

/// A [`Window`] that recomputes each partition that changes; made by [`Window::recomputed`].
///
/// The answers are those of a [`Window`]. *Work*: the partition. *State*: every row, and every row with its answers.
#[derive(Clone)]
#[must_use = "a window does nothing until it is queried: call `select`, `per_partition`, `first` or `first_numbered`"]
pub struct RecomputedWindow<'scope, T, P, O, D>(Window<'scope, T, P, O, D>)
where
    T: Times,
    P: Key,
    O: ExchangeData,
    D: ExchangeData;

impl<'scope, T: Times, P: Key, O: ExchangeData, D: ExchangeData> RecomputedWindow<'scope, T, P, O, D> {
    /// As [`Window::select`].
    pub fn select<F: WindowFunction<O, D>>(
        self,
        functions: impl FnOnce(Functions<O, D>) -> F,
    ) -> VecCollection<'scope, T, (D, F::Answer)> {
        recompute::each_row(self.0.partitions, &self.0.name, functions(Functions::new()), with_answer)
    }

    /// As [`Window::per_partition`].
    pub fn per_partition<F: WindowFunction<O, D>>(
        self,
        functions: impl FnOnce(Functions<O, D>) -> F,
    ) -> VecCollection<'scope, T, (P, F::Answer)> {
        recompute::last_row(self.0.partitions, &self.0.name, functions(Functions::new()), of_partition)
    }

    /// As [`Window::first`].
    pub fn first(self, rows: u64) -> VecCollection<'scope, T, D> {
        recompute::each_row(self.0.partitions, &self.0.name, limit::FirstRows { rows }, if_within)
    }

    /// As [`Window::first_numbered`].
    pub fn first_numbered(self, rows: u64) -> VecCollection<'scope, T, (D, u64)> {
        recompute::each_row(self.0.partitions, &self.0.name, limit::FirstNumbered { rows }, if_numbered)
    }
}

fn with_answer<O, D: Clone, A>((_, row): &(O, D), answer: A) -> Option<(D, A)> {
    Some((row.clone(), answer))
}

fn of_partition<P: Clone, A>(partition: &P, answer: A) -> (P, A) {
    (partition.clone(), answer)
}

fn if_within<O, D: Clone>((_, row): &(O, D), is_within: Option<()>) -> Option<D> {
    is_within.map(|()| row.clone())
}

fn if_numbered<O, D: Clone>((_, row): &(O, D), number: Option<u64>) -> Option<(D, u64)> {
    number.map(|number| (row.clone(), number))
}
