//! What products had sold when the day began.

use std::sync::{Arc, Mutex, PoisonError};

use crate::sinks::{MemoryTables, TablesSnapshot};

/// The table that is kept as it was.
const SALES: &str = "product_sales";

/// The tables as they were when the day began, or the service if that was later: movements are counted from there.
/// Clones share it.
#[derive(Clone, Default)]
pub(super) struct Baseline(Arc<Mutex<Option<TablesSnapshot>>>);

impl Baseline {
    /// The job begins, as it does on each day.
    pub(super) fn begin(&self, tables: &MemoryTables) {
        let snapshot = tables.snapshot().of(&[SALES]);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(snapshot);
    }

    /// The tables of then; `None` before the first epoch.
    pub(super) fn get(&self) -> Option<TablesSnapshot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
