//! Another system, and what is delivered to it.

use crate::error::Error;
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

/// Another system.
pub(crate) trait Destination: Send + 'static {
    /// Delivers in one transaction. It may have been delivered before, without this process knowing: then nothing is
    /// done.
    fn deliver(&mut self, delivery: &Delivery) -> Result<(), DeliveryError>;
}

/// Why something was not delivered.
#[derive(Debug)]
pub(crate) enum DeliveryError {
    /// It may be later.
    Transient(Error),
    /// This process may not deliver any more: another one does, or the other system is not where this process left it.
    Fenced(Error),
}
