//! Rows with one id and different contents.

use crate::model::AnyId;

/// Rows that another row of the same id replaced and that differ from it.
#[derive(Debug, Default)]
pub(super) struct Conflicts {
    pub(super) rows: u64,
    /// The least id of such rows.
    pub(super) example: Option<AnyId>,
}

impl Conflicts {
    pub(super) fn add(&mut self, id: AnyId) {
        self.rows += 1;
        self.example = Some(match self.example.take() {
            Some(least) => least.min(id),
            None => id,
        });
    }
}
