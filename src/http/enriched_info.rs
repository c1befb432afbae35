//! What the server knows of `enriched_data`, of which it keeps no row.

use std::sync::{Mutex, PoisonError};

use crate::sinks::TableInfo;
use crate::tables::EnrichedDataTable;

/// The columns by whose values rows can be looked up; the first is the key.
pub(super) const LOOKED_UP_BY: [&str; 4] = ["order_id", "customer_id", "product_id", "order_date"];

/// What is known of the table once the job has started; nothing if the job does not have it.
#[derive(Default)]
pub(super) struct EnrichedInfo(Mutex<Option<TableInfo>>);

impl EnrichedInfo {
    /// Finds the table among those of a job.
    pub(super) fn set(&self, tables: &[TableInfo]) {
        let found = tables.iter().find(|table| table.name == EnrichedDataTable::NAME);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = found.cloned();
    }

    pub(super) fn get(&self) -> Option<TableInfo> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
