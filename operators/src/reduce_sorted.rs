//! A reduction that reads only as many of a key's values as its result needs.
//!
//! Differential's `reduce` loads every value of a key that changed. Where the result depends on a few values at either
//! end, or on whether any exists, that is far too much: a key may have a million. Here the logic gets lazy
//! [`Values`] and reads those it needs.
//!
//! Retractions are recomputed from the values before the change, not remembered.
//! *Cost per change*: the logic, twice, and O(log n) to find the key. *State*: none beside the arrangement.

use differential_dataflow::consolidation::consolidate;
use differential_dataflow::difference::{IsZero, Multiply, Semigroup};
use differential_dataflow::{Data, ExchangeData, VecCollection};
use hashbrown::HashMap;
use timely::dataflow::operators::CapabilitySet;
use timely::progress::Timestamp;

use crate::batch::ByKey;
use crate::bounds::{Epochs, Key};
use crate::exchange::LocalHash;
use crate::key_changes::KeyChange;
use crate::read_ahead::read_ahead;
use crate::shared_reduce::{OutputBuffer, Reducer, Reductions, SharedReduce};
use crate::values::Values;

/// For each key, the records that `logic` pushes for the key's values.
///
/// `logic` must be a pure function of the sorted values, and push nothing for a key without values. A record pushed
/// twice has weight 2.
///
/// ```
/// use differential_dataflow::input::Input;
/// use millstream_operators::reduce_sorted;
/// use timely::dataflow::operators::capture::{Capture, Extract};
///
/// const PLAYER: u32 = 7;
/// let updates = timely::execute_directly(|worker| {
///     let (mut scores, updates) = worker.dataflow::<u64, _, _>(|scope| {
///         let (scores, collection) = scope.new_collection();
///         let best = reduce_sorted(collection.arrange_by_key(), "Best", |_player, scores, answers: &mut Vec<u64>| {
///             answers.extend(scores.descending().map(|(score, _)| *score).next());
///         });
///         (scores, best.inner.capture())
///     });
///     scores.insert((PLAYER, 30));
///     scores.insert((PLAYER, 20));
///     scores.advance_to(1);
///     scores.insert((PLAYER, 50));
///     updates
/// });
/// let updates: Vec<_> = updates.extract().into_iter().flat_map(|(_, updates)| updates).collect();
/// assert_eq!(updates, [((PLAYER, 30), 0, 1), ((PLAYER, 30), 1, -1), ((PLAYER, 50), 1, 1)]);
/// ```
pub fn reduce_sorted<'scope, T: Epochs, K: Key, V: ExchangeData, A: Data>(
    arranged: ByKey<'scope, T, K, V>,
    name: &str,
    mut logic: impl FnMut(&K, Values<'_, V, T>, &mut Vec<A>) + 'static,
) -> VecCollection<'scope, T, (K, A)> {
    let mut answers = Vec::new();
    reduce_summed(
        arranged,
        name,
        |_, _| (),
        move |key, values, (), rows| {
            logic(key, values, &mut answers);
            rows.extend(answers.drain(..).map(|answer| (key.clone(), answer)));
        },
    )
}

/// As [`reduce_sorted`]; `logic` also gets the sum of `term` over all values of the key, times their weights, and
/// pushes whole records.
///
/// A record may thus depend on all values of a key while only a few are read. *State*: a sum for each key whose sum
/// is not zero.
///
/// ```
/// # use differential_dataflow::input::Input;
/// # use millstream_operators::reduce_summed;
/// # timely::example(|scope| {
/// let scores = scope.new_collection_from([('A', 30), ('A', 20), ('B', 50)]).1.arrange_by_key();
/// let best_of_all = reduce_summed(scores, "Share", |_, score| *score, |player, scores, sum, rows| {
///     rows.extend(scores.descending().map(|(best, _)| (*player, *best, *sum)).next());
/// });
/// best_of_all.assert_eq(scope.new_collection_from([('A', 30, 50), ('B', 50, 50)]).1);
/// # });
/// ```
pub fn reduce_summed<'scope, T, K, V, R, A>(
    arranged: ByKey<'scope, T, K, V>,
    name: &str,
    term: impl Fn(&K, &V) -> R + 'static,
    logic: impl FnMut(&K, Values<'_, V, T>, &R, &mut Vec<A>) + 'static,
) -> VecCollection<'scope, T, A>
where
    T: Epochs,
    K: Key,
    V: ExchangeData,
    R: Semigroup + Default + Multiply<isize, Output = R> + 'static,
    A: Data,
{
    let shared = SharedReduce::new(arranged, name);
    let reduced = shared.reduce_summed(term, logic);
    shared.build();
    reduced
}

