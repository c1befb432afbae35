//! Rows that a program posts to a running service.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arrow::datatypes::FieldRef;
use arrow::record_batch::RecordBatch;

use crate::durable::State;
use crate::error::{Error, Result};
use crate::model::{AnyId, InputTable, Rejection};
use crate::panics::caught;
use crate::pipeline::EnrichedRowsOf;
use crate::sinks::{Committed, CurrentEpoch};
use crate::sources::{InputFormat, SourceBatch, read_body};

use super::admission::Admission;
use super::inbox::{Arrival, ArrivedFrom, GiveLookedUp, Inbox, WaitingLookup};
use super::request::{WaitFor, WaitingRequest};
use super::request_keys::{KeyUse, RequestKey, RequestKeys};

/// Takes rows for a service, and looks rows up. Clones share it.
#[derive(Clone, Default)]
pub struct Ingest(Arc<Mutex<Option<Arc<Open>>>>);

/// What a service that is live takes rows with.
pub(super) struct Open {
    pub(super) admission: Arc<Admission>,
    pub(super) inbox: Arc<Inbox>,
    keys: Mutex<RequestKeys>,
    current: CurrentEpoch,
}

/// Rows to be applied together, in one epoch.
#[derive(Clone, Debug)]
pub struct Post {
    /// Their table.
    pub table: InputTable,
    /// The file that has them.
    pub body: PathBuf,
    /// Its format.
    pub format: InputFormat,
    /// The name of the request, for `rejected`.
    pub origin: String,
    /// The idempotency key, and a digest of the table and the body: a request that has the same is not applied again.
    pub key: Option<(String, String)>,
    /// When it is answered.
    pub waits_for: WaitFor,
}

/// The answer to a request.
#[derive(Clone, Debug)]
pub struct Posted {
    /// The epoch that has its rows.
    pub epoch: Committed,
    /// How many rows are accepted.
    pub accepted: u64,
    /// How many are rejected.
    pub rejected: u64,
    /// The first of the rejected rows, each with its number from 0; none if the request was repeated.
    pub examples: Vec<Rejection>,
    /// True if it was committed before, and was not applied again.
    pub is_repeated: bool,
}

/// Why a request is not applied.
#[derive(Clone, Debug)]
pub enum NotPosted {
    /// The service is not live.
    NotLive,
    /// Too much is waiting to be applied.
    Busy,
    /// A request with the same key is being applied.
    InFlight,
    /// A request with the same key had another table or body.
    KeyOfAnother,
    /// The body has more rows than an epoch takes.
    TooLarge,
    /// The body can't be read as its format, or lacks a column.
    Unusable(Error),
}

impl From<Error> for NotPosted {
    fn from(error: Error) -> NotPosted {
        NotPosted::Unusable(error)
    }
}

/// The most rows of a request, and the most bytes that they take once they are read.
pub const ROWS_MAX: u64 = 1_000_000;
const BYTES_MAX: usize = 256 << 20;
/// The most rejected rows that an answer has.
const EXAMPLES: usize = 100;

impl Ingest {
    /// True while rows are taken.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open().is_ok_and(|open| !open.inbox.is_closed())
    }

    /// True if there is no room for rows at the moment.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.open().is_ok_and(|open| open.inbox.is_full())
    }

    /// How many rows, and bytes in the form of the log, wait to be applied.
    #[must_use]
    pub fn waiting(&self) -> (u64, usize) {
        self.open().map_or((0, 0), |open| open.inbox.size())
    }

    /// How long what waits longest, or is being applied, has waited since it came; `None` if there is nothing.
    #[must_use]
    pub fn longest_wait(&self) -> Option<Duration> {
        self.open().ok()?.inbox.longest_wait()
    }

    /// Reads a body and has its rows applied. Calls `answer` once they are; if the service ends before, it is dropped,
    /// and whether they are applied is not known.
    ///
    /// # Errors
    ///
    /// If nothing is applied, and why.
    pub fn post(&self, post: Post, answer: impl FnOnce(Posted) + Send + 'static) -> std::result::Result<(), NotPosted> {
        let open = self.open()?;
        let key = post.key.clone().map(|(key, digest)| RequestKey { key, digest });
        if let Some(key) = &key {
            match open.keys().begin(key) {
                KeyUse::New => {}
                KeyUse::Done(done) => {
                    let epoch = Committed { epoch: done.epoch, time_ms: done.time_ms };
                    let (accepted, rejected) = (done.accepted, done.rejected);
                    answer(Posted { epoch, accepted, rejected, examples: Vec::new(), is_repeated: true });
                    return Ok(());
                }
                KeyUse::InFlight => return Err(NotPosted::InFlight),
                KeyUse::Other => return Err(NotPosted::KeyOfAnother),
            }
        }
        let applied = open.apply(post, key.clone(), answer);
        if let (Err(_), Some(key)) = (&applied, &key) {
            open.keys().give_up(key);
        }
        applied
    }

    /// Looks up rows of `enriched_data` as of the newest epoch. `begin` is called when the look-up begins, between two
    /// epochs, and what it returns is called with the rows; if the service ends before, it is dropped. See
    /// [`Live::look_up`](crate::runtime::Live::look_up).
    ///
    /// # Errors
    ///
    /// If the service is not live, or too much is looked up at the moment.
    pub fn look_up<G: FnOnce(Result<Vec<RecordBatch>>) + Send + 'static>(
        &self,
        rows_of: EnrichedRowsOf<AnyId>,
        begin: impl FnOnce() -> G + Send + 'static,
    ) -> std::result::Result<(), NotPosted> {
        self.look_up_together([(rows_of, begin)])
    }

    /// The same for several look-ups, which are all as of the same epoch.
    ///
    /// # Errors
    ///
    /// As those of one.
    pub fn look_up_together<G: FnOnce(Result<Vec<RecordBatch>>) + Send + 'static>(
        &self,
        lookups: impl IntoIterator<Item = (EnrichedRowsOf<AnyId>, impl FnOnce() -> G + Send + 'static)>,
    ) -> std::result::Result<(), NotPosted> {
        let open = self.open()?;
        let waiting = lookups.into_iter().map(|(rows_of, begin)| {
            let begin = Box::new(|| Box::new(begin()) as GiveLookedUp);
            WaitingLookup { rows_of, begin }
        });
        match open.inbox.try_look_up(waiting.collect()) {
            true => Ok(()),
            false if open.inbox.is_closed() => Err(NotPosted::NotLive),
            false => Err(NotPosted::Busy),
        }
    }

    /// Drops the look-ups that wait, for nothing can be looked up now.
    pub(super) fn refuse_lookups(&self) {
        drop(self.open().map(|open| open.inbox.take_lookups()));
    }

    pub(super) fn set(&self, open: Option<Arc<Open>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = open;
    }

    fn open(&self) -> std::result::Result<Arc<Open>, NotPosted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(NotPosted::NotLive)
    }
}

