//! A key with many pairs of updates, joined in pieces.
//!
//! Where each value has one update, as in most batches, every pair of updates is a record of the result, so the
//! product of both sides is joined. Where values change often, as when a batch spans many epochs, most pairs cancel.
//! Then the updates of both sides are replayed in the order of their times, and each is joined with what the other
//! side has accumulated by then: a value that changes in n epochs on both sides gives about 2n records, not n².

use differential_dataflow::difference::{Multiply, Semigroup};
use differential_dataflow::lattice::Lattice;
use differential_dataflow::operators::ValueHistory;

use super::side::{DiffProduct, JoinSide, PIECE, Place, Places};
use crate::batch::SortedBatch;

/// A key, and the pairs that have not been joined.
pub(super) struct LargeKey<B0: SortedBatch, B1: SortedBatch> {
    key: B0::Key,
    rest: Rest<B0, B1>,
}

enum Rest<B0: SortedBatch, B1: SortedBatch> {
    CrossProduct(CrossProduct<B0, B1>),
    PairReplay(PairReplay<B0::Time, B0::Diff, B1::Diff>),
}

/// The fewest updates of a side for which a replay is worth its cost. With fewer, the product is not much larger than
/// the other side.
const REPLAYED_MIN: usize = 16;

impl<B0: SortedBatch<Diff: Multiply<B1::Diff>>, B1: SortedBatch<Time = B0::Time, Key = B0::Key>> LargeKey<B0, B1> {
    /// The selected key of two sides.
    pub(super) fn new(side0: &JoinSide<B0>, side1: &JoinSide<B1>) -> Self {
        let (places0, places1) = (side0.places(), side1.places());
        let is_long = places0.len().min(places1.len()) >= REPLAYED_MIN;
        let rest = if is_long && (has_history::<B0>(&places0) || has_history::<B1>(&places1)) {
            Rest::PairReplay(PairReplay::new(places0, places1))
        } else {
            Rest::CrossProduct(CrossProduct { places0, places1, next: (0, 0) })
        };
        LargeKey { key: side0.selected().clone(), rest }
    }

    /// Joins pairs until there is a piece of records; true if pairs are left.
    pub(super) fn join<D>(
        &mut self,
        side0: &JoinSide<B0>,
        side1: &JoinSide<B1>,
        logic: &mut impl FnMut(&B0::Key, &B0::Val, &B1::Val) -> D,
        records: &mut Vec<(D, B0::Time, DiffProduct<B0, B1>)>,
    ) -> bool {
        let LargeKey { key, rest } = self;
        let give = |(place0, time0, diff0): Update<'_, B0::Time, B0::Diff>,
                    (place1, time1, diff1): Update<'_, _, _>| {
            let is_room = records.len() < PIECE;
            if is_room {
                let record = logic(key, side0.value(place0), side1.value(place1));
                records.push((record, B0::Time::join(time0, time1), B0::Diff::clone(diff0).multiply(diff1)));
            }
            is_room
        };
        match rest {
            Rest::CrossProduct(product) => product.give_pairs(give),
            Rest::PairReplay(replay) => replay.give_pairs(give),
        }
    }
}

/// True if a value has several updates.
fn has_history<B: SortedBatch>(places: &Places<B>) -> bool {
    places.windows(2).any(|pair| pair[0].0 == pair[1].0)
}

/// The place of a value, and the time and diff of one of its updates.
type Update<'a, T, R> = (Place, &'a T, &'a R);

/// All pairs of updates.
struct CrossProduct<B0: SortedBatch, B1: SortedBatch> {
    places0: Places<B0>,
    places1: Places<B1>,
    next: (usize, usize),
}

impl<B0: SortedBatch, B1: SortedBatch> CrossProduct<B0, B1> {
    /// Gives pairs until one is refused; false if none is left.
    fn give_pairs(
        &mut self,
        mut give: impl FnMut(Update<'_, B0::Time, B0::Diff>, Update<'_, B1::Time, B1::Diff>) -> bool,
    ) -> bool {
        let (at0, at1) = (&mut self.next.0, &mut self.next.1);
        while let Some((place0, time0, diff0)) = self.places0.get(*at0) {
            for (place1, time1, diff1) in &self.places1[*at1..] {
                if !give((*place0, time0, diff0), (*place1, time1, diff1)) {
                    return true;
                }
                *at1 += 1;
            }
            (*at0, *at1) = (*at0 + 1, 0);
        }
        false
    }
}

/// The updates of both sides in the order of times: each, and what the other side has accumulated before it.
struct PairReplay<T, R0, R1> {
    history0: ValueHistory<Place, T, R0>,
    history1: ValueHistory<Place, T, R1>,
    progress: ReplayProgress<T>,
}

/// How far the next update was joined.
struct ReplayProgress<T> {
    /// The next accumulated update of the other side.
    next: usize,
    /// The side and the time for which the other side was accumulated.
    accumulated: Option<(usize, T)>,
}

impl<T: Ord + Clone + Lattice, R0: Semigroup, R1: Semigroup> PairReplay<T, R0, R1> {
    fn new(updates0: Vec<(Place, T, R0)>, updates1: Vec<(Place, T, R1)>) -> Self {
        let (mut history0, mut history1) = (ValueHistory::new(), ValueHistory::new());
        history0.load_iter(updates0.into_iter(), None);
        history1.load_iter(updates1.into_iter(), None);
        PairReplay { history0, history1, progress: ReplayProgress { next: 0, accumulated: None } }
    }

    /// Gives pairs until one is refused; false if none is left.
    fn give_pairs(&mut self, mut give: impl FnMut(Update<'_, T, R0>, Update<'_, T, R1>) -> bool) -> bool {
        let PairReplay { history0, history1, progress } = self;
        loop {
            let is_first0 = match (history0.time(), history1.time()) {
                (None, None) => return false,
                (Some(time0), Some(time1)) => time0 < time1,
                (time0, _) => time0.is_some(),
            };
            let is_taken = if is_first0 {
                progress.take_next(0, history0, history1, &mut give)
            } else {
                progress.take_next(1, history1, history0, |update1, update0| give(update0, update1))
            };
            if !is_taken {
                return true;
            }
        }
    }
}

impl<T: Ord + Clone + Lattice> ReplayProgress<T> {
    /// Gives the next update of a side with each accumulated update of the other; false if one was refused.
    fn take_next<R: Semigroup, O: Semigroup>(
        &mut self,
        side: usize,
        history: &mut ValueHistory<Place, T, R>,
        other: &mut ValueHistory<Place, T, O>,
        mut give: impl FnMut(Update<'_, T, R>, Update<'_, T, O>) -> bool,
    ) -> bool {
        let (Some((place, time, diff)), Some(meet)) = (history.edit(), history.meet()) else { return true };
        // Updates in sequence of one side and time share what the other has accumulated.
        if self.accumulated.as_ref().is_none_or(|(of, at)| *of != side || at != time) {
            other.advance_buffer_by(meet);
            self.accumulated = Some((side, time.clone()));
        }
        for ((other_place, other_time), other_diff) in &other.buffer()[self.next..] {
            if !give((place, time, diff), (*other_place, other_time, other_diff)) {
                return false;
            }
            self.next += 1;
        }
        self.next = 0;
        history.step();
        true
    }
}
