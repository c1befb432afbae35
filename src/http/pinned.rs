//! Epochs that readers have seen, and may go on reading.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::sinks::TablesSnapshot;

/// How long an epoch can be read after it was last read.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(60);
/// How many epochs can be read, besides the newest.
pub(super) const KEPT_MOST: usize = 16;

/// Epochs that were read a short time ago. They share with the newest one all that did not change.
#[derive(Default)]
pub(super) struct PinnedEpochs(Mutex<VecDeque<(Instant, TablesSnapshot)>>);

impl PinnedEpochs {
    /// Keeps an epoch for a while.
    pub(super) fn pin(&self, snapshot: &TablesSnapshot) {
        let mut pinned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pinned.retain(|(at, known)| at.elapsed() < KEPT_FOR && known.epoch() != snapshot.epoch());
        if pinned.len() >= KEPT_MOST {
            pinned.pop_front();
        }
        pinned.push_back((Instant::now(), snapshot.clone()));
    }

    /// An epoch, if it is kept.
    pub(super) fn get(&self, epoch: u64) -> Option<TablesSnapshot> {
        let pinned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = pinned.iter().find(|(_, known)| known.epoch() == Some(epoch));
        found.filter(|(at, _)| at.elapsed() < KEPT_FOR).map(|(_, snapshot)| snapshot.clone())
    }

    /// Forgets what nobody reads any more.
    pub(super) fn forget_old(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(at, _)| at.elapsed() < KEPT_FOR);
    }
}
