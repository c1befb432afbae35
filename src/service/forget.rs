//! Forgetting the rejected rows of a running service, or trying them again.
//!
//! ```text
//! asked ─ snapshot ─▶ in the background: the rejected rows of the state, read again ─┐
//!         epochs go on; the rows that they reject are remembered ────────────────────┴─▶ one epoch
//! ```
//!
//! The epoch takes back all rejected rows that there are, and has those that are accepted now, or stay rejected. Its
//! commit says that all rejected rows before it are forgotten. So dropping one row costs as much as reading all of
//! them and writing those that stay to the log again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::columns::InputSchema;
use crate::durable::Snapshot;
use crate::error::{Error, Result};
use crate::model::{InputTable, Rejection};
use crate::sinks::Committed;
use crate::sources::SourceBatch;

use super::rejected::{RejectedByTable, Retried, read_again, rejected_of, still_rejected};
use super::rejected_filter::RejectedFilter;
use super::settings::ServiceConfig;

/// Asks a service to do something with its rejected rows. Clones are for the same service.
#[derive(Clone, Default)]
pub struct RejectedRows(Arc<Mutex<VecDeque<ForgetRequest>>>);

/// More requests do not wait.
const WAITING_MOST: usize = 64;

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
    /// How many were matched.
    pub matched: u64,
    /// Of those, how many are accepted now, and how many are still rejected.
    pub retried: Retried,
}

/// A request, and what is called with the answer.
pub(super) struct ForgetRequest {
    action: Forget,
    filter: RejectedFilter,
    pub(super) answer: Box<dyn FnOnce(Result<Forgotten>) + Send>,
}

impl RejectedRows {
    /// Asks for something; false if too many requests wait. If the service ends before it is done, `answer` is dropped.
    pub fn ask(
        &self,
        action: Forget,
        filter: RejectedFilter,
        answer: impl FnOnce(Result<Forgotten>) + Send + 'static,
    ) -> bool {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = waiting.len() < WAITING_MOST;
        if has_room {
            waiting.push_back(ForgetRequest { action, filter, answer: Box::new(answer) });
        }
        has_room
    }

    /// What was asked for first.
    pub(super) fn take(&self) -> Option<ForgetRequest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Drops what nobody will do any more.
    pub(super) fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The rejected rows of a state, read again.
pub(super) struct ReadAgain {
    matched: RejectedByTable,
    others: RejectedByTable,
    batches: Vec<SourceBatch>,
    retried: Retried,
}

/// Where what was read in the background is put.
pub(super) type ReadAgainSlot = Arc<Mutex<Option<ReadAgain>>>;

/// What is read in the background: the rejected rows of a snapshot, and those that are tried again once more.
pub(super) struct RejectedReading {
    action: Forget,
    filter: RejectedFilter,
    slot: ReadAgainSlot,
}

impl RejectedReading {
    /// Reads it; says how many rows that were.
    ///
    /// # Errors
    ///
    /// If the state can't be read.
    pub(super) fn read(self, config: &ServiceConfig, snapshot: &Snapshot) -> Result<String> {
        let RejectedReading { action, filter, slot } = self;
        let state = snapshot.read()?;
        let (mut matched, mut others) = (RejectedByTable::new(), RejectedByTable::new());
        for (table, rows) in rejected_of(&state)? {
            let (of_matched, of_others) = rows.into_iter().partition(|row| filter.matches(row));
            matched.insert(table, of_matched);
            others.insert(table, of_others);
        }
        let (batches, retried) = match action {
            Forget::Drop => Default::default(),
            Forget::Retry => read_again(config, &state, matched.clone())?,
        };
        let rows = count(&matched) + count(&others);
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(ReadAgain { matched, others, batches, retried });
        Ok(format!("read {rows} rejected rows"))
    }
}

fn count(rows: &RejectedByTable) -> u64 {
    rows.values().map(|rows| rows.len() as u64).sum()
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
    /// All rejected rows that there are.
    pub(super) forgotten: Vec<Rejection>,
    /// How many of them were matched.
    pub(super) matched: u64,
    pub(super) retried: Retried,
    pub(super) answer: Box<dyn FnOnce(Result<Forgotten>) + Send>,
}

impl Forgetting {
    /// Begins, with what is to be read.
    pub(super) fn begin(request: ForgetRequest) -> (Forgetting, RejectedReading) {
        let (action, filter, slot) = (request.action, request.filter.clone(), ReadAgainSlot::default());
        let reading = RejectedReading { action, filter, slot: Arc::clone(&slot) };
        (Forgetting { request, slot, since: Vec::new() }, reading)
    }

    /// An epoch goes on its way that has these rows.
    pub(super) fn remember<'a>(&mut self, batches: impl Iterator<Item = &'a SourceBatch>) {
        let rejected = batches.flat_map(|batch| batch.rejected().map(move |row| (batch.table, row)));
        self.since.extend(rejected);
    }

    /// The epoch, once all is read; `None`, filter is answered, if that failed or there is nothing to do. The newest
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
        let Forgetting { request: ForgetRequest { action, filter, answer }, slot, since } = self;
        let read = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(ReadAgain { matched, mut others, mut batches, mut retried }) = read else {
            answer(Err(Error::failed("the rejected rows could not be read; see the log")));
            return Ok(None);
        };
        let (of_since, others_since): (Vec<_>, Vec<_>) = since.into_iter().partition(|(_, row)| filter.matches(row));
        let all = count(&matched) + of_since.len() as u64;
        let is_nothing_done = match action {
            Forget::Drop => all == 0,
            Forget::Retry => retried.accepted == 0,
        };
        if is_nothing_done {
            retried.rejected = all;
            answer(Ok(Forgotten { epoch: now, matched: all, retried }));
            return Ok(None);
        }
        others_since.into_iter().for_each(|(table, row)| others.entry(table).or_default().push(row));
        let mut forgotten: Vec<_> = matched.into_values().flatten().collect();
        match action {
            Forget::Drop => forgotten.extend(of_since.into_iter().map(|(_, row)| row)),
            Forget::Retry => {
                retried.rejected += of_since.len() as u64;
                of_since.into_iter().for_each(|(table, row)| others.entry(table).or_default().push(row));
            }
        }
        for (table, rows) in others {
            batches.extend(still_rejected(&schema(table), rows.iter().map(|row| (row, row.reason.clone())))?);
            forgotten.extend(rows);
        }
        batches.iter_mut().zip(0..).for_each(|(batch, part)| batch.part = part);
        Ok(Some(EpochOfForgotten { batches, forgotten, matched: all, retried, answer }))
    }
}