impl Open {
    /// Takes rows from now on.
    pub(super) fn new(
        admission: &Arc<Admission>,
        inbox: &Arc<Inbox>,
        state: &State,
        current: &CurrentEpoch,
    ) -> Result<Open> {
        let (keys, current) = (Mutex::new(RequestKeys::of(state)?), current.clone());
        Ok(Open { admission: Arc::clone(admission), inbox: Arc::clone(inbox), keys, current })
    }

    /// The keys of requests.
    pub(super) fn keys(&self) -> MutexGuard<'_, RequestKeys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(
        &self,
        post: Post,
        key: Option<RequestKey>,
        answer: impl FnOnce(Posted) + Send + 'static,
    ) -> std::result::Result<(), NotPosted> {
        let begun = Instant::now();
        let (batches, new_columns) = self.read(&post)?;
        self.admission.admit(post.table, batches, &new_columns, |rows| {
            let rejected = rows.batches.iter().map(|batch| batch.malformed.len() as u64).sum();
            let accepted = rows.rows - rejected;
            let examples: Vec<_> = rows.batches.iter().flat_map(SourceBatch::rejected).take(EXAMPLES).collect();
            let answer = move |epoch| answer(Posted { epoch, accepted, rejected, examples, is_repeated: false });
            if rows.rows == 0 && key.is_none() {
                answer(self.current.get());
                return Ok(());
            }
            let (waits_for, answer) = (post.waits_for, Some(Box::new(answer) as _));
            let request = WaitingRequest { key, accepted, rejected, waits_for, answer };
            let (decoded, since) = (begun.elapsed(), begun);
            let arrival = Arrival { rows, from: ArrivedFrom::Request(request), decoded, since };
            match self.inbox.try_put(arrival) {
                true => Ok(()),
                false if self.inbox.is_closed() => Err(NotPosted::NotLive),
                false => Err(NotPosted::Busy),
            }
        })
    }

    /// The rows of a body, settled, and the columns that their table has not.
    fn read(&self, post: &Post) -> std::result::Result<(Vec<SourceBatch>, Vec<FieldRef>), NotPosted> {
        let Admission { config, .. } = &*self.admission;
        let schema = self.admission.schema(post.table);
        let (mut batches, mut rows, mut bytes) = (Vec::new(), 0, 0);
        let mut is_within = |batch: &SourceBatch| {
            (rows, bytes) = (rows + batch.rows(), bytes + batch.bytes());
            rows <= ROWS_MAX && bytes <= BYTES_MAX
        };
        let read = || {
            read_body(&post.body, post.format, &post.origin, schema, &config.run.input.files, |batch| {
                let is_within = is_within(&batch);
                batches.extend(is_within.then(|| self.admission.settled(batch)).transpose()?);
                Ok(is_within)
            })
        };
        let panicked = |message| Error::unusable(format!("it can't be read: {message}"));
        // The file has a name only here.
        let path = post.body.display().to_string();
        let named = |error: Error| NotPosted::Unusable(Error::unusable(error.to_string().replace(&path, "the body")));
        match caught(read).map_err(panicked).flatten().map_err(named)? {
            Some(new_columns) => Ok((batches, new_columns)),
            None => Err(NotPosted::TooLarge),
        }
    }
}
