//! A persistent counted B-tree: the rows of one partition in order, found by key or by position.
//!
//! ```text
//!                 │ 7 rows ≤ f │ 5 rows ≤ k │            each subtree is stored with its greatest row,
//!                   ╱              ╲                    its number of rows and their summary
//!     │ 3 ≤ b │ 4 ≤ f │        │ 2 ≤ h │ 3 ≤ k │
//! ```
//!
//! A change copies the path from a leaf to the root and leaves the old tree intact, so the trees before and after an
//! epoch exist side by side and share all unchanged nodes. A set of changes is applied in one pass. *Cost*: O(log n)
//! for each query, O(d log n) for d changes, O(n) for a first load.

mod node;
mod walk;

use std::ops::Range;
use std::rc::Rc;

pub(super) use node::WeightedRow;
use node::{Subtree, TreeNode};
pub(super) use walk::TreeWalk;

use super::function::{PartitionRows, RangeSummary, WindowFunction};

/// The maximum number of rows of a leaf, and of children of an inner node.
const WIDTH: usize = 32;
/// A node with fewer is merged with its neighbour.
const WIDTH_MIN: usize = WIDTH / 4;

/// The rows of one partition.
pub(super) struct OrderTree<O: Ord + 'static, D: Ord + 'static, F: WindowFunction<O, D>> {
    function: Rc<F>,
    root: Option<Subtree<O, D, F::Summary>>,
}

impl<O: Ord + 'static, D: Ord + 'static, F: WindowFunction<O, D>> OrderTree<O, D, F> {
    pub(super) fn new(function: Rc<F>) -> Self {
        OrderTree { function, root: None }
    }

    /// True if the tree has no entry, not even one of negative weight.
    pub(super) fn is_vacant(&self) -> bool {
        self.root.is_none()
    }

    /// A walk from the first row that does not satisfy `before`.
    pub(super) fn walk_from(&self, before: impl Fn(&(O, D)) -> bool) -> TreeWalk<'_, O, D, F::Summary> {
        TreeWalk::below(self.root.as_ref().map(|root| &*root.node), before)
    }
}

impl<O: Ord + Clone + 'static, D: Ord + Clone + 'static, F: WindowFunction<O, D>> OrderTree<O, D, F> {
    /// The tree after changes of weights, which must be sorted by row, one for each row.
    pub(super) fn with(&self, changes: &[((O, D), isize)]) -> Self {
        let function = &*self.function;
        let mut level = match &self.root {
            Some(root) => changed(&root.node, changes, function),
            None => leaves(entries_of(changes), function),
        };
        while level.len() > 1 {
            level = chunks(level).map(|children| Subtree::inner(children)).collect();
        }
        let mut root = level.pop();
        while let Some(only) = root.as_ref().and_then(Subtree::only_child) {
            root = Some(only);
        }
        OrderTree { function: Rc::clone(&self.function), root }
    }
}

fn entries_of<O: Clone, D: Clone>(changes: &[((O, D), isize)]) -> Vec<WeightedRow<O, D>> {
    changes.iter().map(|(row, weight)| WeightedRow { row: row.clone(), weight: *weight }).collect()
}

/// The nodes that replace a node: zero or more of the same height.
fn changed<O: Ord + Clone + 'static, D: Ord + Clone + 'static, F: WindowFunction<O, D>>(
    node: &TreeNode<O, D, F::Summary>,
    mut changes: &[((O, D), isize)],
    function: &F,
) -> Vec<Subtree<O, D, F::Summary>> {
    match node {
        TreeNode::Leaf(entries) => leaves(merged(entries, changes), function),
        TreeNode::Inner(children) => {
            let mut after = Vec::with_capacity(children.len() + 1);
            for (index, child) in children.iter().enumerate() {
                let is_last = index + 1 == children.len();
                let here =
                    if is_last { changes.len() } else { changes.partition_point(|(row, _)| *row <= child.greatest) };
                if here == 0 {
                    after.push(child.clone());
                } else {
                    after.extend(changed(&child.node, &changes[..here], function));
                }
                changes = &changes[here..];
            }
            let after = without_small(after, function);
            chunks(after).map(|children| Subtree::inner(children)).collect()
        }
    }
}

