//! Window functions, kept exact while rows come, change and vanish.
//!
//! A window parts rows and orders each partition. Functions answer for every row, by what stands around it:
//!
//! ```
//! use differential_dataflow::input::Input;
//! use millstream_operators::window::WindowExt;
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
//!     let answers = orders
//!         .window(|order| order.customer, |order| (order.day, order.id))
//!         .select(|w| (w.row_number(), w.lag(1, |order| order.amount), w.ntile(4)));
//!
//!     answers.map(|(order, answers)| (order.id, answers)).assert_eq(
//!         scope.new_collection_from([(2, (1, None, 1)), (1, (2, Some(300), 2))]).1,
//!     );
//! });
//! ```
//!
//! # Which function
//!
//! One row is inserted into a partition of n. *Updates* are what must be sent, and what is sent: an answer that stays
//! is not. *Rows looked at* is what [`Window::select`] does beside O(log n) for each stretch of rows.
//!
//! Functions are methods of [`Functions`], which [`Window::select`] hands out.
//!
//! | function | answers | updates | rows looked at |
//! |---|---|---|---|
//! | [`row_number`](Functions::row_number), [`rank`](Functions::rank) | the place of the row; of it and its peers | 2 · rows behind + 1 | those |
//! | [`dense_rank`](Functions::dense_rank) | the place of its order key | 1 if the key is there, else 2 · rows behind + 1 | those |
//! | [`lag`](Functions::lag), [`lead`](Functions::lead) | what the row k places before or behind says | ≤ 2k + 1 | k + 1 |
//! | [`ntile`](Functions::ntile) | its tile of b equal ones | ≤ 2(b − 1) + 1 | b |
//! | [`cume_dist`](Functions::cume_dist), [`percent_rank`](Functions::percent_rank) | the share of rows before it | 2n + 1 | n |
//! | [`through_peers`](Functions::through_peers) | the numerator of `cume_dist` | 2 · rows from its first peer on + 1 | those |
//! | [`first_value`](Functions::first_value), [`nth_value`](Functions::nth_value) | what a row of the frame says | default frame: 1, or 2n + 1 if that row differs | 1, or n |
//! | [`last_value`](Functions::last_value) | what the last row of the frame says | default frame: ≤ 2 · peers + 1 | peers + 1 |
//! | [`sum`](Functions::sum), [`count`](Functions::count), [`mean`](Functions::mean), [`total`](Functions::total) | a sum over the frame | 2 · rows whose frame has the row + 1 | those |
//! | [`min`](Functions::min), [`max`](Functions::max) | the least or greatest of the frame | of those, the rows where it differs | those, up to where nothing differs any more |
//!
//! Functions in one tuple share the window: the rows are kept once, and an answer is sent as a whole.
//!
//! Where an answer is the same for a whole partition, or has a part that is, keep that part alone: it moves with 2
//! updates where it would move every row. [`Window::per_partition`] gives what functions answer for the last row, whose
//! default frame is the partition; [`median`](Functions::median) and [`percentile`](Functions::percentile) are made for it. [`Window::first`] and
//! [`Window::first_numbered`] are the first rows: 2 updates, 2k if they are numbered.
//!
//! # Order, ties, nulls, duplicates
//!
//! Rows are ordered by the order key and then by the row itself, so every function is one of the *set* of rows: the
//! same whatever way it came about. Rows with the same order key are *peers*, and share ranks and default frames. An order
//! is ascending with nulls first; [`Reverse`] and [`NullsLast`] make the others.
//!
//! A row of weight w is w rows, with a number each, and costs as many. Weights that are not positive are no rows, and are remembered: a
//! retraction may come before its row.
//!
//! Value functions, `min` and `max` take nulls for values like others, unless told to `ignore_nulls`; sums skip them.
//!
//! # Frames
//!
//! The default is SQL's, from the partition's start through the row's last peer. Another is told by [`rows`](Framed::rows),
//! which counts places, or [`range`](Framed::range), which compares order keys.
//!
//! # Two drivers
//!
//! | | [`Window::select`]: *ranges* | [`Window::recomputed`]: *recompute* |
//! |---|---|---|
//! | times | totally ordered | any lattice |
//! | a change | O(log n) and the rows looked at | the partition |
//! | state | the rows, in a counted B-tree for each partition | the rows, and the rows with their answers |
//!
//! The rule: where times are totally ordered, ranges, and else recompute. `benches/window.rs` found no crossover between
//! them in what a change costs, from one change to ten thousand an epoch: ranges took half the time in partitions of ten
//! to a hundred rows, a thousandth and less in partitions of a million where few answers move, and a third even where
//! every answer moves or ten thousand rows of a million change at once. Loading takes both about as long.
//!
//! Within ranges there is another rule: once d changed rows of a partition of n make d · log₂ n ≥ n, the whole partition
//! is walked side by side. It follows from the costs, a search for each stretch against a step for each row, and has not
//! been measured by itself.
//!
//! Definitions are those of SQL:2016, but for nulls in `min` and `max`; where engines disagree, PostgreSQL's, with which a
//! script compares.

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
use std::marker::PhantomData;

