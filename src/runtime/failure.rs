//! What went wrong first, seen by all threads of a run.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::{Error, Result};

/// The first error of a run. Those that follow come of it, and are dropped.
#[derive(Default)]
pub(super) struct FirstError {
    first: Mutex<Option<Error>>,
    changed: Condvar,
}

impl FirstError {
    /// Keeps the error if it is the first; true if so.
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

    /// Fails with the error, if there is one.
    pub(super) fn check(&self) -> Result<()> {
        self.lock().clone().map_or(Ok(()), Err)
    }

    /// Waits until there is an error, but not for ever; true if there is one.
    pub(super) fn wait(&self, most: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), most, |first| first.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Error>> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
