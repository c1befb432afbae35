//! A join of sorted batches by merging their keys.
//!
//! Batches are slices, so values are read in place, where differential's own tactic copies each side of a key through
//! cursors. Only the accumulated side is consolidated, and only where its values lie in several batches or have
//! several updates. A key with few pairs of updates is joined at once; one with many in pieces, see [`LargeKey`].

use std::cell::RefCell;
use std::cmp::Ordering;
use std::ops::Range;
use std::rc::Rc;

use differential_dataflow::consolidation::consolidate;
use differential_dataflow::difference::{IsZero, Multiply, Semigroup};
use differential_dataflow::lattice::Lattice;
use differential_dataflow::operators::join::{Fresh, JoinTactic};
use timely::progress::Timestamp;

use super::large_key::LargeKey;
use crate::batch::{SortedBatch, advance};

/// Joins batches by `logic`, which makes a record of a key and a value of each side.
pub(super) struct MergeTactic<L>(Rc<RefCell<L>>);

impl<L> MergeTactic<L> {
    pub(super) fn new(logic: L) -> Self {
        MergeTactic(Rc::new(RefCell::new(logic)))
    }
}

/// The product of the diffs of two sides.
pub(super) type DiffProduct<B0, B1> = <<B0 as SortedBatch>::Diff as Multiply<<B1 as SortedBatch>::Diff>>::Output;

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
            large: None,
            logic,
        })
    }
}

/// A join that yields its records in pieces.
struct MergeJoin<B0: SortedBatch, B1: SortedBatch, L> {
    side0: JoinSide<B0>,
    side1: JoinSide<B1>,
    /// The key that is being joined piece by piece.
    large: Option<LargeKey<B0, B1>>,
    logic: Rc<RefCell<L>>,
}

/// Records of one piece, about.
pub(super) const PIECE: usize = 1 << 8;

/// The most pairs of updates that are joined at once. A key with more is joined over several pieces.
pub(super) const PAIRS_MAX: usize = 1 << 10;

impl<B0, B1, D, L> Iterator for MergeJoin<B0, B1, L>
where
    B0: SortedBatch<Diff: Multiply<B1::Diff>>,
    B1: SortedBatch<Time = B0::Time, Key = B0::Key>,
    L: FnMut(&B0::Key, &B0::Val, &B1::Val) -> D,
{
    type Item = Vec<(D, B0::Time, DiffProduct<B0, B1>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let MergeJoin { side0, side1, large, logic } = self;
        let mut logic = logic.borrow_mut();
        let mut records = Vec::with_capacity(PIECE * 5 / 4);
        while records.len() < PIECE {
            if let Some(key) = large {
                if key.join(side0, side1, &mut *logic, &mut records) {
                    break;
                }
                *large = None;
            }
            let (Some(key0), Some(key1)) = (side0.key(), side1.key()) else { break };
            match key0.cmp(key1) {
                Ordering::Less => side0.seek(key1),
                Ordering::Greater => side1.seek(key0),
                Ordering::Equal => {
                    side0.select(key1);
                    side1.select(side0.selected());
                    if !join_at_once(side0, side1, &mut *logic, &mut records) {
                        *large = Some(LargeKey::new(side0, side1));
                    }
                    side0.pass();
                    side1.pass();
                }
            }
        }
        (!records.is_empty()).then_some(records)
    }
}

/// Joins the selected key, unless it has too many pairs of updates; false if it has.
fn join_at_once<B0: SortedBatch<Diff: Multiply<B1::Diff>>, B1: SortedBatch<Time = B0::Time, Key = B0::Key>, D>(
    side0: &JoinSide<B0>,
    side1: &JoinSide<B1>,
    logic: &mut impl FnMut(&B0::Key, &B0::Val, &B1::Val) -> D,
    records: &mut Vec<(D, B0::Time, DiffProduct<B0, B1>)>,
) -> bool {
    // Values are counted without a look at their updates, of which each has at least one.
    if side0.values() * side1.values() > PAIRS_MAX {
        return false;
    }
    let (updates0, updates1) = (side0.updates(), side1.updates());
    if updates0.len() * updates1.len() > PAIRS_MAX {
        return false;
    }
    let key = side0.selected();
    for ((value0, time0), diff0) in &updates0 {
        for ((value1, time1), diff1) in &updates1 {
            records.push((logic(key, value0, value1), time0.join(time1), diff0.clone().multiply(diff1)));
        }
    }
    true
}

