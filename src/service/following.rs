//! Following another system, on one connection after the other.

use std::time::Duration;

use crate::error::Error;

use super::activity::{FollowState, Followed};
use super::inbox::Inbox;

/// The first and the longest time until something is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(250);
const RETRY_AFTER_MOST: Duration = Duration::from_secs(30);

/// Why a connection ended.
pub(super) enum FollowEnd {
    /// Nothing is taken any more.
    Closed,
    /// It may go on later.
    Failed(Error),
    /// It can't go on.
    Lost(Error),
}

impl From<Error> for FollowEnd {
    fn from(error: Error) -> FollowEnd {
        FollowEnd::Failed(error)
    }
}

/// Follows a system until nothing is taken any more, or it can't go on. `follow` takes what comes on one connection,
/// and says whether anything came.
pub(super) fn follow_on(
    (name, place): (&str, &str),
    inbox: &Inbox,
    watched: &Followed,
    mut follow: impl FnMut() -> (Result<(), FollowEnd>, bool),
) {
    let mut retry_after = RETRY_AFTER;
    loop {
        let (ended, has_taken) = follow();
        if has_taken {
            retry_after = RETRY_AFTER;
        }
        match ended {
            Ok(()) | Err(FollowEnd::Closed) => return,
            Err(FollowEnd::Failed(error)) => {
                watched.has_failed(FollowState::Retrying, &error.to_string());
                let seconds = retry_after.as_secs_f64();
                tracing::warn!(source = name, "source {name}: {place}: {error}; it is tried again in {seconds} s");
            }
            Err(FollowEnd::Lost(error)) => {
                watched.has_failed(FollowState::Lost, &error.to_string());
                tracing::error!(source = name, "source {name}: {place}: {error}");
                return;
            }
        }
        if inbox.closes_within(retry_after) {
            return;
        }
        retry_after = RETRY_AFTER_MOST.min(2 * retry_after);
    }
}
