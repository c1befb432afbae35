//! How far a run has come, for whoever wants to show it.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters that workers add to and a display reads.
#[derive(Debug, Default)]
pub struct Progress {
    rows_there: AtomicU64,
    rows_read: AtomicU64,
    rows_written: AtomicU64,
    epochs: AtomicU64,
}

impl Progress {
    /// Rows that the input has, as far as its files tell without being read.
    #[must_use]
    pub fn rows_there(&self) -> u64 {
        self.rows_there.load(Ordering::Relaxed)
    }

    /// Rows read.
    #[must_use]
    pub fn rows_read(&self) -> u64 {
        self.rows_read.load(Ordering::Relaxed)
    }

    /// Rows of all tables that were encoded.
    #[must_use]
    pub fn rows_written(&self) -> u64 {
        self.rows_written.load(Ordering::Relaxed)
    }

    /// Epochs that are in all tables.
    #[must_use]
    pub fn epochs(&self) -> u64 {
        self.epochs.load(Ordering::Relaxed)
    }

    pub(super) fn set_there(&self, rows: u64) {
        self.rows_there.store(rows, Ordering::Relaxed);
    }

    pub(super) fn add_read(&self, rows: u64) {
        self.rows_read.fetch_add(rows, Ordering::Relaxed);
    }

    pub(super) fn add_written(&self, rows: u64) {
        self.rows_written.fetch_add(rows, Ordering::Relaxed);
    }

    pub(super) fn set_epochs(&self, epochs: u64) {
        self.epochs.store(epochs, Ordering::Relaxed);
    }
}
