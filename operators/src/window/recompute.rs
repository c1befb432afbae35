//! The simple driver: it recomputes every answer of a partition that changed.
//!
//! A function of the sorted partition under differential's `reduce`, which emits only differences. *Cost per change*:
//! the partition. *State*: every row, and every row with its answers. *Times*: any lattice.

use std::cell::OnceCell;
use std::ops::Range;

use differential_dataflow::trace::implementations::{ValBuilder, ValSpine};
use differential_dataflow::{Data, ExchangeData, VecCollection};

use super::function::{CurrentRow, PartitionRows, RangeSummary, WindowFunction};
use super::order_tree::least;
use super::partitions::Partitions;
use crate::batch::{ByKey, push_values};
use crate::bounds::{Key, Times};

/// The `output` for each row and its answer.
pub(super) fn each_row<'scope, T, P, O, D, F, Out>(
    partitions: Partitions<'scope, T, P, O, D>,
    name: &str,
    function: F,
    output: impl Fn(&(O, D), F::Answer) -> Option<Out> + 'static,
) -> VecCollection<'scope, T, Out>
where
    T: Times,
    P: Key,
    O: ExchangeData,
    D: ExchangeData,
    F: WindowFunction<O, D>,
    Out: Data,
{
    each_partition(partitions, name, function, move |_, rows, function, give| {
        for (row, start, copies) in rows.entries() {
            let peers = OnceCell::new();
            for position in start..start + copies {
                give.extend(output(row, function.answer(&CurrentRow { rows, row, position, peers: &peers })));
            }
        }
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
    T: Times,
    P: Key,
    O: ExchangeData,
    D: ExchangeData,
    F: WindowFunction<O, D>,
    Out: Data,
{
    each_partition(partitions, name, function, move |partition, rows, function, give| {
        if let Some(position) = rows.len().checked_sub(1)
            && let Some((row, _)) = rows.entry(position)
        {
            let at = CurrentRow { rows, row, position, peers: &OnceCell::new() };
            give.push(output(partition, function.answer(&at)));
        }
    })
}

fn each_partition<'scope, T: Times, P: Key, O: ExchangeData, D: ExchangeData, F: WindowFunction<O, D>, Out: Data>(
    partitions: Partitions<'scope, T, P, O, D>,
    name: &str,
    function: F,
    logic: impl Fn(&P, &SortedRows<'_, O, D, F>, &F, &mut Vec<Out>) + 'static,
) -> VecCollection<'scope, T, Out> {
    match partitions {
        Partitions::Ordered(rows) => reduce(rows, name, move |partition, entries, answers| {
            logic(partition, &SortedRows::new(entries, &function), &function, answers);
        }),
        Partitions::Unordered(rows, order) => reduce(rows, name, move |partition, entries, answers| {
            let mut sorted: Vec<_> =
                entries.iter().map(|(row, weight): &(&D, isize)| ((order(row), (*row).clone()), *weight)).collect();
            sorted.sort();
            let entries: Vec<_> = sorted.iter().map(|(row, weight)| (row, *weight)).collect();
            logic(partition, &SortedRows::new(&entries, &function), &function, answers);
        }),
    }
}

/// Differential's `reduce`, with a list of answers as the result of a key.
fn reduce<'scope, T: Times, P: ExchangeData, V: ExchangeData, Out: Data>(
    rows: ByKey<'scope, T, P, V>,
    name: &str,
    logic: impl Fn(&P, &[(&V, isize)], &mut Vec<Out>) + 'static,
) -> VecCollection<'scope, T, Out> {
    let mut given = Vec::new();
    let answers = rows.reduce_abelian::<_, ValBuilder<_, _, _, _>, ValSpine<_, _, _, _>, _, _>(
        name,
        move |partition, entries, answers| {
            logic(partition, entries, &mut given);
            answers.extend(given.drain(..).map(|answer| (answer, 1)));
        },
        push_values,
    );
    answers.as_collection(|_, answer| answer.clone())
}

