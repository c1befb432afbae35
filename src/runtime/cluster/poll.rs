//! How often waiting processes look around.

use std::time::Duration;

/// How often a waiting process checks for failure and cancellation.
pub(in crate::runtime) const POLL_INTERVAL: Duration = Duration::from_millis(100);
