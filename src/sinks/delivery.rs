//! Delivering tables to another system, beside the job.
//!
//! ```text
//! workers ─ rows ─▶ commit of an epoch ─▶ queue (bounded) ─▶ thread ─▶ one transaction there
//! ```
//!
//! A commit only adds to the queue, so that no epoch waits for another system; when the queue is full, it waits, and
//! with it the sources do. The thread takes all epochs that wait, up to a number of rows, as one transaction. What fails
//! is tried again until it succeeds. What is not delivered when the job ends is not lost: the next start finds that the
//! other system has an earlier epoch, and delivers the difference.

mod queue;
mod thread;

use crate::error::Error;

use super::changes::TableChanges;
use super::committed::Committed;

pub(crate) use thread::Courier;

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
    fn deliver(&mut self, delivery: &Delivery) -> Result<(), Undelivered>;
}

/// Why something was not delivered.
#[derive(Debug)]
pub(crate) enum Undelivered {
    /// It may be later.
    Yet(Error),
    /// It never will be: the tables belong to another process now.
    Ever(Error),
}
