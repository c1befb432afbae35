//! The incremental driver: it evaluates only the rows whose answers can differ.
//!
//! Each partition is a persistent (path-copying) counted B-tree. When an epoch closes, the trees before and after it
//! are walked side by side over the ranges of rows that the functions report as affected, and answers that differ are
//! emitted:
//!
//! ```text
//!              one row is inserted                  lag(1): two rows are evaluated
//! before   a  b  c  d     f  g  h  i  j             row_number: all rows after it, unless another row was deleted
//! after    a  b  c  d  e  f  g  h  i  j             further on: after that row, numbers are unchanged
//!                      └──┘
//! ```
//!
//! If a large part of a partition changed, finding the ranges costs more than it saves, and the whole partition is
//! walked. *Cost per change*: O(log n), and the rows in the affected ranges. *State*: every row once; no answers.
//! *Times*: totally ordered, since there is one tree per partition, the current one.
//!
//! This is a timely operator because differential's `reduce` always loads the whole group; `benches/window.rs` measures
//! the difference.

use std::cell::{OnceCell, RefCell};
use std::hash::Hash;
use std::ops::Range;
use std::rc::Rc;

use differential_dataflow::consolidation::consolidate;
use differential_dataflow::operators::arrange::Arranged;
use differential_dataflow::trace::{Cursor, Navigable};
use differential_dataflow::{AsCollection, Data, ExchangeData, VecCollection};
use hashbrown::HashMap;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::CapabilitySet;
use timely::dataflow::operators::generic::Operator;

use super::function::{
    AffectedRange, ChangedPartition, CurrentRow, PartitionRows, RangeSummary, RowChange, WindowFunction,
};
use super::order_tree::{OrderTree, TreeWalk};
use super::partitions::Partitions;
use crate::batch::ByKey;
use crate::bounds::{Epochs, Key};

/// The `output` for each row and its answer.
pub(super) fn each_row<'scope, T, P, O, D, F, Out>(
    partitions: Partitions<'scope, T, P, O, D>,
    name: &str,
    function: F,
    output: impl Fn(&(O, D), F::Answer) -> Option<Out> + 'static,
) -> VecCollection<'scope, T, Out>
where
    T: Epochs,
    P: Key,
    O: ExchangeData,
    D: ExchangeData,
    F: WindowFunction<O, D>,
    Out: Data,
{
    each_change(partitions, name, function, move |_, partition_diff, give| {
        partition_diff.send_differences(&output, give);
    })
}

/// The `output` for each partition that has rows, and the answer for its last row.
pub(super) fn last_row<'scope, T, P, O, D, F, Out>(
    partitions: Partitions<'scope, T, P, O, D>,
    name: &str,
    function: F,
    output: impl Fn(&P, F::Answer) -> Out + 'static,
) -> VecCollection<'scope, T, Out>
where
    T: Epochs,
    P: Key,
    O: ExchangeData,
    D: ExchangeData,
    F: WindowFunction<O, D>,
    Out: Data,
{
    each_change(partitions, name, function, move |partition, partition_diff, give| {
        let [old, new] = [partition_diff.old, partition_diff.new].map(|rows| {
            let position = rows.len().checked_sub(1)?;
            let (row, _) = rows.entry(position)?;
            Some(partition_diff.function.answer(&CurrentRow { rows, row, position, peers: &OnceCell::new() }))
        });
        if old != new {
            old.into_iter().for_each(|answer| give(output(partition, answer), -1));
            new.into_iter().for_each(|answer| give(output(partition, answer), 1));
        }
    })
}

/// Calls `logic` for each partition that changes in an epoch.
fn each_change<'scope, T: Epochs, P: Key, O: ExchangeData, D: ExchangeData, F: WindowFunction<O, D>, Out: Data>(
    partitions: Partitions<'scope, T, P, O, D>,
    name: &str,
    function: F,
    logic: impl Fn(&P, &PartitionDiff<'_, O, D, F>, &mut dyn FnMut(Out, isize)) + 'static,
) -> VecCollection<'scope, T, Out> {
    let trees = PartitionTrees { function: Rc::new(function), trees: HashMap::new() };
    match partitions {
        // The arrangement sorts rows; a stable sort by time keeps them sorted within each time.
        Partitions::Ordered(rows) => follow(
            rows,
            name,
            trees,
            |row: &(O, D)| row.clone(),
            |updates| updates.sort_by(|(a, _), (b, _)| a.cmp(b)),
            logic,
        ),
        Partitions::Unordered(rows, order) => {
            follow(rows, name, trees, move |row: &D| (order(row), row.clone()), |updates| updates.sort(), logic)
        }
    }
}

