//! Reading the sorted values of one key, from either end, without reading them all.
//!
//! An arrangement holds a key's values sorted, in a few batches. A cursor walks all of them forwards; many questions
//! need only the last ten, the first one, or whether any lies in a range. [`Values`] answers those by a binary search
//! in each batch and a merge that stops when it has been told enough:
//!
//! ```text
//!           values of one key, sorted →
//! batch 0   a  b     d  e        h         the weights of equal values are added up over the batches;
//! batch 1      b'    d'    f               a value whose weights cancel is not there
//! novel                 e'    g
//! ```
//!
//! Cost: O(log n) to find the place in each of O(log n) batches, then O(batches) a value read; values that were
//! retracted and not yet compacted away are read too. State: none beside the arrangement.

use std::cmp::Ordering;
use std::ops::Range;

use differential_dataflow::lattice::Lattice;
use differential_dataflow::operators::arrange::TraceAgent;
use differential_dataflow::trace::implementations::ValSpine;
use differential_dataflow::trace::{Span, TraceReader};
use timely::communication::Pull;
use timely::dataflow::channels::Message;
use timely::dataflow::operators::CapabilitySet;
use timely::dataflow::operators::generic::InputHandleCore;
use timely::order::TotalOrder;
use timely::progress::Timestamp;
use timely::progress::frontier::MutableAntichain;

use crate::batch::{Batch, BatchUpdates, SortedBatch, advance, updates_at};
use crate::received::Received;

/// The values of one key as of a time, sorted, each with a positive weight.
///
/// Nothing is read until it is asked for.
pub struct Values<'a, V, T> {
    runs: &'a [Run<'a, V, T>],
    as_of: AsOf<'a, T>,
}

/// Which of a key's updates count.
enum AsOf<'a, T> {
    /// Those that had arrived before.
    Before,
    /// All at times up to this one.
    Through(&'a T),
}

/// One key's values in one batch.
struct Run<'a, V, T> {
    values: &'a [V],
    /// Where they start among the batch's values, and so among its updates.
    start: usize,
    updates: &'a BatchUpdates<T, isize>,
    novel: bool,
}

impl<V, T: Timestamp + TotalOrder> Run<'_, V, T> {
    /// The weight of the value at this position.
    fn weight(&self, position: usize, as_of: &AsOf<'_, T>) -> isize {
        let (times, diffs) = updates_at(self.updates, self.start + position);
        match as_of {
            AsOf::Through(last) if self.novel => {
                times.iter().zip(diffs).filter(|(time, _)| time.less_equal(last)).map(|(_, diff)| diff).sum()
            }
            _ => diffs.iter().sum(),
        }
    }
}

impl<'a, V: Ord, T: Timestamp + TotalOrder> Values<'a, V, T> {
    /// True if there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ascending().next().is_none()
    }

    /// The values from the smallest on, each with its weight.
    pub fn ascending(&self) -> impl Iterator<Item = (&'a V, isize)> {
        self.ascending_from(|_| false)
    }

    /// The values from the smallest on that is not `before`, each with its weight.
    ///
    /// `before` must be true for some first values, perhaps none or all, and false for those after them.
    pub fn ascending_from(&self, before: impl Fn(&V) -> bool) -> impl Iterator<Item = (&'a V, isize)> {
        self.merge(
            move |values| values.partition_point(&before)..values.len(),
            |rest| rest.start,
            |rest| rest.start += 1,
            Ordering::is_lt,
        )
    }

    /// The values from the greatest down, each with its weight.
    pub fn descending(&self) -> impl Iterator<Item = (&'a V, isize)> {
        self.merge(|values| 0..values.len(), |rest| rest.end - 1, |rest| rest.end -= 1, Ordering::is_gt)
    }

    /// Merges what is left of each run: adds up the weights of the value that comes first, and yields it if it is there.
    fn merge(
        &self,
        within: impl Fn(&[V]) -> Range<usize>,
        head: impl Fn(&Range<usize>) -> usize,
        step: impl Fn(&mut Range<usize>),
        comes_first: impl Fn(Ordering) -> bool,
    ) -> impl Iterator<Item = (&'a V, isize)> {
        let as_of = self.as_of.clone();
        let mut runs: Vec<_> = self
            .runs
            .iter()
            .filter(|run| !run.novel || matches!(as_of, AsOf::Through(_)))
            .map(|run| (run, within(run.values)))
            .filter(|(_, rest)| rest.start < rest.end)
            .collect();
        std::iter::from_fn(move || {
            loop {
                let heads = runs.iter().map(|(run, rest)| &run.values[head(rest)]);
                let next = heads.reduce(|a, b| if comes_first(b.cmp(a)) { b } else { a })?;
                let mut weight = 0;
                runs.retain_mut(|(run, rest)| {
                    let position = head(rest);
                    if run.values[position] == *next {
                        weight += run.weight(position, &as_of);
                        step(rest);
                    }
                    rest.start < rest.end
                });
                if weight > 0 {
                    return Some((next, weight));
                }
            }
        })
    }
}