/// The rows of a partition as a sorted slice.
struct SortedRows<'a, O: Ord + 'static, D: Ord + 'static, F: WindowFunction<O, D>> {
    function: &'a F,
    rows: Vec<&'a (O, D)>,
    /// The position of the first copy of each row, and at the end the number of rows.
    starts: Vec<u64>,
    /// A segment tree of summaries, built on first use: node n combines nodes 2n and 2n + 1, and the rows are its
    /// leaves.
    summaries: OnceCell<Vec<F::Summary>>,
}

impl<'a, O: Ord + 'static, D: Ord + 'static, F: WindowFunction<O, D>> SortedRows<'a, O, D, F> {
    fn new(entries: &[(&'a (O, D), isize)], function: &'a F) -> Self {
        let mut sorted = SortedRows { function, rows: Vec::new(), starts: vec![0], summaries: OnceCell::new() };
        for (row, weight) in entries {
            if let Ok(copies @ 1..) = u64::try_from(*weight) {
                sorted.rows.push(row);
                sorted.starts.push(sorted.starts[sorted.starts.len() - 1] + copies);
            }
        }
        sorted
    }

    /// Each row, the position of its first copy, and the number of copies.
    fn entries(&self) -> impl Iterator<Item = (&'a (O, D), u64, u64)> {
        let copies = self.starts.windows(2).map(|starts| (starts[0], starts[1] - starts[0]));
        self.rows.iter().zip(copies).map(|(row, (start, copies))| (*row, start, copies))
    }

    /// The index of the row at a position.
    fn index(&self, position: u64) -> usize {
        self.starts.partition_point(|start| *start <= position) - 1
    }

    fn some_of(&self, index: usize, copies: u64) -> F::Summary {
        self.function.summary(self.rows[index], copies)
    }

    /// The summary of rows with all their copies.
    fn entries_summary(&self, entries: Range<usize>) -> F::Summary {
        let width = self.rows.len().next_power_of_two();
        let nodes = self.summaries.get_or_init(|| {
            let mut nodes = vec![F::Summary::default(); width];
            nodes.extend(
                (0..self.rows.len()).map(|index| self.some_of(index, self.starts[index + 1] - self.starts[index])),
            );
            nodes.resize(2 * width, F::Summary::default());
            for node in (1..width).rev() {
                nodes[node] = nodes[2 * node].clone();
                let right = nodes[2 * node + 1].clone();
                nodes[node].append(&right);
            }
            nodes
        });
        let (mut left, mut right) = (F::Summary::default(), Vec::new());
        let (mut from, mut to) = (entries.start + width, entries.end + width);
        while from < to {
            if from % 2 == 1 {
                left.append(&nodes[from]);
                from += 1;
            }
            if to % 2 == 1 {
                to -= 1;
                right.push(to);
            }
            (from, to) = (from / 2, to / 2);
        }
        right.iter().rev().for_each(|node| left.append(&nodes[*node]));
        left
    }
}

impl<'a, O: Ord + 'static, D: Ord + 'static, F: WindowFunction<O, D>> PartitionRows<'a, O, D>
    for &SortedRows<'a, O, D, F>
{
    type Summary = F::Summary;

    fn len(self) -> u64 {
        self.starts[self.rows.len()]
    }

    fn entry(self, position: u64) -> Option<(&'a (O, D), u64)> {
        let index = self.index(position);
        self.rows.get(index).map(|row| (*row, self.starts[index]))
    }

    fn count_while(self, before: impl Fn(&(O, D)) -> bool) -> u64 {
        self.starts[self.rows.partition_point(|row| before(row))]
    }

    fn summary(self, positions: Range<u64>) -> F::Summary {
        let (start, end) = (positions.start, positions.end.min(self.len()));
        if start >= end {
            return F::Summary::default();
        }
        let (first, last) = (self.index(start), self.index(end - 1));
        if first == last {
            return self.some_of(first, end - start);
        }
        let mut summary = self.some_of(first, self.starts[first + 1] - start);
        summary.append(&self.entries_summary(first + 1..last));
        summary.append(&self.some_of(last, end - self.starts[last]));
        summary
    }

    fn search(self, is_enough: impl Fn(&F::Summary) -> bool) -> u64 {
        let with = |rows| is_enough(&self.summary(0..rows));
        if self.len() > 0 && with(self.len()) { least(self.len(), with) - 1 } else { self.len() }
    }
}