use differential_dataflow::lattice::Lattice;
use differential_dataflow::{ExchangeData, VecCollection};
use timely::order::TotalOrder;
use timely::progress::Timestamp;

pub use counted::{Counted, Every, NotNull, RowCount};
pub use frame::{Frame, Framed};
pub use function::{At, Change, Epoch, Rows, Span, Summary, WindowFunction};
pub use least::{Extreme, Found};
pub use offset::{Offset, Or};
pub use order::{NullsLast, Reverse};
pub use percentile::{Between, Percentile};
pub use rank::{DenseRank, Distinct, Rank, RowNumber};
pub use share::{CumeDist, Ntile, PercentRank, Share, ThroughPeers};
pub use totals::{Added, Number, Read, Total};
pub use value::Nth;

use crate::batch::ByKey;

/// Opens a window over the rows of a collection; see the [module](self).
pub trait WindowExt<'scope, T: Timestamp + Lattice, D: ExchangeData>: Sized {
    /// The rows, parted by `partition` and ordered by `order` and then by the row itself.
    fn window<P, O>(
        self,
        partition: impl Fn(&D) -> P + 'static,
        order: impl Fn(&D) -> O + 'static,
    ) -> Window<'scope, T, P, O, D>
    where
        P: ExchangeData + Hash,
        O: ExchangeData,
    {
        self.window_named("Window", partition, order)
    }

    /// As [`window`](Self::window), with a name for its operators.
    fn window_named<P, O>(
        self,
        name: &str,
        partition: impl Fn(&D) -> P + 'static,
        order: impl Fn(&D) -> O + 'static,
    ) -> Window<'scope, T, P, O, D>
    where
        P: ExchangeData + Hash,
        O: ExchangeData;
}

impl<'scope, T: Timestamp + Lattice, D: ExchangeData> WindowExt<'scope, T, D> for VecCollection<'scope, T, D> {
    fn window_named<P, O>(
        self,
        name: &str,
        partition: impl Fn(&D) -> P + 'static,
        order: impl Fn(&D) -> O + 'static,
    ) -> Window<'scope, T, P, O, D>
    where
        P: ExchangeData + Hash,
        O: ExchangeData,
    {
        let rows = self.map(move |row| (partition(&row), (order(&row), row)));
        Window { name: name.into(), partitions: rows.arrange_by_key_named(&format!("{name}: rows")) }
    }
}

/// The window functions there are: see the [module](self).
///
/// What is asked of a window is made with its own, so that closures know the row they are given.
pub struct Functions<O, D>(PhantomData<fn(&O, &D)>);

impl<O, D> Clone for Functions<O, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<O, D> Copy for Functions<O, D> {}

/// The rows of a collection by partition, in order.
///
/// Several questions may be asked of one window: a copy shares its arrangement.
#[derive(Clone)]
pub struct Window<'scope, T, P, O, D>
where
    T: Timestamp + Lattice,
    P: ExchangeData,
    O: ExchangeData,
    D: ExchangeData,
{
    name: String,
    partitions: ByKey<'scope, T, P, (O, D)>,
}

