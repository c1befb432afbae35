//! Names for the bounds that most operators share.

use std::hash::Hash;

use differential_dataflow::ExchangeData;
use differential_dataflow::lattice::Lattice;
use timely::order::TotalOrder;
use timely::progress::Timestamp;

/// Timestamps that are totally ordered, such as the numbers of epochs.
///
/// Operators that keep only the latest state need them, and windows unless [`recomputed`]. In a loop or a nested scope
/// times are pairs, which are only partially ordered, and no state is the latest.
///
/// [`recomputed`]: crate::window::Window::recomputed
///
/// ```compile_fail
/// use differential_dataflow::input::Input;
/// use millstream_operators::present_keys;
///
/// timely::example(|scope| {
///     let rows = scope.new_collection_from([(1, 2)]).1;
///     scope.iterative::<u64, _, _>(|inner| {
///         // Its times are pairs of an epoch and a round.
///         present_keys(rows.enter(inner).arrange_by_key(), "Keys").leave(scope)
///     });
/// });
/// ```
#[diagnostic::on_unimplemented(
    message = "this operator needs totally ordered times, and `{Self}` is not totally ordered",
    label = "times of a nested scope are partially ordered",
    note = "for a window in a loop, call `.recomputed()` first: `window(…).recomputed().select(…)`",
    note = "for other operators in a loop, use one for any lattice: `aggregate` for `aggregate_total`, \
            `count` for `totals`, `top_k` for `reduce_sorted`, `left_join` for `left_join_unique` and `latest_joined`",
    note = "or apply the operator outside of the nested scope, before the collection enters it or after it leaves"
)]
pub trait Epochs: Timestamp + Lattice + TotalOrder {}

#[diagnostic::do_not_recommend]
impl<T: Timestamp + Lattice + TotalOrder> Epochs for T {}

/// Timestamps of any order: those of epochs and those inside loops.
pub trait Times: Timestamp + Lattice {}

impl<T: Timestamp + Lattice> Times for T {}

/// Records that are sent to the worker of their hash.
pub trait Key: ExchangeData + Hash {}

impl<K: ExchangeData + Hash> Key for K {}