/// A leaf's entries after changes of weights.
fn merged<O: Ord + Clone, D: Ord + Clone>(
    entries: &[WeightedRow<O, D>],
    changes: &[((O, D), isize)],
) -> Vec<WeightedRow<O, D>> {
    let mut after = Vec::with_capacity(entries.len() + changes.len());
    let mut rest = entries;
    for (row, change) in changes {
        let before = rest.partition_point(|entry| entry.row < *row);
        after.extend_from_slice(&rest[..before]);
        rest = &rest[before..];
        let mut weight = *change;
        if let Some((entry, others)) = rest.split_first().filter(|(entry, _)| entry.row == *row) {
            weight += entry.weight;
            rest = others;
        }
        if weight != 0 {
            after.push(WeightedRow { row: row.clone(), weight });
        }
    }
    after.extend_from_slice(rest);
    after
}

fn leaves<O: Ord + Clone + 'static, D: Ord + Clone + 'static, F: WindowFunction<O, D>>(
    entries: Vec<WeightedRow<O, D>>,
    function: &F,
) -> Vec<Subtree<O, D, F::Summary>> {
    chunks(entries).map(|entries| Subtree::leaf(entries, function)).collect()
}

/// Splits a list into chunks of about equal size, at most [`WIDTH`].
fn chunks<E>(all: Vec<E>) -> impl Iterator<Item = Vec<E>> {
    let parts = all.len().div_ceil(WIDTH);
    let mut all = all.into_iter();
    (0..parts).rev().map(move |parts_after| {
        let width = all.len().div_ceil(parts_after + 1);
        all.by_ref().take(width).collect()
    })
}

/// Merges each node that has become too small with its predecessor.
fn without_small<O: Ord + Clone + 'static, D: Ord + Clone + 'static, F: WindowFunction<O, D>>(
    children: Vec<Subtree<O, D, F::Summary>>,
    function: &F,
) -> Vec<Subtree<O, D, F::Summary>> {
    let mut after: Vec<Subtree<O, D, F::Summary>> = Vec::with_capacity(children.len());
    for child in children {
        match after.last() {
            Some(before) if before.node.width().min(child.node.width()) < WIDTH_MIN => {
                let joined = match (&*before.node, &*child.node) {
                    (TreeNode::Leaf(a), TreeNode::Leaf(b)) => leaves([&a[..], b].concat(), function),
                    (TreeNode::Inner(a), TreeNode::Inner(b)) => {
                        chunks([&a[..], b].concat()).map(|children| Subtree::inner(children)).collect()
                    }
                    _ => unreachable!("children of a node have one height"),
                };
                after.pop();
                after.extend(joined);
            }
            _ => after.push(child),
        }
    }
    after
}

impl<O, D, S> TreeNode<O, D, S> {
    fn width(&self) -> usize {
        match self {
            TreeNode::Leaf(entries) => entries.len(),
            TreeNode::Inner(children) => children.len(),
        }
    }
}

impl<O: Ord + Clone + 'static, D: Ord + Clone + 'static, S: RangeSummary> Subtree<O, D, S> {
    fn leaf<F: WindowFunction<O, D, Summary = S>>(entries: Vec<WeightedRow<O, D>>, function: &F) -> Self {
        let (mut rows, mut summary) = (0, S::default());
        for entry in entries.iter().filter(|entry| entry.copies() > 0) {
            rows += entry.copies();
            summary.append(&function.summary(&entry.row, entry.copies()));
        }
        let greatest = entries.last().expect("a chunk is not empty").row.clone();
        Subtree { node: Rc::new(TreeNode::Leaf(entries)), greatest, rows, summary }
    }

    fn inner(children: Vec<Subtree<O, D, S>>) -> Self {
        let (mut rows, mut summary) = (0, S::default());
        for child in &children {
            rows += child.rows;
            summary.append(&child.summary);
        }
        let greatest = children.last().expect("a chunk is not empty").greatest.clone();
        Subtree { node: Rc::new(TreeNode::Inner(children)), greatest, rows, summary }
    }

    /// The only child of the node, if it has just one.
    fn only_child(&self) -> Option<Self> {
        match &*self.node {
            TreeNode::Inner(children) if children.len() == 1 => children.first().cloned(),
            _ => None,
        }
    }
}

