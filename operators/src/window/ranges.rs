//! The driver that looks only at rows whose answers can differ.
//!
//! A tree holds each partition. When an epoch is over, the trees before it and after it are walked side by side, over
//! the stretches that the functions say a change can reach, and answers that differ are sent:
//!
//! ```text
//!              one row is inserted                  lag(1): two rows are looked at
//! before   a  b  c  d     f  g  h  i  j             row_number: all behind it, unless a row was also taken away
//! after    a  b  c  d  e  f  g  h  i  j             there: behind that, answers are as they were
//!                      └──┘
//! ```
//!
//! Where a large part of a partition has changed, finding the stretches costs more than they save: it is then walked
//! as a whole. *Cost per change*: O(log n) and the rows in reach. *State*: every row, once; no answers. *Times*: totally
//! ordered, for there is one tree for now.
//!
//! This is a timely operator because no reduction can be told to look at a part of a group; `benches/window.rs` has
//! what that is worth.

use std::cell::{OnceCell, RefCell};
use std::hash::Hash;
use std::ops::Range;
use std::rc::Rc;

use differential_dataflow::consolidation::consolidate;
use differential_dataflow::lattice::Lattice;
use differential_dataflow::operators::arrange::Arranged;
use differential_dataflow::trace::{Cursor, Navigable};
use differential_dataflow::{AsCollection, Data, ExchangeData, VecCollection};
use hashbrown::HashMap;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::CapabilitySet;
use timely::dataflow::operators::generic::Operator;
use timely::order::TotalOrder;
use timely::progress::Timestamp;

use super::function::{At, Change, Epoch, Rows, Span, Summary, WindowFunction};
use super::order_tree::{OrderTree, Walk};
use crate::batch::ByKey;

/// What `output` makes of each row and its answer.
pub(super) fn each_row<'scope, T, P, O, D, F, Out>(
    partitions: ByKey<'scope, T, P, (O, D)>,
    name: &str,
    function: F,
    output: impl Fn(&(O, D), F::Answer) -> Option<Out> + 'static,
) -> VecCollection<'scope, T, Out>
where
    T: Timestamp + Lattice + TotalOrder,
    P: ExchangeData + Hash,
    O: ExchangeData,
    D: ExchangeData,
    F: WindowFunction<O, D>,
    Out: Data,
{
    follow(partitions, name, function, move |_, side_by_side, give| side_by_side.send_differences(&output, give))
}

/// What `output` makes of each partition that has rows, and the answer for its last row.
pub(super) fn last_row<'scope, T, P, O, D, F, Out>(
    partitions: ByKey<'scope, T, P, (O, D)>,
    name: &str,
    function: F,
    output: impl Fn(&P, F::Answer) -> Out + 'static,
) -> VecCollection<'scope, T, Out>
where
    T: Timestamp + Lattice + TotalOrder,
    P: ExchangeData + Hash,
    O: ExchangeData,
    D: ExchangeData,
    F: WindowFunction<O, D>,
    Out: Data,
{
    follow(partitions, name, function, move |partition, side_by_side, give| {
        let [old, new] = [side_by_side.old, side_by_side.new].map(|rows| {
            let position = rows.len().checked_sub(1)?;
            let (row, _) = rows.entry(position)?;
            Some(side_by_side.function.answer(&At { rows, row, position, peers: &OnceCell::new() }))
        });
        if old != new {
            old.into_iter().for_each(|answer| give(output(partition, answer), -1));
            new.into_iter().for_each(|answer| give(output(partition, answer), 1));
        }
    })
}

