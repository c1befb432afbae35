//! Delivering tables to another system, beside the job.
//!
//! ```text
//! workers ─ rows ─▶ commit of an epoch ─▶ queue (bounded) ─▶ thread ─▶ one transaction there
//! ```
//!
//! A commit only adds to the queue, so that no epoch waits for another system; when the queue is full, it waits, and
//! with it the sources do. The thread takes all epochs that wait, up to a number of rows, as one transaction. What
//! fails is tried again until it succeeds. What is not delivered when the job ends is not lost: the next start finds
//! that the other system has an earlier epoch, and delivers the difference.

mod destination;
mod queue;
mod sink;
mod thread;

#[cfg(feature = "delta")]
pub(crate) use destination::DeliveryPace;
pub(crate) use destination::{Delivery, DeliveryError, DeliveryStanding, Destination};
pub(crate) use sink::{DeliveredTables, DeliverySink, DeliveryTarget, KnownEpochs};
