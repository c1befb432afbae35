//! One side of a join: batches that are passed key by key.

use std::ops::Range;

use differential_dataflow::consolidation::consolidate;
use differential_dataflow::difference::{IsZero, Multiply, Semigroup};
use differential_dataflow::lattice::Lattice;

use crate::batch::{SortedBatch, advance};

/// The product of the diffs of two sides.
pub(super) type DiffProduct<B0, B1> = <<B0 as SortedBatch>::Diff as Multiply<<B1 as SortedBatch>::Diff>>::Output;

/// Records of one piece, about.
pub(super) const PIECE: usize = 1 << 8;

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
pub(super) type KeyUpdates<'a, B> =
    Vec<((&'a <B as SortedBatch>::Val, <B as SortedBatch>::Time), <B as SortedBatch>::Diff)>;

/// The place of a value: the index of its batch, and its own.
pub(super) type Place = (usize, usize);

/// The updates of one key, in the order of values and times. Equal values have the same place.
pub(super) type Places<B> = Vec<(Place, <B as SortedBatch>::Time, <B as SortedBatch>::Diff)>;

impl<B: SortedBatch> JoinSide<B> {
    pub(super) fn new(batches: Vec<B>, meet: Option<B::Time>) -> Self {
        let batches = batches.into_iter().map(|batch| BatchPosition { batch, next: 0, is_selected: false });
        JoinSide { batches: batches.collect(), meet }
    }

    /// The least key that has not been passed.
    pub(super) fn key(&self) -> Option<&B::Key> {
        self.batches.iter().filter_map(|position| position.batch.keys().get(position.next)).min()
    }

    /// Passes all keys before this one.
    pub(super) fn seek(&mut self, key: &B::Key) {
        for BatchPosition { batch, next, .. } in &mut self.batches {
            *next = advance(batch.keys(), *next, key);
        }
    }

    /// Selects the next key, which must be this one.
    pub(super) fn select(&mut self, key: &B::Key) {
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
    pub(super) fn pass(&mut self) {
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
    pub(super) fn values(&self) -> usize {
        self.with_key().map(|(_, _, values)| values.len()).sum()
    }

    pub(super) fn value(&self, (batch, value): Place) -> &B::Val {
        &self.batches[batch].batch.values()[value]
    }

    /// The updates of the selected key.
    pub(super) fn updates(&self) -> KeyUpdates<'_, B> {
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
