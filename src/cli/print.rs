//! Printing to the standard output.

use std::fmt::Display;
use std::io::{Write, stdout};

use crate::error::{Error, Result};

/// Prints a line. A closed standard output is an error, not a panic.
pub(super) fn print_line(line: impl Display) -> Result<()> {
    writeln!(stdout(), "{line}").map_err(|cause| Error::failed(format!("standard output: {cause}")))
}
