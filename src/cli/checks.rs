//! Reporting checks.

use crate::error::{Error, Result};
use crate::validate::Check;

use super::print::print_line;

/// Prints one line per check, or all checks as JSON; fails if any check failed.
pub(super) fn report_checks(checks: &[Check], as_json: bool) -> Result<()> {
    if as_json {
        print_line(format_args!("{}", serde_json::to_string_pretty(checks).map_err(Error::failed)?))?;
    } else {
        checks.iter().try_for_each(print_line)?;
    }
    match checks.iter().filter(|check| !check.passed).count() {
        0 => Ok(()),
        failed => Err(Error::unusable(format!("{failed} of {} checks failed", checks.len()))),
    }
}
