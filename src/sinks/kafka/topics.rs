//! The topics: made at the first start, and checked at later ones.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::types::RDKafkaErrorCode;
use tokio::runtime::Builder;

use crate::error::{Error, Result};
use crate::kafka::{KafkaAddress, KafkaEvents, RecordFormat, kafka_error};
use crate::sinks::sink::TableInfo;

use super::form::RowForm;

/// A topic that has a table.
#[derive(Clone, Debug)]
pub(super) struct TargetTopic {
    pub(super) topic: String,
    /// The table.
    pub(super) table: String,
    format: RecordFormat,
    pub(super) form: RowForm,
    /// Which columns are the key.
    pub(super) key: Vec<usize>,
    columns: Vec<String>,
}

/// How long a cluster may take to answer.
pub(super) const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// Of the topic of progress, segments are closed so often: only closed ones are compacted.
const PROGRESS_SEGMENT_MS: &str = "3600000";

impl TargetTopic {
    /// # Errors
    ///
    /// If there is no schema for the columns of the table.
    pub(super) fn new(prefix: &str, format: RecordFormat, table: &TableInfo) -> Result<TargetTopic> {
        let key: Vec<_> = table.key.iter().filter_map(|key| table.schema.index_of(key).ok()).collect();
        let columns = table.schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type()));
        let (topic, name) = (format!("{prefix}{}", table.name), table.name.clone());
        let form = RowForm::new(format, &name, &table.schema, &key)?;
        Ok(TargetTopic { topic, table: name, format, form, key, columns: columns.collect() })
    }

    /// The topic and the rows in it: what the progress remembers of it.
    pub(super) fn fingerprint(&self) -> String {
        format!("{} {:?}{} ({})", self.topic, self.format, self.form.fingerprint(), self.columns.join(", "))
    }
}

/// The partitions of all topics of a cluster.
///
/// # Errors
///
/// If it can't be reached.
pub(super) fn existing(
    producer: &BaseProducer<KafkaEvents>,
    events: &KafkaEvents,
) -> Result<BTreeMap<String, Vec<i32>>> {
    let metadata = producer.client().fetch_metadata(None, ANSWERS_WITHIN);
    if metadata.is_err() {
        // What brokers said is reported when it is asked for.
        producer.poll(Duration::from_millis(100));
    }
    let metadata = events.explained(metadata)?;
    let partitions = metadata.topics().iter().filter(|topic| topic.error().is_none()).map(|topic| {
        (topic.name().to_owned(), topic.partitions().iter().map(|partition| partition.id()).collect::<Vec<_>>())
    });
    Ok(partitions.collect())
}

/// Makes topics, compacted.
///
/// # Errors
///
/// If a right is missing. The message names the topic.
pub(super) fn create(address: &KafkaAddress, topics: &[&str], partitions: Option<i32>, progress: &str) -> Result<()> {
    if topics.is_empty() {
        return Ok(());
    }
    let admin: AdminClient<KafkaEvents> = address.client(&[], &KafkaEvents::default())?;
    let wanted = topics.iter().map(|topic| {
        let partitions = if *topic == progress { 1 } else { partitions.unwrap_or(-1) };
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(-1)).set("cleanup.policy", "compact");
        if *topic == progress { new.set("segment.ms", PROGRESS_SEGMENT_MS) } else { new }
    });
    let wanted: Vec<_> = wanted.collect();
    let runtime = Builder::new_current_thread().build().map_err(Error::failed)?;
    let options = AdminOptions::new().operation_timeout(Some(ANSWERS_WITHIN)).request_timeout(Some(ANSWERS_WITHIN));
    let made = runtime.block_on(admin.create_topics(&wanted, &options)).map_err(|error| kafka_error(&error))?;
    for made in made {
        match made {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => {
                let what_to_do = "make it, compacted (cleanup.policy=compact), or grant CREATE";
                return Err(Error::usage(format!("topic {topic} can't be made: {code}; {what_to_do}")));
            }
        }
    }
    Ok(())
}