impl<T> Clone for AsOf<'_, T> {
    fn clone(&self) -> Self {
        match self {
            AsOf::Before => AsOf::Before,
            AsOf::Through(time) => AsOf::Through(time),
        }
    }
}

/// What has changed under one key.
pub(crate) struct Change<'a, V, T> {
    runs: Vec<Run<'a, V, T>>,
    times: Vec<T>,
}

impl<V: Ord, T: Timestamp + TotalOrder> Change<'_, V, T> {
    /// The times at which something changed, ascending.
    pub(crate) fn times(&self) -> &[T] {
        &self.times
    }

    /// The values before the first of those times.
    pub(crate) fn before(&self) -> Values<'_, V, T> {
        Values { runs: &self.runs, as_of: AsOf::Before }
    }

    /// The values as of a time.
    pub(crate) fn through<'b>(&'b self, time: &'b T) -> Values<'b, V, T> {
        Values { runs: &self.runs, as_of: AsOf::Through(time) }
    }

    /// True if the key had no values at all before.
    pub(crate) fn is_new(&self) -> bool {
        self.runs.iter().all(|run| run.novel)
    }

    /// Shows each update: the value, when, and by how much its weight changes.
    pub(crate) fn updates(&self, mut show: impl FnMut(&V, &T, isize)) {
        for run in self.runs.iter().filter(|run| run.novel) {
            for (position, value) in run.values.iter().enumerate() {
                let (times, diffs) = updates_at(run.updates, run.start + position);
                for (time, diff) in times.iter().zip(diffs) {
                    show(value, time, *diff);
                }
            }
        }
    }

    /// The values that have an update, in runs that are each sorted.
    pub(crate) fn touched(&self) -> impl Iterator<Item = &V> {
        self.runs.iter().filter(|run| run.novel).flat_map(|run| run.values)
    }
}

/// The batches an operator has just received, beside those it had before.
pub(crate) struct Arrival<K: Ord + Clone + 'static, V: Ord + Clone + 'static, T: Timestamp + Lattice> {
    /// What each output of the operator sends with what it makes of these batches.
    pub(crate) capabilities: Vec<CapabilitySet<T>>,
    earlier: Vec<Batch<K, V, T>>,
    novel: Vec<Batch<K, V, T>>,
}

