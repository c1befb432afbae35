//! Tables in Kafka: every transaction there has all of them as of one epoch.
//!
//! ```text
//! PREFIXTABLE                  a compacted topic: for each key of the table the row, or a tombstone
//! PREFIXmillstream_progress.NAME  the epoch that the topics have, and the process that may write
//! ```
//!
//! A transaction has the rows that changed and a record of progress. So consumers that read committed records see each
//! epoch once and as a whole, however often a process is killed. A process takes the transactional id over, which
//! fences off the one before it, and then finds in the progress which epoch is there: only later ones are delivered, or
//! the rows that differ, found by reading the topics.

mod avro_form;
mod avro_rows;
mod change;
mod check;
mod contents;
mod form;
mod json_form;
mod progress;
mod records;
mod settings;
mod target;
mod topics;
mod writer;

pub(crate) use check::check;
pub(crate) use settings::KafkaTarget;
