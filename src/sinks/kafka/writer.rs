//! The transactions in which epochs are delivered.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;

use crate::crash;
use crate::error::{Error, Result};
use crate::kafka::KafkaEvents;
use crate::sinks::changes::TableChanges;
use crate::sinks::committed::Committed;
use crate::sinks::delivery::{Delivery, DeliveryError, DeliveryStanding, Destination};

use super::change::ChangeOrigin;
use super::contents::{digest, rows_of};
use super::progress::{PARTITION, RecordedEpoch, TopicProgress};
use super::records::TopicRecord;
use super::settings::KafkaTarget;
use super::topics::{TargetTopic, create, existing};

/// How long brokers may take for a step of a transaction.
const STEP_WITHIN: Duration = Duration::from_secs(30);
/// How long a transaction may take. Brokers refuse more than a quarter of an hour by default.
const TRANSACTION_MS: &str = "600000";

/// Delivers epochs.
pub(crate) struct KafkaWriter {
    target: KafkaTarget,
    progress: TopicProgress,
    topics: Vec<TargetTopic>,
    /// The partitions of the topics.
    partitions: BTreeMap<String, Vec<i32>>,
    /// The topics that this sink has ever delivered.
    owned: BTreeSet<String>,
    /// True once the topics are there and this process may write to them.
    is_prepared: bool,
    /// The epoch that the topics have.
    delivered: Option<Committed>,
    /// `None` before the first delivery and after a failure.
    session: Option<TopicSession>,
}

/// A producer that has taken the transactional id over.
struct TopicSession {
    producer: BaseProducer<KafkaEvents>,
    events: KafkaEvents,
}

impl Destination for KafkaWriter {
    fn prepare(&mut self) -> Result<Option<Committed>> {
        let (session, delivered) = self.take_over().map_err(|error| self.named(error))?;
        (self.session, self.delivered, self.is_prepared) = (Some(session), delivered, true);
        Ok(delivered)
    }

    fn deliver(&mut self, delivery: &Delivery) -> Result<(), DeliveryError> {
        let session = match self.session.take() {
            Some(session) => session,
            None => match self.connect(delivery)? {
                (session, DeliveryStanding::Next) => session,
                (session, DeliveryStanding::Delivered) => {
                    self.session = Some(session);
                    return Ok(());
                }
            },
        };
        // Another producer aborts what is not committed.
        let written = self.write(&session, delivery);
        written.map_err(|error| DeliveryError::Refused(self.named(error)))?;
        // It may be delivered whatever comes: that is looked up with another producer.
        commit(&session).map_err(|error| self.transient(error))?;
        crash::point("kafka: committed");
        (self.delivered, self.session) = (Some(delivery.epoch), Some(session));
        Ok(())
    }
}

impl KafkaWriter {
    pub(super) fn new(target: KafkaTarget, progress: TopicProgress, topics: Vec<TargetTopic>) -> KafkaWriter {
        let (partitions, owned) = Default::default();
        KafkaWriter { target, progress, topics, partitions, owned, is_prepared: false, delivered: None, session: None }
    }

    /// Makes the topics that are missing, fences off whoever has written before, and records that this process may
    /// write now.
    fn take_over(&mut self) -> Result<(TopicSession, Option<Committed>)> {
        let session = self.session()?;
        let found = existing(&session.producer, &session.events)?;
        self.check_owner(&found)?;
        let wanted = self.topics.iter().map(|topic| topic.topic.as_str()).chain([self.progress.topic.as_str()]);
        let missing: Vec<&str> = wanted.filter(|topic| !found.contains_key(*topic)).collect();
        create(&self.target.address, &missing, self.target.partitions, &self.progress.topic)?;
        crash::point("kafka: topics made");
        let is_made = !missing.is_empty();
        let registry = self.target.registry.as_ref();
        self.topics.iter_mut().try_for_each(|topic| topic.form.register(registry, &topic.topic))?;
        self.partitions = self.made(&session)?;
        session.events.explained(session.producer.init_transactions(STEP_WITHIN))?;
        crash::point("kafka: transactional id taken over");
        let recorded = self.progress.read(&self.target.address)?;
        let layout = self.layout();
        self.owned = recorded.as_ref().map(|recorded| recorded.owned.clone()).unwrap_or_default();
        let is_same = |recorded: &RecordedEpoch| recorded.layout == layout && !is_made;
        let delivered = recorded.filter(is_same).and_then(|recorded| recorded.committed());
        self.owned.extend(self.topics.iter().map(|topic| topic.topic.clone()));
        session.events.explained(session.producer.begin_transaction())?;
        self.send_progress(&session, delivered)?;
        crash::point("kafka: take-over begun");
        commit(&session)?;
        crash::point("kafka: topics taken over");
        Ok((session, delivered))
    }

