//! Partitions, and where they are read from.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::client::Client;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use crate::error::{Error, Result};
use crate::kafka::{KafkaEvents, StartAt, kafka_error};
use crate::model::InputTable;

use super::settings::KafkaSourceConfig;

/// The offset behind the last record that was taken, by topic and partition.
pub(crate) type PartitionOffsets = BTreeMap<(String, i32), i64>;

/// The partitions of the topics that are followed.
pub(crate) struct TopicPartitions {
    /// Identifies the cluster, if it says.
    pub(crate) cluster: Option<String>,
    pub(crate) partitions: Vec<(InputTable, String, i32)>,
}

/// How long a cluster may take to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

impl TopicPartitions {
    /// Asks a cluster.
    ///
    /// # Errors
    ///
    /// If it can't be reached, or a topic is not there or may not be read.
    pub(crate) fn of(
        client: &Client<KafkaEvents>,
        events: &KafkaEvents,
        config: &KafkaSourceConfig,
    ) -> Result<TopicPartitions> {
        let mut partitions = Vec::new();
        for (table, topic) in &config.topics {
            let metadata = events.explained(client.fetch_metadata(Some(topic), ANSWERS_WITHIN))?;
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            let wrong = |cause: &str| Error::failed(format!("topic {topic}: {cause}"));
            let found = found.ok_or_else(|| wrong("the brokers say nothing of it"))?;
            if let Some(error) = found.error() {
                let error = KafkaError::MetadataFetch(error.into());
                return Err(wrong(&kafka_error(&error).to_string()));
            }
            if found.partitions().is_empty() {
                return Err(wrong("it has no partitions; it must be there"));
            }
            partitions.extend(found.partitions().iter().map(|partition| (*table, topic.clone(), partition.id())));
        }
        Ok(TopicPartitions { cluster: client.fetch_cluster_id(ANSWERS_WITHIN), partitions })
    }

    /// Where these partitions begin.
    ///
    /// # Errors
    ///
    /// If the cluster does not answer.
    pub(crate) fn first_offsets(
        &self,
        consumer: &BaseConsumer<KafkaEvents>,
        events: &KafkaEvents,
        start: StartAt,
    ) -> Result<PartitionOffsets> {
        let mut offsets = PartitionOffsets::new();
        let at_time = match start {
            StartAt::Time(time) => {
                let mut times = TopicPartitionList::new();
                for (_, topic, partition) in &self.partitions {
                    let at = times.add_partition_offset(topic, *partition, Offset::Offset(time));
                    events.explained(at)?;
                }
                Some(events.explained(consumer.offsets_for_times(times, ANSWERS_WITHIN))?.to_topic_map())
            }
            StartAt::Earliest | StartAt::Latest => None,
        };
        for (_, topic, partition) in &self.partitions {
            let ends = consumer.fetch_watermarks(topic, *partition, ANSWERS_WITHIN);
            let (first, behind_last) = events.explained(ends)?;
            let at = (topic.clone(), *partition);
            let offset = match (start, at_time.as_ref().and_then(|offsets| offsets.get(&at))) {
                (StartAt::Earliest, _) => first,
                (StartAt::Time(_), Some(Offset::Offset(offset))) => *offset,
                // No record is as late.
                (StartAt::Latest | StartAt::Time(_), _) => behind_last,
            };
            offsets.insert(at, offset);
        }
        Ok(offsets)
    }
}
