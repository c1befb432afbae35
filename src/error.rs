//! Errors. The kind of an error determines the exit status; the message says what failed and where, what was found and
//! what is accepted.
//!
//! A bad row is not an error: it is a rejected row. A broken invariant is not one either: it is a panic, and a bug.

use std::error::Error as StdError;
use std::fmt::{self, Display};
use std::path::Path;
use std::sync::Arc;

use crate::printable::printable;

/// Why an operation did not succeed. Its message includes that of its [source](StdError::source).
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
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
        let lines = message.lines().map(printable);
        Error { kind, message: lines.collect::<Vec<_>>().join("\n"), source: None }
    }

    /// The job failed while it ran.
    pub fn failed(message: impl Display) -> Error {
        Error::new(ErrorKind::Failed, message.to_string())
    }

    /// The user asked for something that does not exist.
    pub fn usage(message: impl Display) -> Error {
        Error::new(ErrorKind::Usage, message.to_string())
    }

    /// The input can't be used.
    pub fn unusable(message: impl Display) -> Error {
        Error::new(ErrorKind::Unusable, message.to_string())
    }

    /// The same error with its cause.
    #[must_use]
    pub fn caused_by(self, source: impl StdError + Send + Sync + 'static) -> Error {
        Error { source: Some(Arc::new(source)), ..self }
    }

    /// A file that can't be written; for `map_err`.
    pub(crate) fn writing<E: StdError + Send + Sync + 'static>(path: &Path) -> impl FnOnce(E) -> Error {
        move |cause| Error::failed(format!("{}: can't be written: {cause}", path.display())).caused_by(cause)
    }

    /// A file that can't be read; for `map_err`.
    pub(crate) fn reading<E: StdError + Send + Sync + 'static>(path: &Path) -> impl FnOnce(E) -> Error {
        move |cause| Error::unusable(format!("{}: can't be read: {cause}", path.display())).caused_by(cause)
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

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