impl<'scope, T: Epochs, K: Key, V: ExchangeData> Reductions<'scope, T, K, V> {
    /// Adds the reduction of [`reduce_summed`].
    pub fn reduce_summed<R: Semigroup + Default + Multiply<isize, Output = R> + 'static, A: Data>(
        &self,
        term: impl Fn(&K, &V) -> R + 'static,
        logic: impl FnMut(&K, Values<'_, V, T>, &R, &mut Vec<A>) + 'static,
    ) -> VecCollection<'scope, T, A> {
        let (sums, before, after, changes) = Default::default();
        let is_in_waves = self.after().is_some();
        self.add(|output| SummedReducer { is_in_waves, term, logic, sums, before, after, changes, output })
    }
}

struct SummedReducer<T: Timestamp, K, R, A: Data, F, L> {
    /// True if a key has rows at one time only, so that nothing need be kept of it.
    is_in_waves: bool,
    term: F,
    logic: L,
    sums: HashMap<K, R, LocalHash>,
    /// The records before and after a step, and its updates.
    before: Vec<A>,
    after: Vec<A>,
    changes: Vec<(A, isize)>,
    output: OutputBuffer<T, A, isize>,
}

impl<T, K, V, R, A, F, L> Reducer<K, V, T> for SummedReducer<T, K, R, A, F, L>
where
    T: Epochs,
    K: Key,
    V: ExchangeData,
    R: Semigroup + Default + Multiply<isize, Output = R>,
    A: Data,
    F: Fn(&K, &V) -> R,
    L: FnMut(&K, Values<'_, V, T>, &R, &mut Vec<A>),
{
    fn read_ahead(&self, keys: &[&K], changes: &[KeyChange<'_, V, T>]) {
        let kept = keys.iter().zip(changes).filter(|(_, change)| !change.is_new());
        read_ahead(kept.map(|(key, _)| self.sums.get(*key).is_some_and(IsZero::is_zero)));
    }

    fn reduce(&mut self, key: &K, change: &KeyChange<'_, V, T>, held: &CapabilitySet<T>) {
        let SummedReducer { is_in_waves, term, logic, sums, before, after, changes, output } = self;
        let mut sum = sums.get_mut(key).map(std::mem::take).unwrap_or_default();
        let mut steps = change.steps();
        if !change.is_new() {
            logic(key, steps.values(), &sum, before);
        }
        while let Some(time) = steps.time() {
            steps.for_each_update(|value, diff| sum.plus_equals(&term(key, value).multiply(&diff)));
            steps.advance();
            logic(key, steps.values(), &sum, after);
            let next_before = if steps.time().is_some() { after.clone() } else { Vec::new() };
            differences(before, after, changes);
            output.extend(changes.drain(..).map(|(record, diff)| (record, time.clone(), diff)), held);
            before.extend(next_before);
        }
        if *is_in_waves {
            return;
        }
        if sum.is_zero() {
            sums.remove(key);
        } else if let Some(kept) = sums.get_mut(key) {
            *kept = sum;
        } else {
            sums.insert(key.clone(), sum);
        }
    }

    fn flush(&mut self, held: &CapabilitySet<T>) {
        self.output.flush(held);
    }
}

/// Drains the records before and after a step into its updates. A record at the same place in both is skipped, so that
/// only the others are sorted.
fn differences<A: Data>(before: &mut Vec<A>, after: &mut Vec<A>, changes: &mut Vec<(A, isize)>) {
    let (mut former, mut latter) = (before.drain(..), after.drain(..));
    loop {
        match (former.next(), latter.next()) {
            (None, None) => return consolidate(changes),
            (Some(one), Some(other)) if one == other => (),
            (one, other) => {
                changes.extend(one.map(|record| (record, -1)));
                changes.extend(other.map(|record| (record, 1)));
            }
        }
    }
}

/// The keys that have at least one value, each once.
///
/// ```
/// # use differential_dataflow::input::Input;
/// # use millstream_operators::present_keys;
/// # timely::example(|scope| {
/// let orders = scope.new_collection_from([(1, 'A'), (1, 'B'), (2, 'C')]).1.arrange_by_key();
/// present_keys(orders, "Customers").assert_eq(scope.new_collection_from([1, 2]).1);
/// # });
/// ```
pub fn present_keys<'scope, T: Epochs, K: Key, V: ExchangeData>(
    arranged: ByKey<'scope, T, K, V>,
    name: &str,
) -> VecCollection<'scope, T, K> {
    let present = reduce_sorted(arranged, name, |_, values, answers| {
        if !values.is_empty() {
            answers.push(());
        }
    });
    present.map(|(key, ())| key)
}
