//! Arrangements that load fast, in one large epoch or in many small ones.
//!
//! Arranging is sorting. Differential's batcher sorts each container of 8 KiB as it arrives and merges the runs as
//! they double: sixteen passes over three million rows of eighty bytes. Nothing is observable before its epoch
//! closes, so [`BucketBatcher`] partitions rows into buckets as they arrive, between splitters chosen from a sample
//! of the first rows, and sorts one bucket after the other when the epoch closes, each small enough for the cache:
//! two passes, however many rows. A bucket that became large, because the first rows were not representative, is
//! partitioned again.
//!
//! The batches are differential's own, and so is everything else.

use differential_dataflow::batcher::{Batcher, Extract};
use differential_dataflow::consolidation::consolidate_updates;
use differential_dataflow::difference::Semigroup;
use differential_dataflow::lattice::Lattice;
use differential_dataflow::operators::arrange::arrangement::arrange_core;
use differential_dataflow::trace::Builder;
use differential_dataflow::trace::implementations::ValBuilder;
use differential_dataflow::trace::implementations::Vector;
use differential_dataflow::trace::implementations::ord_neu::OrdValBatch;
use differential_dataflow::{Data, ExchangeData, VecCollection};
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::progress::Timestamp;
use timely::progress::frontier::{Antichain, AntichainRef};

use crate::batch::ByKey;
use crate::bounds::{Key, Times};
use crate::chunked_vec::ChunkedVec;
use crate::exchange::route;

/// The rows by key, as `arrange_by_key` arranges them, in less time.
///
/// Keys are exchanged by the same hash as there, so the two can be joined.
///
/// ```
/// use differential_dataflow::input::Input;
/// use millstream_operators::{arrange, inner_join};
///
/// timely::example(|scope| {
///     let orders = scope.new_collection_from([('T', 3), ('M', 1)]).1;
///     let prices = scope.new_collection_from([('T', 4)]).1.arrange_by_key();
///     let orders = arrange(orders, "Orders");
///     let amounts = inner_join(orders, prices, "Amounts", |product, pieces, price| (*product, pieces * price));
///     amounts.assert_eq(scope.new_collection_from([('T', 12)]).1);
/// });
/// ```
pub fn arrange<'scope, T: Times, K: Key, V: ExchangeData, R: ExchangeData + Semigroup>(
    rows: VecCollection<'scope, T, (K, V), R>,
    name: &str,
) -> ByKey<'scope, T, K, V, R> {
    let exchange = Exchange::new(|((key, _), _, _): &((K, V), T, R)| route(key));
    arrange_core::<_, _, _, _>(rows.inner, exchange, name, |_, _| BucketBatcher::default())
}

/// The rows by key, without exchanging them: each worker arranges its own.
///
/// A key may then have rows on several workers, so a join with an exchanged arrangement would lose matches. The type
/// is the same, so this is for operators of this crate, which join it with a copy on every worker or read it alone.
pub(crate) fn arrange_in_place<'scope, T: Times, K: ExchangeData, V: ExchangeData, R: ExchangeData + Semigroup>(
    rows: VecCollection<'scope, T, (K, V), R>,
    name: &str,
) -> ByKey<'scope, T, K, V, R> {
    arrange_core::<_, _, _, _>(rows.inner, Pipeline, name, |_, _| BucketBatcher::default())
}

type KeyedUpdate<K, V, T, R> = ((K, V), T, R);

/// Buffers updates until they are extracted; then sorts and consolidates them, and builds a batch.
struct BucketBatcher<K, V, T, R> {
    buckets: Buckets<K, V, T, R>,
    /// Below the times of what is kept.
    frontier: Antichain<T>,
    /// Where a bucket is sorted.
    sorting: Vec<KeyedUpdate<K, V, T, R>>,
}

impl<K, V, T, R> Default for BucketBatcher<K, V, T, R> {
    fn default() -> Self {
        BucketBatcher { buckets: Buckets::default(), frontier: Antichain::new(), sorting: Vec::new() }
    }
}

impl<K: Data, V: Data, T: Timestamp, R: Semigroup + 'static> Batcher<Vec<KeyedUpdate<K, V, T, R>>>
    for BucketBatcher<K, V, T, R>
where
    Self: Extract,
{
    fn insert(&mut self, container: &mut Vec<KeyedUpdate<K, V, T, R>>) {
        self.buckets.extend(container.drain(..));
    }
}