impl<K: Ord + Clone + 'static, V: Ord + Clone + 'static, T: Timestamp + Lattice + TotalOrder> Arrival<K, V, T> {
    /// Shows each key that has an update, in order, with what changed under it.
    pub(crate) fn for_each_key(&self, mut logic: impl FnMut(&K, &Change<'_, V, T>)) {
        let mut sources: Vec<_> = self.earlier.iter().map(|batch| (batch, 0, false)).collect();
        sources.extend(self.novel.iter().map(|batch| (batch, 0, true)));
        let mut change = Change { runs: Vec::new(), times: Vec::new() };
        while let Some(key) = self.next_key(&sources) {
            change.runs.clear();
            for (batch, position, novel) in &mut sources {
                *position = advance(batch.keys(), *position, key);
                if batch.keys().get(*position) == Some(key) {
                    change.runs.push(run_at(batch, *position, *novel));
                    *position += 1;
                }
            }
            change.times.clear();
            change.runs.iter().filter(|run| run.novel).for_each(|run| run.times_into(&mut change.times));
            change.times.sort();
            change.times.dedup();
            logic(key, &change);
        }
    }

    /// The smallest key among the novel batches that has not been shown.
    fn next_key<'a>(&self, sources: &[(&'a Batch<K, V, T>, usize, bool)]) -> Option<&'a K> {
        let novel = sources.iter().filter(|(_, _, novel)| *novel);
        novel.filter_map(|(batch, position, _)| batch.keys().get(*position)).min()
    }
}

fn run_at<K: Ord + Clone + 'static, V: Ord + Clone + 'static, T: Timestamp + Lattice>(
    batch: &Batch<K, V, T>,
    key: usize,
    novel: bool,
) -> Run<'_, V, T> {
    let values = batch.range(key);
    Run { start: values.start, values: &batch.values()[values], updates: &batch.storage.upds, novel }
}

impl<V, T: Timestamp> Run<'_, V, T> {
    /// Adds the times of all updates, those in a row that are equal once.
    fn times_into(&self, times: &mut Vec<T>) {
        for position in 0..self.values.len() {
            for time in updates_at(self.updates, self.start + position).0 {
                if times.last() != Some(time) {
                    times.push(time.clone());
                }
            }
        }
    }
}

/// Follows an arrangement: collects what arrives, finds what was there before, and lets the trace compact behind it.
pub(crate) struct Reader<K: Ord + Clone + 'static, V: Ord + Clone + 'static, T: Timestamp + Lattice> {
    trace: Option<TraceAgent<ValSpine<K, V, T, isize>>>,
    received: Received<T>,
}

impl<K: Ord + Clone + 'static, V: Ord + Clone + 'static, T: Timestamp + Lattice> Reader<K, V, T> {
    pub(crate) fn new(trace: TraceAgent<ValSpine<K, V, T, isize>>) -> Self {
        Reader { trace: Some(trace), received: Received::nothing() }
    }

    /// What has arrived, for an operator of so many outputs; `None` if nothing has.
    pub(crate) fn receive<P: Pull<Message<T, Vec<Span<T, Batch<K, V, T>>>>>>(
        &mut self,
        input: &mut InputHandleCore<T, Vec<Span<T, Batch<K, V, T>>>, P>,
        outputs: usize,
    ) -> Option<Arrival<K, V, T>> {
        let mut capabilities = vec![CapabilitySet::new(); outputs];
        let mut novel = Vec::new();
        let received_before = self.received.frontier().to_owned();
        input.for_each(|capability, spans| {
            for (output, held) in capabilities.iter_mut().enumerate() {
                capability.retain_stamp(output).iter().for_each(|capability| held.insert(capability.clone()));
            }
            for span in spans.drain(..) {
                self.received.advance(span.upper());
                novel.extend(span.inner);
            }
        });
        if novel.is_empty() {
            return None;
        }
        let trace = self.trace.as_mut().expect("the trace is kept while its input is open");
        let earlier = trace
            .batches_through(received_before.borrow())
            .expect("the trace was not compacted past what was received");
        Some(Arrival { capabilities, earlier, novel })
    }

    /// Lets the trace compact up to what was read, and drops it when nothing more can arrive.
    pub(crate) fn release(&mut self, frontier: &MutableAntichain<T>) {
        if frontier.is_empty() {
            self.trace = None;
        } else if let Some(trace) = &mut self.trace {
            self.received.advance_through(trace, frontier.frontier());
            trace.set_logical_compaction(self.received.frontier());
            trace.set_physical_compaction(self.received.frontier());
        }
    }
}