/// One side of a join.
pub(super) struct JoinSide<B: SortedBatch> {
    batches: Vec<BatchPosition<B>>,
    /// For the accumulated side: the time to which its updates may be advanced.
    meet: Option<B::Time>,
}

/// A batch, its next key, and whether that is the selected key.
struct BatchPosition<B> {
    batch: B,
    next: usize,
    is_selected: bool,
}

/// The updates of one key.
type KeyUpdates<'a, B> = Vec<((&'a <B as SortedBatch>::Val, <B as SortedBatch>::Time), <B as SortedBatch>::Diff)>;

/// The place of a value: the index of its batch, and its own.
pub(super) type Place = (usize, usize);

/// The updates of one key, in the order of values and times. Equal values have the same place.
pub(super) type Places<B> = Vec<(Place, <B as SortedBatch>::Time, <B as SortedBatch>::Diff)>;

impl<B: SortedBatch> JoinSide<B> {
    fn new(batches: Vec<B>, meet: Option<B::Time>) -> Self {
        let batches = batches.into_iter().map(|batch| BatchPosition { batch, next: 0, is_selected: false });
        JoinSide { batches: batches.collect(), meet }
    }

    /// The least key that has not been passed.
    fn key(&self) -> Option<&B::Key> {
        self.batches.iter().filter_map(|position| position.batch.keys().get(position.next)).min()
    }

    /// Passes all keys before this one.
    fn seek(&mut self, key: &B::Key) {
        for BatchPosition { batch, next, .. } in &mut self.batches {
            *next = advance(batch.keys(), *next, key);
        }
    }

    /// Selects the next key, which must be this one.
    fn select(&mut self, key: &B::Key) {
        for BatchPosition { batch, next, is_selected } in &mut self.batches {
            *is_selected = batch.keys().get(*next) == Some(key);
        }
    }

    /// The selected key.
    pub(super) fn selected(&self) -> &B::Key {
        let position = self.batches.iter().find(|position| position.is_selected);
        position.map(|position| &position.batch.keys()[position.next]).expect("the joined key is selected")
    }

    /// Passes the selected key.
    fn pass(&mut self) {
        for BatchPosition { next, is_selected, .. } in &mut self.batches {
            *next += usize::from(std::mem::take(is_selected));
        }
    }

    /// The batches that have the selected key, each with its index and where the key's values lie.
    fn with_key(&self) -> impl Iterator<Item = (usize, &B, Range<usize>)> {
        let positions = self.batches.iter().enumerate().filter(|(_, position)| position.is_selected);
        positions.map(|(index, position)| (index, &position.batch, position.batch.range(position.next)))
    }

    /// How many values the selected key has, counted in each batch.
    fn values(&self) -> usize {
        self.with_key().map(|(_, _, values)| values.len()).sum()
    }

    pub(super) fn value(&self, (batch, value): Place) -> &B::Val {
        &self.batches[batch].batch.values()[value]
    }

    /// The updates of the selected key.
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
    pub(super) fn places(&self) -> Places<B> {
        let mut places = Vec::new();
        if self.for_each(|place, time, diff| places.push((place, time, diff))) {
            places.sort_unstable_by(|(place0, time0, _), (place1, time1, _)| {
                self.value(*place0).cmp(self.value(*place1)).then_with(|| time0.cmp(time1))
            });
            places.dedup_by(|next, kept| {
                if self.value(next.0) == self.value(kept.0) {
                    next.0 = kept.0;
                }
                let is_same = next.0 == kept.0 && next.1 == kept.1;
                if is_same {
                    kept.2.plus_equals(&next.2);
                }
                is_same
            });
            places.retain(|(_, _, diff)| !diff.is_zero());
        }
        places
    }

    /// Shows each update of the selected key; true if some may be added up.
    fn for_each(&self, mut show: impl FnMut(Place, B::Time, B::Diff)) -> bool {
        let (mut is_unsorted, mut has_several, mut is_first) = (false, false, true);
        for (index, batch, values) in self.with_key() {
            is_unsorted |= !std::mem::take(&mut is_first);
            for value in values {
                let (times, diffs) = batch.updates(value);
                has_several |= times.len() > 1;
                for (time, diff) in times.iter().zip(diffs) {
                    let time = self.meet.as_ref().map_or_else(|| time.clone(), |meet| time.join(meet));
                    show((index, value), time, diff.clone());
                }
            }
        }
        is_unsorted || (has_several && self.meet.is_some())
    }
}
