//! A hash table of rows by key, and the rows that the open epoch writes.
//!
//! Keys are partitioned by their hash into parts that each fit the cache of a core. Writes of an epoch are buffered
//! in one list a part, and applied part by part. A row keeps its slot while its key has a row.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hash};

use differential_dataflow::ExchangeData;
use hashbrown::hash_table::Entry;
use hashbrown::{HashMap, HashTable};

use crate::bounds::Key;
use crate::exchange::LocalHash;
use crate::read_ahead::read_ahead;
use crate::spill::{Spill, WaitingLists};
use crate::upsert::{Position, Upsert};

pub(crate) struct UpsertTable<K, V> {
    /// The operator's name.
    place: String,
    /// Called with each key under which the open epoch writes different rows, and two of them.
    inspect: Box<dyn FnMut(&K, &V, &V)>,
    parts: Vec<TablePart<K, V>>,
    /// Upserts of the open epoch, by part. The hash is not kept with them: hashing again takes less time than moving it
    /// about, and lists of rows of one size share their memory.
    waiting: WaitingLists<Upsert<K, V>>,
    hasher: LocalHash,
    /// The parts for which something waits.
    touched: Vec<usize>,
    /// How many keys there are.
    keys: usize,
}

/// The place of a row: its part, and where in that, below 2²⁴.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(u32);

/// The most slots of a part, so that none is [`Slot::NONE`].
const SLOTS_MAX: u32 = (1 << 24) - 1;

impl Slot {
    /// No row's place.
    pub(crate) const NONE: Slot = Slot(u32::MAX);

    /// `None` if the part is full.
    fn new(part: usize, at: usize) -> Option<Slot> {
        let at = u32::try_from(at).ok().filter(|at| *at < SLOTS_MAX)?;
        let part = u32::try_from(part).expect("a part is one of 256");
        Some(Slot(part << 24 | at))
    }

    pub(crate) fn part(self) -> usize {
        self.0 as usize >> 24
    }

    pub(crate) fn at(self) -> usize {
        self.0 as usize & 0x00ff_ffff
    }
}

/// The slots of a part to which an epoch wrote.
pub(crate) struct WrittenPart<V> {
    pub(crate) part: usize,
    /// The slots of keys that had no row.
    pub(crate) fresh: Vec<Slot>,
    /// The slots of keys that had one, and that row.
    pub(crate) replaced: Vec<(Slot, V)>,
}

impl<V> WrittenPart<V> {
    /// All slots that were written to, with the rows they had.
    pub(crate) fn slots(self) -> impl Iterator<Item = (Slot, Option<V>)> {
        let fresh = self.fresh.into_iter().map(|slot| (slot, None));
        fresh.chain(self.replaced.into_iter().map(|(slot, row)| (slot, Some(row))))
    }
}

struct TablePart<K, V> {
    /// The slot of each key. Hashes are not kept with them: they are only needed again when the index grows.
    index: HashTable<Slot>,
    rows: Vec<TableRow<K, V>>,
    /// Slots that rows were deleted from.
    free: Vec<Slot>,
}

impl<K, V> Default for TablePart<K, V> {
    fn default() -> Self {
        TablePart { index: HashTable::new(), rows: Vec::new(), free: Vec::new() }
    }
}

struct TableRow<K, V> {
    key: K,
    row: Option<V>,
}

/// The positions of the rows that the open epoch wrote to a part.
struct Positions {
    /// How many slots there were before.
    slots_before: usize,
    /// Of those slots, the ones that were written.
    rewritten: HashMap<usize, Position, LocalHash>,
    /// Of all slots after them.
    appended: Vec<Position>,
}

impl Positions {
    fn after(slots_before: usize) -> Self {
        Positions { slots_before, rewritten: HashMap::default(), appended: Vec::new() }
    }

    fn get(&self, slot: Slot) -> Option<Position> {
        match slot.at().checked_sub(self.slots_before) {
            Some(at) => self.appended.get(at).copied(),
            None => self.rewritten.get(&slot.at()).copied(),
        }
    }

