//! Arrangements in differential's default layouts, and their batches as slices.

use std::ops::Range;
use std::rc::Rc;

use differential_dataflow::difference::{Multiply, Semigroup};
use differential_dataflow::lattice::Lattice;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::TraceReader;
use differential_dataflow::trace::implementations::ord_neu::{OrdKeyBatch, OrdValBatch, Upds};
use differential_dataflow::trace::implementations::{OffsetList, ValSpine, Vector};
use timely::progress::Timestamp;

/// An arrangement by key, in differential's default layout: what `arrange_by_key` makes.
pub type ByKey<'scope, T, K, V, R = isize> = Arranged<'scope, TraceAgent<ValSpine<K, V, T, R>>>;

/// A batch of updates of an arrangement by key. [`SortedBatch`] reads it.
pub type Batch<K, V, T, R = isize> = Rc<OrdValBatch<Vector<((K, V), T, R)>>>;

/// A batch of updates of an arrangement of keys without values, as `arrange_by_self` makes it.
pub type KeyBatch<K, T, R = isize> = Rc<OrdKeyBatch<Vector<((K, ()), T, R)>>>;

/// The times and diffs of a batch's updates.
pub(crate) type BatchUpdates<T, R> = Upds<OffsetList, Vec<T>, Vec<R>>;

/// A batch whose keys, values and updates are sorted slices.
///
/// The values of all keys lie in one slice, key after key. Each value has one update or several, at different times.
///
/// ```
/// use differential_dataflow::input::Input;
/// use millstream_operators::SortedBatch;
/// use timely::dataflow::operators::generic::Operator;
/// use timely::dataflow::channels::pact::Pipeline;
///
/// timely::example(|scope| {
///     let scores = scope.new_collection_from([('A', 30), ('B', 50), ('A', 20)]).1.arrange_by_key();
///     scores.stream.sink(Pipeline, "Read", |(input, _frontier)| {
///         input.for_each(|_, spans| {
///             for batch in spans.drain(..).filter_map(|span| span.inner) {
///                 let by_key: Vec<_> = batch.by_key().map(|(key, values)| (*key, &batch.values()[values])).collect();
///                 assert_eq!(by_key, [('A', &[20, 30][..]), ('B', &[50])]);
///                 assert_eq!(batch.update_count(), 3);
///                 assert!(batch.all_diffs(|diff| *diff == 1));
///                 assert!(batch.times().all(|time| *time == 0));
///             }
///         });
///     });
/// });
/// ```
#[diagnostic::on_unimplemented(
    message = "a `{Self}` can't be read as sorted slices",
    label = "not a batch of differential's default layouts",
    note = "this operator reads arrangements of `arrange`, `arrange_by_key` and `arrange_by_self`",
    note = "for others, such as arrangements that entered a scope, arrange again, \
            or use an operator over cursors, such as `join_core`"
)]
pub trait SortedBatch: Clone + 'static {
    /// The key by which updates are arranged.
    type Key: Ord + Clone + 'static;
    /// The values of a key; `()` in batches of keys alone.
    type Val: Ord + Clone + 'static;
    /// The time of an update.
    type Time: Timestamp + Lattice;
    /// The change of a row's weight.
    type Diff: Ord + Semigroup + 'static;

    /// The keys, ascending.
    fn keys(&self) -> &[Self::Key];

    /// The values: those of the first key, ascending, then those of the second, and so on.
    fn values(&self) -> &[Self::Val];

    /// Where the values of the nth key lie in [`values`](Self::values).
    fn range(&self, key: usize) -> Range<usize>;

    /// The times and diffs of the updates of the nth value, two slices of the same length.
    fn updates(&self, value: usize) -> (&[Self::Time], &[Self::Diff]);

    /// How many updates the batch has.
    fn update_count(&self) -> usize;

    /// True if all diffs satisfy the condition. It is called once for updates in sequence that share time and diff.
    fn all_diffs(&self, condition: impl FnMut(&Self::Diff) -> bool) -> bool;

    /// The times of the updates, once for updates in sequence that share time and diff.
    fn times(&self) -> impl Iterator<Item = &Self::Time>;

    /// Each key and where its values lie in [`values`](Self::values).
    fn by_key(&self) -> impl Iterator<Item = (&Self::Key, Range<usize>)> {
        self.keys().iter().enumerate().map(|(nth, key)| (key, self.range(nth)))
    }

    /// Each update, in the order of keys, values and times.
    fn rows(&self) -> impl Iterator<Item = (&Self::Key, &Self::Val, &Self::Time, &Self::Diff)> {
        self.by_key().flat_map(move |(key, values)| {
            values.flat_map(move |value| {
                let (times, diffs) = self.updates(value);
                times.iter().zip(diffs).map(move |(time, diff)| (key, &self.values()[value], time, diff))
            })
        })
    }
}

/// A trace whose batches are sorted slices: that of an arrangement in one of differential's default layouts.
#[diagnostic::on_unimplemented(
    message = "this operator reads sorted slices, which the batches of `{Self}` are not",
    label = "not a trace of differential's default layouts",
    note = "this operator reads arrangements of `arrange`, `arrange_by_key` and `arrange_by_self`",
    note = "for others, such as arrangements that entered a scope, arrange again, \
            or use an operator over cursors, such as `join_core`"
)]
pub trait SortedTrace: TraceReader<Batch: SortedBatch<Time = <Self as TraceReader>::Time>> + 'static {}

