//! Sums of diffs by group.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hash};

use differential_dataflow::Data;
use differential_dataflow::difference::Semigroup;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::exchange::{LocalHash, PARTS, part_of};
use crate::read_ahead::TOGETHER;

/// The key of a group of rows.
pub trait Group: Data + Hash {}

impl<G: Data + Hash> Group for G {}

/// Sums by time and group. Diffs in sequence of one group and time cost one look-up.
pub(crate) struct Sums<G, T, R> {
    epochs: BTreeMap<T, EpochSums<G, R>>,
    /// The time of all sums; `None` if each diff is added at its own.
    only: Option<T>,
}

/// The sums of a time, and diffs that are still to be added.
///
/// Sums of many groups are dealt into parts by the hash of their group. Diffs then wait for their part, and are added
/// part by part: up to about a million groups, the sums of a part fit the cache of a core.
struct EpochSums<G, R> {
    /// One part, or [`PARTS`] of them.
    parts: Vec<SumsPart<G, R>>,
    hasher: LocalHash,
    /// How many diffs wait in all parts.
    waiting: usize,
}

struct SumsPart<G, R> {
    sums: HashTable<(G, R)>,
    waiting: Vec<(G, R)>,
}

/// The most groups that are not dealt into parts.
const UNDEALT_MAX: usize = 1 << 13;
/// How many diffs wait for their part, at most, and for how many each part has room.
const WAITING_MAX: usize = 1 << 16;
const WAITING_OF_PART: usize = WAITING_MAX / PARTS * 5 / 4;

impl<G, T, R> Default for Sums<G, T, R> {
    fn default() -> Self {
        Sums::at(None)
    }
}

impl<G, T, R> Sums<G, T, R> {
    /// No sums yet. If there is a time, all diffs are added at this one.
    pub(crate) fn at(only: Option<T>) -> Self {
        Sums { epochs: BTreeMap::new(), only }
    }
}

impl<G: Group, T: Clone + Ord, R: Semigroup> Sums<G, T, R> {
    pub(crate) fn add(&mut self, group: G, time: &T, diff: R) {
        let Sums { epochs, only } = self;
        let time = only.as_ref().unwrap_or(time);
        let epoch = match epochs.get_mut(time) {
            Some(epoch) => epoch,
            None => epochs.entry(time.clone()).or_insert_with(EpochSums::new),
        };
        epoch.add(group, diff);
    }

    /// How many sums there are, without those of diffs that wait.
    pub(crate) fn len(&self) -> usize {
        self.epochs.values().map(EpochSums::len).sum()
    }

    /// Takes the sums that are not zero.
    pub(crate) fn take_updates(&mut self) -> impl Iterator<Item = (G, T, R)> + use<G, T, R> {
        let only = self.only.clone();
        std::mem::replace(self, Sums::at(only)).into_updates()
    }

    /// The sums that are not zero.
    pub(crate) fn into_updates(self) -> impl Iterator<Item = (G, T, R)> {
        let updates = self
            .epochs
            .into_iter()
            .flat_map(|(time, epoch)| epoch.into_sums().map(move |(group, sum)| (group, time.clone(), sum)));
        updates.filter(|(_, _, sum)| !sum.is_zero())
    }
}

impl<G: Group, R: Semigroup> EpochSums<G, R> {
    fn new() -> Self {
        EpochSums { parts: vec![SumsPart::with_room(0)], hasher: LocalHash::default(), waiting: 0 }
    }

    fn add(&mut self, group: G, diff: R) {
        let part = if self.is_dealt() { part_of(self.hasher.hash_one(&group)) } else { 0 };
        let part = &mut self.parts[part].waiting;
        match part.last_mut() {
            Some((last, sum)) if *last == group => return sum.plus_equals(&diff),
            _ => part.push((group, diff)),
        }
        self.waiting += 1;
        let waiting_max = if self.is_dealt() { WAITING_MAX } else { TOGETHER };
        if self.waiting == waiting_max {
            self.add_waiting();
        }
    }

    fn is_dealt(&self) -> bool {
        self.parts.len() > 1
    }

    fn add_waiting(&mut self) {
        self.parts.iter_mut().for_each(|part| part.add_waiting(&self.hasher));
        self.waiting = 0;
        if !self.is_dealt() && self.parts[0].sums.len() > UNDEALT_MAX {
            self.deal();
        }
    }

    /// Deals the sums into parts.
    fn deal(&mut self) {
        let undealt = std::mem::take(&mut self.parts).into_iter().flat_map(|part| part.sums);
        self.parts = (0..PARTS).map(|_| SumsPart::with_room(WAITING_OF_PART)).collect();
        for sum in undealt {
            let hash = self.hasher.hash_one(&sum.0);
            self.parts[part_of(hash)].sums.insert_unique(hash, sum, |(group, _)| self.hasher.hash_one(group));
        }
    }

