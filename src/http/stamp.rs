//! Which epoch an answer is of, and when that was committed.

use chrono::{DateTime, SecondsFormat};

use crate::sinks::Committed;

/// A time in milliseconds since 1970, as RFC 3339 has it.
pub(super) fn timestamp(time_ms: u64) -> String {
    let time = i64::try_from(time_ms).ok().and_then(DateTime::from_timestamp_millis).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The headers that say of which epoch an answer is.
pub(super) fn epoch_headers(epoch: Committed) -> [(&'static str, String); 2] {
    [("millstream-epoch", epoch.epoch.to_string()), ("millstream-committed-at", timestamp(epoch.time_ms))]
}
