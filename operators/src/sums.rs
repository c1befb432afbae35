//! Sums of diffs by group.

use std::collections::BTreeMap;
use std::hash::Hash;

use differential_dataflow::Data;
use differential_dataflow::difference::Semigroup;
use indexmap::IndexMap;
use indexmap::map::Entry;

use crate::exchange::LocalHash;
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
struct EpochSums<G, R> {
    sums: IndexMap<G, R, LocalHash>,
    /// At most [`TOGETHER`], whose groups are then looked up together.
    waiting: Vec<(G, R)>,
}

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
        let time = self.only.as_ref().unwrap_or(time);
        let epoch = match self.epochs.get_mut(time) {
            Some(epoch) => epoch,
            None => self.epochs.entry(time.clone()).or_insert_with(EpochSums::new),
        };
        match epoch.waiting.last_mut() {
            Some((last, sum)) if *last == group => sum.plus_equals(&diff),
            _ => epoch.push(group, diff),
        }
    }

    /// At most how many sums there are.
    pub(crate) fn len(&self) -> usize {
        self.epochs.values().map(|epoch| epoch.sums.len() + epoch.waiting.len()).sum()
    }

    /// Takes the sums that are not zero.
    pub(crate) fn take_updates(&mut self) -> impl Iterator<Item = (G, T, R)> + use<G, T, R> {
        let only = self.only.clone();
        std::mem::replace(self, Sums::at(only)).into_updates()
    }

    /// The sums that are not zero.
    pub(crate) fn into_updates(self) -> impl Iterator<Item = (G, T, R)> {
        let updates = self.epochs.into_iter().flat_map(|(time, epoch)| {
            epoch.into_sums().into_iter().map(move |(group, sum)| (group, time.clone(), sum))
        });
        updates.filter(|(_, _, sum)| !sum.is_zero())
    }
}

impl<G: Group, R: Semigroup> EpochSums<G, R> {
    fn new() -> Self {
        EpochSums { sums: IndexMap::default(), waiting: Vec::new() }
    }

    fn push(&mut self, group: G, diff: R) {
        if self.waiting.len() == TOGETHER {
            self.add_waiting();
        }
        self.waiting.push((group, diff));
    }

    fn add_waiting(&mut self) {
        let places: [Option<usize>; TOGETHER] =
            std::array::from_fn(|at| self.sums.get_index_of(&self.waiting.get(at)?.0));
        for ((group, diff), place) in self.waiting.drain(..).zip(places) {
            if let Some(place) = place {
                self.sums[place].plus_equals(&diff);
                continue;
            }
            match self.sums.entry(group) {
                Entry::Occupied(mut sum) => sum.get_mut().plus_equals(&diff),
                Entry::Vacant(new) => drop(new.insert(diff)),
            }
        }
    }

    fn into_sums(mut self) -> IndexMap<G, R, LocalHash> {
        self.add_waiting();
        self.sums
    }
}
