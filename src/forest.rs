//! Anomaly scores of orders: an isolation forest over quantity, price and discount.
//!
//! Anomalies are separated from other points by few random cuts. Each tree cuts a small sample of points at random
//! values until every point is isolated; the mean depth of a point over all trees measures how normal it is. With that
//! depth E(h) and the expected depth c(ψ) in samples of ψ points, the score is
//!
//! ```text
//! score = zero − 2^(−E(h) / c(ψ))      larger is more normal, below 0 is an anomaly
//! ```
//!
//! where *zero* is chosen so that the contamination, by default a tenth of the training points, scores below 0. See F.
//! T. Liu, K. M. Ting, Z.-H. Zhou: *Isolation Forest* (ICDM 2008) and *Isolation-Based Anomaly Detection* (TKDD 2012).
//! Scores are those of scikit-learn's `decision_function`.
//!
//! **Deterministic.** Points, cuts and depths are integers; a score is one power of two, rounded to 10⁻⁹. It does not
//! depend on the machine or on batching. Cuts are drawn uniformly between the minimum and maximum of a sample, so
//! scores are invariant under standardisation, and values keep their units.
//!
//! *Cost of a score*: O(log cuts) per feature and O(1) per tree. *Memory*: about 8 KB per tree, plus one byte per tree
//! and distinct cut: 2 MB with the default of 100 trees.

mod file;
mod grow;
mod isolation_forest;
mod point;
mod scorer;

pub use isolation_forest::{Forest, Training};
pub use point::{Point, point};

#[cfg(test)]
mod tests;
