//! Sums of diffs by group.

use std::collections::BTreeMap;
use std::hash::Hash;

use differential_dataflow::Data;
use differential_dataflow::difference::Semigroup;
use indexmap::IndexMap;

use crate::exchange::LocalHash;

/// The key of a group of rows.
pub trait Group: Data + Hash {}

impl<G: Data + Hash> Group for G {}

/// Sums by time and group. Updates in sequence of one group and time cost no look-up.
pub(crate) struct Sums<G, T, R> {
    epochs: BTreeMap<T, IndexMap<G, R, LocalHash>>,
    /// The index of the sum that was added to last.
    last: usize,
}

impl<G, T, R> Default for Sums<G, T, R> {
    fn default() -> Self {
        Sums { epochs: BTreeMap::new(), last: 0 }
    }
}

impl<G: Group, T: Clone + Ord, R: Semigroup> Sums<G, T, R> {
    pub(crate) fn add(&mut self, group: G, time: &T, diff: R) {
        let sums = match self.epochs.get_mut(time) {
            Some(sums) => sums,
            None => self.epochs.entry(time.clone()).or_default(),
        };
        match sums.get_index_mut(self.last) {
            Some((last, sum)) if *last == group => sum.plus_equals(&diff),
            _ => match sums.get_full_mut(&group) {
                Some((index, _, sum)) => {
                    sum.plus_equals(&diff);
                    self.last = index;
                }
                None => self.last = sums.insert_full(group, diff).0,
            },
        }
    }

    /// How many sums there are.
    pub(crate) fn len(&self) -> usize {
        self.epochs.values().map(IndexMap::len).sum()
    }

    /// The sums that are not zero.
    pub(crate) fn into_updates(self) -> impl Iterator<Item = (G, T, R)> {
        let updates = self
            .epochs
            .into_iter()
            .flat_map(|(time, sums)| sums.into_iter().map(move |(group, diff)| (group, time.clone(), diff)));
        updates.filter(|(_, _, diff)| !diff.is_zero())
    }
}
