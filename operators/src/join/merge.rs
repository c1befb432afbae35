//! A join of sorted batches by walking both sides.
//!
//! Differential's own tactic gathers each side of a key through cursors into a history of edits, and replays it where both
//! are long. Here batches are vectors, so a key's values are slices of them: they are read where they lie. Only the side
//! that was there before is consolidated, and only where its values lie in several batches or have a history.

use std::cell::RefCell;
use std::rc::Rc;

use differential_dataflow::consolidation::consolidate;
use differential_dataflow::lattice::Lattice;
use differential_dataflow::operators::join::{Fresh, JoinTactic};
use differential_dataflow::trace::implementations::BatchContainer;
use timely::progress::Timestamp;

use crate::sorted::Batch;

/// Joins batches by `logic`, which makes a record of a key and a value of each side.
pub(super) struct Merge<L>(Rc<RefCell<L>>);

impl<L> Merge<L> {
    pub(super) fn new(logic: L) -> Self {
        Merge(Rc::new(RefCell::new(logic)))
    }
}

impl<K, V0, V1, T, D, L> JoinTactic<T, Batch<K, V0, T>, Batch<K, V1, T>, Vec<(D, T, isize)>> for Merge<L>
where
    K: Ord + Clone + 'static,
    V0: Ord + Clone + 'static,
    V1: Ord + Clone + 'static,
    T: Timestamp + Lattice,
    D: 'static,
    L: FnMut(&K, &V0, &V1) -> D + 'static,
{
    fn prep(
        &mut self,
        input0: Vec<Batch<K, V0, T>>,
        input1: Vec<Batch<K, V1, T>>,
        fresh: Fresh,
        meet: T,
    ) -> Box<dyn Iterator<Item = Vec<(D, T, isize)>>> {
        let (meet0, meet1) = match fresh {
            Fresh::Input0 => (None, Some(meet)),
            Fresh::Input1 => (Some(meet), None),
        };
        let logic = Rc::clone(&self.0);
        Box::new(Walk { side0: Side::new(input0, meet0), side1: Side::new(input1, meet1), logic })
    }
}

/// A join that goes on when it is asked to.
struct Walk<K: Ord + Clone + 'static, V0: Ord + Clone + 'static, V1: Ord + Clone + 'static, T: Timestamp + Lattice, L> {
    side0: Side<K, V0, T>,
    side1: Side<K, V1, T>,
    logic: Rc<RefCell<L>>,
}

/// Batches, and how far they have been walked.
struct Side<K: Ord + Clone + 'static, V: Ord + Clone + 'static, T: Timestamp + Lattice> {
    batches: Vec<(Batch<K, V, T>, usize)>,
    /// Where this side is the one that was there before: what its times may be taken for.
    meet: Option<T>,
}

/// The updates of one key.
type Updates<'a, V, T> = Vec<((&'a V, T), isize)>;

/// About how many records are made at a time.
const RECORDS: usize = 1 << 8;

impl<K, V0, V1, T, D, L> Iterator for Walk<K, V0, V1, T, L>
where
    K: Ord + Clone + 'static,
    V0: Ord + Clone + 'static,
    V1: Ord + Clone + 'static,
    T: Timestamp + Lattice,
    L: FnMut(&K, &V0, &V1) -> D,
{
    type Item = Vec<(D, T, isize)>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut records = Vec::with_capacity(RECORDS * 5 / 4);
        let mut logic = self.logic.borrow_mut();
        while let (Some(key0), Some(key1)) = (self.side0.key(), self.side1.key()) {
            // The greater of the two is the least key that both may have.
            let key = key0.max(key1).clone();
            self.side0.seek(&key);
            self.side1.seek(&key);
            let (updates0, updates1) = (self.side0.updates(&key), self.side1.updates(&key));
            for ((value0, time0), diff0) in &updates0 {
                for ((value1, time1), diff1) in &updates1 {
                    records.push((logic(&key, value0, value1), time0.join(time1), diff0 * diff1));
                }
            }
            self.side0.pass(&key);
            if records.len() >= RECORDS {
                break;
            }
        }
        (!records.is_empty()).then_some(records)
    }
}

impl<K: Ord + Clone + 'static, V: Ord + Clone + 'static, T: Timestamp + Lattice> Side<K, V, T> {
    fn new(batches: Vec<Batch<K, V, T>>, meet: Option<T>) -> Self {
        Side { batches: batches.into_iter().map(|batch| (batch, 0)).collect(), meet }
    }

    /// The least key that has not been passed.
    fn key(&self) -> Option<&K> {
        self.batches.iter().filter_map(|(batch, at)| batch.storage.keys.get(*at)).min()
    }

    /// Passes all keys before this one.
    fn seek(&mut self, key: &K) {
        for (batch, at) in &mut self.batches {
            let keys = &batch.storage.keys;
            *at += keys.advance(*at, keys.len(), |other| other < key);
        }
    }

    /// Passes this key, where it is the next.
    fn pass(&mut self, key: &K) {
        for (batch, at) in &mut self.batches {
            *at += usize::from(batch.storage.keys.get(*at) == Some(key));
        }
    }

    /// The updates of this key, where it is the next.
    fn updates(&self, key: &K) -> Updates<'_, V, T> {
        let mut updates = Vec::new();
        let mut may_cancel = false;
        for (batch, at) in self.batches.iter().filter(|(batch, at)| batch.storage.keys.get(*at) == Some(key)) {
            may_cancel |= !updates.is_empty();
            let (values, all) = (&batch.storage.vals, &batch.storage.upds);
            let (start, end) = values.bounds(*at);
            for position in start..end {
                let (lower, upper) = all.bounds(position);
                may_cancel |= upper - lower > 1;
                for (time, diff) in all.times[lower..upper].iter().zip(&all.diffs[lower..upper]) {
                    let time = self.meet.as_ref().map_or_else(|| time.clone(), |meet| time.join(meet));
                    updates.push(((&values.vals[position], time), *diff));
                }
            }
        }
        if may_cancel && self.meet.is_some() {
            consolidate(&mut updates);
        }
        updates
    }
}
