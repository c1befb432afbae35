//! Ids that have rows with different contents.

use crate::model::AnyId;

/// Ids of which the source has rows with different contents.
#[derive(Debug, Default)]
pub(super) struct Conflicts {
    pub(super) ids: u64,
    /// The least of them.
    pub(super) example: Option<AnyId>,
}

impl Conflicts {
    pub(super) fn add(&mut self, id: AnyId) {
        self.ids += 1;
        self.example = Some(match self.example.take() {
            Some(least) => least.min(id),
            None => id,
        });
    }
}
