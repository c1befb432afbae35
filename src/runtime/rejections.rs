//! How many rows were rejected.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::error::{Error, Result};
use crate::model::Rejection;

/// Counts rejected rows, and ends a job that has too many.
pub(super) struct RejectionCount {
    rows: AtomicI64,
    max: Option<u64>,
}

impl RejectionCount {
    pub(super) fn new(max: Option<u64>) -> RejectionCount {
        RejectionCount { rows: AtomicI64::new(0), max }
    }

    /// Adds rejected rows, or with a negative count takes some off.
    ///
    /// # Errors
    ///
    /// If there are more than may be; the message has one of these.
    pub(super) fn add<'a>(&self, rejected: impl ExactSizeIterator<Item = &'a Rejection>, sign: i64) -> Result<()> {
        let count = i64::try_from(rejected.len()).unwrap_or(i64::MAX) * sign;
        let rows = self.rows.fetch_add(count, Ordering::Relaxed) + count;
        match (self.max, rejected.last()) {
            (Some(max), Some(last)) if rows > max.try_into().unwrap_or(i64::MAX) => {
                let place = match &last.origin {
                    Some(origin) => format!("{} row {}", origin.file, origin.row + 1),
                    None => format!("a row of {}", last.table),
                };
                let reason = &last.reason;
                Err(Error::unusable(format!(
                    "more than {max} rows rejected (max_rejected); one of them: {place}: {reason}"
                )))
            }
            _ => Ok(()),
        }
    }

    /// Checks the rejected rows of all processes together.
    ///
    /// # Errors
    ///
    /// If there are more than may be.
    pub(super) fn check_total(&self, rows: u64) -> Result<()> {
        match self.max {
            Some(max) if rows > max => {
                Err(Error::unusable(format!("more than {max} rows rejected (max_rejected): {rows}")))
            }
            _ => Ok(()),
        }
    }
}
