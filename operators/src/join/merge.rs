//! A join of sorted batches by merging their keys.
//!
//! Batches are slices, so values are read in place, where differential's own tactic copies each side of a key through
//! cursors. Only the accumulated side is consolidated, and only where its values lie in several batches or have
//! several updates. A key with few pairs of updates is joined at once; one with many in pieces, see [`LargeKey`].

use std::cell::RefCell;
use std::cmp::Ordering;
use std::rc::Rc;

use differential_dataflow::difference::Multiply;
use differential_dataflow::lattice::Lattice;
use differential_dataflow::operators::join::{Fresh, JoinTactic};
use timely::progress::Timestamp;

use super::large_key::LargeKey;
use super::side::{DiffProduct, JoinSide, PIECE};
use crate::batch::SortedBatch;

/// Joins batches by `logic`, which makes a record of a key and a value of each side.
pub(super) struct MergeTactic<L>(Rc<RefCell<L>>);

impl<L> MergeTactic<L> {
    pub(super) fn new(logic: L) -> Self {
        MergeTactic(Rc::new(RefCell::new(logic)))
    }
}

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

/// The most pairs of updates that are joined at once. A key with more is joined over several pieces.
const PAIRS_MAX: usize = 1 << 10;

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
