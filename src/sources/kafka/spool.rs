//! The first rows of tables that the input folder does not have: what their topics have at the start.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rdkafka::{Message, Offset};

use crate::columns::InputSchema;
use crate::error::{Error, Result};
use crate::model::InputTable;
use crate::sources::files::{FileOptions, FileSource};
use crate::sources::source::{MalformedRow, Source, SourceBatches, Split};

use super::positions::PartitionOffsets;
use super::reader::RecordReader;
use super::records::{RecordLines, rejected};
use super::settings::KafkaSourceConfig;
use super::stream::RecordStream;

/// The records of topics: rows in a file for each table, and what is no row.
pub(crate) struct TopicSpool {
    files: FileSource,
    /// The records that are no rows, by table and partition. They follow the rows.
    malformed: Vec<(InputTable, String, Vec<MalformedRow>)>,
    /// The offsets behind the last records.
    pub(crate) offsets: PartitionOffsets,
    /// Identifies the cluster, if it says.
    pub(crate) cluster: Option<String>,
}

/// How often it is looked whether a topic has a record.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// So many bytes of records are held before they are written.
const BYTES_HELD: usize = 32 << 20;
/// The most records of a partition that are rejected one by one.
const MALFORMED_MAX: usize = 100_000;

/// The file of a table, and its records that are not in it.
struct TableFile {
    file: BufWriter<File>,
    /// The rows that have all columns that the job needs.
    rows: usize,
    malformed: BTreeMap<(String, i32), Vec<MalformedRow>>,
}

impl TopicSpool {
    /// Reads the topics of some tables to their end, into a folder that is made anew. Waits for a row of each table
    /// that has all columns that the job needs. `go_on` fails when it is to stop.
    ///
    /// # Errors
    ///
    /// If a topic can't be read, a file can't be written, or a column is missing in all rows.
    pub(crate) fn copy(
        config: &KafkaSourceConfig,
        tables: &[InputTable],
        options: &FileOptions,
        folder: &Path,
        go_on: impl Fn() -> Result<()>,
    ) -> Result<TopicSpool> {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).map_err(Error::writing(folder))?;
        let topics = config.topics.iter().filter(|(table, _)| tables.contains(table)).cloned().collect();
        let config = KafkaSourceConfig { topics, ..config.clone() };
        let stream = RecordStream::new(&config, options)?;
        let partitions = stream.partitions()?;
        let mut offsets = stream.first_offsets(&partitions)?;
        drop(stream);
        let file = |table: &InputTable| Ok((*table, TableFile::create(&folder.join(format!("{table}.jsonl")))?));
        let mut files = tables.iter().map(file).collect::<Result<BTreeMap<_, _>>>()?;
        let mut is_logged = false;
        loop {
            for (table, topic) in &config.topics {
                let file = files.get_mut(table).ok_or_else(|| Error::failed("internal error: an unknown table"))?;
                file.copy(&config, (*table, topic), options, &mut offsets, &go_on)?;
            }
            let Some((table, _)) = files.iter().find(|(_, file)| file.rows == 0) else { break };
            if !is_logged {
                is_logged = true;
                let name = &config.name;
                tracing::warn!(
                    source = name,
                    "source {name}: {table}: waiting for a row with all columns that the job needs"
                );
            }
            go_on()?;
            thread::sleep(LOOK_EVERY);
        }
        let mut malformed = Vec::new();
        for (table, TableFile { mut file, malformed: of_table, .. }) in files {
            file.flush().map_err(Error::writing(folder))?;
            malformed.extend(
                of_table
                    .into_iter()
                    .map(|((topic, partition), rows)| (table, format!("{}: {topic}/{partition}", config.name), rows)),
            );
        }
        let files = FileSource::open_some(folder, tables, options)?;
        Ok(TopicSpool { files, malformed, offsets, cluster: partitions.cluster })
    }
}

impl TableFile {
    fn create(path: &Path) -> Result<TableFile> {
        let file = BufWriter::new(File::create(path).map_err(Error::writing(path))?);
        Ok(TableFile { file, rows: 0, malformed: BTreeMap::new() })
    }

    /// Copies a topic from some offsets, which move behind the last records.
    fn copy(
        &mut self,
        config: &KafkaSourceConfig,
        (table, topic): (InputTable, &str),
        options: &FileOptions,
        offsets: &mut PartitionOffsets,
        go_on: &impl Fn() -> Result<()>,
    ) -> Result<()> {
        let of_topic = (topic.to_owned(), i32::MIN)..=(topic.to_owned(), i32::MAX);
        let from: Vec<_> =
            offsets.range(of_topic).map(|((_, partition), offset)| (*partition, Offset::Offset(*offset))).collect();
        let mut held: BTreeMap<i32, RecordLines> = BTreeMap::new();
        let mut reader = RecordReader::new(config);
        let mut bytes = 0;
        config.address.read_to_end(topic, &from, |record| {
            let Some(record) = record else { return go_on() };
            let lines = held.entry(record.partition()).or_insert_with(|| RecordLines::new(table, options));
            let offset = u64::try_from(record.offset()).unwrap_or_default();
            bytes -= lines.bytes();
            lines.push(&mut reader, offset, record.key(), record.payload()).map_err(|error| {
                let place = format!("topic {topic}, partition {}, offset {offset}", record.partition());
                Error::new(error.kind(), format!("{place}: {error}"))
            })?;
            bytes += lines.bytes();
            offsets.insert((topic.to_owned(), record.partition()), record.offset() + 1);
            if bytes >= BYTES_HELD {
                bytes = 0;
                self.write(topic, std::mem::take(&mut held))?;
            }
            Ok(())
        })?;
        self.write(topic, held)
    }

    fn write(&mut self, topic: &str, held: BTreeMap<i32, RecordLines>) -> Result<()> {
        for (partition, lines) in held {
            let (lines, whole, malformed) = lines.sorted_out();
            self.rows += whole;
            self.file.write_all(&lines).map_err(Error::failed)?;
            let known = self.malformed.entry((topic.to_owned(), partition)).or_default();
            if known.len() + malformed.len() > MALFORMED_MAX {
                return Err(Error::unusable(format!(
                    "topic {topic}: more than {MALFORMED_MAX} records of partition {partition} are no rows; the last: \
                     {}; is the format another one?",
                    malformed.last().map_or("", |row| &row.reason.text)
                )));
            }
            known.extend(malformed);
        }
        Ok(())
    }
}

impl Source for TopicSpool {
    fn schema(&self, table: InputTable) -> &InputSchema {
        self.files.schema(table)
    }

    fn splits(&self) -> Vec<Split> {
        let mut splits = self.files.splits();
        let first = splits.len();
        splits.extend(self.malformed.iter().enumerate().map(|(index, (table, _, rows))| {
            let count = rows.len() as u64;
            Split { table: *table, index: first + index, rows: Some(count), rows_about: count }
        }));
        splits
    }

    fn read(&self, split: &Split, batch_size: usize) -> Result<SourceBatches<'_>> {
        let first = self.files.splits().len();
        let Some(index) = split.index.checked_sub(first) else { return self.files.read(split, batch_size) };
        let (table, origin, rows) = &self.malformed[index];
        let batches = rows.chunks(batch_size.max(1)).map(|rows| rejected(self.schema(*table), origin, rows.to_vec()));
        Ok(Box::new(batches))
    }

    fn fingerprint(&self) -> Result<BTreeMap<String, String>> {
        self.files.fingerprint()
    }
}
