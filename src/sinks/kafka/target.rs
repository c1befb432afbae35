//! What a sink in Kafka is configured with.

use crate::kafka::{KafkaAddress, RecordFormat};
use crate::sinks::delivery::{DeliveredTables, DeliveryTarget};
use crate::sinks::sink::{SinkContext, TableInfo};

use super::progress::SinkProgress;
use super::topics::TargetTopic;
use super::writer::KafkaWriter;

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
    /// How many partitions topics have that are made; `None` for as many as the brokers choose.
    pub(crate) partitions: Option<i32>,
    /// The tables.
    pub(crate) tables: DeliveredTables,
}

impl DeliveryTarget for KafkaTarget {
    type Destination = KafkaWriter;

    fn name(&self) -> &str {
        &self.name
    }

    fn tables(&self) -> &DeliveredTables {
        &self.tables
    }

    fn destination(&self, job: &SinkContext, tables: &[&TableInfo]) -> KafkaWriter {
        let progress = SinkProgress::new(&self.prefix, &self.name, job.run_id.clone());
        let topics = tables.iter().map(|table| TargetTopic::new(&self.prefix, self.format, table)).collect();
        KafkaWriter::new(self.clone(), progress, topics)
    }
}
