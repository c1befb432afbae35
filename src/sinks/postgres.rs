//! Tables in PostgreSQL: every transaction there has all of them as of one epoch.
//!
//! ```text
//! SCHEMA.TABLE                 the rows, unique by the key of the table
//! SCHEMA.millstream_progress   for each sink the epoch that its tables have, and the process that may write
//! ```
//!
//! A transaction moves the progress from the epoch that this process delivered last, deletes and upserts the rows that
//! changed, and commits: so each epoch is there exactly once, however often a process is killed, and a process that was
//! displaced by another fails at the progress. At a start the progress tells whether the tables have an epoch of this
//! state. If they do, only later epochs are delivered; otherwise the rows that differ are, found by the server.

mod check;
mod columns;
mod layout;
mod progress;
mod statements;
mod target;
mod writer;

pub(crate) use check::check;
pub(crate) use target::PostgresTarget;
