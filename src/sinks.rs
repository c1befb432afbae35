//! Where tables go: what a sink is, and those there are.
//!
//! ```text
//! worker 0 ─ part of each table ─┐
//!                                ├─ all parts sealed ─▶ prepare ─▶ commit
//! worker 1 ─ part of each table ─┘
//! ```
//!
//! A sink makes a [`SinkPart`] for each table and worker. A part is given the record batches that an epoch inserts and
//! deletes, and is *sealed* when an epoch is over on its worker. When all parts are sealed, the sink *prepares* the epoch (it
//! finishes what it has written) and *commits* it: readers see it.
//!
//! | sink | is |
//! |---|---|
//! | [`folder::FolderSink`] | files in an output folder: of the first epoch |
//! | [`ChangeFeed`] | the rows that each epoch inserted and deleted |
//! | [`MemoryTables`] | the rows of tables, by key, to be read at any time |
//! | [`Checksums`] | a number for each table that equals another's only if its rows do |

mod changes;
mod checksums;
pub mod folder;
mod memory;
mod sink;

pub use crate::model::Epoch;
pub use changes::{ChangeFeed, TableChanges};
pub use checksums::Checksums;
pub use memory::MemoryTables;
pub use sink::{RowChanges, Sink, SinkContext, SinkPart, TableInfo, TableReport, Written};
