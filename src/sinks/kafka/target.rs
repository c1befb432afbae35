//! From the settings of a sink to what delivers.

use crate::error::Result;
use crate::sinks::delivery::{DeliveredTables, DeliveryTarget};
use crate::sinks::sink::{SinkContext, TableInfo};

use super::progress::TopicProgress;
use super::settings::KafkaTarget;
use super::topics::TargetTopic;
use super::writer::KafkaWriter;

impl DeliveryTarget for KafkaTarget {
    type Destination = KafkaWriter;

    fn name(&self) -> &str {
        &self.name
    }

    fn tables(&self) -> &DeliveredTables {
        &self.tables
    }

    fn destination(&self, job: &SinkContext, tables: &[&TableInfo]) -> Result<KafkaWriter> {
        let progress = TopicProgress::new(&self.prefix, &self.name, job.run_id.clone());
        let topic = |table: &&TableInfo| TargetTopic::new(&self.prefix, self.format, table);
        let topics = tables.iter().map(topic).collect::<Result<_>>()?;
        Ok(KafkaWriter::new(self.clone(), progress, topics))
    }
}
