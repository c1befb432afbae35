//! Names for the bounds that most operators share.

use std::hash::Hash;

use differential_dataflow::ExchangeData;
use differential_dataflow::lattice::Lattice;
use timely::order::TotalOrder;
use timely::progress::Timestamp;

/// Timestamps that are totally ordered, such as the numbers of epochs.
///
/// Operators that keep one state, the latest, need them: in a loop or a nested scope, where times are pairs that are only
/// partially ordered, one state does not exist.
#[diagnostic::on_unimplemented(
    message = "this operator needs totally ordered times, and `{Self}` is not totally ordered",
    label = "times of a nested scope are partially ordered",
    note = "apply the operator outside of the nested scope, to a collection that entered it or left it",
    note = "inside, use an operator for any lattice: `aggregate` for `aggregate_total`, `top_k` for `reduce_sorted`, `left_join` for `left_join_unique` and `latest_joined`, `Window::recomputed` for windows"
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
