//! Rows of which each key has at most one, checked at the end of every epoch.

use std::fmt::Debug;
use std::hash::Hash;

use differential_dataflow::consolidation::consolidate;
use hashbrown::HashMap;

use crate::exchange::LocalHash;
use crate::read_ahead::read_ahead;

/// A row and its weight. At the end of an epoch the weight is positive: copies of one row count as one row, which is
/// present until all of them are retracted.
pub(crate) type Weighted<V> = (V, isize);

/// The row of each key: the state of an operator that reads a collection with at most one row per key.
///
/// Copies of a row count as one row, which is present until all of them are retracted.
///
/// ```
/// use millstream_operators::UniqueRows;
///
/// let mut prices = UniqueRows::default();
/// assert_eq!(prices.apply(vec![(("tea", 4), 1)], "prices"), [("tea", None)]);
/// assert_eq!(prices.apply(vec![(("tea", 4), -1), (("tea", 5), 1)], "prices"), [("tea", Some(4))]);
/// assert_eq!(prices.get(Some(&"tea")), Some(&5));
/// ```
pub struct UniqueRows<K, V>(HashMap<K, Weighted<V>, LocalHash>);

impl<K, V> Default for UniqueRows<K, V> {
    fn default() -> Self {
        UniqueRows(HashMap::default())
    }
}

impl<K: Ord + Hash + Clone + Debug, V: Ord + Debug> UniqueRows<K, V> {
    /// The row of a key; `None` also for no key.
    #[must_use]
    pub fn get(&self, key: Option<&K>) -> Option<&V> {
        self.0.get(key?).map(|(row, _)| row)
    }

    /// How many keys have a row.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The memory of keys and rows, without what they refer to.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.allocation_size()
    }

    /// True if no key has a row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Looks keys up before they are needed.
    pub(crate) fn read_ahead<'a>(&self, keys: impl Iterator<Item = &'a K>)
    where
        K: 'a,
    {
        if !self.0.is_empty() {
            read_ahead(keys.map(|key| self.0.get(key).map(|(_, weight)| *weight)));
        }
    }

    /// The keys and their rows, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, (row, _))| (key, row))
    }

    /// Applies the updates of an epoch. Returns the keys whose row changed, ascending, each with its former row.
    ///
    /// # Panics
    ///
    /// If a key then has two different rows, or a row of negative weight. `place` names the operator and its input.
    pub fn apply(&mut self, mut updates: Vec<((K, V), isize)>, place: &str) -> Vec<(K, Option<V>)> {
        consolidate(&mut updates);
        if self.0.is_empty() {
            self.0.reserve(updates.len());
        }
        let by_key = updates.chunk_by(|((one, _), _), ((other, _), _)| one == other);
        self.read_ahead(by_key.map(|of_key| &of_key[0].0.0));
        let mut changed = Vec::new();
        let mut updates = updates.into_iter().peekable();
        while let Some(((key, row), weight)) = updates.next() {
            let others = std::iter::from_fn(|| updates.next_if(|((other, _), _)| *other == key));
            let of_key = std::iter::once((row, weight)).chain(others.map(|((_, row), weight)| (row, weight)));
            match settle(self.0.get_mut(&key), of_key) {
                Settled::Unchanged => (),
                Settled::Replaced(former) => changed.push((key, Some(former))),
                Settled::Inserted(held) => {
                    changed.push((key.clone(), None));
                    self.0.insert(key, held);
                }
                Settled::Deleted => {
                    let former = self.0.remove(&key).map(|(row, _)| row);
                    changed.push((key, former));
                }
                Settled::Violated(found) => panic!("{place}: found {found} under key {key:?}, wanted at most one row"),
            }
        }
        changed
    }
}

/// What the updates of an epoch did to a row.
pub(crate) enum Settled<V> {
    /// It is the same, maybe with another weight.
    Unchanged,
    /// There was none.
    Inserted(Weighted<V>),
    /// Another row took its place; this was the former.
    Replaced(V),
    /// It is to be removed.
    Deleted,
    /// There is not one row: describes what was found.
    Violated(String),
}

