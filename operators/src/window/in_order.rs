//! Totally ordered times.

use differential_dataflow::lattice::Lattice;
use timely::order::TotalOrder;
use timely::progress::Timestamp;

/// Totally ordered times, such as `u64`: what incremental windows need. Times in a loop are only partially ordered.
#[diagnostic::on_unimplemented(
    message = "an incremental window needs totally ordered times, and `{Self}` is only partially ordered",
    label = "`{Self}` is not totally ordered",
    note = "in a loop, call `.recomputed()` on the window first: `window(…).recomputed().select(…)`"
)]
pub trait InOrder: Timestamp + Lattice + TotalOrder {}

#[diagnostic::do_not_recommend]
impl<T: Timestamp + Lattice + TotalOrder> InOrder for T {}
