//! The last row written under each key.
//!
//! Rows of one epoch carry their position in the source, and the greatest wins, in whatever order they arrive and on
//! whichever worker they were read. A later epoch wins over an earlier one. `None` deletes.
//!
//! This is a timely operator and not a reduction because it is where every row enters: differential's own
//! `arrange_from_upsert` keeps a heap and a tree of what is pending, and a reduction would keep every version.
//! Here a row is hashed once and stored once.
//!
//! *Cost per change*: O(1). *State*: one row for each key; none once the input is closed.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::num::NonZeroU64;

use differential_dataflow::{AsCollection, ExchangeData, Hashable, VecCollection};
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use serde::{Deserialize, Serialize};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;
use timely::order::TotalOrder;
use timely::progress::Timestamp;

/// Where a row stands in its source: of two rows with one key in one epoch, the one with the greater position wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position(NonZeroU64);

impl Position {
    /// The position after `rows_before` others.
    #[must_use]
    pub fn after(rows_before: u64) -> Position {
        Position(NonZeroU64::MIN.saturating_add(rows_before))
    }
}

/// A row to be written under a key, or `None` to delete what is there.
pub type Upsert<K, V> = (K, Position, Option<V>);

/// The rows that upserts leave: for each key the last one written, unless that was `None`.
///
/// An upsert belongs to the epoch of the message that brings it. Two upserts of one key must not share both epoch and
/// position.
///
/// ```
/// use millstream::operators::latest::{Position, latest};
/// use timely::dataflow::operators::{Inspect, Input, Probe};
///
/// timely::execute_directly(|worker| {
///     let (mut prices, probe) = worker.dataflow::<u64, _, _>(|scope| {
///         let (prices, upserts) = scope.new_input();
///         (prices, latest(upserts, "Prices").inner.inspect(|update| println!("{update:?}")).probe().0)
///     });
///     prices.send(("tea", Position::after(1), Some(250)));
///     prices.send(("tea", Position::after(0), Some(240))); // arrives later, but stands before
///     prices.advance_to(1);                                // (("tea", 250), 0, 1)
///     prices.send(("tea", Position::after(0), None));
///     prices.advance_to(2);                                // (("tea", 250), 1, -1)
///     worker.step_while(|| probe.less_than(prices.time()));
/// });
/// ```
pub fn latest<'scope, T, K, V>(
    upserts: StreamVec<'scope, T, Upsert<K, V>>,
    name: &str,
) -> VecCollection<'scope, T, (K, V)>
where
    T: Timestamp + TotalOrder,
    K: ExchangeData + Hash,
    V: ExchangeData,
{
    let by_key = Exchange::new(|(key, _, _): &Upsert<K, V>| key.hashed());
    let rows = upserts.unary_frontier(by_key, name, |_, _| {
        let mut table = Table::default();
        let mut pending: BTreeMap<T, (Capability<T>, Vec<Upsert<K, V>>)> = BTreeMap::new();
        let mut open: Option<Capability<T>> = None;
        move |(input, frontier), output| {
            input.for_each(|capability, upserts| {
                let Some(capability) = capability.retain_least(0) else {
                    return;
                };
                match &open {
                    Some(epoch) if epoch.time() == capability.time() => table.write_all(upserts.drain(..)),
                    _ => {
                        let time = capability.time().clone();
                        let (_, waiting) = pending.entry(time).or_insert_with(|| (capability, Vec::new()));
                        waiting.append(upserts);
                    }
                }
            });
            loop {
                if let Some(capability) = open.take_if(|open| !frontier.less_equal(open.time())) {
                    let mut session = output.session(&capability);
                    let time = capability.time();
                    let mut give = |row, diff| session.give((row, time.clone(), diff));
                    if frontier.is_empty() && pending.is_empty() {
                        table.close(&mut give)
                    } else {
                        table.settle(&mut give)
                    }
                }
                // The earliest epoch is written as it arrives; a later one waits until no earlier one can come.
                let Some(first) = pending.first_entry() else { break };
                if open.is_some() || frontier.less_than(first.key()) {
                    break;
                }
                let (capability, waiting) = first.remove();
                table.write_all(waiting.into_iter());
                open = Some(capability);
            }
        }
    });
    rows.as_collection()
}

/// The rows by key, of which one epoch's are still being written.
struct Table<K, V> {
    slots: HashMap<K, Slot<V>, foldhash::fast::FixedState>,
    /// The keys first written in the open epoch.
    fresh: Vec<K>,
    /// The keys rewritten in the open epoch, and the rows they had before it.
    replaced: Vec<(K, V)>,
}

struct Slot<V> {
    /// Where the row stands in the open epoch; `None` for a row of an epoch that is over.
    position: Option<Position>,
    row: Option<V>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        // Not the seed that spreads keys over workers: here all keys have the same remainder under that one.
        let hasher = foldhash::fast::FixedState::with_seed(0x006d_696c_6c73);
        Table { slots: HashMap::with_hasher(hasher), fresh: Vec::new(), replaced: Vec::new() }
    }
}

impl<K: Clone + Eq + Hash, V: Clone + Eq> Table<K, V> {
    fn write_all(&mut self, upserts: impl Iterator<Item = Upsert<K, V>>) {
        for (key, position, row) in upserts {
            match self.slots.entry(key) {
                Entry::Vacant(slot) => {
                    self.fresh.push(slot.key().clone());
                    slot.insert(Slot { position: Some(position), row });
                }
                Entry::Occupied(mut slot) if slot.get().position < Some(position) => {
                    let key = slot.key().clone();
                    let before = std::mem::replace(slot.get_mut(), Slot { position: Some(position), row });
                    if let Slot { position: None, row: Some(row) } = before {
                        self.replaced.push((key, row));
                    }
                }
                Entry::Occupied(_) => {}
            }
        }
    }

    /// Ends the open epoch: gives what it changed.
    fn settle(&mut self, give: &mut impl FnMut((K, V), isize)) {
        for key in self.fresh.drain(..) {
            let slot = self.slots.get_mut(&key).expect("a fresh key has a slot");
            slot.position = None;
            match slot.row.clone() {
                Some(row) => give((key, row), 1),
                None => drop(self.slots.remove(&key)),
            }
        }
        for (key, before) in self.replaced.drain(..) {
            let slot = self.slots.get_mut(&key).expect("a replaced key has a slot");
            slot.position = None;
            let after = slot.row.clone();
            if after.as_ref() == Some(&before) {
                continue;
            }
            give((key.clone(), before), -1);
            match after {
                Some(row) => give((key, row), 1),
                None => drop(self.slots.remove(&key)),
            }
        }
    }

    /// Ends the last epoch: as `settle`, but nothing can change any more, so rows are handed on and not kept.
    fn close(&mut self, give: &mut impl FnMut((K, V), isize)) {
        let mut before: HashMap<K, V, _> = HashMap::with_hasher(foldhash::fast::FixedState::with_seed(1));
        before.extend(self.replaced.drain(..));
        for (key, slot) in self.slots.drain().filter(|(_, slot)| slot.position.is_some()) {
            let (before, after) = (before.remove(&key), slot.row);
            if before != after {
                before.into_iter().for_each(|row| give((key.clone(), row), -1));
                after.into_iter().for_each(|row| give((key.clone(), row), 1));
            }
        }
        *self = Table::default();
    }
}
