//! How far each worker has come.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::model::Epoch;

/// An epoch of each worker, which only grows, and those who wait until all workers have reached one.
pub(super) struct WorkerEpochs {
    epochs: Mutex<Vec<Epoch>>,
    changed: Condvar,
    /// When the last worker reached the epoch that all have reached.
    reached_at: Mutex<Instant>,
}

impl WorkerEpochs {
    pub(super) fn new(workers: usize) -> WorkerEpochs {
        let reached_at = Mutex::new(Instant::now());
        WorkerEpochs { epochs: Mutex::new(vec![0; workers]), changed: Condvar::new(), reached_at }
    }

    /// A worker has reached an epoch.
    pub(super) fn set(&self, worker: usize, epoch: Epoch) {
        let mut epochs = self.lock();
        let before = least(&epochs);
        epochs[worker] = epoch;
        let has_changed = least(&epochs) > before;
        if has_changed {
            *self.reached_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
        drop(epochs);
        if has_changed {
            self.changed.notify_all();
        }
    }

    /// When the last worker reached the epoch that all have reached.
    pub(super) fn reached_at(&self) -> Instant {
        *self.reached_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if all workers have reached an epoch.
    pub(super) fn have_reached(&self, epoch: Epoch) -> bool {
        least(&self.lock()) >= epoch
    }

    /// Waits until all workers have reached an epoch, for at most `most`; true if they have.
    pub(super) fn wait(&self, epoch: Epoch, most: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), most, |epochs| least(epochs) < epoch);
        let (epochs, _) = waited.unwrap_or_else(PoisonError::into_inner);
        least(&epochs) >= epoch
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Epoch>> {
        self.epochs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn least(epochs: &[Epoch]) -> Epoch {
    epochs.iter().copied().min().unwrap_or(Epoch::MAX)
}
