//! What a sink in Kafka is configured with.

use crate::kafka::{KafkaAddress, RecordFormat, SchemaRegistry};
use crate::sinks::delivery::DeliveredTables;

/// The topics of a cluster that have tables of a job.
#[derive(Clone, Debug)]
pub(crate) struct KafkaTarget {
    /// The name of the sink.
    pub(crate) name: String,
    /// The cluster.
    pub(crate) address: KafkaAddress,
    /// What the names of its topics begin with.
    pub(crate) prefix: String,
    /// How rows are written.
    pub(crate) format: RecordFormat,
    /// The registry of schemas, for records of Avro.
    pub(crate) registry: Option<SchemaRegistry>,
    /// How many partitions topics have that are made; `None` for as many as the brokers choose.
    pub(crate) partitions: Option<i32>,
    /// The tables.
    pub(crate) tables: DeliveredTables,
}
