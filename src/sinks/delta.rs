//! A sink in a lake: each table is a Delta Lake table.
//!
//! ```text
//! net changes ─▶ files of the keys that change ─▶ a commit per table ─▶ progress of the sink
//!                or a file of the changes          remove, add, txn
//! ```
//!
//! A table either has the rows of its newest commit, and then each of its files has a range of keys, and only those
//! with changed rows are written again; or it is a log of changes, to which files are added. The commit of a table
//! names its epoch (`txn`). Once all tables have an epoch, the progress file says so, with the newest commit of each
//! table. If a table is ahead of that file, the previous process died between the two writes, or somebody else has
//! committed: all rows are compared.

mod change_log;
mod check;
mod columns;
mod file_stats;
mod files;
mod key_order;
mod key_ranges;
mod keyed_table;
mod lake_table;
mod log;
mod progress;
mod run_log;
mod settings;
mod store;
mod target;
mod vacuum;
mod writer;

pub(crate) use check::check;
pub(crate) use run_log::{delta_table, log_version, rows_for_run};
pub(crate) use settings::{DeltaMode, DeltaTarget};