    fn set(&mut self, slot: Slot, position: Position) {
        match slot.at().checked_sub(self.slots_before) {
            Some(at) if at < self.appended.len() => self.appended[at] = position,
            Some(at) => {
                debug_assert_eq!(at, self.appended.len(), "slots are appended one after the other");
                self.appended.push(position);
            }
            None => drop(self.rewritten.insert(slot.at(), position)),
        }
    }
}

/// How many parts there are: one for each value of a hash's first byte.
pub(crate) const PARTS: usize = 1 << 8;

impl<K: Key, V: ExchangeData> UpsertTable<K, V> {
    /// A table without rows. `place` names the operator.
    pub(crate) fn new(place: String, inspect: impl FnMut(&K, &V, &V) + 'static) -> Self {
        UpsertTable {
            place,
            inspect: Box::new(inspect),
            parts: (0..PARTS).map(|_| TablePart::default()).collect(),
            waiting: WaitingLists::new(PARTS),
            // Not the seed that spreads keys over workers: here all keys have the same remainder under that one.
            hasher: LocalHash::default(),
            touched: Vec::new(),
            keys: 0,
        }
    }

    /// Spills what waits and does not fit memory.
    pub(crate) fn spilling(mut self, spill: Option<Spill>) -> Self {
        self.waiting = self.waiting.spilling(spill);
        self
    }

    /// Forgets all rows.
    pub(crate) fn clear(&mut self) {
        self.parts.iter_mut().for_each(|part| *part = TablePart::default());
        self.waiting = WaitingLists::new(PARTS);
        self.touched.clear();
        self.keys = 0;
    }

    /// Takes rows of the open epoch.
    pub(crate) fn write_all(&mut self, upserts: impl Iterator<Item = Upsert<K, V>>) {
        for upsert in upserts {
            let part = usize::from(self.hasher.hash_one(&upsert.0).to_le_bytes()[0]);
            if self.waiting.is_empty(part) {
                self.touched.push(part);
            }
            self.waiting.push(part, upsert);
        }
    }

    /// Reads the rows that the open epoch replaces. Of each part only the first few: one that many rows are written to
    /// fits the cache, and is soon in it.
    pub(crate) fn read_ahead(&self) {
        for part in self.touched.iter().filter(|part| !self.parts[**part].rows.is_empty()) {
            self.parts[*part].read_ahead(self.waiting.in_memory(*part), &self.hasher);
        }
    }

    /// Ends the open epoch in one of the parts that it wrote to; `None` after the last. Of several rows of one key, the
    /// one with the greatest position counts, and of those the greatest row.
    pub(crate) fn settle(&mut self) -> Option<WrittenPart<V>> {
        let part = self.touched.pop()?;
        if self.parts[part].rows.is_empty() {
            self.parts[part].reserve(self.waiting.len(part));
        }
        let upserts = self.waiting.take(part);
        let written = self.parts[part].settle(part, upserts, &self.hasher, &self.place, &mut self.inspect);
        self.keys += written.fresh.len();
        Some(written)
    }

    /// Forgets all rows of a part.
    pub(crate) fn clear_part(&mut self, part: usize) {
        self.keys -= self.parts[part].index.len();
        self.parts[part] = TablePart::default();
    }

    /// The key of a slot, and its row; `None` where that was deleted.
    pub(crate) fn get(&self, slot: Slot) -> (&K, Option<&V>) {
        let row = &self.parts[slot.part()].rows[slot.at()];
        (&row.key, row.row.as_ref())
    }

    /// Forgets a key whose row was deleted.
    pub(crate) fn remove(&mut self, slot: Slot) {
        let part = &mut self.parts[slot.part()];
        let hash = index_hash(&self.hasher, &part.rows[slot.at()].key);
        if let Ok(entry) = part.index.find_entry(hash, |other| *other == slot) {
            entry.remove();
        }
        part.free.push(slot);
        self.keys -= 1;
    }

    /// The memory of an upsert that waits, estimated.
    pub(crate) fn upsert_bytes(&self) -> usize {
        self.waiting.row_bytes()
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.keys
    }

