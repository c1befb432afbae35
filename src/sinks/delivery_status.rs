//! How a delivery goes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use crate::printable::printable;

use super::committed::Committed;

/// How a delivery goes. Times are in milliseconds since 1970.
#[derive(Clone, Debug, Default)]
pub struct DeliveryReport {
    /// What it does.
    pub state: DeliveryState,
    /// The epoch that the other system has; `None` before the first delivery.
    pub epoch: Option<Committed>,
    /// The transactions since the start.
    pub transactions: u64,
    /// The rows that they inserted and deleted.
    pub rows: u64,
    /// How long the last transaction took.
    pub took: Duration,
    /// When it ended.
    pub delivered_ms: Option<u64>,
    /// The epochs that wait.
    pub waiting_epochs: u64,
    /// Their rows.
    pub waiting_rows: u64,
    /// How long the oldest of them has waited.
    pub behind: Duration,
    /// How often something could not be delivered.
    pub failures: u64,
    /// When that was last, and why.
    pub last_failure: Option<(u64, String)>,
}

/// What a delivery does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// It waits for the first epoch.
    #[default]
    Starting,
    /// It has delivered what there was.
    UpToDate,
    /// It delivers.
    Delivering,
    /// It has failed, and tries again.
    Retrying,
    /// It has ended: another process delivers to the same tables, or they are not where this one left them.
    Displaced,
}

/// A report that is kept up to date. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeliveryStatus(Arc<Mutex<Watched>>);

#[derive(Debug, Default)]
pub(super) struct Watched {
    pub(super) report: DeliveryReport,
    /// Since when the oldest epoch waits.
    pub(super) waits_since: Option<Instant>,
}

#[cfg_attr(not(feature = "connectors"), expect(dead_code, reason = "a build without other systems has no deliveries"))]
impl DeliveryStatus {
    /// How it goes now.
    pub(crate) fn report(&self) -> DeliveryReport {
        let watched = self.lock();
        let behind = watched.waits_since.map(|since| since.elapsed()).unwrap_or_default();
        DeliveryReport { behind, ..watched.report.clone() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A delivery has failed.
    pub(crate) fn has_failed(&self, state: DeliveryState, cause: &str) {
        let mut watched = self.lock();
        watched.report.state = state;
        watched.report.failures += 1;
        watched.report.last_failure = Some((now_ms(), printable(cause)));
    }

    /// The other system has this epoch.
    pub(crate) fn has(&self, epoch: Committed) {
        let mut watched = self.lock();
        (watched.report.epoch, watched.report.state) = (Some(epoch), DeliveryState::UpToDate);
    }
}

pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
