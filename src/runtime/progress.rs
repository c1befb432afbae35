//! The progress of a run, and its cancellation.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::error::{Error, Result};

/// Counters updated by the workers and read by a display, and a cancellation flag.
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

/// The phase of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// Opening the input and locking the output.
    #[default]
    Preparing,
    /// Waiting for another process; the text says for what.
    Waiting(String),
    /// Reading the input and computing.
    Reading,
    /// Computing; the input is fully read.
    Computing,
    /// Committing the tables.
    Publishing,
    /// The first epoch is committed; changes are accepted.
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
    /// The current phase.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a change of phase or a call of [`wake`](Self::wake), for at most `most`.
    pub fn wait(&self, most: Duration) {
        let phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_timeout(phase, most));
    }

    /// Wakes all waiting threads.
    pub fn wake(&self) {
        self.changed.notify_all();
    }

    /// The cancellation flag: setting it ends the run with an error, unless it is publishing already. Signal handlers
    /// may set it.
    #[must_use]
    pub fn stop(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    pub(crate) fn check_not_stopped(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err(Error::failed("cancelled")) } else { Ok(()) }
    }

    /// Fails if the run is cancelled, unless it is publishing already.
    pub(super) fn check_may_go_on(&self) -> Result<()> {
        let phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        if *phase == Phase::Publishing { Ok(()) } else { self.check_not_stopped() }
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.step();
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
        self.wake();
    }

    /// Begins to publish, unless the run is cancelled. Whoever cancels it later sees this phase.
    pub(super) fn enter_publishing(&self) -> Result<()> {
        let mut phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_not_stopped()?;
        *phase = Phase::Publishing;
        drop(phase);
        self.step();
        self.wake();
        Ok(())
    }

    /// Rows of the input, as far as its metadata tells.
    #[must_use]
    pub fn rows_total(&self) -> u64 {
        self.rows_total.load(Ordering::Relaxed)
    }

    /// Rows read.
    #[must_use]
    pub fn rows_read(&self) -> u64 {
        self.rows_read.load(Ordering::Relaxed)
    }

    /// Rows encoded, of all tables.
    #[must_use]
    pub fn rows_written(&self) -> u64 {
        self.rows_written.load(Ordering::Relaxed)
    }

    /// Epochs completed in all tables.
    #[must_use]
    pub fn epochs(&self) -> u64 {
        self.epochs.load(Ordering::Relaxed)
    }

    /// A counter that increases with every scheduling step and every poll of a waiting thread. If it stops, the run is
    /// in a single long step or hangs.
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
