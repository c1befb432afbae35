//! The number of rejected rows, by reason.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::model::Rejection;
use crate::report::{ReasonCounts, RejectionReport};
use crate::sinks::Epoch;

/// Counts rejected rows, and ends a job that has too many.
///
/// The first epoch only inserts, so it ends as soon as there are too many. A later epoch may retract rejections as well
/// as add some, in any order; its net is checked when it is complete.
pub(super) struct RejectionCount {
    rows: AtomicI64,
    /// How often it was added to.
    changes: AtomicU64,
    max: Option<u64>,
    by_reason: Mutex<ReasonCounts>,
}

impl RejectionCount {
    pub(super) fn new(max: Option<u64>) -> RejectionCount {
        RejectionCount { rows: AtomicI64::new(0), changes: AtomicU64::new(0), max, by_reason: Mutex::default() }
    }

    /// Adds rows that an epoch rejects, or with a negative sign, retracts.
    ///
    /// # Errors
    ///
    /// If there are too many in the first epoch; the message names the commonest reasons.
    pub(super) fn add(&self, epoch: Epoch, rejected: &[Rejection], sign: i64) -> Result<()> {
        if rejected.is_empty() {
            return Ok(());
        }
        let count = i64::try_from(rejected.len()).unwrap_or(i64::MAX) * sign;
        self.rows.fetch_add(count, Ordering::Relaxed);
        self.changes.fetch_add(1, Ordering::Relaxed);
        self.by_reason.lock().unwrap_or_else(PoisonError::into_inner).add(rejected, sign);
        if epoch == 0 { self.check() } else { Ok(()) }
    }

    /// Checks the rejected rows of this process. No epoch may be half counted.
    ///
    /// # Errors
    ///
    /// If there are too many; the message names the commonest reasons.
    pub(super) fn check(&self) -> Result<()> {
        let rows = self.rows();
        if self.max.is_some_and(|max| rows > max) { check_most(self.max, rows, &self.reports()) } else { Ok(()) }
    }

    /// The rejected rows of this process.
    pub(super) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed).try_into().unwrap_or(0)
    }

    /// How often it has changed.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// The rejected rows of this process by table and reason.
    pub(super) fn reports(&self) -> Vec<RejectionReport> {
        self.by_reason.lock().unwrap_or_else(PoisonError::into_inner).reports()
    }
}

/// Checks a number of rejected rows.
///
/// # Errors
///
/// If there are too many; the message names the commonest reasons.
pub(super) fn check_most(max: Option<u64>, rows: u64, reasons: &[RejectionReport]) -> Result<()> {
    match max {
        Some(max) if rows > max => {
            let cause = format!("more than {max} rows rejected (max_rejected): {}", RejectionReport::summary(reasons));
            Err(Error::unusable(cause))
        }
        _ => Ok(()),
    }
}
