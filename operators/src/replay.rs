//! The updates of one key at several times, replayed in the order of times.
//!
//! A batch may span many epochs. Filtering all its updates for each of them would cost epochs · updates, so they are
//! sorted by time once, and the weight of each value is kept as of the time that was reached. Values of weight zero,
//! such as those inserted later, are skipped by a bit set.
//!
//! Cost for u updates: O(u log u). State: none once the key is passed.

/// The updates of a key, by value and by time.
pub(crate) struct Timeline<'a, V> {
    /// The values that have an update, ascending.
    values: Vec<&'a V>,
    /// Sorted by time.
    updates: Vec<TimedUpdate>,
}

/// By how much the weight of a value changes, both as indexes: of the time and of the value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct TimedUpdate {
    time: usize,
    value: usize,
    diff: isize,
}

impl<'a, V: Ord> Timeline<'a, V> {
    /// Of updates in any order, with the index of their time.
    pub(crate) fn new(updates: impl Iterator<Item = (&'a V, usize, isize)> + Clone) -> Self {
        let mut values: Vec<&V> = updates.clone().map(|(value, _, _)| value).collect();
        values.sort();
        values.dedup();
        let place = |value: &V| values.partition_point(|other| *other < value);
        let mut updates: Vec<_> =
            updates.map(|(value, time, diff)| TimedUpdate { time, value: place(value), diff }).collect();
        updates.sort_unstable();
        // A compacted batch may have updates at the time of the one that follows it.
        updates.dedup_by(|next, kept| {
            let is_same = (next.time, next.value) == (kept.time, kept.value);
            kept.diff += if is_same { next.diff } else { 0 };
            is_same
        });
        updates.retain(|update| update.diff != 0);
        Timeline { values, updates }
    }
}

/// A timeline, played up to some time.
pub(crate) struct Replay<'a, V> {
    timeline: &'a Timeline<'a, V>,
    /// How many updates have been played.
    played: usize,
    /// The index of the next time.
    time: usize,
    /// The weight of each value, and which are not zero.
    weights: Vec<isize>,
    nonzero: BitSet,
}

impl<'a, V> Replay<'a, V> {
    /// Before the first time.
    pub(crate) fn new(timeline: &'a Timeline<'a, V>) -> Self {
        let count = timeline.values.len();
        Replay { timeline, played: 0, time: 0, weights: vec![0; count], nonzero: BitSet::new(count) }
    }

    /// The updates at the next time.
    pub(crate) fn updates(&self) -> impl Iterator<Item = (&'a V, isize)> {
        let (timeline, time) = (self.timeline, self.time);
        let at_time = timeline.updates[self.played..].iter().take_while(move |update| update.time == time);
        at_time.map(|update| (timeline.values[update.value], update.diff))
    }

    /// Plays the updates at the next time.
    pub(crate) fn advance(&mut self) {
        while let Some(update) = self.timeline.updates.get(self.played).filter(|update| update.time == self.time) {
            let weight = &mut self.weights[update.value];
            *weight += update.diff;
            self.nonzero.set(update.value, *weight != 0);
            self.played += 1;
        }
        self.time += 1;
    }

    /// All values of the timeline, whatever their weight.
    pub(crate) fn values(&self) -> &'a [&'a V] {
        &self.timeline.values
    }

    /// The weight of the nth value.
    pub(crate) fn weight(&self, value: usize) -> isize {
        self.weights[value]
    }

    /// The first value from this one on whose weight is not zero, or the number of values.
    pub(crate) fn next(&self, value: usize) -> usize {
        self.nonzero.next(value).unwrap_or(self.weights.len())
    }

    /// One more than the last value before this one whose weight is not zero, or zero.
    pub(crate) fn end_before(&self, value: usize) -> usize {
        self.nonzero.previous(value).map_or(0, |value| value + 1)
    }
}

/// A set of small numbers, with one bit for each and one for every 64 of them.
struct BitSet {
    words: Vec<u64>,
    summary: Vec<u64>,
}

impl BitSet {
    fn new(count: usize) -> Self {
        let words = count.div_ceil(64);
        BitSet { words: vec![0; words], summary: vec![0; words.div_ceil(64)] }
    }

    fn set(&mut self, number: usize, is_in: bool) {
        set_bit(&mut self.words, number, is_in);
        set_bit(&mut self.summary, number / 64, self.words[number / 64] != 0);
    }

    /// The least number in the set that is not less than this one.
    fn next(&self, number: usize) -> Option<usize> {
        let word = number / 64;
        let rest = self.words.get(word)? & (u64::MAX << (number % 64));
        if rest != 0 {
            return Some(word * 64 + rest.trailing_zeros() as usize);
        }
        let mut block = (word + 1) / 64;
        let mut words = self.summary.get(block)? & (u64::MAX << ((word + 1) % 64));
        while words == 0 {
            block += 1;
            words = *self.summary.get(block)?;
        }
        let word = block * 64 + words.trailing_zeros() as usize;
        Some(word * 64 + self.words[word].trailing_zeros() as usize)
    }

    /// The greatest number in the set that is less than this one.
    fn previous(&self, number: usize) -> Option<usize> {
        let word = number / 64;
        let rest = self.words.get(word).map_or(0, |bits| bits & !(u64::MAX << (number % 64)));
        if rest != 0 {
            return Some(word * 64 + last_bit(rest));
        }
        let mut block = word / 64;
        let mut words = self.summary.get(block).map_or(0, |words| words & !(u64::MAX << (word % 64)));
        while words == 0 {
            block = block.checked_sub(1)?;
            words = self.summary[block];
        }
        let word = block * 64 + last_bit(words);
        Some(word * 64 + last_bit(self.words[word]))
    }
}

fn set_bit(words: &mut [u64], number: usize, is_in: bool) {
    let bit = 1 << (number % 64);
    if is_in {
        words[number / 64] |= bit;
    } else {
        words[number / 64] &= !bit;
    }
}

/// The position of the highest bit of a word that is not zero.
fn last_bit(word: u64) -> usize {
    63 - word.leading_zeros() as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bit_set_is_a_set(
            count in 1..20_000_usize,
            picks in proptest::collection::vec((any::<usize>(), any::<bool>()), 0..60),
        ) {
            let (mut bits, mut set) = (BitSet::new(count), BTreeSet::new());
            for (pick, is_in) in picks {
                let number = pick % count;
                bits.set(number, is_in);
                if is_in { set.insert(number); } else { set.remove(&number); }
                for from in [0, number, number + 1, count / 2, count - 1, count] {
                    prop_assert_eq!(bits.next(from), set.range(from..).next().copied());
                    prop_assert_eq!(bits.previous(from), set.range(..from).next_back().copied());
                }
            }
        }
    }

    #[test]
    fn a_replay_has_the_weights_of_its_time() {
        let updates = [('b', 1, 1), ('a', 0, 2), ('b', 0, 1), ('c', 2, 1), ('b', 2, -2)];
        let timeline = Timeline::new(updates.iter().map(|(value, time, diff)| (value, *time, *diff)));
        let mut replay = Replay::new(&timeline);
        let mut weights = Vec::new();
        for _ in 0..3 {
            replay.advance();
            weights.push([replay.weight(0), replay.weight(1), replay.weight(2)]);
        }
        assert_eq!(weights, [[2, 1, 0], [2, 2, 0], [2, 0, 1]]);
        assert_eq!((replay.next(1), replay.end_before(2)), (2, 1), "b is skipped");
    }
}