/// Keeps a tree for each partition of an arrangement.
fn follow<'scope, T, P, V, O, D, F, Out>(
    rows: ByKey<'scope, T, P, V>,
    name: &str,
    mut trees: PartitionTrees<P, O, D, F>,
    row_of: impl Fn(&V) -> (O, D) + 'static,
    sort: impl Fn(&mut Vec<(T, ((O, D), isize))>) + 'static,
    logic: impl Fn(&P, &PartitionDiff<'_, O, D, F>, &mut dyn FnMut(Out, isize)) + 'static,
) -> VecCollection<'scope, T, Out>
where
    T: Epochs,
    P: Key,
    V: ExchangeData,
    O: ExchangeData,
    D: ExchangeData,
    F: WindowFunction<O, D>,
    Out: Data,
{
    // The batches are read as they are made. Without its trace, the arrangement keeps none of them for this operator.
    let Arranged { stream, trace } = rows;
    drop(trace);
    let answers = stream.unary(Pipeline, name, move |_, _| {
        let mut updates = Vec::new();
        move |input, output| {
            input.for_each(|capability, spans| {
                let mut capabilities = CapabilitySet::new();
                capability.retain_stamp(0).iter().for_each(|capability| capabilities.insert(capability.clone()));
                let mut session = output.session(&capabilities);
                for batch in spans.drain(..).filter_map(|span| span.inner) {
                    let mut cursor = batch.cursor();
                    while let Some(partition) = cursor.get_key(&batch) {
                        while let Some(row) = cursor.get_val(&batch) {
                            cursor.map_times(&batch, |time, diff| updates.push((time.clone(), (row_of(row), *diff))));
                            cursor.step_val(&batch);
                        }
                        sort(&mut updates);
                        trees.apply(partition, &mut updates, |time, partition_diff| {
                            logic(partition, partition_diff, &mut |record, diff| {
                                session.give((record, time.clone(), diff));
                            });
                        });
                        cursor.step_key(&batch);
                    }
                }
            });
        }
    });
    answers.as_collection()
}

/// The current tree of each partition.
struct PartitionTrees<P, O: Ord + 'static, D: Ord + 'static, F: WindowFunction<O, D>> {
    function: Rc<F>,
    trees: HashMap<P, OrderTree<O, D, F>>,
}

impl<P, O, D, F> PartitionTrees<P, O, D, F>
where
    P: Hash + Eq + Clone,
    O: Ord + Clone + 'static,
    D: Ord + Clone + 'static,
    F: WindowFunction<O, D>,
{
    /// Applies updates of a partition, sorted by time and row, and calls `logic` for each time.
    fn apply<T: PartialEq>(
        &mut self,
        partition: &P,
        updates: &mut Vec<(T, ((O, D), isize))>,
        mut logic: impl FnMut(&T, &PartitionDiff<'_, O, D, F>),
    ) {
        let mut tree = self.trees.remove(partition).unwrap_or_else(|| OrderTree::new(Rc::clone(&self.function)));
        let mut updates = updates.drain(..).peekable();
        while let Some((time, change)) = updates.next() {
            let mut changes = vec![change];
            changes.extend(std::iter::from_fn(|| updates.next_if(|(at, _)| *at == time)).map(|next| next.1));
            let next = tree.with(&changes);
            logic(&time, &PartitionDiff { old: &tree, new: &next, changes: &changes, function: &self.function });
            tree = next;
        }
        if !tree.is_vacant() {
            self.trees.insert(partition.clone(), tree);
        }
    }
}

/// A partition before and after an epoch.
struct PartitionDiff<'a, O: Ord + 'static, D: Ord + 'static, F: WindowFunction<O, D>> {
    old: &'a OrderTree<O, D, F>,
    new: &'a OrderTree<O, D, F>,
    changes: &'a [((O, D), isize)],
    function: &'a F,
}

