//! A walk over the rows of a tree in order, from any row.

use std::ops::Range;

use super::node::{Subtree, TreeNode, WeightedRow};

/// A walk over the rows in order.
pub(in crate::window) struct TreeWalk<'a, O, D, S> {
    /// The subtrees not yet visited at each level, from the root down.
    path: Vec<std::slice::Iter<'a, Subtree<O, D, S>>>,
    entries: std::slice::Iter<'a, WeightedRow<O, D>>,
    /// The number of rows before the next.
    position: u64,
}

impl<'a, O, D, S> TreeWalk<'a, O, D, S> {
    /// From the first row under `root` that does not satisfy `before`; empty without a root.
    pub(super) fn below(root: Option<&'a TreeNode<O, D, S>>, before: impl Fn(&(O, D)) -> bool) -> Self {
        let mut walk = TreeWalk { path: Vec::new(), entries: [].iter(), position: 0 };
        if let Some(root) = root {
            walk.descend(root, before);
        }
        walk.skip();
        walk
    }

    /// The next row, and the positions of its copies.
    pub(in crate::window) fn peek(&self) -> Option<(&'a (O, D), Range<u64>)> {
        let entry = self.entries.as_slice().first()?;
        Some((&entry.row, self.position..self.position + entry.copies()))
    }

    /// The next row and those after it in its leaf, each with its number of copies.
    pub(in crate::window) fn rest_of_leaf(&self) -> impl Iterator<Item = (&'a (O, D), u64)> {
        let there = self.entries.as_slice().iter().filter(|entry| entry.copies() > 0);
        there.map(|entry| (&entry.row, entry.copies()))
    }

    /// The number of rows before the next.
    pub(in crate::window) fn position(&self) -> u64 {
        self.position
    }

    pub(in crate::window) fn step(&mut self) {
        if let Some(entry) = self.entries.next() {
            self.position += entry.copies();
        }
        self.skip();
    }

    /// Moves to the next row, past entries that count as none, and into the next leaf.
    fn skip(&mut self) {
        loop {
            match self.entries.as_slice().first() {
                Some(entry) if entry.copies() > 0 => return,
                Some(_) => drop(self.entries.next()),
                None => {
                    let Some(next) = self.path.last_mut().map(Iterator::next) else { return };
                    match next {
                        Some(child) => self.descend(&child.node, |_| false),
                        None => drop(self.path.pop()),
                    }
                }
            }
        }
    }

    fn descend(&mut self, mut node: &'a TreeNode<O, D, S>, before: impl Fn(&(O, D)) -> bool) {
        loop {
            match node {
                TreeNode::Inner(children) => {
                    let skipped = children.partition_point(|child| before(&child.greatest));
                    self.position += children[..skipped].iter().map(|child| child.rows).sum::<u64>();
                    let mut rest = children[skipped..].iter();
                    let Some(next) = rest.next() else { return };
                    self.path.push(rest);
                    node = &next.node;
                }
                TreeNode::Leaf(entries) => {
                    let skipped = entries.partition_point(|entry| before(&entry.row));
                    self.position += entries[..skipped].iter().map(WeightedRow::copies).sum::<u64>();
                    self.entries = entries[skipped..].iter();
                    return;
                }
            }
        }
    }
}
