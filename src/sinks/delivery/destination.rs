//! Another system, and what is delivered to it.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::sinks::changes::TableChanges;
use crate::sinks::committed::Committed;

/// What is delivered together.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    /// The epoch that the other system has afterwards.
    pub(crate) epoch: Committed,
    /// True if these are all rows of all tables, which may have others; otherwise they are what has changed since the
    /// epoch that was delivered before.
    pub(crate) is_snapshot: bool,
    /// The rows by table; of a snapshot, every table.
    pub(crate) tables: Vec<TableChanges>,
}

/// How much is delivered at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeliveryPace {
    /// The least time from one delivery to the next.
    pub(crate) every: Duration,
    /// A delivery takes no further epoch once it has so many rows.
    pub(crate) rows: usize,
}

impl Default for DeliveryPace {
    fn default() -> DeliveryPace {
        DeliveryPace { every: Duration::ZERO, rows: 50_000 }
    }
}

/// Another system.
pub(crate) trait Destination: Send + 'static {
    /// Connects, makes or checks the tables, and fences off whoever has delivered before. Returns the epoch that the
    /// tables have; `None` if they have none, or are not all as they are to be.
    ///
    /// # Errors
    ///
    /// If it can't be reached, a right is missing, or a table is not as it must be.
    fn prepare(&mut self) -> Result<Option<Committed>>;

    /// Delivers in one transaction. It may have been delivered before, without this process knowing: then nothing is
    /// done.
    fn deliver(&mut self, delivery: &Delivery) -> std::result::Result<(), DeliveryError>;
}

/// Why something was not delivered.
#[derive(Debug)]
pub(crate) enum DeliveryError {
    /// It may have been, or may be later.
    Transient(Error),
    /// It was not. With what comes next it may be, such as when a row is corrected that is refused there.
    Refused(Error),
    /// This process may not deliver any more: another one does, or the other system is not where this process left it.
    Fenced(Error),
}

/// Where a delivery stands.
pub(crate) enum DeliveryStanding {
    /// It was delivered, and this process does not know.
    Delivered,
    /// It is the next.
    Next,
}

impl DeliveryStanding {
    /// Where a delivery stands if the other system has an epoch: `delivered` is the one that it had as far as is known,
    /// and is set. `None` if it has another one than that.
    pub(crate) fn of(
        found: Option<Committed>,
        delivered: &mut Option<Committed>,
        delivery: &Delivery,
    ) -> Option<DeliveryStanding> {
        let standing = match found {
            found if found == *delivered => DeliveryStanding::Next,
            Some(epoch) if epoch == delivery.epoch => DeliveryStanding::Delivered,
            // A snapshot leads from whatever there is.
            _ if delivery.is_snapshot => DeliveryStanding::Next,
            _ => return None,
        };
        *delivered = found;
        Some(standing)
    }
}
