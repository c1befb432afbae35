//! Rows that a function could not handle.

use std::fmt;

use crate::model::Text;
use crate::panics;

/// The result of a function for one row.
pub(super) type Outcome<B> = Result<Option<B>, RowFailure>;

/// A function's failure on one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowFailure {
    /// The error message, or the panic message.
    pub reason: Text,
    /// True if the function panicked or returned an invalid column; such rows are always rejected.
    pub panicked: bool,
}

impl RowFailure {
    pub(crate) fn new(reason: impl fmt::Display) -> RowFailure {
        RowFailure { reason: compact_str::format_compact!("{reason}"), panicked: false }
    }
}

/// Calls a user function, converting a panic to a failure.
///
/// Functions are assumed to be pure, so state left behind by a panic does not affect later calls.
pub(super) fn caught<R>(function: impl FnOnce() -> R) -> Result<R, RowFailure> {
    panics::caught(function).map_err(|reason| RowFailure { reason, panicked: true })
}
