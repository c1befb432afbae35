//! Which epoch an answer is of, and when that was committed.

pub(super) use crate::service::timestamp;
use crate::sinks::Committed;

/// The headers that say of which epoch an answer is.
pub(super) fn epoch_headers(epoch: Committed) -> [(&'static str, String); 2] {
    [("millstream-epoch", epoch.epoch.to_string()), ("millstream-committed-at", timestamp(epoch.time_ms))]
}
