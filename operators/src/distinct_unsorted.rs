//! How many distinct keys each group has, with the rows of a key in any order.
//!
//! The usual way arranges every (group, key) pair. Here the rows of a changed key are counted again, as most keys have
//! few. For a key with many rows, a count per part is kept.
//!
//! ```text
//! customer   1                    2
//! product    T  M  T  B           M  M              T: 1 customer, M: 2, B: 1
//! ```
//!
//! *Cost per change*: the rows of the key, if a part gains or loses some; else, and of a key with more than 1,024,
//! those that change. *State*: the number of rows in each part of such a key.

use std::hash::Hash;

use differential_dataflow::difference::{Multiply, Semigroup};
use differential_dataflow::{Data, ExchangeData, VecCollection};
use hashbrown::HashMap;
use timely::dataflow::operators::CapabilitySet;
use timely::progress::Timestamp;

use crate::batch::ByKey;
use crate::bounds::{Epochs, Key};
use crate::exchange::LocalHash;
use crate::key_changes::KeyChange;
use crate::shared_reduce::{OutputBuffer, Reducer, Reductions, SharedReduce};
use crate::sums::{Group, Sums};

/// Sums by group of a term for each row and a term for each distinct key, in one pass, where the rows of a part need
/// not be adjacent: [`accumulate_distinct`](crate::accumulate_distinct()) without a condition on `part`.
///
/// `term` gives a row's group and term, or `None` for a row that adds nothing. Each key that has a row in a part adds
/// `once` to the group of that part.
///
/// *Cost per change*: the rows of the key, if a part gains or loses rows at some time; else, and of a key with more
/// than 1,024 rows, those that change. *State*: the number of rows in each part of such a key.
///
/// ```
/// # use differential_dataflow::input::Input;
/// # use millstream_operators::{accumulate_distinct_unsorted, totals};
/// # timely::example(|scope| {
/// // Customers, days and products: how many customers and how many orders has each product?
/// let orders = [(1, (1, 'T')), (1, (2, 'M')), (1, (3, 'T')), (2, (1, 'M'))];
/// let orders = scope.new_collection_from(orders).1.arrange_by_key();
/// let sums = accumulate_distinct_unsorted(
///     orders,
///     "Products",
///     (1_isize, 0_isize),
///     |_, (_, product)| Some(*product),
///     |_, product| *product,
///     |_, (_, product)| Some((*product, (0, 1))),
/// );
/// let products = totals(sums, "Totals", |product, (customers, orders)| (*product, *customers, *orders));
/// products.assert_eq(scope.new_collection_from([('T', 1, 2), ('M', 2, 2)]).1);
/// # });
/// ```
pub fn accumulate_distinct_unsorted<'scope, T, K, V, P, G, R>(
    arranged: ByKey<'scope, T, K, V>,
    name: &str,
    once: R,
    part: impl Fn(&K, &V) -> Option<P> + 'static,
    group: impl Fn(&K, &P) -> G + 'static,
    term: impl Fn(&K, &V) -> Option<(G, R)> + 'static,
) -> VecCollection<'scope, T, G, R>
where
    T: Epochs,
    K: Key,
    V: ExchangeData,
    P: Ord + Hash + Clone + 'static,
    G: Group,
    R: Data + Semigroup + Multiply<isize, Output = R>,
{
    let shared = SharedReduce::new(arranged, name);
    let counts = shared.accumulate_distinct_unsorted(once, part, group, term);
    shared.build();
    counts
}

impl<'scope, T: Epochs, K: Key, V: ExchangeData> Reductions<'scope, T, K, V> {
    /// Adds the reduction of [`accumulate_distinct_unsorted`].
    pub fn accumulate_distinct_unsorted<P, G: Group, R: Data + Semigroup + Multiply<isize, Output = R>>(
        &self,
        once: R,
        part: impl Fn(&K, &V) -> Option<P> + 'static,
        group: impl Fn(&K, &P) -> G + 'static,
        term: impl Fn(&K, &V) -> Option<(G, R)> + 'static,
    ) -> VecCollection<'scope, T, G, R>
    where
        P: Ord + Hash + Clone + 'static,
    {
        let (sums, counts) = (Sums::at(self.after()), HashMap::default());
        let is_in_waves = self.after().is_some();
        self.add(|output| UnsortedReducer { is_in_waves, part, group, term, once, sums, counts, output })
    }
}

struct UnsortedReducer<T: Timestamp, K, P, G: Group, R: Data, F, N, M> {
    /// True if a key has rows at one time only, so that nothing need be kept of it.
    is_in_waves: bool,
    part: F,
    group: N,
    term: M,
    once: R,
    sums: Sums<G, T, R>,
    /// How many rows each part has, of keys that had many when they changed.
    counts: HashMap<K, Counts<P>, LocalHash>,
    output: OutputBuffer<T, G, R>,
}

type Counts<P> = HashMap<P, isize, LocalHash>;

