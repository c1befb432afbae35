//! What has arrived and waits to be applied.
//!
//! ```text
//! files ────┐
//! requests ─┴─ arrivals ─▶ inbox ─ when the service is free ─▶ epoch
//! ```
//!
//! The service takes what there is whenever it is free, up to a number of rows and bytes. So epochs are small while
//! little arrives, and large when much does. Of each source the order is kept.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use arrow::datatypes::FieldRef;
use arrow::record_batch::RecordBatch;

use crate::durable::{Offset, RowsFrame, Snapshot};
use crate::error::{Error, Result};
use crate::model::{AnyId, Day, InputTable};
use crate::pipeline::EnrichedRowsOf;
use crate::sources::{FileStamp, SourceBatch};

use super::activity::SourceKind;
use super::request::WaitingRequest;

/// Rows of one file or request, which lie in one epoch.
pub(super) struct Arrival {
    pub(super) rows: ArrivedBatches,
    pub(super) from: ArrivedFrom,
    /// How long it took to read them.
    pub(super) decoded: Duration,
    /// When they began to be read.
    pub(super) since: Instant,
}

/// Rows, as the dataflow and as the log take them.
#[derive(Default)]
pub(super) struct ArrivedBatches {
    pub(super) batches: Vec<SourceBatch>,
    pub(super) frames: Vec<RowsFrame>,
    pub(super) rows: u64,
    pub(super) bytes: usize,
    /// The greatest day of the orders so far; `None` if late ones are accepted.
    pub(super) seen: Option<Day>,
    /// Columns that they came with and the state has not.
    pub(super) new_columns: Vec<(InputTable, FieldRef)>,
}

#[cfg(feature = "postgres")]
impl ArrivedBatches {
    /// Adds rows of another table that belong to the same epoch.
    pub(super) fn append(&mut self, other: ArrivedBatches) {
        self.batches.extend(other.batches);
        self.frames.extend(other.frames);
        (self.rows, self.bytes) = (self.rows + other.rows, self.bytes + other.bytes);
        self.seen = self.seen.max(other.seen);
        self.new_columns.extend(other.new_columns);
    }
}

/// Where rows are from.
pub(super) enum ArrivedFrom {
    /// A file.
    File { name: String, stamp: FileStamp },
    /// A request, which is answered once the rows are committed.
    Request(WaitingRequest),
    /// Another system that is followed.
    #[cfg_attr(not(feature = "connectors"), expect(dead_code, reason = "a build without other systems has none"))]
    Followed {
        kind: SourceKind,
        /// What a commit says of it, by names among the sources of the state.
        offsets: BTreeMap<String, Offset>,
        /// Where it is, for those who watch it.
        shown: String,
        /// The position behind these rows.
        end: u64,
        /// That of the last ones that are committed.
        committed: Arc<AtomicU64>,
    },
}

/// An epoch takes no more arrivals once it has so many rows, or bytes in the form of the log. The inbox refuses
/// arrivals beyond the same limits.
const ROWS: u64 = 100_000;
const BYTES: usize = 64 << 20;

/// The most look-ups that wait.
const LOOKUPS_MAX: usize = 1000;

/// Rows of `enriched_data` that are looked up between epochs.
pub(super) struct WaitingLookup {
    pub(super) rows_of: EnrichedRowsOf<AnyId>,
    /// Called when the look-up begins, between two epochs.
    pub(super) begin: BeginLookup,
}

/// Gives what is called with the rows.
pub(super) type BeginLookup = Box<dyn FnOnce() -> GiveLookedUp + Send>;
pub(super) type GiveLookedUp = Box<dyn FnOnce(Result<Vec<RecordBatch>>) + Send>;

/// Arrivals, in the order in which they are applied.
#[derive(Default)]
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    /// Apart from `changed`, which is notified of each arrival.
    closed: Condvar,
}

#[derive(Default)]
struct Waiting {
    arrivals: VecDeque<Arrival>,
    rows: u64,
    bytes: usize,
    lookups: VecDeque<WaitingLookup>,
    /// Who waits for the state as of the last epoch.
    snapshots: Vec<mpsc::Sender<Snapshot>>,
    /// Since when what was taken last has waited, until it is applied.
    applied_since: Option<Instant>,
    /// What ended a source.
    failed: Option<Error>,
    is_closed: bool,
}

impl Waiting {
    fn is_full(&self) -> bool {
        self.rows >= ROWS || self.bytes >= BYTES
    }
}