impl<'a, O: Ord + 'static, D: Ord + 'static, F: WindowFunction<O, D>> PartitionDiff<'a, O, D, F> {
    /// Retracts the answers that no longer hold, and emits those that now do.
    fn send_differences<Out: Ord>(
        &self,
        output: &impl Fn(&(O, D), F::Answer) -> Option<Out>,
        give: &mut dyn FnMut(Out, isize),
    ) {
        let [mut old, mut new] = [self.old, self.new].map(|rows| PartitionWalk::at_start(rows, self.function));
        let mut answers = Vec::new();
        let mut send_row =
            |row: &(O, D), old: &mut PartitionWalk<'a, O, D, F>, new: &mut PartitionWalk<'a, O, D, F>| {
                old.answer(row, -1, &mut answers);
                new.answer(row, 1, &mut answers);
                consolidate(&mut answers);
                for (answer, diff) in answers.drain(..) {
                    if let Some(record) = output(row, answer) {
                        give(record, diff);
                    }
                }
            };
        if self.is_walked_whole() {
            while let Some(row) = next_row(&old, &new) {
                send_row(row, &mut old, &mut new);
            }
            return;
        }
        let mut ranges = self.affected_ranges().into_iter().peekable();
        while let Some(range) = ranges.next() {
            old.go_to(range.from);
            new.go_to(range.from);
            let (mut through, mut open_ended) = (range.through, range.open_ended);
            while let Some(row) = next_row(&old, &new) {
                while let Some(range) = ranges.next_if(|range| range.from <= row) {
                    through = through.zip(range.through).map(|(a, b)| a.max(b));
                    open_ended |= range.open_ended;
                }
                let is_past = through.is_some_and(|through| row > through);
                if is_past && (!open_ended || self.has_converged(&old, &new)) {
                    break;
                }
                send_row(row, &mut old, &mut new);
            }
        }
    }

    /// True if finding and seeking the affected ranges, about log n for each change, costs more than a walk.
    fn is_walked_whole(&self) -> bool {
        let rows = self.old.len().max(self.new.len());
        self.changes.len() as u64 * u64::from(rows.max(2).ilog2()) >= rows
    }

    /// The ranges to evaluate, ordered by their first rows.
    fn affected_ranges(&self) -> Vec<AffectedRange<'a, O, D>> {
        let change = |(row, _): &'a ((O, D), isize)| {
            let [old, new] = [self.old, self.new].map(|rows| {
                let walk = rows.walk_from(|other| other < row);
                let start = walk.position();
                walk.peek().filter(|(found, _)| *found == row).map_or(start..start, |(_, positions)| positions)
            });
            RowChange { row, old, new }
        };
        let changes: Vec<_> = self.changes.iter().map(change).collect();
        let mut ranges: Vec<_> = changes
            .iter()
            .map(|change| AffectedRange { from: change.row, through: Some(change.row), open_ended: false })
            .collect();
        self.function.reach(&ChangedPartition { old: self.old, new: self.new, changes: &changes }, &mut ranges);
        ranges.sort_by_key(|range| range.from);
        ranges
    }

    /// True if both walks are at the same row, and neither its answer nor any after it differs.
    fn has_converged(&self, old: &PartitionWalk<'a, O, D, F>, new: &PartitionWalk<'a, O, D, F>) -> bool {
        let (Some(old), Some(new)) = (old.first_copy(), new.first_copy()) else { return false };
        old.row == new.row && self.function.converged(&old, &new)
    }
}

/// A walk over one of the two trees, and a view of the tree from the row that the walk is at.
///
/// Most of what a function reads is near its row: the position, the peers, the summary of the rows up to it. The walk
/// keeps those up to date or finds them in the current leaf, and searches the tree only for the rest.
struct PartitionWalk<'a, O: Ord + 'static, D: Ord + 'static, F: WindowFunction<O, D>> {
    tree: &'a OrderTree<O, D, F>,
    function: &'a F,
    walk: TreeWalk<'a, O, D, F::Summary>,
    /// The preceding row, if the walk has passed over it.
    before: Option<&'a (O, D)>,
    /// The positions of the current row's peers, once computed. Successive rows often share them.
    peers: OnceCell<Range<u64>>,
    /// The summary of all preceding rows, once computed.
    prefix: RefCell<Option<F::Summary>>,
}

