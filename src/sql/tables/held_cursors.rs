//! The names of cursors `WITH HOLD`, which outlive the transaction that declares them if it is committed.

use std::collections::BTreeSet;

#[derive(Default)]
pub(crate) struct HeldCursors {
    committed: BTreeSet<String>,
    /// Declared in the current transaction.
    declared: BTreeSet<String>,
}

impl HeldCursors {
    /// A cursor is declared, in a transaction or outside.
    pub(crate) fn declare(&mut self, name: &str, in_transaction: bool) {
        let names = if in_transaction { &mut self.declared } else { &mut self.committed };
        names.insert(name.to_owned());
    }

    /// A cursor is closed.
    pub(crate) fn close(&mut self, name: &str) {
        self.committed.remove(name);
        self.declared.remove(name);
    }

    /// A transaction ends; returns the cursors that are left.
    pub(crate) fn end_transaction(&mut self, is_committed: bool) -> Vec<String> {
        let declared = std::mem::take(&mut self.declared);
        if is_committed {
            self.committed.extend(declared);
        }
        self.committed.iter().cloned().collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.committed.is_empty() && self.declared.is_empty()
    }
}
