//! Tables in PostgreSQL as a source: a snapshot, and then every transaction that is committed there.
//!
//! ```text
//! slot ─ exported snapshot ─▶ COPY ─▶ spool files ─▶ first epoch of the log
//!   └─── stream from its position ─▶ pgoutput ─▶ rows of a transaction ─▶ one epoch
//!                        ◀─ confirmed ─ once the epoch is committed here
//! ```
//!
//! The slot keeps the transactions of the server from the position of its snapshot on, until they are confirmed. So
//! nothing lies between the snapshot and the stream, and what a killed process had not committed comes again. The log
//! has the position of the last transaction with its rows: what comes again and is in the log is skipped.

mod catalog;
mod check;
mod pgoutput;
mod rows;
mod settings;
mod slot;
mod snapshot;
mod stream;
mod types;

pub(crate) use catalog::ReplicatedTable;
pub(crate) use check::check;
pub(crate) use settings::PostgresSourceConfig;
pub(crate) use slot::ReplicationSlot;
pub(crate) use snapshot::PostgresSnapshot;
pub(crate) use stream::{NewSlot, ReplicationStream, Streamed, StreamedTransaction, position_of, shown_position};