    /// The memory of rows and index.
    pub(crate) fn bytes(&self) -> usize {
        let rows = |part: &TablePart<K, V>| part.rows.capacity() * size_of::<TableRow<K, V>>();
        self.parts.iter().map(|part| rows(part) + part.index.allocation_size()).sum()
    }
}

/// The most rows of a part that are read ahead: 16,384 in all.
const READ_AHEAD_MAX: usize = 1 << 6;

impl<K: Key, V: ExchangeData> TablePart<K, V> {
    fn read_ahead<'a>(&self, upserts: impl Iterator<Item = &'a Upsert<K, V>>, hasher: &LocalHash) {
        read_ahead(upserts.take(READ_AHEAD_MAX).map(|(key, _, _)| {
            let slot = self.index.find(index_hash(hasher, key), |slot| self.rows[slot.at()].key == *key);
            slot.is_some_and(|slot| self.rows[slot.at()].row.is_some())
        }));
    }

    /// Makes room for the first epoch, which is mostly the largest, and whose rows are mostly different ones.
    fn reserve(&mut self, rows: usize) {
        self.rows.reserve_exact(rows);
        self.index.reserve(rows, |_| unreachable!("there is no slot yet"));
    }

    fn settle(
        &mut self,
        part: usize,
        upserts: impl Iterator<Item = Upsert<K, V>>,
        hasher: &LocalHash,
        place: &str,
        inspect: &mut impl FnMut(&K, &V, &V),
    ) -> WrittenPart<V> {
        let mut written = WrittenPart { part, fresh: Vec::new(), replaced: Vec::new() };
        let (mut positions, mut inspected) = (Positions::after(self.rows.len()), HashSet::new());
        for (key, position, row) in upserts {
            let (rows, hash) = (&self.rows, index_hash(hasher, &key));
            let is_it = |slot: &Slot| rows[slot.at()].key == key;
            match self.index.entry(hash, is_it, |slot| index_hash(hasher, &rows[slot.at()].key)) {
                Entry::Vacant(vacant) => {
                    let slot = self.free.pop().or_else(|| Slot::new(part, self.rows.len()));
                    let slot = slot.unwrap_or_else(|| {
                        let wanted = "wanted at most 2²⁴ − 1 keys in each of 256 parts";
                        panic!("{place}: found no room for key {key:?}, {wanted}")
                    });
                    store(&mut self.rows, slot, TableRow { key, row });
                    positions.set(slot, position);
                    vacant.insert(slot);
                    written.fresh.push(slot);
                }
                Entry::Occupied(occupied) => {
                    let slot = *occupied.get();
                    let (known, known_position) = (&mut self.rows[slot.at()], positions.get(slot));
                    if let (Some(_), Some(one), Some(other)) = (known_position, &known.row, &row)
                        && one != other
                        && inspected.insert(slot.0)
                    {
                        inspect(&known.key, one, other);
                    }
                    if (known_position, &known.row) < (Some(position), &row) {
                        positions.set(slot, position);
                        let before = std::mem::replace(&mut known.row, row);
                        let before = before.filter(|_| known_position.is_none());
                        written.replaced.extend(before.map(|before| (slot, before)));
                    }
                }
            }
        }
        written
    }
}

/// Stores a new row in a slot, a free one or the next.
fn store<K, V>(rows: &mut Vec<TableRow<K, V>>, slot: Slot, row: TableRow<K, V>) {
    if let Some(free) = rows.get_mut(slot.at()) {
        *free = row;
        return;
    }
    // By an eighth, not to twice the size: rows are most of the state.
    if rows.len() == rows.capacity() {
        rows.reserve_exact(rows.len() / 8 + 1);
    }
    rows.push(row);
}

/// The hash by which an index finds a key. hashbrown uses the lowest and the highest bits, and the lowest byte of a
/// key's hash is the same in all of its part.
fn index_hash<K: Hash>(hasher: &LocalHash, key: &K) -> u64 {
    hasher.hash_one(key).rotate_right(32)
}
