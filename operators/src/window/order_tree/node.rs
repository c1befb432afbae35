//! The nodes of a counted B-tree.

use std::rc::Rc;

pub(super) enum TreeNode<O, D, S> {
    Leaf(Vec<WeightedRow<O, D>>),
    Inner(Vec<Subtree<O, D, S>>),
}

/// A row and its weight. A weight that is not positive counts as no row, and is kept in case the row is inserted later.
#[derive(Clone)]
pub(in crate::window) struct WeightedRow<O, D> {
    pub(in crate::window) row: (O, D),
    pub(super) weight: isize,
}

impl<O, D> WeightedRow<O, D> {
    /// How many rows it counts as.
    pub(in crate::window) fn copies(&self) -> u64 {
        u64::try_from(self.weight).unwrap_or(0)
    }
}

pub(super) struct Subtree<O, D, S> {
    pub(super) node: Rc<TreeNode<O, D, S>>,
    pub(super) greatest: (O, D),
    pub(super) rows: u64,
    pub(super) summary: S,
}

impl<O: Clone, D: Clone, S: Clone> Clone for Subtree<O, D, S> {
    fn clone(&self) -> Self {
        Subtree {
            node: Rc::clone(&self.node),
            greatest: self.greatest.clone(),
            rows: self.rows,
            summary: self.summary.clone(),
        }
    }
}
