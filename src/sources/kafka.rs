//! Topics in Kafka as a source: the records of each partition, in order, each of them once.
//!
//! ```text
//! topics ─ read to their end ─▶ spool files ─▶ first epoch of the log      (where the input folder has no such table)
//!   └───── from there on ─▶ records of a partition ─▶ rows ─▶ one epoch
//! ```
//!
//! The log has, with the rows of each epoch, the offset behind the last record of each partition. A start goes on from
//! there, so that a record is neither lost nor taken twice, whatever a consumer group remembers. What transactions of
//! producers have aborted is not seen.

mod avro;
mod avro_json;
mod check;
mod datum;
mod debezium;
mod meaning;
mod positions;
mod reader;
mod records;
mod row;
mod settings;
mod spool;
mod stream;

pub(crate) use check::check;
pub(crate) use positions::PartitionOffsets;
pub(crate) use settings::KafkaSourceConfig;
pub(crate) use spool::TopicSpool;
pub(crate) use stream::{Fetched, RecordRows, RecordStream, StreamError};
