//! A request that waits for its rows to be committed.

use crate::sinks::Committed;

use super::request_keys::RequestKey;

/// When a request is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WaitFor {
    /// Once its epoch is durable, and in all tables.
    #[default]
    Visible,
    /// Once its epoch is durable.
    Committed,
}

/// A request whose rows are applied.
pub(super) struct WaitingRequest {
    pub(super) key: Option<RequestKey>,
    pub(super) accepted: u64,
    pub(super) rejected: u64,
    pub(super) waits_for: WaitFor,
    /// Called once; dropped if the service ends before.
    pub(super) answer: Option<Box<dyn FnOnce(Committed) + Send>>,
}

impl WaitingRequest {
    /// Answers the request if it waits for no more than this.
    pub(super) fn reached(&mut self, reached: WaitFor, epoch: Committed) {
        if reached == WaitFor::Visible || self.waits_for == WaitFor::Committed {
            self.answer.take().into_iter().for_each(|answer| answer(epoch));
        }
    }
}
