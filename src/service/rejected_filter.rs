//! Which rejected rows are meant.

use serde::Deserialize;

use crate::model::Rejection;

/// The rejected rows that have all of this; a filter without anything has all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RejectedFilter {
    /// The input table.
    pub table: Option<String>,
    /// The file or request that the row is from.
    pub file: Option<String>,
    /// Its number there, from 1.
    pub row_number: Option<u64>,
    /// The reason, with the value that was found or without it.
    pub reason: Option<String>,
    /// The row.
    pub row: Option<String>,
}

impl RejectedFilter {
    /// True if a row is meant.
    #[must_use]
    pub fn has(&self, rejected: &Rejection) -> bool {
        let Rejection { table, origin, reason, row } = rejected;
        let is = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        let origin = origin.as_ref();
        is(&self.table, table)
            && (is(&self.reason, &reason.text) || is(&self.reason, &reason.kind))
            && is(&self.row, row)
            && (self.file.is_none() || self.file.as_deref() == origin.map(|origin| &*origin.file))
            && (self.row_number.is_none() || self.row_number == origin.map(|origin| origin.row + 1))
    }
}
