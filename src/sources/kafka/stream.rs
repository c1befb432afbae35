//! The records of partitions, as they come.

use std::collections::HashMap;
use std::time::Duration;

use arrow::datatypes::FieldRef;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Message, Offset, TopicPartitionList};

use crate::columns::InputSchema;
use crate::error::{Error, Result};
use crate::kafka::{KafkaEvents, kafka_error};
use crate::model::InputTable;
use crate::sources::files::FileOptions;
use crate::sources::source::SourceBatch;

use super::positions::{PartitionOffsets, TopicPartitions};
use super::reader::RecordReader;
use super::records::RecordLines;
use super::settings::KafkaSourceConfig;

/// So many records, or bytes of values, are taken at a time.
const RECORDS: usize = 20_000;
const BYTES: usize = 8 << 20;

/// How long a broker that has nothing may wait for more, unless the configuration says otherwise. Some brokers answer
/// only then, also if a record comes before.
const FETCH_WAIT: (&str, &str) = ("fetch.wait.max.ms", "100");

/// A consumer of the topics of a source.
pub(crate) struct RecordStream {
    config: KafkaSourceConfig,
    options: FileOptions,
    reader: RecordReader,
    consumer: BaseConsumer<KafkaEvents>,
    events: KafkaEvents,
    /// The tables of the topics.
    tables: HashMap<String, InputTable>,
    /// The offset behind the last record that was taken.
    taken: PartitionOffsets,
}

/// What has come.
pub(crate) enum Fetched {
    /// Records of some partitions.
    Rows(Vec<RecordRows>),
    /// Nothing.
    Silence,
    /// Nothing, for the brokers can't be reached, or refuse. The client goes on trying.
    Trouble(Error),
}

/// Rows of records of one partition.
pub(crate) struct RecordRows {
    pub(crate) table: InputTable,
    pub(crate) topic: String,
    pub(crate) partition: i32,
    /// The offset behind the last record.
    pub(crate) end: i64,
    pub(crate) batches: Vec<SourceBatch>,
    /// The columns that the table has not.
    pub(crate) new_columns: Vec<FieldRef>,
}

/// Records of one partition that have come.
struct PartitionLines {
    table: InputTable,
    topic: String,
    partition: i32,
    lines: RecordLines,
    /// The offset of the next record before they came, and now.
    begin: i64,
    end: i64,
}

/// Why no records can be taken any more.
pub(crate) enum StreamError {
    /// It may go on with another consumer.
    Failed(Error),
    /// Records are gone that were not taken.
    Lost(Error),
}

impl From<Error> for StreamError {
    fn from(error: Error) -> StreamError {
        StreamError::Failed(error)
    }
}

impl RecordStream {
    /// Makes a consumer, which has no partitions yet.
    ///
    /// # Errors
    ///
    /// If a property is not as it must be.
    pub(crate) fn new(config: &KafkaSourceConfig, options: &FileOptions) -> Result<RecordStream> {
        let events = KafkaEvents::default();
        let mut own = vec![
            ("group.id", config.group.as_str()),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("isolation.level", "read_committed"),
            ("auto.offset.reset", "error"),
            ("enable.partition.eof", "false"),
            // While there is no room for rows, nothing is taken.
            ("max.poll.interval.ms", "86400000"),
        ];
        if !config.address.sets(FETCH_WAIT.0) {
            own.push(FETCH_WAIT);
        }
        let consumer = config.address.client(&own, &events)?;
        let tables = config.topics.iter().map(|(table, topic)| (topic.clone(), *table)).collect();
        let (reader, taken) = (RecordReader::new(config), PartitionOffsets::new());
        Ok(RecordStream { config: config.clone(), options: options.clone(), reader, consumer, events, tables, taken })
    }

    /// The partitions that there are now.
    ///
    /// # Errors
    ///
    /// If the cluster can't be reached, or a topic is not there.
    pub(crate) fn partitions(&self) -> Result<TopicPartitions> {
        let found = TopicPartitions::of(self.consumer.client(), &self.events, &self.config);
        if found.is_err() && self.taken.is_empty() {
            // What brokers said is reported when it is asked for. Nothing is assigned, so no record is taken by this.
            let _ = self.consumer.poll(Duration::from_millis(100));
            let reason = self.events.take().map_or_else(String::new, |reason| format!(": {reason}"));
            return found.map_err(|error| Error::new(error.kind(), format!("{error}{reason}")));
        }
        found
    }

    /// Where partitions begin that are read for the first time.
    ///
    /// # Errors
    ///
    /// If the cluster can't be reached.
    pub(crate) fn first_offsets(&self, partitions: &TopicPartitions) -> Result<PartitionOffsets> {
        partitions.first_offsets(&self.consumer, &self.events, self.config.start)
    }

    /// Takes records from these offsets on, and no others.
    ///
    /// # Errors
    ///
    /// If the client refuses.
    pub(crate) fn assign(&mut self, offsets: &PartitionOffsets) -> Result<()> {
        let list = list_of(offsets)?;
        self.events.explained(self.consumer.assign(&list))?;
        self.taken.clone_from(offsets);
        Ok(())
    }

    /// True if it takes records of these partitions, and no others.
    pub(crate) fn has(&self, partitions: &[(String, i32)]) -> bool {
        self.taken.len() == partitions.len() && partitions.iter().all(|at| self.taken.contains_key(at))
    }

