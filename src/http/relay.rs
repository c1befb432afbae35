//! Wakes those who follow changes.

use tokio::sync::watch;

use crate::sinks::Committed;

/// Passes each new epoch on to those who follow changes, within the thread of the server.
///
/// Tasks that another thread wakes are polled in the order in which it wakes them. If the job woke a thousand followers
/// itself, the answer to the post that made the epoch would wait for all of them: they would be woken before it.
pub(super) struct EpochRelay {
    committed: watch::Receiver<Committed>,
    followed: watch::Sender<Committed>,
}

impl EpochRelay {
    /// A relay, and what followers wait for.
    pub(super) fn new(committed: watch::Receiver<Committed>) -> (EpochRelay, watch::Receiver<Committed>) {
        let (followed, newest) = watch::channel(Committed::default());
        (EpochRelay { committed, followed }, newest)
    }

    /// Passes epochs on until there are no more.
    pub(super) async fn run(mut self) {
        while self.committed.changed().await.is_ok() {
            self.followed.send_replace(*self.committed.borrow_and_update());
        }
    }
}
