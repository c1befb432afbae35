//! How far a run has come, for whoever wants to show it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::error::{Error, Result};

/// Counters that workers add to and a display reads, and a way to stop them.
#[derive(Debug, Default)]
pub struct Progress {
    phase: Mutex<Phase>,
    changed: Condvar,
    stop: Arc<AtomicBool>,
    rows_total: AtomicU64,
    rows_read: AtomicU64,
    rows_written: AtomicU64,
    epochs: AtomicU64,
    steps: AtomicU64,
}

/// What a run is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// It opens the input and takes the output.
    #[default]
    Preparing,
    /// It waits for another process, and why.
    Waiting(String),
    /// It reads the input, and computes with what is there.
    Reading,
    /// All is read.
    Computing,
    /// The tables are whole, and are committed.
    Publishing,
    /// The first epoch is committed, and changes may come.
    Live,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Phase::Preparing => f.write_str("preparing"),
            Phase::Waiting(what) => write!(f, "waiting for {what}"),
            Phase::Reading => f.write_str("reading"),
            Phase::Computing => f.write_str("computing"),
            Phase::Publishing => f.write_str("publishing"),
            Phase::Live => f.write_str("live"),
        }
    }
}

impl Progress {
    /// What the run is doing.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the run does something else, or [`wake`](Self::wake) is called, or for so long.
    pub fn wait(&self, most: Duration) {
        let phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_timeout(phase, most));
    }

    /// Wakes who waits.
    pub fn wake(&self) {
        self.changed.notify_all();
    }

    /// Ends the run with an error when it is set, as long as its tables are not being published. A signal handler may set it.
    #[must_use]
    pub fn stop(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    pub(super) fn check_not_stopped(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err(Error::failed("cancelled")) } else { Ok(()) }
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.step();
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
        self.wake();
    }

    /// Rows that the input has, as far as its files tell without being read.
    #[must_use]
    pub fn rows_total(&self) -> u64 {
        self.rows_total.load(Ordering::Relaxed)
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

    /// How often a worker, or who waits for other processes, has done something or looked whether there is something to do. A run
    /// for which this stands still works on one thing, or hangs.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    pub(super) fn step(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set_total(&self, rows: u64) {
        self.rows_total.store(rows, Ordering::Relaxed);
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
