//! A batch of changed lines, read epoch by epoch.

use std::ops::Range;

use crate::model::{Id, Line};
use crate::operators::{Batch, Epochs, SortedBatch};

/// Order lines by customer.
pub(super) type Lines<T, I> = Batch<Option<I>, Line<I>, T>;

/// A batch of lines with epochs that are not joined yet.
pub(super) struct ChangedLines<T: Epochs, I: Id> {
    batch: Lines<T, I>,
    /// The first of these epochs.
    first: T,
    /// The epochs, keys and values of all updates, in order; empty if all are of the first epoch.
    by_epoch: Vec<(T, usize, usize)>,
}

impl<T: Epochs, I: Id> ChangedLines<T, I> {
    /// A batch of which no epoch is joined; `None` if it has no updates.
    pub(super) fn of(batch: Lines<T, I>) -> Option<ChangedLines<T, I>> {
        let mut first = batch.times().next()?.clone();
        let mut by_epoch = Vec::new();
        if batch.times().any(|time| *time != first) {
            for (key, (_, values)) in batch.by_key().enumerate() {
                for value in values {
                    by_epoch.extend(batch.updates(value).0.iter().map(|time| (time.clone(), key, value)));
                }
            }
            by_epoch.sort_unstable();
            first = by_epoch.first()?.0.clone();
        }
        Some(ChangedLines { batch, first, by_epoch })
    }

    /// The first epoch that is not joined.
    pub(super) fn first(&self) -> &T {
        &self.first
    }

    /// What is left after an epoch.
    pub(super) fn after(self, epoch: &T) -> Option<ChangedLines<T, I>> {
        if self.first > *epoch {
            return Some(self);
        }
        let next = self.by_epoch.partition_point(|(time, _, _)| time <= epoch);
        let first = self.by_epoch.get(next)?.0.clone();
        Some(ChangedLines { first, ..self })
    }

    /// The customers whose lines changed in an epoch, some more than once.
    pub(super) fn customers(&self, epoch: &T) -> impl Iterator<Item = &Option<I>> {
        let all = if self.by_epoch.is_empty() && self.first == *epoch { self.batch.keys() } else { &[] };
        let start = self.by_epoch.partition_point(|(time, _, _)| time < epoch);
        let some = self.by_epoch[start..].iter().take_while(move |(time, _, _)| time == epoch);
        all.iter().chain(some.map(|(_, key, _)| &self.batch.keys()[*key]))
    }

    /// Shows the lines of a customer that changed in an epoch, with their diffs.
    pub(super) fn of_customer(&self, customer: &Option<I>, epoch: &T, mut see: impl FnMut(&Line<I>, isize)) {
        let Ok(key) = self.batch.keys().binary_search(customer) else { return };
        if self.by_epoch.is_empty() {
            self.batch.range(key).for_each(|value| self.at_value(value, epoch, &mut see));
            return;
        }
        let start = self.by_epoch.partition_point(|(time, other, _)| (time, *other) < (epoch, key));
        let changed = self.by_epoch[start..].iter().take_while(|(time, other, _)| time == epoch && *other == key);
        changed.for_each(|(_, _, value)| self.at_value(*value, epoch, &mut see));
    }

    fn at_value(&self, value: usize, epoch: &T, see: &mut impl FnMut(&Line<I>, isize)) {
        let diff = self.diff(value, epoch);
        if diff != 0 {
            see(&self.batch.values()[value], diff);
        }
    }

    fn diff(&self, value: usize, epoch: &T) -> isize {
        let (times, diffs) = self.batch.updates(value);
        times.binary_search(epoch).map_or(0, |at| diffs[at])
    }

    /// Shows up to `most` lines of the first epoch, from a key and value on, customer by customer; false if those were
    /// all.
    pub(super) fn some_of_first<'a>(
        &'a self,
        next: &mut (usize, usize),
        most: usize,
        mut see: impl FnMut(&'a Option<I>, &mut dyn Iterator<Item = &'a Line<I>>),
    ) -> bool {
        let (keys, values) = (self.batch.keys(), self.batch.values());
        let (mut key, mut value) = *next;
        let mut left = most;
        while key < keys.len() && left > 0 {
            let Range { start, end } = self.batch.range(key);
            let from = start.max(value);
            let to = end.min(from + left);
            if self.by_epoch.is_empty() {
                see(&keys[key], &mut values[from..to].iter());
            } else {
                let is_here = |at: &usize| self.diff(*at, &self.first) > 0;
                see(&keys[key], &mut (from..to).filter(is_here).map(|at| &values[at]));
            }
            left -= to - from;
            (key, value) = if to == end { (key + 1, end) } else { (key, to) };
        }
        *next = (key, value);
        key < keys.len()
    }
}
