//! The epoch that the statements of a transaction read.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use datafusion::common::Result as QueryResult;
use pgwire::api::ClientInfo;
use pgwire::messages::response::TransactionStatus;

use crate::sinks::{Committed, MemoryTables, TablesSnapshot};

use super::sql_state::QueryProblem;

/// One epoch, chosen when its first table is read: the newest of then, or that of rows which were looked up.
#[derive(Clone)]
pub(super) struct ReadEpoch {
    tables: MemoryTables,
    chosen: Arc<OnceLock<TablesSnapshot>>,
}

impl ReadEpoch {
    fn new(tables: &MemoryTables) -> ReadEpoch {
        ReadEpoch { tables: tables.clone(), chosen: Arc::default() }
    }

    /// All tables as of the epoch.
    pub(super) fn tables(&self) -> &TablesSnapshot {
        self.chosen.get_or_init(|| self.tables.snapshot())
    }

    /// Reads the epoch of rows that were looked up, which are of the newest one only.
    pub(super) fn agree(&self, found: &TablesSnapshot) -> QueryResult<()> {
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

/// The epoch that the current transaction of a session reads.
pub(super) struct SessionEpoch(Mutex<ReadEpoch>);

impl SessionEpoch {
    pub(super) fn new(tables: &MemoryTables) -> SessionEpoch {
        SessionEpoch(Mutex::new(ReadEpoch::new(tables)))
    }

    /// Begins a transaction, and lets go what the one before has read. Running statements keep the epoch they began
    /// with.
    pub(super) fn begin(&self) {
        let mut epoch = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *epoch = ReadEpoch::new(&epoch.tables);
    }

    /// Lets go what was read, if no transaction goes on; true if none does.
    pub(super) fn end_if_idle(&self, client: &impl ClientInfo) -> bool {
        let is_idle = client.transaction_status() == TransactionStatus::Idle;
        if is_idle {
            self.begin();
        }
        is_idle
    }

    pub(super) fn get(&self) -> ReadEpoch {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