impl<'scope, T, P, O, D> Window<'scope, T, P, O, D>
where
    T: Timestamp + Lattice + TotalOrder,
    P: ExchangeData + Hash,
    O: ExchangeData,
    D: ExchangeData,
{
    /// Each row with what the functions answer for it: one function, or a tuple of up to eight.
    ///
    /// *Updates*: of each row whose answer differs. *Work*: O(log n) for each stretch of rows that a change may reach, and
    /// the rows in it; at most the partition. *State*: every row once, and what the functions' frames need of stretches.
    pub fn select<F: WindowFunction<O, D>>(
        self,
        functions: impl FnOnce(Functions<O, D>) -> F,
    ) -> VecCollection<'scope, T, (D, F::Answer)> {
        ranges::each_row(self.partitions, &self.name, functions(Functions(PhantomData)), with_answer)
    }

    /// Each partition that has rows, with what the functions answer for its last row.
    ///
    /// With the default frame that is the partition: its first value, sum, number of rows, or median.
    ///
    /// *Updates*: ≤ 2. *Work*: O(log n). *State*: as [`select`](Self::select).
    ///
    /// ```
    /// # use differential_dataflow::input::Input;
    /// # use millstream_operators::window::WindowExt;
    /// # timely::example(|scope| {
    /// let amounts = scope.new_collection_from([('T', 3), ('T', 4), ('T', 9)]).1;
    /// let found = amounts
    ///     .window(|row| row.0, |row| row.1)
    ///     .per_partition(|w| (w.median(), w.sum(|row| row.1)))
    ///     .map(|(product, (median, sum))| (product, median.unwrap().lower, sum.unwrap().unwrap()));
    /// found.assert_eq(scope.new_collection_from([('T', 4, 16)]).1);
    /// # });
    /// ```
    pub fn per_partition<F: WindowFunction<O, D>>(
        self,
        functions: impl FnOnce(Functions<O, D>) -> F,
    ) -> VecCollection<'scope, T, (P, F::Answer)> {
        ranges::last_row(self.partitions, &self.name, functions(Functions(PhantomData)), of_partition)
    }

    /// The first `rows` rows of each partition; of rows that are equal, as many as fit.
    ///
    /// *Updates*: ≤ 2. *Work*: O(log n). *State*: as [`select`](Self::select), for every row may come to be among the
    /// first.
    ///
    /// ```
    /// # use differential_dataflow::input::Input;
    /// # use millstream_operators::window::{Reverse, WindowExt};
    /// # timely::example(|scope| {
    /// let amounts = scope.new_collection_from([('T', 3), ('T', 4), ('T', 9)]).1;
    /// let best = amounts.window(|row| row.0, |row| Reverse(row.1)).first(2);
    /// best.assert_eq(scope.new_collection_from([('T', 9), ('T', 4)]).1);
    /// # });
    /// ```
    pub fn first(self, rows: u64) -> VecCollection<'scope, T, D> {
        ranges::each_row(self.partitions, &self.name, limit::Within { rows }, if_within)
    }

    /// The first `rows` rows of each partition, numbered from 1.
    ///
    /// *Updates*: ≤ 2 · `rows`. *Work*: O(log n + `rows`). *State*: as [`select`](Self::select).
    ///
    /// ```
    /// # use differential_dataflow::input::Input;
    /// # use millstream_operators::window::{Reverse, WindowExt};
    /// # timely::example(|scope| {
    /// let amounts = scope.new_collection_from([('T', 3), ('T', 4), ('T', 9)]).1;
    /// let best = amounts.window(|row| row.0, |row| Reverse(row.1)).first_numbered(2);
    /// best.assert_eq(scope.new_collection_from([(('T', 9), 1), (('T', 4), 2)]).1);
    /// # });
    /// ```
    pub fn first_numbered(self, rows: u64) -> VecCollection<'scope, T, (D, u64)> {
        ranges::each_row(self.partitions, &self.name, limit::Numbered { rows }, if_numbered)
    }
}

impl<'scope, T, P, O, D> Window<'scope, T, P, O, D>
where
    T: Timestamp + Lattice,
    P: ExchangeData,
    O: ExchangeData,
    D: ExchangeData,
{
    /// The window with every answer of a partition worked out again when one of its rows changes: for times that are not
    /// totally ordered, as in a loop.
    #[must_use]
    pub fn recomputed(self) -> Recomputed<'scope, T, P, O, D> {
        Recomputed(self)
    }
}

/// A window whose answers are worked out again, partition by partition.
///
/// It answers what a [`Window`] answers. *Work*: the partition. *State*: every row, and every row with its answers.
#[derive(Clone)]
pub struct Recomputed<'scope, T, P, O, D>(Window<'scope, T, P, O, D>)
where
    T: Timestamp + Lattice,
    P: ExchangeData,
    O: ExchangeData,
    D: ExchangeData;

impl<'scope, T, P, O, D> Recomputed<'scope, T, P, O, D>
where
    T: Timestamp + Lattice,
    P: ExchangeData,
    O: ExchangeData,
    D: ExchangeData,
{
    /// As [`Window::select`].
    pub fn select<F: WindowFunction<O, D>>(
        self,
        functions: impl FnOnce(Functions<O, D>) -> F,
    ) -> VecCollection<'scope, T, (D, F::Answer)> {
        recompute::each_row(self.0.partitions, &self.0.name, functions(Functions(PhantomData)), with_answer)
    }

    /// As [`Window::per_partition`].
    pub fn per_partition<F: WindowFunction<O, D>>(
        self,
        functions: impl FnOnce(Functions<O, D>) -> F,
    ) -> VecCollection<'scope, T, (P, F::Answer)> {
        recompute::last_row(self.0.partitions, &self.0.name, functions(Functions(PhantomData)), of_partition)
    }

    /// As [`Window::first`].
    pub fn first(self, rows: u64) -> VecCollection<'scope, T, D> {
        recompute::each_row(self.0.partitions, &self.0.name, limit::Within { rows }, if_within)
    }

    /// As [`Window::first_numbered`].
    pub fn first_numbered(self, rows: u64) -> VecCollection<'scope, T, (D, u64)> {
        recompute::each_row(self.0.partitions, &self.0.name, limit::Numbered { rows }, if_numbered)
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
