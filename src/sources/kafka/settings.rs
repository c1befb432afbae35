//! What a source in Kafka is configured with.

use crate::kafka::{KafkaAddress, RecordFormat, SchemaRegistry, StartAt};
use crate::model::InputTable;

/// Topics that have tables.
#[derive(Clone, Debug)]
pub(crate) struct KafkaSourceConfig {
    /// The name of the source.
    pub(crate) name: String,
    /// The cluster.
    pub(crate) address: KafkaAddress,
    /// The topics of each table.
    pub(crate) topics: Vec<(InputTable, String)>,
    /// How rows are written in records.
    pub(crate) format: RecordFormat,
    /// The schemas of records, if these are of Avro.
    pub(crate) registry: Option<SchemaRegistry>,
    /// Where a topic begins that is read for the first time.
    pub(crate) start: StartAt,
    /// The consumer group to which offsets are committed, for monitoring.
    pub(crate) group: String,
}
