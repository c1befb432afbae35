//! A walk along the rows of a tree, from any row on.

use std::ops::Range;

use super::{Subtree, TreeNode, WeightedRow};

/// A walk along the rows.
pub(in crate::window) struct TreeWalk<'a, O, D, S> {
    /// The children still to come, from the root down.
    path: Vec<std::slice::Iter<'a, Subtree<O, D, S>>>,
    entries: std::slice::Iter<'a, WeightedRow<O, D>>,
    /// How many rows are before the next.
    position: u64,
}

impl<'a, O, D, S> TreeWalk<'a, O, D, S> {
    /// From the first row below a node that is not `before`; of no node, over nothing.
    pub(super) fn below(root: Option<&'a TreeNode<O, D, S>>, before: impl Fn(&(O, D)) -> bool) -> Self {
        let mut walk = TreeWalk { path: Vec::new(), entries: [].iter(), position: 0 };
        if let Some(root) = root {
            walk.descend(root, before);
        }
        walk.skip();
        walk
    }

    /// The next row, its copies, and how many rows are before them.
    pub(in crate::window) fn peek(&self) -> Option<(&'a (O, D), Range<u64>)> {
        let entry = self.entries.as_slice().first()?;
        Some((&entry.row, self.position..self.position + entry.copies()))
    }

    /// The next row and those behind it in its leaf, each with its copies.
    pub(in crate::window) fn rest_of_leaf(&self) -> impl Iterator<Item = (&'a (O, D), u64)> {
        let there = self.entries.as_slice().iter().filter(|entry| entry.copies() > 0);
        there.map(|entry| (&entry.row, entry.copies()))
    }

    /// How many rows are before the next.
    pub(in crate::window) fn position(&self) -> u64 {
        self.position
    }

    pub(in crate::window) fn step(&mut self) {
        if let Some(entry) = self.entries.next() {
            self.position += entry.copies();
        }
        self.skip();
    }

    /// Goes to the next row, over entries that stand for none and into the next leaf.
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
