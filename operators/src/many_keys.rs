//! Looking many keys up in a hash table that does not fit the cache.

use std::hash::BuildHasher;

use hashbrown::HashMap;

use crate::bounds::Key;
use crate::exchange::LocalHash;

/// A table with fewer keys mostly fits the cache.
const KEYS_MIN: usize = 1 << 16;
/// Fewer look-ups would be spread too thinly over the ranges.
const LOOKUPS_MIN: usize = 1 << 12;
/// How many ranges of a table look-ups are dealt into: one for each value of a byte.
const RANGES: usize = 1 << 8;

/// The values of these keys, in the same order. In a large table they are looked up range by range, so that
/// neighbouring look-ups hit the same pages, whose addresses the processor need not translate again. Values are cloned
/// while they are at hand, so they should be small.
pub(crate) fn get_all<K: Key, V: Clone>(table: &HashMap<K, V, LocalHash>, keys: &[Option<K>]) -> Vec<Option<V>> {
    let get = |key: &Option<K>| table.get(key.as_ref()?).cloned();
    if table.len() < KEYS_MIN || keys.len() < LOOKUPS_MIN {
        return keys.iter().map(get).collect();
    }
    let mut values = vec![None; keys.len()];
    for (nth, key) in in_order_of(table, keys) {
        values[nth] = get(&key);
    }
    values
}

/// Keys and their positions among these, range by range of a table.
fn in_order_of<K: Key, V>(table: &HashMap<K, V, LocalHash>, keys: &[Option<K>]) -> Vec<(usize, Option<K>)> {
    // hashbrown starts at the bucket that the lowest bits of the hash name. These are the highest of those.
    let shift = (table.capacity() * 8 / 7).next_power_of_two().ilog2() - RANGES.ilog2();
    let range_of = |key: &K| usize::from((table.hasher().hash_one(key) >> shift).to_le_bytes()[0]);
    let ranges: Vec<usize> = keys.iter().map(|key| key.as_ref().map_or(0, range_of)).collect();
    // Where the next key of each range belongs.
    let mut next = vec![0; RANGES];
    ranges.iter().for_each(|range| next[*range] += 1);
    let mut before = 0;
    for place in &mut next {
        before += std::mem::replace(place, before);
    }
    let mut ordered = vec![(0, None); keys.len()];
    for (nth, range) in ranges.into_iter().enumerate() {
        ordered[next[range]] = (nth, keys[nth].clone());
        next[range] += 1;
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_up_together_is_what_each_look_up_finds() {
        for (rows, lookups) in [(0, 5), (1 << 10, 1 << 13), (1 << 17, 1 << 10), (1 << 17, 1 << 13), (114_688, 70_000)] {
            let mut table = HashMap::with_hasher(LocalHash::default());
            table.extend((0..rows).map(|key: u64| (3 * key, key)));
            // Some were deleted, some never were there, some are looked up twice.
            // The capacity then is that of a table with fewer buckets.
            table.retain(|_, row| *row % 5 > 1);
            let keys: Vec<Option<u64>> =
                (0..lookups).map(|nth: u64| (!nth.is_multiple_of(7)).then(|| nth * 7919 % (4 * rows + 1))).collect();
            let wanted: Vec<Option<u64>> = keys.iter().map(|key| table.get(&(*key)?).copied()).collect();
            assert_eq!(get_all(&table, &keys), wanted, "{lookups} look-ups of {rows} rows");
            assert!(rows == 0 || (wanted.contains(&None) && wanted.iter().any(Option::is_some)));
        }
    }
}
