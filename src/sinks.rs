//! Sinks, which receive tables.
//!
//! ```text
//! worker 0 ─ part of each table ─┐
//!                                ├─ all parts sealed ─▶ prepare ─▶ commit
//! worker 1 ─ part of each table ─┘
//! ```
//!
//! A sink creates a [`SinkPart`] for each table it wants and each worker. A part receives the record batches that an
//! epoch inserts and deletes, and is *sealed* when an epoch is complete on its worker. When all parts are sealed, the
//! sink *prepares* the epoch (persists it) and *commits* it (makes it visible).
//!
//! | sink | contents |
//! |---|---|
//! | [`folder::FolderSink`] | files in an output folder, of the first epoch |
//! | [`ChangeFeed`] | the rows that each epoch inserted and deleted |
//! | [`MemoryTables`] | the rows of tables, which can be read at any time |
//! | [`Checksums`] | a checksum of each table |
//!
//! With the features `postgres` and `kafka`, a service also delivers tables to PostgreSQL and Kafka.

mod changes;
mod checksums;
mod committed;
#[cfg(feature = "connectors")]
pub(crate) mod delivery;
mod delivery_status;
#[cfg(feature = "delta")]
pub(crate) mod delta;
pub mod folder;
#[cfg(feature = "kafka")]
pub(crate) mod kafka;
mod memory;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
mod sink;

pub use crate::model::Epoch;
pub use changes::{ChangeFeed, GatheredChanges, TableChanges};
pub use checksums::Checksums;
pub use committed::{Committed, CurrentEpoch};
pub(crate) use delivery_status::DeliveryStatus;
pub use delivery_status::{DeliveryReport, DeliveryState};
pub use memory::{ChangesAfter, EpochOfTable, KeyRange, MemoryTables, TableScan, TablesSnapshot};
pub use sink::{
    Direction, Opened, PartOptions, RowChanges, Sink, SinkContext, SinkPart, TableInfo, TableReport, Written,
};
