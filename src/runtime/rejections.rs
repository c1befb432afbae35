//! The number of rejected rows.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::model::Rejection;
use crate::sinks::Epoch;

/// Counts rejected rows, and ends a job that has too many.
///
/// The first epoch only inserts, so it ends as soon as there are too many. A later epoch may retract rejections as well
/// as add some, in any order; its net is checked when it is complete.
pub(super) struct RejectionCount {
    rows: AtomicI64,
    max: Option<u64>,
    /// A row that was rejected when there were too many already.
    example: Mutex<Option<String>>,
}

impl RejectionCount {
    pub(super) fn new(max: Option<u64>) -> RejectionCount {
        RejectionCount { rows: AtomicI64::new(0), max, example: Mutex::default() }
    }

    /// Adds rejected rows of the first epoch.
    ///
    /// # Errors
    ///
    /// If there are too many; the message names one of these.
    pub(super) fn add<'a>(&self, rejected: impl ExactSizeIterator<Item = &'a Rejection>, sign: i64) -> Result<()> {
        self.count(rejected, sign);
        self.check()
    }

    /// Adds rows that an epoch rejects, or with a negative sign, retracts.
    ///
    /// # Errors
    ///
    /// If there are too many in the first epoch; the message names one of these.
    pub(super) fn add_of<'a>(
        &self,
        epoch: Epoch,
        rejected: impl ExactSizeIterator<Item = &'a Rejection>,
        sign: i64,
    ) -> Result<()> {
        self.count(rejected, sign);
        if epoch == 0 { self.check() } else { Ok(()) }
    }

    fn count<'a>(&self, rejected: impl ExactSizeIterator<Item = &'a Rejection>, sign: i64) {
        let count = i64::try_from(rejected.len()).unwrap_or(i64::MAX) * sign;
        let rows = self.rows.fetch_add(count, Ordering::Relaxed) + count;
        if let Some(last) = rejected.last().filter(|_| sign > 0 && self.is_too_many(rows)) {
            let place = match &last.origin {
                Some(origin) => format!("{} row {}", origin.file, origin.row + 1),
                None => format!("a row of {}", last.table),
            };
            *self.example.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("{place}: {}", last.reason));
        }
    }

    /// Checks the rejected rows of this process. No epoch may be half counted.
    ///
    /// # Errors
    ///
    /// If there are too many; the message names one of them.
    pub(super) fn check(&self) -> Result<()> {
        match self.max {
            Some(max) if self.is_too_many(self.rows.load(Ordering::Relaxed)) => {
                let example = self.example.lock().unwrap_or_else(PoisonError::into_inner);
                let example = example.as_ref().map_or(String::new(), |example| format!("; one of them: {example}"));
                Err(Error::unusable(format!("more than {max} rows rejected (max_rejected){example}")))
            }
            _ => Ok(()),
        }
    }

    /// The rejected rows of this process.
    pub(super) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed).try_into().unwrap_or(0)
    }

    /// Checks the rejected rows of all processes together.
    ///
    /// # Errors
    ///
    /// If there are too many.
    pub(super) fn check_total(&self, rows: u64) -> Result<()> {
        match self.max {
            Some(max) if rows > max => {
                Err(Error::unusable(format!("more than {max} rows rejected (max_rejected): {rows}")))
            }
            _ => Ok(()),
        }
    }

    fn is_too_many(&self, rows: i64) -> bool {
        self.max.is_some_and(|max| u64::try_from(rows).is_ok_and(|rows| rows > max))
    }
}
