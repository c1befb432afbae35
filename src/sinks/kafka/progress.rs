//! Which epoch the topics have, and which process may write to them.

use std::collections::BTreeSet;

use rdkafka::{Message, Offset};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::kafka::KafkaAddress;
use crate::sinks::committed::Committed;

/// The progress of one sink: the newest record with its name in a topic.
#[derive(Clone, Debug)]
pub(super) struct TopicProgress {
    pub(super) topic: String,
    pub(super) sink: String,
    /// Names this process among all that ever wrote.
    pub(super) writer: String,
}

/// What a record of progress says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RecordedEpoch {
    /// The process that may write.
    pub(super) writer: String,
    /// The topics that are delivered, and the rows in them.
    pub(super) layout: Vec<String>,
    /// The topics that were ever delivered.
    pub(super) owned: BTreeSet<String>,
    /// The epoch that they have; `None` while the first snapshot is not there.
    pub(super) epoch: Option<u64>,
    /// When it was committed, in milliseconds since 1970.
    pub(super) committed_ms: Option<u64>,
}

/// The partition that has it, however many the topic has.
pub(super) const PARTITION: i32 = 0;
/// So many offsets before the end are read at first. Each transaction takes two, and aborted ones take some.
const TAIL: i64 = 1000;

impl TopicProgress {
    pub(super) fn new(prefix: &str, sink: &str, writer: String) -> TopicProgress {
        TopicProgress { topic: format!("{prefix}millstream_progress.{sink}"), sink: sink.to_owned(), writer }
    }

    /// What is recorded; `None` if nothing is.
    ///
    /// # Errors
    ///
    /// If the topic can't be read, or the record is of another version.
    pub(super) fn read(&self, address: &KafkaAddress) -> Result<Option<RecordedEpoch>> {
        for from in [Offset::OffsetTail(TAIL), Offset::Beginning] {
            let mut last = None;
            address.read_to_end(&self.topic, &[(PARTITION, from)], |record| {
                if let Some(record) = record.filter(|record| record.key() == Some(self.sink.as_bytes())) {
                    last = record.payload().map(<[u8]>::to_vec);
                }
                Ok(())
            })?;
            if let Some(record) = last {
                let recorded = serde_json::from_slice(&record);
                let unusable =
                    |cause| Error::usage(format!("topic {}: found a record of progress: {cause}", self.topic));
                return recorded.map(Some).map_err(unusable);
            }
        }
        Ok(None)
    }

    /// The record that says that the topics have an epoch.
    pub(super) fn record(
        &self,
        layout: &[String],
        owned: &BTreeSet<String>,
        epoch: Option<Committed>,
    ) -> Result<Vec<u8>> {
        let (epoch, committed_ms) = (epoch.map(|epoch| epoch.epoch), epoch.map(|epoch| epoch.time_ms));
        let (writer, layout, owned) = (self.writer.clone(), layout.to_vec(), owned.clone());
        let recorded = RecordedEpoch { writer, layout, owned, epoch, committed_ms };
        serde_json::to_vec(&recorded).map_err(Error::failed)
    }
}

impl RecordedEpoch {
    /// The epoch that the topics have.
    pub(super) fn committed(&self) -> Option<Committed> {
        Some(Committed { epoch: self.epoch?, time_ms: self.committed_ms? })
    }
}