    /// How many records lie behind those that were taken. Aborted ones count, too.
    ///
    /// # Errors
    ///
    /// If the cluster can't be reached.
    pub(crate) fn lag(&self, within: Duration) -> Result<u64> {
        let behind = |((topic, partition), taken): (&(String, i32), &i64)| {
            let (_, end) = self.events.explained(self.consumer.fetch_watermarks(topic, *partition, within))?;
            Ok(u64::try_from(end - taken).unwrap_or_default())
        };
        self.taken.iter().map(behind).sum()
    }

    /// Commits offsets to the consumer group, for those who watch it. Nothing depends on it.
    pub(crate) fn commit(&self, offsets: &PartitionOffsets) {
        if let Ok(list) = list_of(offsets)
            && list.count() > 0
        {
            let _ = self.consumer.commit(&list, CommitMode::Async);
        }
    }

    /// What comes within some time. `schemas` are the columns of the tables; `settle` refuses what can't be decoded.
    ///
    /// # Errors
    ///
    /// If records are gone.
    pub(crate) fn next(
        &mut self,
        patience: Duration,
        schemas: &HashMap<InputTable, InputSchema>,
        settle: &dyn Fn(SourceBatch) -> Result<SourceBatch>,
    ) -> std::result::Result<Fetched, StreamError> {
        let mut partitions: Vec<PartitionLines> = Vec::new();
        let (mut records, mut bytes, mut within) = (0, 0, patience);
        let mut trouble = None;
        while records < RECORDS && bytes < BYTES {
            let record = match self.consumer.poll(within) {
                None => break,
                Some(Ok(record)) => record,
                Some(Err(error)) => {
                    self.check(&error)?;
                    trouble = Some(error);
                    break;
                }
            };
            within = Duration::ZERO;
            let offset = record.offset();
            // Many records of a partition follow each other.
            let is_of = |one: &PartitionLines| one.partition == record.partition() && one.topic == record.topic();
            let index = match partitions.iter().rposition(is_of) {
                Some(index) => index,
                None => {
                    let Some(new) = self.partition_lines(record.topic(), record.partition()) else { continue };
                    partitions.push(new);
                    partitions.len() - 1
                }
            };
            let partition = &mut partitions[index];
            // What was fetched before an assignment.
            if offset < partition.end {
                continue;
            }
            let (number, before) = (u64::try_from(offset).unwrap_or_default(), partition.lines.bytes());
            let pushed = partition.lines.push(&mut self.reader, number, record.key(), record.payload());
            pushed.map_err(|error| {
                let PartitionLines { topic, partition, .. } = &*partition;
                Error::new(error.kind(), format!("topic {topic}, partition {partition}, offset {offset}: {error}"))
            })?;
            partition.end = offset + 1;
            // A record may be longer as JSON.
            (records, bytes) = (records + 1, bytes + partition.lines.bytes() - before);
        }
        partitions.retain(|partition| partition.end > partition.begin);
        if partitions.is_empty() {
            return Ok(trouble.map_or(Fetched::Silence, |error| Fetched::Trouble(self.explained(error))));
        }
        let mut rows = Vec::with_capacity(partitions.len());
        for PartitionLines { table, topic, partition, lines, end, .. } in partitions {
            let origin = format!("{}: {topic}/{partition}", self.config.name);
            let (batches, new_columns) = lines.read(&origin, &schemas[&table], &self.options, settle)?;
            rows.push(RecordRows { table, topic, partition, end, batches, new_columns });
        }
        for of_partition in &rows {
            self.taken.insert((of_partition.topic.clone(), of_partition.partition), of_partition.end);
        }
        Ok(Fetched::Rows(rows))
    }

    /// Begins to take records of a partition, if it is assigned.
    fn partition_lines(&self, topic: &str, partition: i32) -> Option<PartitionLines> {
        let (topic, table) = self.tables.get_key_value(topic)?;
        let begin = *self.taken.get(&(topic.clone(), partition))?;
        let lines = RecordLines::new(*table, &self.options);
        Some(PartitionLines { table: *table, topic: topic.clone(), partition, lines, begin, end: begin })
    }

    /// Fails if records are gone.
    fn check(&self, error: &KafkaError) -> std::result::Result<(), StreamError> {
        let is_gone = matches!(
            error.rdkafka_error_code(),
            Some(
                RDKafkaErrorCode::AutoOffsetReset
                    | RDKafkaErrorCode::OffsetOutOfRange
                    | RDKafkaErrorCode::LogTruncation
            )
        );
        if !is_gone {
            return Ok(());
        }
        let reason = self.events.take().unwrap_or_else(|| kafka_error(error).to_string());
        Err(StreamError::Lost(Error::failed(format!(
            "records that were not taken yet are gone (retention), or a topic was deleted and made again: {reason}; \
             begin anew with another state (--state)"
        ))))
    }

    fn explained(&self, error: KafkaError) -> Error {
        self.events.explained::<()>(Err(error)).err().unwrap_or_else(|| Error::failed("the brokers do not answer"))
    }
}

fn list_of(offsets: &PartitionOffsets) -> Result<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for ((topic, partition), offset) in offsets {
        let added = list.add_partition_offset(topic, *partition, Offset::Offset(*offset));
        added.map_err(|error| kafka_error(&error))?;
    }
    Ok(list)
}
