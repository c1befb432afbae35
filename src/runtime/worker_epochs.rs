//! How far each worker has come.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::model::Epoch;

/// An epoch of each worker, which only grows, and those who wait until all workers have reached one.
pub(super) struct WorkerEpochs {
    epochs: Mutex<Vec<Epoch>>,
    changed: Condvar,
}

impl WorkerEpochs {
    pub(super) fn new(workers: usize) -> WorkerEpochs {
        WorkerEpochs { epochs: Mutex::new(vec![0; workers]), changed: Condvar::new() }
    }

    /// A worker has reached an epoch.
    pub(super) fn set(&self, worker: usize, epoch: Epoch) {
        let mut epochs = self.lock();
        let before = least(&epochs);
        epochs[worker] = epoch;
        let has_changed = least(&epochs) > before;
        drop(epochs);
        if has_changed {
            self.changed.notify_all();
        }
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