impl<K: Data, V: Data, T: Timestamp + Lattice, R: Semigroup + Ord + 'static> Extract for BucketBatcher<K, V, T, R> {
    type Time = T;
    type Output = OrdValBatch<Vector<((K, V), T, R)>>;

    fn extract<'a>(&'a mut self, upper: AntichainRef<'_, T>) -> (Option<Self::Output>, AntichainRef<'a, T>) {
        let mut builder = ValBuilder::with_capacity(0, self.buckets.count, 0);
        let mut kept = Buckets::default();
        for bucket in std::mem::take(&mut self.buckets).buckets {
            self.sorting.extend(bucket);
            kept.extend(self.sorting.extract_if(.., |(_, time, _)| upper.less_equal(time)));
            sort_in_parts(&mut self.sorting, &mut |part| builder.push(part));
        }
        self.sorting.shrink_to(BUCKET);
        self.frontier = kept.updates().map(|(_, time, _)| time.clone()).collect();
        self.buckets = kept;
        (builder.done(), self.frontier.borrow())
    }
}

/// Updates that are sorted at a time: few enough for the cache of a core.
pub(crate) const BUCKET: usize = 1 << 13;
/// Into how many buckets updates are dealt, at most.
pub(crate) const BUCKETS: usize = 1 << 9;
/// How many updates are looked at for each splitter, at least.
const SAMPLES: usize = 16;

/// Sorts updates, adds up those that are equal, and shows them a part at a time; leaves none.
pub(crate) fn sort_in_parts<K: Data, V: Data, T: Timestamp, R: Semigroup + 'static>(
    updates: &mut Vec<KeyedUpdate<K, V, T, R>>,
    show: &mut impl FnMut(&mut Vec<KeyedUpdate<K, V, T, R>>),
) {
    if updates.len() <= 4 * BUCKET {
        consolidate_updates(updates);
        show(updates);
        updates.clear();
        return;
    }
    let mut parts = Buckets::default();
    let count = updates.len();
    // Half of `BUCKET` each, so that few are dealt once more.
    parts.split(updates, (2 * count / BUCKET).min(BUCKETS));
    parts.extend(updates.drain(..));
    for part in parts.buckets {
        // Where nearly all are equal, dealing them again makes no progress.
        let mut part: Vec<_> = part.into_iter().collect();
        if part.len() > count / 2 {
            consolidate_updates(&mut part);
            show(&mut part);
        } else {
            sort_in_parts(&mut part, show);
        }
    }
}

/// An evenly spaced sample of so many records, large enough to choose splitters from.
pub(crate) fn sample_of<D>(records: impl Iterator<Item = D>, count: usize) -> Vec<D> {
    records.step_by((count / (BUCKETS * SAMPLES)).max(1)).collect()
}

/// The bucket of a row: the one after the last splitter that is not greater. Of splitters with the row's key,
/// `is_passed` tells by their values which are not.
#[inline]
pub(crate) fn bucket_of<K: Ord, V>(
    (keys, values): &(Vec<K>, Vec<V>),
    key: &K,
    is_passed: impl Fn(&V) -> bool,
) -> usize {
    let end = keys.partition_point(|splitter| splitter <= key);
    if end == 0 || keys[end - 1] != *key {
        return end;
    }
    let start = keys[..end].partition_point(|splitter| splitter < key);
    start + values[start..end].partition_point(is_passed)
}

/// Updates in buckets: each bucket's come before the next one's.
struct Buckets<K, V, T, R> {
    /// The least row of each bucket after the first, as keys and values. Keys, which mostly decide, lie close together.
    splitters: (Vec<K>, Vec<V>),
    buckets: Vec<ChunkedVec<KeyedUpdate<K, V, T, R>>>,
    count: usize,
}

impl<K, V, T, R> Default for Buckets<K, V, T, R> {
    fn default() -> Self {
        Buckets { splitters: (Vec::new(), Vec::new()), buckets: vec![ChunkedVec::default()], count: 0 }
    }
}

impl<K: Data, V: Data, T, R> Buckets<K, V, T, R> {
    fn extend(&mut self, updates: impl Iterator<Item = KeyedUpdate<K, V, T, R>>) {
        for update in updates {
            let at = self.bucket(&update.0);
            self.buckets[at].push(update);
            self.count += 1;
        }
        if self.buckets.len() == 1 && self.count > 4 * BUCKET {
            let first: Vec<_> = self.buckets.drain(..).flatten().collect();
            self.count = 0;
            self.split(&first, BUCKETS);
            self.extend(first.into_iter());
        }
    }

    #[inline]
    fn bucket(&self, (key, value): &(K, V)) -> usize {
        bucket_of(&self.splitters, key, |splitter| splitter <= value)
    }

    /// Makes this many buckets, into which updates like these go in about equal parts.
    fn split(&mut self, like: &[KeyedUpdate<K, V, T, R>], buckets: usize) {
        let mut sample = sample_of(like.iter().map(|(row, _, _)| row), like.len());
        sample.sort_unstable();
        self.splitters = (1..buckets).map(|part| sample[part * sample.len() / buckets].clone()).unzip();
        self.buckets = (0..buckets).map(|_| ChunkedVec::default()).collect();
    }

    fn updates(&self) -> impl Iterator<Item = &KeyedUpdate<K, V, T, R>> {
        self.buckets.iter().flat_map(ChunkedVec::iter)
    }
}