    fn len(&self) -> usize {
        self.parts.iter().map(|part| part.sums.len()).sum()
    }

    fn into_sums(mut self) -> impl Iterator<Item = (G, R)> {
        self.add_waiting();
        self.parts.into_iter().flat_map(|part| part.sums)
    }
}

impl<G: Group, R: Semigroup> SumsPart<G, R> {
    /// No sums, and room for so many diffs that wait.
    fn with_room(diffs: usize) -> Self {
        SumsPart { sums: HashTable::new(), waiting: Vec::with_capacity(diffs) }
    }

    /// Adds what waits. Sums are found a few at a time, so that cache misses overlap.
    fn add_waiting(&mut self, hasher: &LocalHash) {
        let SumsPart { sums, waiting } = self;
        let mut diffs = waiting.drain(..);
        while !diffs.as_slice().is_empty() {
            let together = diffs.as_slice();
            let place = |group: &G| sums.find_bucket_index(hasher.hash_one(group), |(other, _)| other == group);
            let places: [Option<usize>; TOGETHER] = std::array::from_fn(|nth| place(&together.get(nth)?.0));
            for (place, (group, diff)) in places.into_iter().zip(diffs.by_ref()) {
                // A new sum may have moved the others.
                match place.and_then(|place| sums.get_bucket_mut(place)).filter(|(found, _)| *found == group) {
                    Some((_, sum)) => sum.plus_equals(&diff),
                    None => add_one(sums, hasher, group, diff),
                }
            }
        }
        drop(diffs);
        // Groups mostly are spread over all parts, but may come part by part.
        waiting.shrink_to(WAITING_OF_PART);
    }
}

/// Adds a diff, to a new sum if there is none of its group.
fn add_one<G: Group, R: Semigroup>(sums: &mut HashTable<(G, R)>, hasher: &LocalHash, group: G, diff: R) {
    let hash_of = |(group, _): &(G, R)| hasher.hash_one(group);
    match sums.entry(hasher.hash_one(&group), |(other, _)| *other == group, hash_of) {
        Entry::Occupied(mut sum) => sum.get_mut().1.plus_equals(&diff),
        Entry::Vacant(new) => drop(new.insert((group, diff))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Numbers that look random.
    fn numbers() -> impl Iterator<Item = u64> {
        let next = |number: &u64| Some(number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        std::iter::successors(Some(7_u64), next).map(|number| number >> 33)
    }

    #[test]
    fn sums_are_those_of_their_diffs_however_many_groups_there_are() {
        for (groups, diffs) in [(3, 1000), (UNDEALT_MAX, 40_000), (2 * UNDEALT_MAX, 5 * WAITING_MAX / 2)] {
            let (mut sums, mut wanted) = (Sums::default(), BTreeMap::<_, isize>::new());
            for number in numbers().take(diffs) {
                // A third of the groups cancel, and some diffs come in sequence.
                let group = (number / 3) as usize % groups;
                let (time, diff) = (number % 2, [1, -1, 2][group % 3] * (1 + (number % 3) as isize));
                for diff in if group.is_multiple_of(3) { vec![diff, -diff] } else { vec![diff] } {
                    sums.add(group, &time, diff);
                    *wanted.entry((time, group)).or_default() += diff;
                }
            }
            assert!(sums.len() <= wanted.len(), "diffs that wait are not counted");
            wanted.retain(|_, sum| *sum != 0);
            let found: Vec<_> = sums.take_updates().map(|(group, time, sum)| ((time, group), sum)).collect();
            assert_eq!(found.len(), wanted.len(), "{groups} groups, each with one sum at each time");
            assert_eq!(found.into_iter().collect::<BTreeMap<_, _>>(), wanted, "{groups} groups");
            assert_eq!(sums.len(), 0, "they were taken");
        }
    }

    #[test]
    fn diffs_that_come_part_by_part_keep_no_memory_once_they_are_added() {
        let hasher = LocalHash::default();
        let mut groups: Vec<u32> = (0..1_000_000).collect();
        groups.sort_by_cached_key(|group| part_of(hasher.hash_one(group)));
        let mut sums = Sums::default();
        groups.into_iter().for_each(|group| sums.add(group, &(), 1_isize));
        let parts = sums.epochs.values().flat_map(|epoch| &epoch.parts);
        let waiting: usize = parts.map(|part| part.waiting.capacity()).sum();
        assert!(waiting <= 3 * WAITING_MAX, "memory for {waiting} diffs");
    }
}
