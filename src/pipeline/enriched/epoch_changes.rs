//! What epochs change beside the lines.

use std::sync::Arc;

use differential_dataflow::consolidation::consolidate;

use crate::model::{Account, Id, Product};

/// The changes of an epoch, or of some that follow each other, that are not joined yet.
pub(super) struct EpochChanges<I> {
    pub(super) accounts: Vec<((Option<I>, Arc<Account>), isize)>,
    pub(super) products: Vec<((I, Arc<Product>), isize)>,
    /// Customers of whom any row may differ, beside those whose account changed: who bought a product that did.
    pub(super) customers: Vec<Option<I>>,
    /// How many changes were left when they were last consolidated.
    consolidated: usize,
}

impl<I> Default for EpochChanges<I> {
    fn default() -> Self {
        EpochChanges { accounts: Vec::new(), products: Vec::new(), customers: Vec::new(), consolidated: 0 }
    }
}

/// Fewer changes are not worth consolidating.
const FEW: usize = 1 << 12;

impl<I: Id> EpochChanges<I> {
    /// Adds the changes of later epochs.
    pub(super) fn add(&mut self, mut later: EpochChanges<I>) {
        self.accounts.append(&mut later.accounts);
        self.products.append(&mut later.products);
        self.customers.append(&mut later.customers);
        if self.len() > 2 * self.consolidated + FEW {
            consolidate(&mut self.accounts);
            consolidate(&mut self.products);
            self.customers.sort_unstable();
            self.customers.dedup();
            self.consolidated = self.len();
        }
    }

    fn len(&self) -> usize {
        self.accounts.len() + self.products.len() + self.customers.len()
    }
}
