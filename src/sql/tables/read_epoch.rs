//! The epoch that the statements of a transaction read.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use datafusion::common::Result as QueryResult;
use pgwire::api::ClientInfo;
use pgwire::messages::response::TransactionStatus;

use super::held_cursors::HeldCursors;
use crate::sinks::{Committed, MemoryTables, TablesSnapshot};
use crate::sql::sql_state::QueryProblem;

/// One epoch, chosen when its first table is read: the newest of then, or that of rows which were looked up.
#[derive(Clone)]
pub(crate) struct ReadEpoch {
    tables: MemoryTables,
    chosen: Arc<OnceLock<TablesSnapshot>>,
}

impl ReadEpoch {
    fn new(tables: &MemoryTables) -> ReadEpoch {
        ReadEpoch { tables: tables.clone(), chosen: Arc::default() }
    }

    /// All tables as of the epoch.
    pub(crate) fn tables(&self) -> &TablesSnapshot {
        self.chosen.get_or_init(|| self.tables.snapshot())
    }

    /// Reads the epoch of rows that were looked up, which are of the newest one only.
    pub(crate) fn agree(&self, found: &TablesSnapshot) -> QueryResult<()> {
        let (chosen, found) = (self.chosen.get_or_init(|| found.clone()).committed(), found.committed());
        if chosen == found {
            return Ok(());
        }
        let epoch = |committed: Option<_>| committed.map_or(0, |committed: Committed| committed.epoch);
        let (chosen, found) = (epoch(chosen), epoch(found));
        Err(QueryProblem::new(
            QueryProblem::SERIALIZATION_FAILURE,
            format!("enriched_data is joined as of the newest epoch, {found}; this transaction reads epoch {chosen}"),
        )
        .with_hint("Try the transaction again, and read enriched_data first.")
        .into())
    }
}

/// The epoch that the current transaction of a session reads, and whether the session works.
pub(crate) struct SessionEpoch(Mutex<SessionActivity>);

struct SessionActivity {
    epoch: ReadEpoch,
    /// How many messages are being answered.
    answering: usize,
    /// When the last one was.
    answered: Instant,
    /// Each has an epoch of its own.
    held: HeldCursors,
}

impl SessionEpoch {
    pub(crate) fn new(tables: &MemoryTables) -> SessionEpoch {
        let epoch = ReadEpoch::new(tables);
        SessionEpoch(Mutex::new(SessionActivity {
            epoch,
            answering: 0,
            answered: Instant::now(),
            held: HeldCursors::default(),
        }))
    }

    /// Begins a transaction, and lets go what the one before has read. Running statements keep the epoch they began
    /// with.
    pub(crate) fn begin(&self) {
        let mut session = self.lock();
        session.epoch = ReadEpoch::new(&session.epoch.tables);
    }

    /// Lets go what was read, if no transaction goes on; true if none does.
    pub(crate) fn end_if_idle(&self, client: &impl ClientInfo) -> bool {
        let is_idle = client.transaction_status() == TransactionStatus::Idle;
        if is_idle {
            self.begin();
        }
        is_idle
    }

    pub(crate) fn get(&self) -> ReadEpoch {
        self.lock().epoch.clone()
    }

    /// The session answers a message as long as this lives.
    pub(crate) fn answering(&self) -> Answering<'_> {
        self.lock().answering += 1;
        Answering(self)
    }

    /// Changes which cursors outlive their transactions.
    pub(crate) fn held<R>(&self, change: impl FnOnce(&mut HeldCursors) -> R) -> R {
        change(&mut self.lock().held)
    }

    /// How long a transaction or a cursor has waited for its client with what it reads; `None` if none does.
    pub(crate) fn idle_for(&self) -> Option<Duration> {
        let session = self.lock();
        let holds_epoch = session.epoch.chosen.get().is_some() || !session.held.is_empty();
        (holds_epoch && session.answering == 0).then(|| session.answered.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, SessionActivity> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A message is being answered.
pub(crate) struct Answering<'a>(&'a SessionEpoch);

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        let mut session = self.0.lock();
        (session.answering, session.answered) = (session.answering - 1, Instant::now());
    }
}