/// Keeps a tree for each partition; shows `logic` each partition that has changed, epoch by epoch.
fn follow<'scope, T, P, O, D, F, Out>(
    partitions: ByKey<'scope, T, P, (O, D)>,
    name: &str,
    function: F,
    logic: impl Fn(&P, &SideBySide<'_, O, D, F>, &mut dyn FnMut(Out, isize)) + 'static,
) -> VecCollection<'scope, T, Out>
where
    T: Timestamp + Lattice + TotalOrder,
    P: ExchangeData + Hash,
    O: ExchangeData,
    D: ExchangeData,
    F: WindowFunction<O, D>,
    Out: Data,
{
    // The arrangement sorts what comes and cuts it at epochs. Without its trace it keeps nothing.
    let Arranged { stream, trace } = partitions;
    drop(trace);
    let function = Rc::new(function);
    let answers = stream.unary(Pipeline, name, move |_, _| {
        let mut trees: HashMap<P, OrderTree<O, D, F>> = HashMap::new();
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
                            cursor.map_times(&batch, |time, diff| updates.push((time.clone(), (row.clone(), *diff))));
                            cursor.step_val(&batch);
                        }
                        // Stable: within a time, rows stay in order.
                        updates.sort_by(|(a, _), (b, _)| a.cmp(b));
                        let mut tree = trees.remove(partition).unwrap_or_else(|| OrderTree::new(Rc::clone(&function)));
                        let mut changed = updates.drain(..).peekable();
                        while let Some((time, change)) = changed.next() {
                            let mut changes = vec![change];
                            changes.extend(
                                std::iter::from_fn(|| changed.next_if(|(at, _)| *at == time)).map(|next| next.1),
                            );
                            let next = tree.with(&changes);
                            let side_by_side =
                                SideBySide { old: &tree, new: &next, changes: &changes, function: &function };
                            logic(partition, &side_by_side, &mut |record, diff| {
                                session.give((record, time.clone(), diff));
                            });
                            tree = next;
                        }
                        if !tree.is_vacant() {
                            trees.insert(partition.clone(), tree);
                        }
                        cursor.step_key(&batch);
                    }
                }
            });
        }
    });
    answers.as_collection()
}

/// A partition before and after an epoch.
struct SideBySide<'a, O: Ord + 'static, D: Ord + 'static, F: WindowFunction<O, D>> {
    old: &'a OrderTree<O, D, F>,
    new: &'a OrderTree<O, D, F>,
    changes: &'a [((O, D), isize)],
    function: &'a F,
}

impl<'a, O: Ord + 'static, D: Ord + 'static, F: WindowFunction<O, D>> SideBySide<'a, O, D, F> {
    /// Sends the answers that were and are no longer, and those that are now.
    fn send_differences<Out: Ord>(
        &self,
        output: &impl Fn(&(O, D), F::Answer) -> Option<Out>,
        give: &mut dyn FnMut(Out, isize),
    ) {
        let [mut old, mut new] = [self.old, self.new].map(|rows| Side::at_start(rows, self.function));
        let mut answers = Vec::new();
        let mut send_row = |row: &(O, D), old: &mut Side<'a, O, D, F>, new: &mut Side<'a, O, D, F>| {
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
        let mut spans = self.spans().into_iter().peekable();
        while let Some(span) = spans.next() {
            old.go_to(span.from);
            new.go_to(span.from);
            let (mut through, mut runs_on) = (span.through, span.runs_on);
            while let Some(row) = next_row(&old, &new) {
                while let Some(span) = spans.next_if(|span| span.from <= row) {
                    through = through.zip(span.through).map(|(a, b)| a.max(b));
                    runs_on |= span.runs_on;
                }
                let is_behind = through.is_some_and(|through| row > through);
                if is_behind && (!runs_on || self.is_settled(&old, &new)) {
                    break;
                }
                send_row(row, &mut old, &mut new);
            }
        }
    }

    /// Finding stretches costs about log n for each change, and seeking to each as much again.
    fn is_walked_whole(&self) -> bool {
        let rows = self.old.len().max(self.new.len());
        self.changes.len() as u64 * u64::from(rows.max(2).ilog2()) >= rows
    }

    /// The stretches to look at, in order of their first rows.
    fn spans(&self) -> Vec<Span<'a, O, D>> {
        let change = |(row, _): &'a ((O, D), isize)| {
            let [old, new] = [self.old, self.new].map(|rows| {
                let walk = rows.walk_from(|other| other < row);
                let start = walk.position();
                walk.peek().filter(|(found, _)| *found == row).map_or(start..start, |(_, positions)| positions)
            });
            Change { row, old, new }
        };
        let changes: Vec<_> = self.changes.iter().map(change).collect();
        let mut spans: Vec<_> =
            changes.iter().map(|change| Span { from: change.row, through: Some(change.row), runs_on: false }).collect();
        self.function.reach(&Epoch { old: self.old, new: self.new, changes: &changes }, &mut spans);
        spans.sort_by_key(|span| span.from);
        spans
    }

    /// True if the row that both sides have come to has the same answer on both, and so have all behind it.
    fn is_settled(&self, old: &Side<'a, O, D, F>, new: &Side<'a, O, D, F>) -> bool {
        let (Some(old), Some(new)) = (old.first_copy(), new.first_copy()) else { return false };
        old.row == new.row && self.function.settled(&old, &new)
    }
}

