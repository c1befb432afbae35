//! A join of sorted batches by merging their keys.
//!
//! Differential's own tactic gathers each side of a key through cursors into a history of edits, and replays it where
//! both are long. Here batches are slices, so values are read in place. Only the accumulated side is consolidated,
//! and only where its values lie in several batches or have several updates.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use differential_dataflow::consolidation::consolidate;
use differential_dataflow::difference::{IsZero, Multiply, Semigroup};
use differential_dataflow::lattice::Lattice;
use differential_dataflow::operators::join::{Fresh, JoinTactic};
use timely::progress::Timestamp;

use crate::batch::{SortedBatch, advance};

/// Joins batches by `logic`, which makes a record of a key and a value of each side.
pub(super) struct MergeTactic<L>(Rc<RefCell<L>>);

impl<L> MergeTactic<L> {
    pub(super) fn new(logic: L) -> Self {
        MergeTactic(Rc::new(RefCell::new(logic)))
    }
}

/// What the diffs of two sides make.
type DiffProduct<B0, B1> = <<B0 as SortedBatch>::Diff as Multiply<<B1 as SortedBatch>::Diff>>::Output;

impl<B0, B1, T, D, L> JoinTactic<T, B0, B1, Vec<(D, T, DiffProduct<B0, B1>)>> for MergeTactic<L>
where
    T: Timestamp + Lattice,
    B0: SortedBatch<Time = T, Diff: Multiply<B1::Diff>>,
    B1: SortedBatch<Time = T, Key = B0::Key>,
    D: 'static,
    L: FnMut(&B0::Key, &B0::Val, &B1::Val) -> D + 'static,
{
    fn prep(
        &mut self,
        input0: Vec<B0>,
        input1: Vec<B1>,
        fresh: Fresh,
        meet: T,
    ) -> Box<dyn Iterator<Item = Vec<(D, T, DiffProduct<B0, B1>)>>> {
        let (meet0, meet1) = match fresh {
            Fresh::Input0 => (None, Some(meet)),
            Fresh::Input1 => (Some(meet), None),
        };
        let logic = Rc::clone(&self.0);
        Box::new(MergeJoin {
            side0: JoinSide::new(input0, meet0),
            side1: JoinSide::new(input1, meet1),
            product: None,
            logic,
        })
    }
}

/// A join that yields its records in pieces.
struct MergeJoin<B0: SortedBatch, B1: SortedBatch, L> {
    side0: JoinSide<B0>,
    side1: JoinSide<B1>,
    /// The key that is being joined piece by piece.
    product: Option<KeyProduct<B0, B1>>,
    logic: Rc<RefCell<L>>,
}

/// Records of one piece, about.
const PIECE: usize = 1 << 8;

/// The most pairs of values that are joined at once. A key with more is joined over several pieces.
const PAIRS_MAX: usize = 1 << 10;

impl<B0, B1, D, L> Iterator for MergeJoin<B0, B1, L>
where
    B0: SortedBatch<Diff: Multiply<B1::Diff>>,
    B1: SortedBatch<Time = B0::Time, Key = B0::Key>,
    L: FnMut(&B0::Key, &B0::Val, &B1::Val) -> D,
{
    type Item = Vec<(D, B0::Time, DiffProduct<B0, B1>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut records = Vec::with_capacity(PIECE * 5 / 4);
        let mut logic = self.logic.borrow_mut();
        while records.len() < PIECE {
            if let Some(product) = &mut self.product {
                if product.join(&self.side0, &self.side1, &mut *logic, &mut records) {
                    break;
                }
                self.product = None;
            }
            let (Some(key0), Some(key1)) = (self.side0.key(), self.side1.key()) else { break };
            // The greater of the two is the least key that both may have.
            let key = key0.max(key1).clone();
            self.side0.seek(&key);
            self.side1.seek(&key);
            if self.side0.values() * self.side1.values() > PAIRS_MAX {
                self.product = Some(KeyProduct::new(key.clone(), &self.side0, &self.side1));
            } else {
                let (updates0, updates1) = (self.side0.updates(), self.side1.updates());
                for ((value0, time0), diff0) in &updates0 {
                    for ((value1, time1), diff1) in &updates1 {
                        records.push((logic(&key, value0, value1), time0.join(time1), diff0.clone().multiply(diff1)));
                    }
                }
            }
            self.side0.pass();
            self.side1.pass();
        }
        (!records.is_empty()).then_some(records)
    }
}

/// All pairs of the updates of one key, and how many were joined.
struct KeyProduct<B0: SortedBatch, B1: SortedBatch> {
    key: B0::Key,
    places0: Places<B0>,
    places1: Places<B1>,
    next: (usize, usize),
}

