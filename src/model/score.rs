//! Anomaly scores.

use serde::{Deserialize, Serialize};

/// An anomaly score from −1 to 1, in units of 10⁻⁹: larger is more normal, below 0 is an anomaly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Score(i32);

impl Score {
    /// A score of `e9` units of 10⁻⁹.
    #[must_use]
    pub fn from_e9(e9: i32) -> Score {
        Score(e9)
    }

    /// In units of 10⁻⁹.
    #[must_use]
    pub fn e9(self) -> i32 {
        self.0
    }

    /// The double nearest to it.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        f64::from(self.0) / 1e9
    }
}
