//! Reading the sorted values of one key, from either end, without reading them all.
//!
//! An arrangement holds a key's values sorted, in a few batches. A cursor walks all of them forwards; many reductions
//! need only the last ten, the first one, or whether any lies in a range. [`Values`] finds those by a binary search
//! in each batch and a merge that stops when no more are read:
//!
//! ```text
//!           values of one key, sorted →
//! batch 0   a  b     d  e        h         the weights of equal values are added up over the batches;
//! batch 1      b'    d'    f               a value whose weights cancel is skipped
//! novel                 e'    g
//! ```
//!
//! Of a key with at most 256 values, all are merged once for all reductions that share an operator.
//!
//! Cost: O(log n) to find the place in each of O(log n) batches, then O(batches) a value read; values that were
//! retracted and not yet compacted away are read too. State: none beside the arrangement.

use std::cmp::Ordering;
use std::ops::Range;

use timely::progress::Timestamp;

use crate::batch::{BatchUpdates, updates_at};
use crate::read_ahead::read_ahead;
use crate::replay::Replay;

/// The values of one key as of a time, sorted, each with a positive weight.
///
/// They are read lazily, except that up to 256 values of a key that had some before are merged as a whole.
pub struct Values<'a, V, T>(pub(crate) ValueSet<'a, V, T>);

pub(crate) enum ValueSet<'a, V, T> {
    /// The values of several batches, which are merged while they are read.
    Unmerged { earlier: &'a [ValueRun<'a, V, T>], novel: NovelValues<'a, V, T> },
    /// Values in order, each with its weight.
    Merged(&'a [(&'a V, isize)]),
}

/// Values in order, each with its weight, which is positive.
pub(crate) type WeightedValues<'a, V> = Vec<(&'a V, isize)>;

/// The values before and after a change. The two vectors are empty, and are reused.
pub(crate) fn before_and_after<'a, V: Ord, T: Timestamp>(
    earlier: &[ValueRun<'a, V, T>],
    novel: &[ValueRun<'a, V, T>],
    [mut before, mut after]: [WeightedValues<'a, V>; 2],
) -> [WeightedValues<'a, V>; 2] {
    // Mostly nearly all values are in one batch, and need no comparison.
    let longest = (0..earlier.len()).max_by_key(|nth| earlier[*nth].len()).unwrap_or(0);
    let (others, rest) = earlier.split_at(longest.min(earlier.len()));
    if let Some((longest, others_after)) = rest.split_first() {
        before.extend((0..longest.len()).map(|position| (&longest.values[position], longest.weight(position))));
        others.iter().chain(others_after).for_each(|run| run.insert_into(&mut before));
    }
    after.extend_from_slice(&before);
    novel.iter().for_each(|run| run.insert_into(&mut after));
    [before, after].map(|mut values| {
        values.retain(|(_, weight)| *weight > 0);
        values
    })
}

/// The updates that count beside those of earlier batches.
pub(crate) enum NovelValues<'a, V, T> {
    /// All updates of some batches.
    All(&'a [ValueRun<'a, V, T>]),
    /// Those played so far.
    Played(&'a Replay<'a, V>),
}

/// One key's values in one batch.
pub(crate) struct ValueRun<'a, V, T> {
    values: &'a [V],
    /// Where they start among the batch's values, and so among its updates.
    start: usize,
    updates: &'a BatchUpdates<T, isize>,
    /// The time and diff of every value, where the batch has only one, such as that of a load.
    only: Option<(&'a T, isize)>,
}

impl<'a, V, T: Timestamp> ValueRun<'a, V, T> {
    /// The values that start at this position of a batch.
    pub(crate) fn new(values: &'a [V], start: usize, updates: &'a BatchUpdates<T, isize>) -> Self {
        let only = match (&updates.times[..], &updates.diffs[..]) {
            ([time], [diff]) => Some((time, *diff)),
            _ => None,
        };
        ValueRun { values, start, updates, only }
    }

    /// How many values there are.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// Reads each value, so that it is in the cache.
    pub(crate) fn read_ahead(&self)
    where
        V: Ord,
    {
        let Some(last) = self.values.last() else { return };
        read_ahead(self.values.iter().map(|value| value < last));
    }

    /// The times and diffs of the value at this position.
    fn updates(&self, position: usize) -> (&'a [T], &'a [isize]) {
        updates_at(self.updates, self.start + position)
    }

    fn weight(&self, position: usize) -> isize {
        self.only.map_or_else(|| self.updates(position).1.iter().sum(), |(_, diff)| diff)
    }

    /// Shows each update: the value, when, and by how much its weight changes.
    pub(crate) fn for_each_update(&self, show: &mut impl FnMut(&'a V, &'a T, isize)) {
        if let Some((time, diff)) = self.only {
            return self.values.iter().for_each(|value| show(value, time, diff));
        }
        for (position, value) in self.values.iter().enumerate() {
            let (times, diffs) = self.updates(position);
            times.iter().zip(diffs).for_each(|(time, diff)| show(value, time, *diff));
        }
    }