impl Inbox {
    /// Adds an arrival once there is room. Once nothing is taken any more, it is dropped.
    pub(super) fn put(&self, arrival: Arrival) {
        let mut waiting = self.lock();
        while waiting.is_full() && !waiting.is_closed {
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        if !waiting.is_closed {
            self.add(waiting, arrival);
        }
    }

    /// Adds an arrival if there is room; false if there is none, or nothing is taken any more.
    pub(super) fn try_put(&self, arrival: Arrival) -> bool {
        let waiting = self.lock();
        if waiting.is_full() || waiting.is_closed {
            return false;
        }
        self.add(waiting, arrival);
        true
    }

    /// The state as of the last epoch; `None` once nothing is taken any more.
    ///
    /// # Errors
    ///
    /// If there is no room to keep it.
    #[cfg(feature = "postgres")]
    pub(super) fn snapshot(&self) -> Result<Option<Snapshot>> {
        let (give, given) = mpsc::channel();
        let mut waiting = self.lock();
        if waiting.is_closed {
            return Ok(None);
        }
        waiting.snapshots.push(give);
        drop(waiting);
        self.changed.notify_all();
        match given.recv() {
            Ok(snapshot) => Ok(Some(snapshot)),
            Err(_) if self.is_closed() => Ok(None),
            Err(_) => Err(Error::failed("there is no room for a segment of the log")),
        }
    }

    /// Who waits for the state.
    pub(super) fn take_snapshots(&self) -> Vec<mpsc::Sender<Snapshot>> {
        std::mem::take(&mut self.lock().snapshots)
    }

    /// Adds look-ups, which are taken together, if there is room; false if there is none, or nothing is taken any more.
    pub(super) fn try_look_up(&self, lookups: Vec<WaitingLookup>) -> bool {
        let mut waiting = self.lock();
        if waiting.lookups.len() + lookups.len() > LOOKUPS_MAX || waiting.is_closed {
            return false;
        }
        waiting.lookups.extend(lookups);
        drop(waiting);
        self.changed.notify_all();
        true
    }

    /// The look-ups that wait.
    pub(super) fn take_lookups(&self) -> Vec<WaitingLookup> {
        self.lock().lookups.drain(..).collect()
    }

    fn add(&self, mut waiting: MutexGuard<'_, Waiting>, arrival: Arrival) {
        waiting.rows += arrival.rows.rows;
        waiting.bytes += arrival.rows.bytes;
        waiting.arrivals.push_back(arrival);
        drop(waiting);
        self.changed.notify_all();
    }

    /// How long what waits longest, or is being applied, has waited; `None` if there is nothing.
    pub(super) fn longest_wait(&self) -> Option<Duration> {
        let waiting = self.lock();
        let since = waiting.arrivals.front().map(|arrival| arrival.since);
        since.into_iter().chain(waiting.applied_since).min().map(|since| since.elapsed())
    }

    /// What was taken last is applied.
    pub(super) fn applied(&self) {
        self.lock().applied_since = None;
    }

    /// True if there is no room.
    pub(super) fn is_full(&self) -> bool {
        self.lock().is_full()
    }

    /// How many rows and bytes wait.
    pub(super) fn size(&self) -> (u64, usize) {
        let waiting = self.lock();
        (waiting.rows, waiting.bytes)
    }

    /// A source has ended.
    pub(super) fn fail(&self, error: Error) {
        self.lock().failed.get_or_insert(error);
        self.changed.notify_all();
    }

    /// Nothing is taken any more. What waits is dropped.
    pub(super) fn close(&self) {
        let mut waiting = self.lock();
        waiting.is_closed = true;
        let dropped = (
            std::mem::take(&mut waiting.arrivals),
            std::mem::take(&mut waiting.lookups),
            std::mem::take(&mut waiting.snapshots),
        );
        drop(waiting);
        self.changed.notify_all();
        self.closed.notify_all();
        drop(dropped);
    }

    /// Waits for some time; true as soon as nothing is taken any more.
    pub(super) fn closes_within(&self, patience: Duration) -> bool {
        let waited = self.closed.wait_timeout_while(self.lock(), patience, |waiting| !waiting.is_closed);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_closed
    }

    /// True if nothing is taken any more.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// What has arrived, each a part of the epoch of its own, and what is looked up before; nothing if there is nothing
    /// within some time.
    ///
    /// # Errors
    ///
    /// What ended a source.
    pub(super) fn take(&self, patience: Duration) -> Result<(Vec<WaitingLookup>, Vec<Arrival>)> {
        let is_idle = |waiting: &mut Waiting| {
            waiting.arrivals.is_empty()
                && waiting.lookups.is_empty()
                && waiting.snapshots.is_empty()
                && waiting.failed.is_none()
        };
        let waiting = self.lock();
        let waited = self.changed.wait_timeout_while(waiting, patience, is_idle);
        let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = &waiting.failed {
            return Err(error.clone());
        }
        let (mut taken, mut rows, mut bytes) = (Vec::new(), 0, 0);
        while rows < ROWS
            && bytes < BYTES
            && let Some(mut next) = waiting.arrivals.pop_front()
        {
            (rows, bytes) = (rows + next.rows.rows, bytes + next.rows.bytes);
            next.rows.batches.iter_mut().for_each(|batch| batch.part = taken.len());
            next.rows.frames.iter_mut().for_each(|frame| frame.set_part(taken.len()));
            taken.push(next);
        }
        waiting.applied_since = taken.iter().map(|arrival| arrival.since).min();
        waiting.rows -= rows;
        waiting.bytes -= bytes;
        let lookups = waiting.lookups.drain(..).collect();
        drop(waiting);
        self.changed.notify_all();
        Ok((lookups, taken))
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