impl<'a, O: Ord + 'static, D: Ord + 'static, F: WindowFunction<O, D>> PartitionWalk<'a, O, D, F> {
    fn at_start(tree: &'a OrderTree<O, D, F>, function: &'a F) -> Self {
        let walk = tree.walk_from(|_| false);
        PartitionWalk { tree, function, walk, before: None, peers: OnceCell::new(), prefix: RefCell::new(None) }
    }

    /// Moves forward to `row`, or else to the first row after it.
    fn go_to(&mut self, row: &(O, D)) {
        if self.walk.peek().is_some_and(|(next, _)| next < row) {
            self.walk = self.tree.walk_from(|other| other < row);
            self.before = None;
            self.prefix.take();
            self.forget_peers();
        }
    }

    fn first_copy(&self) -> Option<CurrentRow<'a, '_, O, D, &Self>> {
        let (row, positions) = self.walk.peek()?;
        Some(CurrentRow { rows: self, row, position: positions.start, peers: &self.peers })
    }

    /// If the walk is at `row`, adds the answers for its copies and steps past it.
    fn answer(&mut self, row: &(O, D), diff: isize, answers: &mut Vec<(F::Answer, isize)>) {
        let Some((next, positions)) = self.walk.peek().filter(|(next, _)| *next == row) else { return };
        for position in positions.clone() {
            let at = CurrentRow { rows: &*self, row: next, position, peers: &self.peers };
            answers.push((self.function.answer(&at), diff));
        }
        if let Some(prefix) = self.prefix.get_mut() {
            prefix.append(&self.function.summary(next, positions.end - positions.start));
        }
        self.before = Some(next);
        self.walk.step();
        self.forget_peers();
    }

    fn forget_peers(&mut self) {
        let is_peer = |peers: &Range<u64>| peers.contains(&self.walk.position());
        if !self.peers.get().is_some_and(is_peer) {
            self.peers.take();
        }
    }
}

impl<'a, O: Ord + 'static, D: Ord + 'static, F: WindowFunction<O, D>> PartitionRows<'a, O, D>
    for &PartitionWalk<'a, O, D, F>
{
    type Summary = F::Summary;

    fn len(self) -> u64 {
        self.tree.len()
    }

    fn entry(self, position: u64) -> Option<(&'a (O, D), u64)> {
        self.tree.entry(position)
    }

    fn count_while(self, before: impl Fn(&(O, D)) -> bool) -> u64 {
        self.tree.count_while(before)
    }

    fn summary(self, positions: Range<u64>) -> F::Summary {
        let here = self.walk.position();
        if positions.start > 0 || positions.end < here {
            return self.tree.summary(positions);
        }
        let mut summary = self.prefix.borrow_mut().get_or_insert_with(|| self.tree.summary(0..here)).clone();
        let mut missing = positions.end - here;
        for (row, copies) in self.walk.rest_of_leaf() {
            if missing == 0 {
                return summary;
            }
            summary.append(&self.function.summary(row, copies.min(missing)));
            missing -= copies.min(missing);
        }
        if missing > 0 {
            summary.append(&self.tree.summary(positions.end - missing..positions.end));
        }
        summary
    }

    fn search(self, is_enough: impl Fn(&F::Summary) -> bool) -> u64 {
        self.tree.search(is_enough)
    }

    fn peers(self, order: &O) -> Range<u64> {
        let here = self.walk.position();
        if self.walk.peek().is_none_or(|(next, _)| next.0 != *order) {
            return self.tree.peers(order);
        }
        let is_first = self.before.is_some_and(|(before, _)| before < order);
        let start = if is_first { here } else { self.tree.count_while(|row| row.0 < *order) };
        let mut end = here;
        for (row, copies) in self.walk.rest_of_leaf() {
            if row.0 > *order {
                return start..end;
            }
            end += copies;
        }
        start..self.tree.count_while(|row| row.0 <= *order)
    }
}

/// The lesser of the rows that the walks are at.
fn next_row<'a, O: Ord + 'static, D: Ord + 'static, F: WindowFunction<O, D>>(
    old: &PartitionWalk<'a, O, D, F>,
    new: &PartitionWalk<'a, O, D, F>,
) -> Option<&'a (O, D)> {
    let heads = [old.walk.peek(), new.walk.peek()];
    heads.into_iter().flatten().map(|(row, _)| row).min()
}
