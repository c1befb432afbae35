//! What is measured of each epoch.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::model::InputTable;

/// What was measured of an epoch that is visible.
#[derive(Clone, Debug, Default)]
pub struct EpochStats {
    /// The epoch.
    pub epoch: u64,
    /// The rows of each input table that has some.
    pub tables: Vec<AppliedRows>,
    /// How long it took to read its rows, before it began.
    pub decoded: Duration,
    /// The longest that rows of it had waited when it began.
    pub queued: Duration,
    /// From its begin until it was on stable storage.
    pub committed: Duration,
    /// From its begin until all workers had computed it.
    pub computed: Duration,
    /// From its begin until it was in all tables.
    pub visible: Duration,
    /// The size of the log that is not in the checkpoint.
    pub log_bytes: u64,
    /// The size of the checkpoint.
    pub checkpoint_bytes: u64,
}

/// The rows of an input table that an epoch has.
#[derive(Clone, Copy, Debug)]
pub struct AppliedRows {
    /// The table.
    pub table: InputTable,
    /// Its rows, including those that are rejected.
    pub rows: u64,
    /// Those that are rejected.
    pub rejected: u64,
}

impl EpochStats {
    /// The rows of all tables.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|of_table| of_table.rows).sum()
    }
}

/// A function that is called with what was measured of each epoch, by the thread that applies epochs.
#[derive(Clone, Default)]
pub struct EpochObserver(Option<Arc<dyn Fn(&EpochStats) + Send + Sync>>);

impl EpochObserver {
    /// Calls this function.
    pub fn new(observe: impl Fn(&EpochStats) + Send + Sync + 'static) -> EpochObserver {
        EpochObserver(Some(Arc::new(observe)))
    }

    pub(super) fn observe(&self, stats: impl FnOnce() -> EpochStats) {
        if let Some(observe) = &self.0 {
            observe(&stats());
        }
    }
}

impl fmt::Debug for EpochObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "an observer" } else { "no observer" })
    }
}