    /// Adds the updates to values in order.
    fn insert_into(&self, values: &mut Vec<(&'a V, isize)>)
    where
        V: Ord,
    {
        let mut at = 0;
        self.for_each_update(&mut |value, _, diff| {
            // The values of a run ascend; a corrected row mostly comes right after the one that it replaces.
            let is_before = |at: usize| values.get(at).is_some_and(|(other, _)| *other < value);
            if is_before(at) {
                at += 1;
            }
            if is_before(at) {
                at += 1 + values[at + 1..].partition_point(|(other, _)| *other < value);
            }
            match values.get_mut(at) {
                Some((next, weight)) if *next == value => *weight += diff,
                _ => values.insert(at, (value, diff)),
            }
        });
    }

    /// Shows the times of the updates, some of them more than once.
    pub(crate) fn for_each_time(&self, mut show: impl FnMut(&'a T)) {
        match self.only {
            Some((time, _)) => show(time),
            None => (0..self.values.len()).for_each(|position| self.updates(position).0.iter().for_each(&mut show)),
        }
    }
}

/// Sorted values to be merged, and a range of them that is still to be read.
struct Unread<'a, V, T> {
    source: ValueSource<'a, V, T>,
    rest: Range<usize>,
}

enum ValueSource<'a, V, T> {
    Run(&'a ValueRun<'a, V, T>),
    Replay(&'a Replay<'a, V>),
}

impl<'a, V: Ord, T: Timestamp> Unread<'a, V, T> {
    /// The values from the first that is not `before`.
    fn from(source: ValueSource<'a, V, T>, before: &impl Fn(&V) -> bool) -> Self {
        let rest = match &source {
            ValueSource::Run(run) => run.values.partition_point(before)..run.values.len(),
            ValueSource::Replay(replay) => {
                let values = replay.values();
                replay.next(values.partition_point(|value| before(value)))..values.len()
            }
        };
        Unread { source, rest }
    }

    /// All values, to be read backwards.
    fn all(source: ValueSource<'a, V, T>) -> Self {
        let rest = match &source {
            ValueSource::Run(run) => 0..run.values.len(),
            ValueSource::Replay(replay) => 0..replay.end_before(replay.values().len()),
        };
        Unread { source, rest }
    }

    fn value(&self, position: usize) -> &'a V {
        match self.source {
            ValueSource::Run(run) => &run.values[position],
            ValueSource::Replay(replay) => replay.values()[position],
        }
    }

    fn weight(&self, position: usize) -> isize {
        match self.source {
            ValueSource::Run(run) => run.weight(position),
            ValueSource::Replay(replay) => replay.weight(position),
        }
    }

    /// Passes the first value.
    fn pass_first(&mut self) {
        self.rest.start += 1;
        if let ValueSource::Replay(replay) = self.source {
            self.rest.start = replay.next(self.rest.start);
        }
    }

    /// Passes the last value.
    fn pass_last(&mut self) {
        self.rest.end -= 1;
        if let ValueSource::Replay(replay) = self.source {
            self.rest.end = replay.end_before(self.rest.end);
        }
    }
}

impl<'a, V: Ord + 'a, T: Timestamp> Values<'a, V, T> {
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
        match &self.0 {
            ValueSet::Merged(values) => {
                let first = values.partition_point(|(value, _)| before(value));
                Either::Merged(values[first..].iter().copied())
            }
            ValueSet::Unmerged { earlier, novel } => {
                let unread = sources(earlier, novel).map(|source| Unread::from(source, &before)).collect();
                Either::Unmerged(merge(unread, |unread| unread.rest.start, Unread::pass_first, Ordering::is_lt))
            }
        }
    }

    /// The values from the greatest down, each with its weight.
    pub fn descending(&self) -> impl Iterator<Item = (&'a V, isize)> {
        match &self.0 {
            ValueSet::Merged(values) => Either::Merged(values.iter().rev().copied()),
            ValueSet::Unmerged { earlier, novel } => {
                let unread = sources(earlier, novel).map(Unread::all).collect();
                Either::Unmerged(merge(unread, |unread| unread.rest.end - 1, Unread::pass_last, Ordering::is_gt))
            }
        }
    }
}

fn sources<'a, V, T>(
    earlier: &'a [ValueRun<'a, V, T>],
    novel: &NovelValues<'a, V, T>,
) -> impl Iterator<Item = ValueSource<'a, V, T>> {
    let (novel, played) = match novel {
        NovelValues::All(novel) => (*novel, None),
        NovelValues::Played(replay) => (&[][..], Some(ValueSource::Replay(replay))),
    };
    earlier.iter().chain(novel).map(ValueSource::Run).chain(played)
}

/// One of two iterators.
enum Either<M, U> {
    Merged(M),
    Unmerged(U),
}

impl<M: Iterator, U: Iterator<Item = M::Item>> Iterator for Either<M, U> {
    type Item = M::Item;

    #[inline]
    fn next(&mut self) -> Option<M::Item> {
        match self {
            Either::Merged(values) => values.next(),
            Either::Unmerged(values) => values.next(),
        }
    }
}

/// Merges what is unread: adds up the weights of the value that comes first, and yields it if the sum is positive.
fn merge<'a, V: Ord + 'a, T: Timestamp>(
    mut unread: Vec<Unread<'a, V, T>>,
    head: impl Fn(&Unread<'a, V, T>) -> usize,
    pass: impl Fn(&mut Unread<'a, V, T>),
    comes_first: impl Fn(Ordering) -> bool,
) -> impl Iterator<Item = (&'a V, isize)> {
    unread.retain(|unread| !unread.rest.is_empty());
    std::iter::from_fn(move || {
        loop {
            if let [only] = &mut unread[..] {
                // There is nothing to merge it with.
                if only.rest.is_empty() {
                    return None;
                }
                let position = head(only);
                let (next, weight) = (only.value(position), only.weight(position));
                pass(only);
                if weight > 0 {
                    return Some((next, weight));
                }
                continue;
            }
            let heads = unread.iter().map(|unread| unread.value(head(unread)));
            let next = heads.reduce(|a, b| if comes_first(b.cmp(a)) { b } else { a })?;
            let mut weight = 0;
            unread.retain_mut(|unread| {
                let position = head(unread);
                if unread.value(position) == next {
                    weight += unread.weight(position);
                    pass(unread);
                }
                !unread.rest.is_empty()
            });
            if weight > 0 {
                return Some((next, weight));
            }
        }
    })
}
