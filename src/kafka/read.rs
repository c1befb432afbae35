//! Reading partitions to their end, as a consumer of committed records sees them.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, Offset, TopicPartitionList};

use crate::error::{Error, Result};

use super::address::KafkaAddress;
use super::events::KafkaEvents;

/// How long brokers may be silent.
const SILENT_FOR: Duration = Duration::from_secs(30);
/// A partition that is written all the time may never be seen at its end. After this time, the end is where it was at
/// the beginning.
const ENDS_WITHIN: Duration = Duration::from_secs(3);
/// How long brokers may take to say where a partition ends.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// How long to wait for a record before it is looked whether to go on.
const PATIENCE: Duration = Duration::from_millis(100);
/// The properties of a consumer that reads to the end of partitions.
const READER: [(&str, &str); 7] = [
    // Wanted by `assign`; nothing is committed to the group, and it is not joined.
    ("group.id", "millstream"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("isolation.level", "read_committed"),
    ("enable.partition.eof", "true"),
    ("auto.offset.reset", "earliest"),
    // The end is seen when there is nothing more within this time.
    ("fetch.wait.max.ms", "10"),
];

impl KafkaAddress {
    /// Gives each record of some partitions of a topic, from an offset of each to the end that it has then. `take` is
    /// called without a record now and then, too.
    ///
    /// # Errors
    ///
    /// If the brokers do not answer, and those of the function.
    pub(crate) fn read_to_end(
        &self,
        topic: &str,
        from: &[(i32, Offset)],
        mut take: impl FnMut(Option<&BorrowedMessage<'_>>) -> Result<()>,
    ) -> Result<()> {
        let events = KafkaEvents::default();
        let consumer: BaseConsumer<KafkaEvents> = self.client(&READER, &events)?;
        let mut assigned = TopicPartitionList::new();
        for (partition, offset) in from {
            events.explained(assigned.add_partition_offset(topic, *partition, *offset))?;
        }
        // With it, the client need not look for the partitions, which takes half a second.
        events.explained(consumer.fetch_metadata(Some(topic), ANSWERS_WITHIN))?;
        events.explained(consumer.assign(&assigned))?;
        let mut open: HashSet<i32> = from.iter().map(|(partition, _)| *partition).collect();
        let mut ends = HashMap::new();
        for partition in &open {
            let (_, end) = events.explained(consumer.fetch_watermarks(topic, *partition, ANSWERS_WITHIN))?;
            ends.insert(*partition, end);
        }
        let (started, mut heard) = (Instant::now(), Instant::now());
        while !open.is_empty() {
            let failed = match consumer.poll(PATIENCE) {
                Some(Ok(record)) => {
                    take(Some(&record))?;
                    if started.elapsed() >= ENDS_WITHIN && record.offset() + 1 >= ends[&record.partition()] {
                        open.remove(&record.partition());
                    }
                    None
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    open.remove(&partition);
                    None
                }
                Some(Err(error)) => Some(error),
                None => Some(KafkaError::NoMessageReceived),
            };
            take(None)?;
            match failed {
                None => heard = Instant::now(),
                Some(_) if heard.elapsed() < SILENT_FOR => {}
                Some(KafkaError::NoMessageReceived) => {
                    let reason = events.take().map_or_else(String::new, |reason| format!(": {reason}"));
                    return Err(Error::failed(format!("topic {topic}: the brokers do not answer{reason}")));
                }
                Some(error) => return events.explained(Err(error)),
            }
        }
        Ok(())
    }
}