    /// Checks that topics that have records are of this sink.
    fn check_owner(&mut self, found: &BTreeMap<String, Vec<i32>>) -> Result<()> {
        self.partitions.clone_from(found);
        let recorded = match found.contains_key(&self.progress.topic) {
            true => self.progress.read(&self.target.address)?,
            false => None,
        };
        let owned = recorded.map(|recorded| recorded.owned).unwrap_or_default();
        for topic in self.topics.iter().filter(|topic| found.contains_key(&topic.topic)) {
            if !owned.contains(&topic.topic) && !self.has(topic)?.is_empty() {
                let cause = "has records that are not of this sink; delete it, or choose another prefix";
                return Err(Error::usage(format!("topic {} {cause}", topic.topic)));
            }
        }
        Ok(())
    }

    /// The partitions of all topics, once brokers know them.
    fn made(&self, session: &TopicSession) -> Result<BTreeMap<String, Vec<i32>>> {
        let until = Instant::now() + STEP_WITHIN;
        loop {
            let found = existing(&session.producer, &session.events)?;
            let missing = self.topics.iter().map(|topic| &topic.topic).chain([&self.progress.topic]);
            match missing.into_iter().find(|topic| found.get(*topic).is_none_or(Vec::is_empty)) {
                None => return Ok(found),
                Some(topic) if Instant::now() >= until => {
                    return Err(Error::failed(format!("topic {topic} was made, but the brokers do not know it")));
                }
                Some(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// A producer, which has not taken over yet.
    fn session(&self) -> Result<TopicSession> {
        let events = KafkaEvents::default();
        let id = format!("millstream-{}{}", self.target.prefix, self.target.name);
        let own = [
            ("transactional.id", id.as_str()),
            ("enable.idempotence", "true"),
            ("transaction.timeout.ms", TRANSACTION_MS),
            ("linger.ms", "1"),
            // The partitioner of other clients: whoever else writes by key finds the same partition.
            ("partitioner", "murmur2_random"),
        ];
        Ok(TopicSession { producer: self.target.address.client(&own, &events)?, events })
    }

    /// A producer after a failure, or for the first time, and where a delivery stands.
    fn connect(&mut self, delivery: &Delivery) -> Result<(TopicSession, DeliveryStanding), DeliveryError> {
        if !self.is_prepared {
            self.prepare().map_err(DeliveryError::Transient)?;
            let session = self.session.take().ok_or_else(|| self.transient(Error::failed("internal error")))?;
            return Ok((session, self.standing(self.delivered, delivery)?));
        }
        // A process that was displaced must not take over again.
        self.read_own()?;
        let session = self.session().map_err(|error| self.transient(error))?;
        let taken_over = session.events.explained(session.producer.init_transactions(STEP_WITHIN));
        taken_over.map_err(|error| self.transient(error))?;
        let found = self.read_own()?;
        let standing = self.standing(found, delivery)?;
        Ok((session, standing))
    }

    /// The epoch that the topics have, if this process may write to them.
    fn read_own(&self) -> Result<Option<Committed>, DeliveryError> {
        let recorded = self.progress.read(&self.target.address).map_err(|error| self.transient(error))?;
        match recorded {
            None => Err(self.fenced("the record of this sink in the topic of progress is gone; restart the service")),
            Some(recorded) if recorded.writer != self.progress.writer => {
                Err(self.fenced("another process delivers to these topics"))
            }
            Some(recorded) => Ok(recorded.committed()),
        }
    }

    /// Where a delivery stands if the topics have an epoch.
    fn standing(&mut self, found: Option<Committed>, delivery: &Delivery) -> Result<DeliveryStanding, DeliveryError> {
        let other = "the topics have another epoch than was delivered, as after a failover; restart the service, which \
                     delivers the difference";
        DeliveryStanding::of(found, &mut self.delivered, delivery).ok_or_else(|| self.fenced(other))
    }

    /// Writes the records of a transaction that is still open.
    fn write(&self, session: &TopicSession, delivery: &Delivery) -> Result<()> {
        // Before the transaction, which may not take long: a snapshot reads the topics.
        let records = self.records(delivery)?;
        session.events.explained(session.producer.begin_transaction())?;
        for (topic, records) in &records {
            for TopicRecord { key, value } in records {
                send(session, topic, None, key, value.as_deref(), Some(delivery.epoch))?;
            }
            crash::point("kafka: topic written");
        }
        self.send_progress(session, Some(delivery.epoch))?;
        flush(session)?;
        crash::point("kafka: records written");
        Ok(())
    }

    /// The records of a delivery, by topic.
    fn records(&self, delivery: &Delivery) -> Result<Vec<(&str, Vec<TopicRecord>)>> {
        let of_table = |changes: &TableChanges| {
            let topic = self.topics.iter().find(|topic| topic.table == changes.table.name);
            let topic = topic.ok_or_else(|| Error::failed("internal error: an unknown table"))?;
            let origin = ChangeOrigin { sink: &self.target.name, table: &topic.table, epoch: delivery.epoch };
            let records = match delivery.is_snapshot {
                true => topic.difference(&changes.plus, &self.has(topic)?, digest, origin)?,
                false => topic.changes(changes, origin)?,
            };
            Ok((topic.topic.as_str(), records))
        };
        delivery.tables.iter().map(of_table).collect()
    }

    /// The rows that a topic has.
    fn has(&self, topic: &TargetTopic) -> Result<HashMap<Vec<u8>, u128>> {
        let partitions = self.partitions.get(&topic.topic).map_or(&[][..], Vec::as_slice);
        rows_of(&self.target.address, topic, partitions)
    }

    fn send_progress(&self, session: &TopicSession, epoch: Option<Committed>) -> Result<()> {
        let record = self.progress.record(&self.layout(), &self.owned, epoch)?;
        send(session, &self.progress.topic, Some(PARTITION), self.progress.sink.as_bytes(), Some(&record), epoch)
    }

    fn layout(&self) -> Vec<String> {
        self.topics.iter().map(TargetTopic::fingerprint).collect()
    }

    fn named(&self, error: Error) -> Error {
        Error::new(error.kind(), format!("{}: {error}", self.target.address))
    }

    fn transient(&self, error: Error) -> DeliveryError {
        DeliveryError::Transient(self.named(error))
    }

    fn fenced(&self, cause: &str) -> DeliveryError {
        DeliveryError::Fenced(self.named(Error::failed(cause)))
    }
}

/// Gives a record to the producer, once that has room.
fn send(
    session: &TopicSession,
    topic: &str,
    partition: Option<i32>,
    key: &[u8],
    value: Option<&[u8]>,
    epoch: Option<Committed>,
) -> Result<()> {
    let until = Instant::now() + STEP_WITHIN;
    loop {
        let mut record = BaseRecord::to(topic).key(key);
        (record.payload, record.partition) = (value, partition);
        record.timestamp = epoch.and_then(|epoch| i64::try_from(epoch.time_ms).ok());
        record.headers = epoch.map(|epoch| {
            let number = epoch.epoch.to_string();
            OwnedHeaders::new().insert(Header { key: "millstream-epoch", value: Some(&number) })
        });
        match session.producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) if Instant::now() < until => {
                session.producer.poll(Duration::from_millis(1));
            }
            Err((error, _)) => {
                let named = |error: Error| Error::failed(format!("topic {topic}: {error}"));
                return session.events.explained(Err(error)).map_err(named);
            }
        }
    }
}

/// Waits until the brokers have all records.
fn flush(session: &TopicSession) -> Result<()> {
    // The flush of the crate waits for 100 ms at a time.
    let until = Instant::now() + STEP_WITHIN;
    while session.producer.in_flight_count() > 0 {
        if Instant::now() >= until {
            return session.events.explained(Err(KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut)));
        }
        session.producer.poll(Duration::from_millis(1));
    }
    match session.events.take_undelivered() {
        Some(reason) => Err(Error::failed(reason)),
        None => Ok(()),
    }
}

fn commit(session: &TopicSession) -> Result<()> {
    flush(session)?;
    session.events.explained(session.producer.commit_transaction(STEP_WITHIN))
}
