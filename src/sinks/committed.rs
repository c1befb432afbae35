//! Which epoch of a durable log sinks commit.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

/// An epoch, and when it was committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Committed {
    /// The epoch.
    pub epoch: u64,
    /// When it was committed, in milliseconds since 1970.
    pub time_ms: u64,
}

/// The epoch of a durable log that sinks commit at the moment, or have committed last. Clones share it.
///
/// The epochs of a live job begin anew at each start, and are more than those of the log: some change nothing.
#[derive(Clone, Debug, Default)]
pub struct CurrentEpoch(Arc<Mutex<Committed>>);

impl CurrentEpoch {
    /// The epoch.
    #[must_use]
    pub fn get(&self) -> Committed {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sinks commit this epoch from now on.
    pub fn set(&self, epoch: Committed) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = epoch;
    }
}