impl<'a, O: Ord + 'static, D: Ord + 'static, F: WindowFunction<O, D>> PartitionRows<'a, O, D>
    for &'a OrderTree<O, D, F>
{
    type Summary = F::Summary;

    fn len(self) -> u64 {
        self.root.as_ref().map_or(0, |root| root.rows)
    }

    fn entry(self, position: u64) -> Option<(&'a (O, D), u64)> {
        let mut node = &*self.root.as_ref().filter(|root| position < root.rows)?.node;
        let mut start = 0;
        loop {
            match node {
                TreeNode::Inner(children) => {
                    let next = children.iter().find(|child| {
                        let is_it = position - start < child.rows;
                        start += if is_it { 0 } else { child.rows };
                        is_it
                    });
                    node = &next?.node;
                }
                TreeNode::Leaf(entries) => {
                    let entry = entries.iter().find(|entry| {
                        let is_it = position - start < entry.copies();
                        start += if is_it { 0 } else { entry.copies() };
                        is_it
                    });
                    return entry.map(|entry| (&entry.row, start));
                }
            }
        }
    }

    fn count_while(self, before: impl Fn(&(O, D)) -> bool) -> u64 {
        let Some(root) = &self.root else { return 0 };
        let (mut node, mut count) = (&*root.node, 0);
        loop {
            match node {
                TreeNode::Inner(children) => {
                    let skipped = children.partition_point(|child| before(&child.greatest));
                    count += children[..skipped].iter().map(|child| child.rows).sum::<u64>();
                    let Some(next) = children.get(skipped) else { return count };
                    node = &next.node;
                }
                TreeNode::Leaf(entries) => {
                    let skipped = entries.partition_point(|entry| before(&entry.row));
                    return count + entries[..skipped].iter().map(WeightedRow::copies).sum::<u64>();
                }
            }
        }
    }

    fn summary(self, positions: Range<u64>) -> F::Summary {
        let mut summary = F::Summary::default();
        if let Some(root) = self.root.as_ref().filter(|_| positions.start < positions.end) {
            self.append_child(root, positions, &mut summary);
        }
        summary
    }

    fn search(self, is_enough: impl Fn(&F::Summary) -> bool) -> u64 {
        let (mut summary, mut position) = (F::Summary::default(), 0);
        let Some(root) = &self.root else { return 0 };
        let mut children = std::slice::from_ref(root);
        loop {
            let Some(child) = children.iter().find(|child| {
                let mut through = summary.clone();
                through.append(&child.summary);
                let is_it = is_enough(&through);
                if !is_it {
                    position += child.rows;
                    summary = through;
                }
                is_it
            }) else {
                return position;
            };
            match &*child.node {
                TreeNode::Inner(inner) => children = inner,
                TreeNode::Leaf(entries) => return position + self.search_leaf(entries, summary, is_enough),
            }
        }
    }
}

impl<O: Ord + 'static, D: Ord + 'static, F: WindowFunction<O, D>> OrderTree<O, D, F> {
    /// Appends the summary of the rows at these positions of a child, counted from its first row.
    fn append_child(&self, child: &Subtree<O, D, F::Summary>, positions: Range<u64>, summary: &mut F::Summary) {
        if positions.start == 0 && positions.end >= child.rows {
            summary.append(&child.summary);
            return;
        }
        let mut start = 0;
        let mut overlap = |rows: u64| {
            let here = positions.start.max(start) - start..positions.end.min(start + rows).saturating_sub(start);
            start += rows;
            Some(here).filter(|here| here.start < here.end)
        };
        match &*child.node {
            TreeNode::Inner(children) => {
                for child in children {
                    if let Some(here) = overlap(child.rows) {
                        self.append_child(child, here, summary);
                    }
                }
            }
            TreeNode::Leaf(entries) => {
                for entry in entries {
                    if let Some(here) = overlap(entry.copies()) {
                        summary.append(&self.function.summary(&entry.row, here.end - here.start));
                    }
                }
            }
        }
    }

    /// The number of rows of a leaf before the one at which `is_enough` first holds.
    fn search_leaf(
        &self,
        entries: &[WeightedRow<O, D>],
        mut summary: F::Summary,
        is_enough: impl Fn(&F::Summary) -> bool,
    ) -> u64 {
        let mut position = 0;
        for entry in entries.iter().filter(|entry| entry.copies() > 0) {
            let with = |copies| {
                let mut through = summary.clone();
                through.append(&self.function.summary(&entry.row, copies));
                through
            };
            let all = with(entry.copies());
            if is_enough(&all) {
                return position + least(entry.copies(), |copies| is_enough(&with(copies))) - 1;
            }
            position += entry.copies();
            summary = all;
        }
        position
    }
}

/// The least number in 1..=`most` for which `holds`, which must be monotone and hold for `most`.
pub(super) fn least(most: u64, holds: impl Fn(u64) -> bool) -> u64 {
    let (mut fails, mut works) = (0, most);
    while works - fails > 1 {
        let middle = fails + (works - fails) / 2;
        if holds(middle) { works = middle } else { fails = middle }
    }
    works
}

#[cfg(test)]
mod tests;
