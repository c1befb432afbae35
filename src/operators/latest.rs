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
use std::hash::{BuildHasher, Hash};
use std::num::NonZeroU64;

use differential_dataflow::{AsCollection, ExchangeData, Hashable, VecCollection};
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use serde::{Deserialize, Serialize};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;
use timely::order::TotalOrder;
use timely::progress::Timestamp;
use timely::scheduling::Activator;

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
/// use millstream::operators::{Position, latest};
/// use timely::dataflow::operators::capture::{Capture, Extract};
/// use timely::dataflow::operators::vec::Input;
///
/// const TEA: u32 = 7;
/// let updates = timely::execute_directly(|worker| {
///     let (mut prices, updates) = worker.dataflow::<u64, _, _>(|scope| {
///         let (prices, upserts) = scope.new_input();
///         (prices, latest(upserts, "Prices").inner.capture())
///     });
///     prices.send((TEA, Position::after(1), Some(250)));
///     prices.send((TEA, Position::after(0), Some(240))); // arrives later, but stands before
///     prices.advance_to(1);
///     prices.send((TEA, Position::after(0), None));
///     updates
/// });
/// let updates: Vec<_> = updates.extract().into_iter().flat_map(|(_, updates)| updates).collect();
/// assert_eq!(updates, [((TEA, 250), 0, 1), ((TEA, 250), 1, -1)]);
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
    let scope = upserts.scope();
    let by_key = Exchange::new(|(key, _, _): &Upsert<K, V>| key.hashed());
    let rows = upserts.unary_frontier(by_key, name, |_, info| {
        let activator = Activator::new(info.address, scope.activations());
        let mut table = Table::default();
        let mut pending: BTreeMap<T, (Capability<T>, Vec<Upsert<K, V>>)> = BTreeMap::new();
        let mut open: Option<Capability<T>> = None;
        let mut closing: Option<(Capability<T>, Closing<K, V>)> = None;
        move |(input, frontier), output| {
            input.for_each(|capability, upserts| {
                let Some(capability) = capability.retain_least(0) else { return };
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
                if let Some(epoch) = open.take_if(|open| !frontier.less_equal(open.time())) {
                    if frontier.is_empty() && pending.is_empty() {
                        closing = Some((epoch, std::mem::take(&mut table).close()));
                    } else {
                        let (mut session, time) = (output.session(&epoch), epoch.time());
                        table.settle(|row, diff| session.give((row, time.clone(), diff)));
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
            // A large last epoch is handed on in parts, so that what comes after can take them in between.
            if let Some((epoch, rest)) = &mut closing {
                let (mut session, time) = (output.session(&*epoch), epoch.time());
                if rest.give_some(|row, diff| session.give((row, time.clone(), diff))) {
                    activator.activate();
                } else {
                    drop(session);
                    closing = None;
                }
            }
        }
    });
    rows.as_collection()
}

/// The rows by key, of which one epoch's are still being written.
///
/// Rows lie in segments of a fixed size, which neither move nor double when there are more, and an index of small
/// entries finds them.
struct Table<K, V> {
    index: HashTable<Entry>,
    hasher: FixedState,
    segments: Vec<Vec<Slot<K, V>>>,
    /// Slots that rows were deleted from.
    free: Vec<u32>,
    /// The slots first written in the open epoch.
    fresh: Vec<u32>,
    /// The slots rewritten in the open epoch, and the rows they had before it.
    replaced: Vec<(u32, V)>,
}

/// Where the row of a key with this hash may lie.
#[derive(Clone, Copy)]
struct Entry {
    hash: u32,
    slot: u32,
}

struct Slot<K, V> {
    key: K,
    /// Where the row stands in the open epoch; `None` for a row of an epoch that is over.
    position: Option<Position>,
    row: Option<V>,
}

/// Slots of a segment, as a power of two.
const SEGMENT_BITS: u32 = 12;
const SEGMENT: usize = 1 << SEGMENT_BITS;

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Table {
            index: HashTable::new(),
            // Not the seed that spreads keys over workers: here all keys have the same remainder under that one.
            hasher: FixedState::with_seed(0x006d_696c_6c73),
            segments: Vec::new(),
            free: Vec::new(),
            fresh: Vec::new(),
            replaced: Vec::new(),
        }
    }
}

impl<K: Clone + Eq + Hash, V: Clone + Eq> Table<K, V> {
    fn write_all(&mut self, upserts: impl Iterator<Item = Upsert<K, V>>) {
        for (key, position, row) in upserts {
            let hash = self.hash(&key);
            match self.find(hash, &key) {
                None => self.add(hash, Slot { key, position: Some(position), row }),
                Some(at) => {
                    let slot = self.slot(at);
                    if slot.position < Some(position) {
                        let settled = slot.position.replace(position).is_none();
                        let before = std::mem::replace(&mut slot.row, row);
                        self.replaced.extend(before.filter(|_| settled).map(|before| (at, before)));
                    }
                }
            }
        }
    }

    /// Ends the open epoch: gives what it changed.
    fn settle(&mut self, mut give: impl FnMut((K, V), isize)) {
        for at in std::mem::take(&mut self.fresh) {
            let slot = self.slot(at);
            slot.position = None;
            match &slot.row {
                Some(row) => give((slot.key.clone(), row.clone()), 1),
                None => self.remove(at),
            }
        }
        for (at, before) in std::mem::take(&mut self.replaced) {
            let slot = self.slot(at);
            slot.position = None;
            let (key, after) = (slot.key.clone(), slot.row.clone());
            if after.as_ref() == Some(&before) {
                continue;
            }
            give((key.clone(), before), -1);
            match after {
                Some(row) => give((key, row), 1),
                None => self.remove(at),
            }
        }
    }

    /// Ends the last epoch: nothing can change any more, so rows are handed on and not kept.
    fn close(self) -> Closing<K, V> {
        let mut slots: Vec<_> = self.replaced;
        slots.sort_by_key(|(at, _)| *at);
        Closing { segments: self.segments.into_iter(), next_slot: 0, replaced: slots.into_iter().peekable() }
    }

    fn hash(&self, key: &K) -> u64 {
        self.hasher.hash_one(key)
    }

    fn find(&self, hash: u64, key: &K) -> Option<u32> {
        let is_it = |entry: &Entry| {
            let slot = entry.slot as usize;
            entry.hash == upper(hash) && self.segments[slot >> SEGMENT_BITS][slot % SEGMENT].key == *key
        };
        self.index.find(spread(upper(hash)), is_it).map(|entry| entry.slot)
    }

    fn slot(&mut self, at: u32) -> &mut Slot<K, V> {
        &mut self.segments[at as usize >> SEGMENT_BITS][at as usize % SEGMENT]
    }

    fn add(&mut self, hash: u64, slot: Slot<K, V>) {
        let at = if let Some(at) = self.free.pop() {
            *self.slot(at) = slot;
            at
        } else {
            if self.segments.last().is_none_or(|segment| segment.len() == SEGMENT) {
                self.segments.push(Vec::with_capacity(SEGMENT));
            }
            let segments = self.segments.len() - 1;
            let last = &mut self.segments[segments];
            last.push(slot);
            u32::try_from(segments * SEGMENT + last.len() - 1).expect("a worker holds fewer than 2³² keys")
        };
        self.index
            .insert_unique(spread(upper(hash)), Entry { hash: upper(hash), slot: at }, |entry| spread(entry.hash));
        self.fresh.push(at);
    }

    /// Forgets a key whose row was deleted.
    fn remove(&mut self, at: u32) {
        let key = self.slot(at).key.clone();
        let hash = spread(upper(self.hash(&key)));
        if let Ok(entry) = self.index.find_entry(hash, |entry| entry.slot == at) {
            entry.remove();
        }
        self.free.push(at);
    }
}

/// The half of a hash that the index keeps.
fn upper(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// The 64 bits that the index wants, of those it keeps: it looks at the lowest and the highest.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

/// What the last epoch leaves, segment by segment; each is freed when it has been given.
struct Closing<K, V> {
    segments: std::vec::IntoIter<Vec<Slot<K, V>>>,
    next_slot: u32,
    /// In the order of slots.
    replaced: std::iter::Peekable<std::vec::IntoIter<(u32, V)>>,
}

/// Segments that are given at a time.
const SEGMENTS_AT_A_TIME: usize = 16;

impl<K: Clone, V: Eq> Closing<K, V> {
    /// Gives what the last epoch changed in some more segments; false when there are none left.
    fn give_some(&mut self, mut give: impl FnMut((K, V), isize)) -> bool {
        for segment in self.segments.by_ref().take(SEGMENTS_AT_A_TIME) {
            for slot in segment {
                let at = self.next_slot;
                self.next_slot += 1;
                let before = self.replaced.next_if(|(changed, _)| *changed == at).map(|(_, before)| before);
                if slot.position.is_none() || before == slot.row {
                    continue;
                }
                before.into_iter().for_each(|row| give((slot.key.clone(), row), -1));
                slot.row.into_iter().for_each(|row| give((slot.key.clone(), row), 1));
            }
        }
        self.segments.len() > 0
    }
}