impl<B0, B1> KeyProduct<B0, B1>
where
    B0: SortedBatch<Diff: Multiply<B1::Diff>>,
    B1: SortedBatch<Time = B0::Time, Key = B0::Key>,
{
    fn new(key: B0::Key, side0: &JoinSide<B0>, side1: &JoinSide<B1>) -> Self {
        let (places0, places1) = (side0.places(), side1.places());
        KeyProduct { key, places0, places1, next: (0, 0) }
    }

    /// Joins pairs until there is a piece of records; true if pairs are left.
    fn join<D>(
        &mut self,
        side0: &JoinSide<B0>,
        side1: &JoinSide<B1>,
        logic: &mut impl FnMut(&B0::Key, &B0::Val, &B1::Val) -> D,
        records: &mut Vec<(D, B0::Time, DiffProduct<B0, B1>)>,
    ) -> bool {
        let (mut at0, mut at1) = self.next;
        while let Some((place0, time0, diff0)) = self.places0.get(at0) {
            for (place1, time1, diff1) in &self.places1[at1..] {
                if records.len() >= PIECE {
                    self.next = (at0, at1);
                    return true;
                }
                let record = logic(&self.key, side0.value(*place0), side1.value(*place1));
                records.push((record, time0.join(time1), diff0.clone().multiply(diff1)));
                at1 += 1;
            }
            (at0, at1) = (at0 + 1, 0);
        }
        false
    }
}

/// One side of a join.
struct JoinSide<B: SortedBatch> {
    batches: Vec<BatchPosition<B>>,
    /// For the accumulated side: the time to which its updates may be advanced.
    meet: Option<B::Time>,
}

/// A batch, its next key, and whether that is the key being joined.
struct BatchPosition<B> {
    batch: B,
    next: usize,
    has_key: bool,
}

/// The updates of one key.
type KeyUpdates<'a, B> = Vec<((&'a <B as SortedBatch>::Val, <B as SortedBatch>::Time), <B as SortedBatch>::Diff)>;

/// The updates of one key by the place of their value: the index of its batch, and its own.
type Places<B> = Vec<((usize, usize), <B as SortedBatch>::Time, <B as SortedBatch>::Diff)>;

impl<B: SortedBatch> JoinSide<B> {
    fn new(batches: Vec<B>, meet: Option<B::Time>) -> Self {
        let batches = batches.into_iter().map(|batch| BatchPosition { batch, next: 0, has_key: false });
        JoinSide { batches: batches.collect(), meet }
    }

    /// The least key that has not been passed.
    fn key(&self) -> Option<&B::Key> {
        self.batches.iter().filter_map(|position| position.batch.keys().get(position.next)).min()
    }

    /// Makes this the key to join; passes all keys before it.
    fn seek(&mut self, key: &B::Key) {
        for BatchPosition { batch, next, has_key } in &mut self.batches {
            *next = advance(batch.keys(), *next, key);
            *has_key = batch.keys().get(*next) == Some(key);
        }
    }

    /// Passes the key.
    fn pass(&mut self) {
        for BatchPosition { next, has_key, .. } in &mut self.batches {
            *next += usize::from(std::mem::take(has_key));
        }
    }

    /// The batches that have the key, each with its index and where the key's values lie.
    fn with_key(&self) -> impl Iterator<Item = (usize, &B, Range<usize>)> {
        let positions = self.batches.iter().enumerate().filter(|(_, position)| position.has_key);
        positions.map(|(index, position)| (index, &position.batch, position.batch.range(position.next)))
    }

    /// How many values the key has, counted in each batch.
    fn values(&self) -> usize {
        self.with_key().map(|(_, _, values)| values.len()).sum()
    }

    fn value(&self, (batch, value): (usize, usize)) -> &B::Val {
        &self.batches[batch].batch.values()[value]
    }

    /// The updates of the key.
    fn updates(&self) -> KeyUpdates<'_, B> {
        let mut updates = Vec::new();
        if self.for_each(|(batch, value), time, diff| {
            updates.push(((&self.batches[batch].batch.values()[value], time), diff));
        }) {
            consolidate(&mut updates);
        }
        updates
    }

    /// As [`updates`](Self::updates), without borrowing the batches.
    fn places(&self) -> Places<B> {
        let mut places = Vec::new();
        if self.for_each(|place, time, diff| places.push((place, time, diff))) {
            let row = |(place, time, _): &((usize, usize), B::Time, B::Diff)| (self.value(*place), time.clone());
            places.sort_unstable_by(|a, b| row(a).cmp(&row(b)));
            places.dedup_by(|next, kept| {
                let is_same = row(next) == row(kept);
                if is_same {
                    kept.2.plus_equals(&next.2);
                }
                is_same
            });
            places.retain(|(_, _, diff)| !diff.is_zero());
        }
        places
    }

    /// Shows each update of the key; true if some may cancel.
    fn for_each(&self, mut show: impl FnMut((usize, usize), B::Time, B::Diff)) -> bool {
        let (mut may_cancel, mut is_first) = (false, true);
        for (index, batch, values) in self.with_key() {
            may_cancel |= !std::mem::take(&mut is_first);
            for value in values {
                let (times, diffs) = batch.updates(value);
                may_cancel |= times.len() > 1;
                for (time, diff) in times.iter().zip(diffs) {
                    let time = self.meet.as_ref().map_or_else(|| time.clone(), |meet| time.join(meet));
                    show((index, value), time, diff.clone());
                }
            }
        }
        may_cancel && self.meet.is_some()
    }
}
