//! The thread that takes the records of topics.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::columns::InputSchema;
use crate::crash;
use crate::durable::State;
use crate::error::{Error, Result};
use crate::model::InputTable;
use crate::panics::caught;
use crate::service::activity::{FollowState, Followed, SourceKind};
use crate::service::admission::Admission;
use crate::service::following::{FollowEnd, follow_on};
use crate::service::inbox::{Arrival, ArrivedBatches, ArrivedFrom, Inbox};
use crate::sources::kafka::{Fetched, KafkaSourceConfig, PartitionOffsets, RecordRows, RecordStream, StreamError};

use super::offsets::{KnownPartitions, of_partitions};

/// How long to wait for records before it is looked what is committed.
const PATIENCE: Duration = Duration::from_millis(50);
/// How often it is looked whether there are other partitions, and how far behind they are; sooner if there is trouble.
const LOOK_EVERY: Duration = Duration::from_secs(10);
const LOOK_SOON: Duration = Duration::from_secs(1);
/// How long a look may take: nothing is taken meanwhile.
const LOOK_WITHIN: Duration = Duration::from_secs(2);
/// How often offsets are committed to the consumer group.
const COMMIT_EVERY: Duration = Duration::from_secs(5);

/// Begins to take the records that come after those of a state.
///
/// # Errors
///
/// If what the state has of the topics can't be used.
pub(super) fn begin(
    config: KafkaSourceConfig,
    admission: &Arc<Admission>,
    state: &State,
    inbox: &Arc<Inbox>,
    watched: Followed,
) -> Result<()> {
    let KnownPartitions { offsets, cluster } = KnownPartitions::of(state, &config.name)?;
    let follower = RecordFollower {
        schemas: InputTable::ALL.map(|table| (table, admission.schema(table).clone())).into(),
        config,
        admission: Arc::clone(admission),
        inbox: Arc::clone(inbox),
        watched,
        cluster,
        taken: offsets,
        committed: Arc::default(),
    };
    thread::spawn(move || {
        let inbox = Arc::clone(&follower.inbox);
        let panicked = |message| Error::failed(format!("internal error: following topics panicked: {message}"));
        if let Err(error) = caught(|| follower.run()).map_err(panicked) {
            inbox.fail(error);
        }
    });
    Ok(())
}

/// What the thread works with.
struct RecordFollower {
    config: KafkaSourceConfig,
    schemas: HashMap<InputTable, InputSchema>,
    admission: Arc<Admission>,
    inbox: Arc<Inbox>,
    watched: Followed,
    /// Identifies the cluster.
    cluster: Option<String>,
    /// The offsets behind the last records that were put into the inbox.
    taken: PartitionOffsets,
    committed: Arc<CommittedOffsets>,
}

/// The offsets that are committed, in the order in which records were put into the inbox.
#[derive(Default)]
struct CommittedOffsets {
    /// How many arrivals are committed.
    arrivals: Arc<AtomicU64>,
    /// The partition and offset of those that are put and not seen to be committed, with their numbers from 1.
    waiting: Mutex<Vec<(u64, (String, i32), i64)>>,
}

impl From<StreamError> for FollowEnd {
    fn from(error: StreamError) -> FollowEnd {
        match error {
            StreamError::Failed(error) => FollowEnd::Failed(error),
            StreamError::Lost(error) => FollowEnd::Lost(error),
        }
    }
}

impl RecordFollower {
    /// Takes records until nothing is taken any more.
    fn run(mut self) {
        let (name, place) = (self.config.name.clone(), self.config.address.to_string());
        let (inbox, watched) = (Arc::clone(&self.inbox), self.watched.clone());
        follow_on((&name, &place), &inbox, &watched, || {
            let taken = self.taken.clone();
            (self.follow(), self.taken != taken)
        });
    }

    /// Takes records with one consumer.
    fn follow(&mut self) -> Result<(), FollowEnd> {
        self.watched.update(|report| report.state = FollowState::Connecting);
        let mut stream = RecordStream::new(&self.config, &self.admission.config.run.input.files)?;
        self.assign(&mut stream)?;
        self.watched.update(|report| report.state = FollowState::Streaming);
        let (mut looked, mut look_after) = (Instant::now(), LOOK_SOON);
        let mut told = Instant::now();
        loop {
            if self.inbox.is_closed() {
                stream.commit(&self.committed.take());
                return Ok(());
            }
            let admission = Arc::clone(&self.admission);
            match stream.next(PATIENCE, &self.schemas, &|batch| admission.settled(batch))? {
                Fetched::Rows(rows) => rows.into_iter().try_for_each(|rows| self.put(rows))?,
                Fetched::Silence => {}
                Fetched::Trouble(error) => {
                    self.trouble(&error);
                    look_after = LOOK_SOON;
                }
            }
            if told.elapsed() >= COMMIT_EVERY {
                stream.commit(&self.committed.take());
                told = Instant::now();
            }
            if looked.elapsed() >= look_after {
                look_after = match self.look(&mut stream) {
                    Ok(()) => LOOK_EVERY,
                    Err(FollowEnd::Failed(error)) => {
                        self.trouble(&error);
                        LOOK_SOON
                    }
                    Err(ended) => return Err(ended),
                };
                looked = Instant::now();
            }
        }
    }