/// Applies consolidated updates to a row, in place.
pub(crate) fn settle<V: Ord + Debug>(
    mut held: Option<&mut Weighted<V>>,
    updates: impl Iterator<Item = Weighted<V>>,
) -> Settled<V> {
    let mut other: Option<Weighted<V>> = None;
    for (row, change) in updates {
        match (&mut held, &other) {
            (Some((known, weight)), _) if *known == row => *weight += change,
            (_, None) => other = Some((row, change)),
            (_, Some(second)) => return Settled::Violated(describe([Some(second), Some(&(row, change))])),
        }
    }
    let kept = held.as_deref().filter(|(_, weight)| *weight != 0);
    let is_negative = |(_, weight): &Weighted<V>| *weight < 0;
    if (kept.is_some() && other.is_some()) || kept.or(other.as_ref()).is_some_and(is_negative) {
        return Settled::Violated(describe([kept, other.as_ref()]));
    }
    match (held, other) {
        (Some((_, weight)), _) if *weight != 0 => Settled::Unchanged,
        (Some(held), Some(other)) => Settled::Replaced(std::mem::replace(held, other).0),
        (Some(_), None) => Settled::Deleted,
        (None, Some(other)) => Settled::Inserted(other),
        (None, None) => Settled::Unchanged,
    }
}

fn describe<V: Debug>(found: [Option<&Weighted<V>>; 2]) -> String {
    let rows: Vec<_> = found.iter().flatten().map(|(row, weight)| format!("{row:?} with weight {weight}")).collect();
    rows.join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(rows: &mut UniqueRows<char, u8>, updates: &[(char, u8, isize)]) -> Vec<(char, Option<u8>)> {
        rows.apply(updates.iter().map(|(key, row, weight)| ((*key, *row), *weight)).collect(), "test")
    }

    #[test]
    fn a_row_is_present_until_all_its_copies_are_retracted() {
        let mut rows = UniqueRows::default();
        assert_eq!(apply(&mut rows, &[('T', 4, 1), ('T', 4, 1), ('T', 4, -1)]), [('T', None)]);
        assert_eq!(apply(&mut rows, &[('T', 4, 2)]), []);
        assert_eq!(apply(&mut rows, &[('T', 4, -2)]), []);
        assert_eq!(rows.get(Some(&'T')), Some(&4));
        assert_eq!(apply(&mut rows, &[('T', 4, -1)]), [('T', Some(4))]);
        assert_eq!(rows.get(Some(&'T')), None);
    }

    #[test]
    fn a_row_replaces_another_whichever_is_greater() {
        let mut rows = UniqueRows::default();
        apply(&mut rows, &[('T', 4, 1), ('M', 5, 1)]);
        assert_eq!(apply(&mut rows, &[('T', 4, -1), ('T', 3, 1)]), [('T', Some(4))]);
        assert_eq!(apply(&mut rows, &[('T', 3, -1), ('T', 9, 1)]), [('T', Some(3))]);
        assert_eq!(rows.get(Some(&'T')), Some(&9));
    }

    #[test]
    #[should_panic(expected = "test: found 4 with weight 1 and 5 with weight 1 under key 'T', wanted at most one row")]
    fn two_rows_of_one_epoch_are_refused() {
        apply(&mut UniqueRows::default(), &[('T', 4, 1), ('T', 5, 1)]);
    }

    #[test]
    #[should_panic(expected = "test: found 5 with weight 1 and 4 with weight 1 under key 'T', wanted at most one row")]
    fn a_second_row_of_a_later_epoch_is_refused() {
        let mut rows = UniqueRows::default();
        apply(&mut rows, &[('T', 5, 1)]);
        apply(&mut rows, &[('T', 4, 1)]);
    }

    #[test]
    #[should_panic(expected = "test: found 4 with weight -1 under key 'T', wanted at most one row")]
    fn a_row_that_is_retracted_but_not_present_is_refused() {
        apply(&mut UniqueRows::default(), &[('T', 4, -1)]);
    }
}
