//! Times that follow each other.

use differential_dataflow::lattice::Lattice;
use timely::order::TotalOrder;
use timely::progress::Timestamp;

/// Totally ordered times.
pub trait Epochs: Timestamp + Lattice + TotalOrder {}

impl<T: Timestamp + Lattice + TotalOrder> Epochs for T {}