#[diagnostic::do_not_recommend]
impl<Tr: TraceReader<Batch: SortedBatch<Time = <Tr as TraceReader>::Time>> + 'static> SortedTrace for Tr {}

/// The keys of a trace whose batches are sorted.
pub type KeyOf<Tr> = <<Tr as TraceReader>::Batch as SortedBatch>::Key;
/// The values of a trace whose batches are sorted.
pub type ValOf<Tr> = <<Tr as TraceReader>::Batch as SortedBatch>::Val;
/// The diffs of a trace whose batches are sorted.
pub type DiffOf<Tr> = <<Tr as TraceReader>::Batch as SortedBatch>::Diff;
/// The diffs of two joined traces, multiplied.
pub type ProductOf<Tr0, Tr1> = <DiffOf<Tr0> as Multiply<DiffOf<Tr1>>>::Output;

impl<K, V, T, R> SortedBatch for Batch<K, V, T, R>
where
    K: Ord + Clone + 'static,
    V: Ord + Clone + 'static,
    T: Timestamp + Lattice,
    R: Ord + Semigroup + 'static,
{
    type Key = K;
    type Val = V;
    type Time = T;
    type Diff = R;

    fn keys(&self) -> &[K] {
        &self.storage.keys
    }

    fn values(&self) -> &[V] {
        &self.storage.vals.vals
    }

    fn range(&self, key: usize) -> Range<usize> {
        let (start, end) = self.storage.vals.bounds(key);
        start..end
    }

    fn updates(&self, value: usize) -> (&[T], &[R]) {
        updates_at(&self.storage.upds, value)
    }

    fn update_count(&self) -> usize {
        self.updates
    }

    fn all_diffs(&self, condition: impl FnMut(&R) -> bool) -> bool {
        self.storage.upds.diffs.iter().all(condition)
    }

    fn times(&self) -> impl Iterator<Item = &T> {
        self.storage.upds.times.iter()
    }
}

impl<K: Ord + Clone + 'static, T: Timestamp + Lattice, R: Ord + Semigroup + 'static> SortedBatch for KeyBatch<K, T, R> {
    type Key = K;
    type Val = ();
    type Time = T;
    type Diff = R;

    fn keys(&self) -> &[K] {
        &self.storage.keys
    }

    fn values(&self) -> &[()] {
        &UNITS[..self.storage.keys.len()]
    }

    fn range(&self, key: usize) -> Range<usize> {
        key..key + 1
    }

    fn updates(&self, value: usize) -> (&[T], &[R]) {
        updates_at(&self.storage.upds, value)
    }

    fn update_count(&self) -> usize {
        self.updates
    }

    fn all_diffs(&self, condition: impl FnMut(&R) -> bool) -> bool {
        self.storage.upds.diffs.iter().all(condition)
    }

    fn times(&self) -> impl Iterator<Item = &T> {
        self.storage.upds.times.iter()
    }
}

/// As many units as anyone may need, in no memory: the values of keys that have none.
static UNITS: [(); usize::MAX] = [(); usize::MAX];

/// The times and diffs of the nth value.
#[inline]
pub(crate) fn updates_at<T: Ord + Clone + 'static, R: Ord + Clone + 'static>(
    updates: &BatchUpdates<T, R>,
    value: usize,
) -> (&[T], &[R]) {
    let (lower, upper) = updates.bounds(value);
    (&updates.times[lower..upper], &updates.diffs[lower..upper])
}

/// The position of the first key from `start` on that is not before this one, by galloping.
///
/// The way back halves the step rather than search a slice: branches that can be predicted let the processor fetch keys
/// ahead.
pub(crate) fn advance<K: Ord>(keys: &[K], start: usize, key: &K) -> usize {
    let is_before = |at: usize| keys.get(at).is_some_and(|other| other < key);
    if !is_before(start) {
        return start;
    }
    // The key at `at` is before this one; in the end, that at `at + step` is not.
    let (mut at, mut step) = (start, 1);
    while is_before(at + step) {
        at += step;
        step *= 2;
    }
    while step > 1 {
        step /= 2;
        if is_before(at + step) {
            at += step;
        }
    }
    at + 1
}

/// Appends the values that a reduction pushed for a key to a batch: the last argument of differential's
/// `reduce_abelian`.
pub(crate) fn push_values<K: Clone, V, T, R>(updates: &mut Vec<((K, V), T, R)>, key: &K, values: &mut Vec<(V, T, R)>) {
    updates.clear();
    updates.extend(values.drain(..).map(|(value, time, diff)| ((key.clone(), value), time, diff)));
}

#[cfg(test)]
mod tests {
    use super::advance;

    #[test]
    fn advancing_finds_the_first_key_that_is_not_before_another() {
        for length in 0..40 {
            let keys: Vec<i32> = (0..length).map(|nth| nth / 2 * 2).collect();
            for start in 0..=keys.len() {
                for key in -1..=length {
                    let wanted = start + keys[start..].partition_point(|other| *other < key);
                    assert_eq!(advance(&keys, start, &key), wanted, "{key} from {start} in {keys:?}");
                }
            }
        }
    }
}
