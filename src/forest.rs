//! How normal an order is: an isolation forest over quantity, price and discount.
//!
//! What is rare and different is cut off from the rest by few random cuts. A tree cuts a small sample of points at random
//! places until each is alone; in a forest, the mean depth at which a point ends tells how normal it is. With E(h) that depth over
//! the trees and c(ψ) what it is on average for samples of ψ points, the score is
//!
//! ```text
//! score = zero − 2^(−E(h) / c(ψ))      larger is more normal, below 0 is an anomaly
//! ```
//!
//! where *zero* makes the contamination, a tenth if nothing else is said, of the points it was trained on anomalies. F. T. Liu,
//! K. M. Ting, Z.-H. Zhou: *Isolation Forest* (ICDM 2008) and *Isolation-Based Anomaly Detection* (TKDD 2012); scores and their zero
//! are those of scikit-learn's `decision_function`.
//!
//! **Exact.** Points, cuts and depths are integers; a score is one power of two, rounded to 10⁻⁹. It is the same on every machine,
//! however points are batched. Cuts are drawn uniformly between the least and the greatest value of a sample, so whether
//! values are standardised first makes no difference: they stay in their own units.
//!
//! *Cost of a score*: O(log cuts) for each feature, and O(1) for each tree. *Memory*: about 8 KB a tree,
//! and a byte a tree for each different cut of all: 2 MB with the usual 100 trees.

mod file;
mod grow;
mod isolation_forest;
mod point;
mod scorer;

pub use isolation_forest::{Forest, Training};
pub use point::{Point, point};

#[cfg(test)]
mod tests;
