//! Forgetting the rejected rows of a running service, or trying them again.
//!
//! ```text
//! asked ─ snapshot ─▶ in the background: the rejected rows of the state, read again ─┐
//!         epochs go on; the rows that they reject are remembered ────────────────────┴─▶ one epoch
//! ```
//!
//! The epoch takes back all rejected rows that there are, and has those that are accepted now, or are still rejected.
//! Its commit says that all rejected rows before it are forgotten.

use std::sync::{Arc, Mutex, PoisonError};

use crate::columns::InputSchema;
use crate::durable::Snapshot;
use crate::error::{Error, Result};
use crate::model::{InputTable, Rejection};
use crate::sinks::Committed;
use crate::sources::SourceBatch;

use super::rejected::{RejectedByTable, Retried, read_again, rejected_of, still_rejected};
use super::settings::ServiceConfig;

/// Asks a service to do something with its rejected rows. Clones are for the same service.
#[derive(Clone, Default)]
pub struct RejectedRows(Arc<Mutex<Option<ForgetRequest>>>);

/// What is to be done with rejected rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forget {
    /// To forget them.
    Drop,
    /// To read them once more, as rows that have just arrived.
    Retry,
}

/// What became of rejected rows.
#[derive(Clone, Copy, Debug)]
pub struct Forgotten {
    /// The epoch that has the accepted ones.
    pub epoch: Committed,
    /// How many were rejected before.
    pub before: u64,
    /// How many are accepted now, and how many are still rejected.
    pub retried: Retried,
}

/// A request, and what is called with the answer.
pub(super) struct ForgetRequest {
    pub(super) what: Forget,
    pub(super) answer: Box<dyn FnOnce(Result<Forgotten>) + Send>,
}

impl RejectedRows {
    /// Asks for something; false if something that was asked for before has not begun yet. If the service ends before
    /// it is done, `answer` is dropped.
    pub fn ask(&self, what: Forget, answer: impl FnOnce(Result<Forgotten>) + Send + 'static) -> bool {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = waiting.is_none();
        if is_free {
            *waiting = Some(ForgetRequest { what, answer: Box::new(answer) });
        }
        is_free
    }

    /// What is asked for.
    pub(super) fn take(&self) -> Option<ForgetRequest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The rejected rows of a state, read again.
pub(super) struct ReadAgain {
    rejected: RejectedByTable,
    batches: Vec<SourceBatch>,
    retried: Retried,
}

/// Where what was read in the background is put.
pub(super) type ReadAgainSlot = Arc<Mutex<Option<ReadAgain>>>;

/// Reads the rejected rows of a snapshot, and if they are tried again, once more.
pub(super) fn read(config: &ServiceConfig, snapshot: &Snapshot, what: Forget, slot: &ReadAgainSlot) -> Result<String> {
    let state = snapshot.read()?;
    let rejected = rejected_of(&state)?;
    let rows: usize = rejected.values().map(Vec::len).sum();
    let (batches, retried) = match what {
        Forget::Drop => Default::default(),
        Forget::Retry => read_again(config, &state, rejected.clone())?,
    };
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(ReadAgain { rejected, batches, retried });
    Ok(format!("read {rows} rejected rows"))
}

/// Rejected rows that are being read, and those that were rejected since.
pub(super) struct Forgetting {
    request: ForgetRequest,
    slot: ReadAgainSlot,
    since: Vec<(InputTable, Rejection)>,
}

/// What an epoch that forgets rejected rows has.
pub(super) struct EpochOfForgotten {
    pub(super) batches: Vec<SourceBatch>,
    pub(super) forgotten: Vec<Rejection>,
    pub(super) retried: Retried,
    pub(super) answer: Box<dyn FnOnce(Result<Forgotten>) + Send>,
}

impl Forgetting {
    /// Begins; what is read is put into the slot.
    pub(super) fn begin(request: ForgetRequest) -> (Forgetting, Forget, ReadAgainSlot) {
        let (what, slot) = (request.what, ReadAgainSlot::default());
        (Forgetting { request, slot: Arc::clone(&slot), since: Vec::new() }, what, slot)
    }

    /// An epoch goes on its way that has these rows.
    pub(super) fn remember<'a>(&mut self, batches: impl Iterator<Item = &'a SourceBatch>) {
        let rejected = batches.flat_map(|batch| batch.rejected().map(move |row| (batch.table, row)));
        self.since.extend(rejected);
    }

    /// The epoch, once all is read; `None`, which is answered, if that failed or there is nothing to do. The newest
    /// epoch is `now`.
    ///
    /// # Errors
    ///
    /// If a row that was rejected since has no origin.
    pub(super) fn end(
        self,
        now: Committed,
        schema: impl Fn(InputTable) -> InputSchema,
    ) -> Result<Option<EpochOfForgotten>> {
        let Forgetting { request: ForgetRequest { what, answer }, slot, since } = self;
        let read = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(ReadAgain { rejected, mut batches, mut retried }) = read else {
            answer(Err(Error::failed("the rejected rows could not be read; see the log")));
            return Ok(None);
        };
        if what == Forget::Retry && retried.accepted == 0 {
            let before = (rejected.values().map(Vec::len).sum::<usize>() + since.len()) as u64;
            retried.rejected = before;
            answer(Ok(Forgotten { epoch: now, before, retried }));
            return Ok(None);
        }
        if what == Forget::Retry {
            for table in InputTable::ALL {
                let rows = since.iter().filter(|(of, _)| *of == table).map(|(_, row)| (row, row.reason.clone()));
                batches.extend(still_rejected(&schema(table), rows)?);
            }
            retried.rejected += since.len() as u64;
        }
        batches.iter_mut().zip(0..).for_each(|(batch, part)| batch.part = part);
        let since = since.into_iter().map(|(_, row)| row);
        let forgotten = rejected.into_values().flatten().chain(since).collect();
        Ok(Some(EpochOfForgotten { batches, forgotten, retried, answer }))
    }
}
