//! Durable state of a live job: what was committed survives a killed process and a power cut.
//!
//! ```text
//! rows, commits ─▶ log (append, sync) ──(now and then)──▶ checkpoint (Parquet)
//!                        └───────────── manifest ──────────────┘        names what counts
//! start: checkpoint, then the log ─▶ StateSource ─▶ the first epoch of a job
//! ```
//!
//! Rows lie in frames, frames in blocks of a sector, blocks in segments. An epoch is frames and a commit, and may span
//! segments.
//!
//! State is data and not operators: the rows that were read, and how far each source was read. So another version of
//! the program, other tables or another number of workers start from the same state.
//!
//! | file | contents |
//! |---|---|
//! | `manifest.json` | the names of all others, the columns of the tables, the version of the format |
//! | `log-NNNNNNNN` | a segment of the log: blocks with a checksum each, in them frames of rows and of commits |
//! | `checkpoint-NNNNNNNN-…` | the current rows, those that could not be used, and the offsets of the sources |
//!
//! [`Disk`] has the few calls that all of this needs; [`SimulatedDisk`] is one that loses what was not synced.

mod blocks;
mod checkpoint;
mod compact;
mod disk;
mod log;
mod manifest;
mod record;
mod segment;
mod simulated;
mod state;
mod state_source;
#[cfg(test)]
mod tests;

pub use compact::Compaction;
pub use disk::{Disk, DiskFile, RealDisk};
pub use log::{Durability, LogWriter};
pub use record::{Commit, Offset};
pub(crate) use record::{RowsFrame, column_of_text, column_to_text};
pub use simulated::{Fault, SimulatedDisk};
pub(crate) use state::LastEpoch;
pub use state::{Snapshot, State};
pub use state_source::StateSource;
