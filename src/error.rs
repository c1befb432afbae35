//! What can go wrong with an operation: its kind decides the exit status, its message says what, where, found and wanted.
//!
//! A bad row is not an error: it is a rejected row. A broken invariant is not one either: it is a panic, and a bug.

use std::fmt::Display;
use std::path::Path;

/// Why an operation did not succeed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ErrorKind {
    /// The job failed while it ran: a disk is full, a file can't be written. Exit status 1.
    Failed,
    /// Flags, environment or config ask for something that does not exist. Exit status 2.
    Usage,
    /// The input, or an output that is validated, can't be used as it is. Exit status 3.
    Unusable,
}

/// A result whose error is an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: String) -> Error {
        Error { kind, message }
    }

    /// The job failed while it ran.
    pub fn failed(message: impl Display) -> Error {
        Error { kind: ErrorKind::Failed, message: message.to_string() }
    }

    /// The user asked for something that does not exist.
    pub fn usage(message: impl Display) -> Error {
        Error { kind: ErrorKind::Usage, message: message.to_string() }
    }

    /// The input can't be used.
    pub fn unusable(message: impl Display) -> Error {
        Error { kind: ErrorKind::Unusable, message: message.to_string() }
    }

    /// A file that can't be written; for `map_err`.
    pub(crate) fn writing<E: Display>(path: &Path) -> impl FnOnce(E) -> Error {
        move |cause| Error::failed(format!("{}: can't be written: {cause}", path.display()))
    }

    /// A file that can't be read; for `map_err`.
    pub(crate) fn reading<E: Display>(path: &Path) -> impl FnOnce(E) -> Error {
        move |cause| Error::unusable(format!("{}: can't be read: {cause}", path.display()))
    }

    /// What kind of thing went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The exit status of a process that ends with this error.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self.kind {
            ErrorKind::Failed => 1,
            ErrorKind::Usage => 2,
            ErrorKind::Unusable => 3,
        }
    }
}