/// The most rows of a key that are counted again whenever it changes.
const RECOUNTED_MAX: usize = 1 << 10;

impl<T, K, V, P, G, R, F, N, M> Reducer<K, V, T> for UnsortedReducer<T, K, P, G, R, F, N, M>
where
    T: Epochs,
    K: Key,
    V: ExchangeData,
    P: Ord + Hash + Clone,
    G: Group,
    R: Data + Semigroup + Multiply<isize, Output = R>,
    F: Fn(&K, &V) -> Option<P>,
    N: Fn(&K, &P) -> G,
    M: Fn(&K, &V) -> Option<(G, R)>,
{
    fn reduce(&mut self, key: &K, change: &KeyChange<'_, V, T>, _: &CapabilitySet<T>) {
        let UnsortedReducer { is_in_waves, part, group, term, once, sums, counts, .. } = self;
        let part = |value: &V| part(key, value);
        let add_term = |sums: &mut Sums<G, T, R>, value: &V, time: &T, weight: isize| {
            if let Some((group, term)) = term(key, value) {
                sums.add(group, time, term.multiply(&weight));
            }
        };
        let mut updates = Vec::new();
        change.for_each_update(|value, time, weight| match part(value) {
            Some(part) => updates.push((part, time, weight, value)),
            None => add_term(sums, value, time, weight),
        });
        if updates.is_empty() {
            return;
        }
        updates.sort_unstable_by(|one, other| (&one.0, one.1).cmp(&(&other.0, other.1)));
        let by_part = updates.chunk_by(|one, other| one.0 == other.0);
        let mut parts: Vec<(&P, isize)> = by_part.clone().map(|updates| (&updates[0].0, 0)).collect();
        let mut kept = if *is_in_waves { None } else { kept_counts(counts, key, change, part) };
        if kept.is_some() || !by_part.clone().all(keeps_rows) {
            count_earlier(&mut parts, kept.as_deref(), change, part);
        }
        // Part by part, so that a group is mostly looked up once.
        for (updates, (part, rows)) in by_part.zip(&mut parts) {
            for at_time in updates.chunk_by(|one, other| one.1 == other.1) {
                let (time, was_present) = (at_time[0].1, *rows > 0);
                for (_, _, weight, value) in at_time {
                    add_term(sums, value, time, *weight);
                    *rows += weight;
                }
                if was_present != (*rows > 0) {
                    sums.add(group(key, part), time, once.clone().multiply(if was_present { &-1 } else { &1 }));
                }
            }
        }
        if let Some(kept) = &mut kept {
            for (part, rows) in parts {
                match rows {
                    0 => kept.remove(part),
                    rows => kept.insert(part.clone(), rows),
                };
            }
            if kept.is_empty() && change.values() <= RECOUNTED_MAX {
                counts.remove(key);
            }
        }
    }

    fn flush(&mut self, held: &CapabilitySet<T>) {
        self.output.extend(self.sums.take_updates(), held);
        self.output.flush(held);
    }

    fn is_sum(&self) -> bool {
        true
    }
}

/// True if the updates of a part add up to nothing at each time: it stays present or absent, whatever rows it has.
fn keeps_rows<P, T: PartialEq, V>(updates: &[(P, &T, isize, &V)]) -> bool {
    updates
        .chunk_by(|one, other| one.1 == other.1)
        .all(|at_time| at_time.iter().map(|update| update.2).sum::<isize>() == 0)
}

/// How many rows each part of a key had before a change, if the key has so many that this is kept.
fn kept_counts<'c, K: Key, V: Ord, T: Epochs, P: Ord + Hash>(
    counts: &'c mut HashMap<K, Counts<P>, LocalHash>,
    key: &K,
    change: &KeyChange<'_, V, T>,
    part: impl Fn(&V) -> Option<P>,
) -> Option<&'c mut Counts<P>> {
    if change.values() > RECOUNTED_MAX && !counts.contains_key(key) {
        let mut kept = Counts::default();
        change.for_each_earlier(|value, weight| {
            if let Some(part) = part(value) {
                *kept.entry(part).or_default() += weight;
            }
        });
        kept.retain(|_, rows| *rows != 0);
        counts.insert(key.clone(), kept);
    }
    counts.get_mut(key)
}

/// Adds to some parts, in order, the rows that each had before a change.
fn count_earlier<V: Ord, T: Epochs, P: Ord + Hash>(
    parts: &mut [(&P, isize)],
    kept: Option<&Counts<P>>,
    change: &KeyChange<'_, V, T>,
    part: impl Fn(&V) -> Option<P>,
) {
    if let Some(kept) = kept {
        return parts.iter_mut().for_each(|(part, rows)| *rows = kept.get(*part).copied().unwrap_or(0));
    }
    change.for_each_earlier(|value, weight| {
        let Some(found) = part(value) else { return };
        if let Ok(at) = parts.binary_search_by(|(part, _)| (*part).cmp(&found)) {
            parts[at].1 += weight;
        }
    });
}
