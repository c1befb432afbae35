//! Epochs that readers have seen, and may go on reading.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::sinks::TablesSnapshot;

/// How long an epoch can be read after it was last read.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(60);
/// How many epochs can be read, besides the newest: of those that readers go on with, and of all others.
pub(super) const KEPT_MOST: usize = 64;
const KEPT_IN_PASSING: usize = 16;

/// Epochs that were read a short time ago. They share with the newest one all that did not change.
#[derive(Default)]
pub(super) struct PinnedEpochs(Mutex<Pinned>);

#[derive(Default)]
struct Pinned {
    /// Those that were asked for, or of which there are further pages.
    held: VecDeque<(Instant, TablesSnapshot)>,
    in_passing: VecDeque<(Instant, TablesSnapshot)>,
}

impl PinnedEpochs {
    /// Keeps an epoch for a while.
    pub(super) fn pin(&self, snapshot: &TablesSnapshot, is_held: bool) {
        let mut pinned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Pinned { held, in_passing } = &mut *pinned;
        let (list, most) = if is_held { (held, KEPT_MOST) } else { (in_passing, KEPT_IN_PASSING) };
        list.retain(|(at, known)| at.elapsed() < KEPT_FOR && known.epoch() != snapshot.epoch());
        if list.len() >= most {
            list.pop_front();
        }
        list.push_back((Instant::now(), snapshot.clone()));
    }

    /// An epoch, if it is kept.
    pub(super) fn get(&self, epoch: u64) -> Option<TablesSnapshot> {
        let pinned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = pinned.held.iter().chain(&pinned.in_passing);
        let found = all.find(|(at, known)| known.epoch() == Some(epoch) && at.elapsed() < KEPT_FOR);
        found.map(|(_, snapshot)| snapshot.clone())
    }

    /// Forgets what nobody reads any more.
    pub(super) fn forget_old(&self) {
        let mut pinned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pinned.held.retain(|(at, _)| at.elapsed() < KEPT_FOR);
        pinned.in_passing.retain(|(at, _)| at.elapsed() < KEPT_FOR);
    }
}