/// One of the two trees, and how far it has been walked.
///
/// What is asked about the row the walk has come to is mostly near it: how many rows are before it, who its peers are,
/// what the rows up to it add up to. That is known from the walk, or found in the leaf; the tree is asked for the rest.
struct Side<'a, O: Ord + 'static, D: Ord + 'static, F: WindowFunction<O, D>> {
    tree: &'a OrderTree<O, D, F>,
    function: &'a F,
    walk: Walk<'a, O, D, F::Summary>,
    /// The row that was walked over last, if it is the one before.
    before: Option<&'a (O, D)>,
    /// The peers of the last row that was looked at, which are often those of the next.
    peers: OnceCell<Range<u64>>,
    /// The summary of the rows before, once it has been asked for.
    prefix: RefCell<Option<F::Summary>>,
}

impl<'a, O: Ord + 'static, D: Ord + 'static, F: WindowFunction<O, D>> Side<'a, O, D, F> {
    fn at_start(tree: &'a OrderTree<O, D, F>, function: &'a F) -> Self {
        let walk = tree.walk_from(|_| false);
        Side { tree, function, walk, before: None, peers: OnceCell::new(), prefix: RefCell::new(None) }
    }

    /// Goes on to a row, or to the first behind it.
    fn go_to(&mut self, row: &(O, D)) {
        if self.walk.peek().is_some_and(|(next, _)| next < row) {
            self.walk = self.tree.walk_from(|other| other < row);
            self.before = None;
            self.prefix.take();
            self.forget_peers();
        }
    }

    fn first_copy(&self) -> Option<At<'a, '_, O, D, &Self>> {
        let (row, positions) = self.walk.peek()?;
        Some(At { rows: self, row, position: positions.start, peers: &self.peers })
    }

    /// Adds the answers of the next row's copies, if it is this one, and steps over it.
    fn answer(&mut self, row: &(O, D), diff: isize, answers: &mut Vec<(F::Answer, isize)>) {
        let Some((next, positions)) = self.walk.peek().filter(|(next, _)| *next == row) else { return };
        for position in positions.clone() {
            let at = At { rows: &*self, row: next, position, peers: &self.peers };
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

impl<'a, O: Ord + 'static, D: Ord + 'static, F: WindowFunction<O, D>> Rows<'a, O, D> for &Side<'a, O, D, F> {
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

/// The row that comes next on either side.
fn next_row<'a, O: Ord + 'static, D: Ord + 'static, F: WindowFunction<O, D>>(
    old: &Side<'a, O, D, F>,
    new: &Side<'a, O, D, F>,
) -> Option<&'a (O, D)> {
    let heads = [old.walk.peek(), new.walk.peek()];
    heads.into_iter().flatten().map(|(row, _)| row).min()
}
