//! The first error of a run, shared by its threads.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::{Error, Result};

/// The first error of a run. Later ones are consequences, and are dropped.
#[derive(Default)]
pub(super) struct FirstError {
    first: Mutex<Option<Error>>,
    changed: Condvar,
}

impl FirstError {
    /// Records the error if it is the first; returns whether it is.
    pub(super) fn set(&self, error: Error) -> bool {
        let mut first = self.lock();
        let is_first = first.is_none();
        first.get_or_insert(error);
        self.changed.notify_all();
        is_first
    }

    pub(super) fn is_set(&self) -> bool {
        self.lock().is_some()
    }

    /// Returns the error, if one is recorded.
    pub(super) fn check(&self) -> Result<()> {
        self.lock().clone().map_or(Ok(()), Err)
    }

    /// Waits for an error, for at most `most`; returns whether one is recorded.
    pub(super) fn wait(&self, most: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), most, |first| first.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Error>> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