    /// The brokers can't be reached, or refuse; the consumer goes on trying.
    fn trouble(&self, error: &Error) {
        let mut was = FollowState::Retrying;
        self.watched.update(|report| was = report.state);
        self.watched.has_failed(FollowState::Retrying, &error.to_string());
        if was != FollowState::Retrying {
            let (name, place) = (&self.config.name, &self.config.address);
            tracing::warn!(source = name, "source {name}: {place}: {error}; it goes on trying");
        }
    }

    /// Looks whether there are other partitions, and how far behind they are.
    fn look(&mut self, stream: &mut RecordStream) -> Result<(), FollowEnd> {
        self.assign(stream)?;
        let lag = stream.lag(LOOK_WITHIN)?;
        self.watched.update(|report| (report.state, report.lag) = (FollowState::Streaming, Some(lag)));
        Ok(())
    }

    /// Takes records of all partitions that there are. What is read for the first time is committed at once, so that it
    /// is read for the first time only once.
    fn assign(&mut self, stream: &mut RecordStream) -> Result<(), FollowEnd> {
        let found = stream.partitions()?;
        if let (Some(known), Some(other)) = (&self.cluster, &found.cluster)
            && known != other
        {
            let cause = format!("found the cluster {other}, wanted {known}, from which the state is");
            return Err(FollowEnd::Lost(Error::failed(format!("it is another cluster: {cause}"))));
        }
        self.cluster = self.cluster.take().or(found.cluster.clone());
        let at = |(_, topic, partition): &(InputTable, String, i32)| (topic.clone(), *partition);
        let wanted: Vec<_> = found.partitions.iter().map(at).collect();
        if let Some((topic, partition)) = self.taken.keys().find(|at| !wanted.contains(*at) && self.follows(&at.0)) {
            return Err(FollowEnd::Failed(Error::failed(format!("topic {topic}: partition {partition} is gone"))));
        }
        let new: Vec<_> = wanted.iter().filter(|at| !self.taken.contains_key(*at)).cloned().collect();
        if !new.is_empty() {
            let first = stream.first_offsets(&found)?;
            let mut offsets = PartitionOffsets::new();
            for at in new {
                // A partition that was added later begins with its first record.
                let is_known = self.taken.keys().any(|(topic, _)| *topic == at.0);
                let offset = if is_known { 0 } else { first.get(&at).copied().unwrap_or_default() };
                offsets.insert(at, offset);
            }
            self.put_offsets(&offsets);
            self.taken.extend(offsets);
        } else if stream.has(&wanted) {
            return Ok(());
        }
        let offsets = wanted.into_iter().map(|at| (at.clone(), self.taken[&at])).collect();
        stream.assign(&offsets).map_err(FollowEnd::Failed)
    }

    fn follows(&self, topic: &str) -> bool {
        self.config.topics.iter().any(|(_, followed)| followed == topic)
    }

    /// Puts the rows of a partition into the inbox.
    fn put(&mut self, rows: RecordRows) -> Result<(), FollowEnd> {
        let (since, admission) = (Instant::now(), Arc::clone(&self.admission));
        let RecordRows { table, topic, partition, end, batches, new_columns } = rows;
        let at = (topic, partition);
        let offsets = [(at.clone(), end)].into();
        let mut arrived = ArrivedBatches::default();
        if !batches.is_empty() {
            admission.admit(table, batches, &new_columns, |admitted| {
                arrived = admitted;
                Ok::<_, Error>(())
            })?;
        }
        self.put_rows(arrived, &offsets, since);
        self.taken.insert(at, end);
        crash::point("kafka: records taken");
        Ok(())
    }

    /// Has offsets committed without rows.
    fn put_offsets(&self, offsets: &PartitionOffsets) {
        self.put_rows(ArrivedBatches::default(), offsets, Instant::now());
    }

    fn put_rows(&self, rows: ArrivedBatches, offsets: &PartitionOffsets, since: Instant) {
        let end = self.committed.put(offsets);
        let shown = offsets.iter().map(|((topic, partition), end)| format!("{topic}/{partition}: {end}"));
        let shown = shown.collect::<Vec<_>>().join(", ");
        let offsets = of_partitions(&self.config.name, offsets, self.cluster.as_deref());
        let (kind, committed) = (SourceKind::Kafka, Arc::clone(&self.committed.arrivals));
        let from = ArrivedFrom::Followed { kind, offsets, shown, end, committed };
        self.inbox.put(Arrival { rows, from, decoded: since.elapsed(), since });
    }
}

impl CommittedOffsets {
    /// Records are put into the inbox; returns the number of the arrival.
    fn put(&self, offsets: &PartitionOffsets) -> u64 {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let number = waiting.last().map_or_else(|| self.arrivals.load(Ordering::Acquire), |(last, ..)| *last) + 1;
        waiting.extend(offsets.iter().map(|(at, offset)| (number, at.clone(), *offset)));
        number
    }

    /// The offsets that were committed since they were last taken.
    fn take(&self) -> PartitionOffsets {
        let committed = self.arrivals.load(Ordering::Acquire);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let done = waiting.extract_if(.., |(number, ..)| *number <= committed);
        done.map(|(_, at, offset)| (at, offset)).collect()
    }
}
