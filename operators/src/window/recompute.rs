//! The plain driver: every answer of a partition that has changed is worked out again.
//!
//! A function of the sorted partition under differential's `reduce`, which sends only what differs. *Cost per change*:
//! the partition. *State*: every row, and every row with its answer. *Times*: any lattice.

use std::cell::OnceCell;
use std::ops::Range;

use differential_dataflow::lattice::Lattice;
use differential_dataflow::trace::implementations::{ValBuilder, ValSpine};
use differential_dataflow::{Data, ExchangeData, VecCollection};
use timely::progress::Timestamp;

use super::function::{At, Rows, Summary, WindowFunction};
use super::order_tree::least;
use crate::batch::{ByKey, push_values};

/// What `output` makes of each row and its answer.
pub(super) fn each_row<'scope, T, P, O, D, F, Out>(
    partitions: ByKey<'scope, T, P, (O, D)>,
    name: &str,
    function: F,
    output: impl Fn(&(O, D), F::Answer) -> Option<Out> + 'static,
) -> VecCollection<'scope, T, Out>
where
    T: Timestamp + Lattice,
    P: ExchangeData,
    O: ExchangeData,
    D: ExchangeData,
    F: WindowFunction<O, D>,
    Out: Data,
{
    each_partition(partitions, name, function, move |_, rows, function, give| {
        for (row, start, copies) in rows.entries() {
            let peers = OnceCell::new();
            for position in start..start + copies {
                give.extend(output(row, function.answer(&At { rows, row, position, peers: &peers })));
            }
        }
    })
}

/// What `output` makes of each partition that has rows, and the answer for its last row.
pub(super) fn last_row<'scope, T, P, O, D, F, Out>(
    partitions: ByKey<'scope, T, P, (O, D)>,
    name: &str,
    function: F,
    output: impl Fn(&P, F::Answer) -> Out + 'static,
) -> VecCollection<'scope, T, Out>
where
    T: Timestamp + Lattice,
    P: ExchangeData,
    O: ExchangeData,
    D: ExchangeData,
    F: WindowFunction<O, D>,
    Out: Data,
{
    each_partition(partitions, name, function, move |partition, rows, function, give| {
        if let Some(position) = rows.len().checked_sub(1)
            && let Some((row, _)) = rows.entry(position)
        {
            let at = At { rows, row, position, peers: &OnceCell::new() };
            give.push(output(partition, function.answer(&at)));
        }
    })
}

fn each_partition<'scope, T, P, O, D, F, Out>(
    partitions: ByKey<'scope, T, P, (O, D)>,
    name: &str,
    function: F,
    logic: impl Fn(&P, &Sorted<'_, O, D, F>, &F, &mut Vec<Out>) + 'static,
) -> VecCollection<'scope, T, Out>
where
    T: Timestamp + Lattice,
    P: ExchangeData,
    O: ExchangeData,
    D: ExchangeData,
    F: WindowFunction<O, D>,
    Out: Data,
{
    let mut given = Vec::new();
    let answers = partitions.reduce_abelian::<_, ValBuilder<_, _, _, _>, ValSpine<_, _, _, _>, _, _>(
        name,
        move |partition, entries, answers| {
            logic(partition, &Sorted::new(entries, &function), &function, &mut given);
            answers.extend(given.drain(..).map(|answer| (answer, 1)));
        },
        push_values,
    );
    answers.as_collection(|_, answer| answer.clone())
}

/// The rows of a partition as a slice.
struct Sorted<'a, O: Ord + 'static, D: Ord + 'static, F: WindowFunction<O, D>> {
    function: &'a F,
    rows: Vec<&'a (O, D)>,
    /// How many rows are before each, and at the end how many there are.
    starts: Vec<u64>,
    /// A binary tree of summaries, made when first asked for: node n is made of 2n and 2n + 1, and the rows are the
    /// last.
    summaries: OnceCell<Vec<F::Summary>>,
}

impl<'a, O: Ord + 'static, D: Ord + 'static, F: WindowFunction<O, D>> Sorted<'a, O, D, F> {
    fn new(entries: &[(&'a (O, D), isize)], function: &'a F) -> Self {
        let mut sorted = Sorted { function, rows: Vec::new(), starts: vec![0], summaries: OnceCell::new() };
        for (row, weight) in entries {
            if let Ok(copies @ 1..) = u64::try_from(*weight) {
                sorted.rows.push(row);
                sorted.starts.push(sorted.starts[sorted.starts.len() - 1] + copies);
            }
        }
        sorted
    }

    /// Each row, how many are before it, and its copies.
    fn entries(&self) -> impl Iterator<Item = (&'a (O, D), u64, u64)> {
        let copies = self.starts.windows(2).map(|starts| (starts[0], starts[1] - starts[0]));
        self.rows.iter().zip(copies).map(|(row, (start, copies))| (*row, start, copies))
    }

    /// The entry that holds a position.
    fn index(&self, position: u64) -> usize {
        self.starts.partition_point(|start| *start <= position) - 1
    }

    fn some_of(&self, index: usize, copies: u64) -> F::Summary {
        self.function.summary(self.rows[index], copies)
    }

    /// The summary of whole entries.
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

impl<'a, O: Ord + 'static, D: Ord + 'static, F: WindowFunction<O, D>> Rows<'a, O, D> for &Sorted<'a, O, D, F> {
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
