//! Checking a source before it is used. Nothing is changed there.

use std::time::{Duration, Instant};

use rdkafka::{Message, Offset};

use crate::error::{Error, Result};
use crate::model::InputTable;
use crate::sources::files::FileOptions;

use super::positions::TopicPartitions;
use super::reader::RecordReader;
use super::records::RecordLines;
use super::settings::KafkaSourceConfig;
use super::stream::RecordStream;

/// How long a record is waited for.
const WITHIN: Duration = Duration::from_secs(10);

/// Connects, looks at the topics, and reads a record of each. Each finding has a name; nothing follows if the topics
/// can't be reached.
pub(crate) fn check(config: &KafkaSourceConfig, options: &FileOptions) -> Vec<(String, Result<String>)> {
    let mut findings = Vec::new();
    let mut found = |what: &str, finding: Result<String>| {
        let is_well = finding.is_ok();
        findings.push((format!("source {}: {what}", config.name), finding));
        is_well
    };
    let partitions = RecordStream::new(config, options).and_then(|stream| stream.partitions());
    let shown = |found: &TopicPartitions| format!("{}, {} partitions", config.address, found.partitions.len());
    if !found("its topics are there", partitions.as_ref().map(shown).map_err(Error::clone)) {
        return findings;
    }
    if let Some(registry) = &config.registry
        && !found("its schema registry", registry.check().map(|()| format!("{registry} answers")))
    {
        return findings;
    }
    for (table, topic) in &config.topics {
        let of_topic = partitions.iter().flat_map(|found| &found.partitions);
        let of_topic =
            of_topic.filter(|(_, of, _)| of == topic).map(|(_, _, partition)| *partition).collect::<Vec<_>>();
        found(&format!("{topic} can be read"), one_record(config, *table, topic, &of_topic, options));
    }
    findings
}

fn one_record(
    config: &KafkaSourceConfig,
    table: InputTable,
    topic: &str,
    partitions: &[i32],
    options: &FileOptions,
) -> Result<String> {
    let (mut lines, mut reader) = (RecordLines::new(table, options), RecordReader::new(config));
    let from: Vec<_> = partitions.iter().map(|partition| (*partition, Offset::Beginning)).collect();
    let (until, mut is_over) = (Instant::now() + WITHIN, false);
    let read = config.address.read_to_end(topic, &from, |record| {
        if let Some(record) = record {
            let offset = u64::try_from(record.offset()).unwrap_or_default();
            lines.push(&mut reader, offset, record.key(), record.payload())?;
        }
        is_over = lines.len() > 0 || Instant::now() >= until;
        // An error ends the reading, and is not told.
        if is_over { Err(Error::failed("a record is enough")) } else { Ok(()) }
    });
    if !is_over {
        read?;
    }
    let (rows, _, malformed) = lines.sorted_out();
    match malformed.first() {
        Some(row) => Err(Error::unusable(format!("its first record would be rejected: {}", row.reason.text))),
        None if rows.is_empty() => Ok("it has no records".to_owned()),
        None => Ok("a record was read".to_owned()),
    }
}
