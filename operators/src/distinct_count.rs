//! How many distinct keys each group has, read from an existing arrangement.
//!
//! The usual way arranges every distinct (group, key) pair. Where an arrangement is sorted by key and then by group,
//! the rows of one pair are adjacent: they are a *run*, and a pair is present while its run has a row.
//!
//! ```text
//! customer   1                          2
//! day        Mo Mo Mo  Tu  Th Th        Mo  Th Th Th      Mo: 2 customers, Tu: 1, Th: 2
//! runs       └──────┘  └┘  └───┘        └┘  └──────┘
//! ```
//!
//! *Cost per change*: O(log n), and the retracted rows at the start of the run. *State*: none beside the arrangement.

use std::cmp::Ordering;

use differential_dataflow::difference::{Multiply, Semigroup};
use differential_dataflow::{Data, ExchangeData, VecCollection};
use timely::dataflow::operators::CapabilitySet;
use timely::progress::Timestamp;

use crate::batch::ByKey;
use crate::bounds::Epochs;
use crate::key_changes::KeyChange;
use crate::shared_reduce::{OutputBuffer, Reducer, Reductions, SharedReduce};
use crate::sums::{Group, Sums};
use crate::values::Values;

/// Counts, for each group, the keys that have a row in it. The count is the group's weight.
///
/// `part` returns the part of its key's rows that a row belongs to, or `None` for a row that does not count. Along the
/// sorted values of one key it must never fall (`None` is the least), so that the rows of a part are adjacent. `group`
/// returns the group in which a part of a key counts. Several parts may have the same group, and each counts.
///
/// Updates of one group that arrive together are added up before they are sent. Weights must not be negative at the end
/// of an epoch: a part that loses one row and gains another is not searched.
///
/// # Panics
///
/// If a part falls along the values of a key that has all its rows at one time, such as those of a first load. At other
/// times only parts that change are read, so a part that falls is counted wrongly.
///
/// ```
/// # use differential_dataflow::input::Input;
/// # use millstream_operators::distinct_count;
/// # timely::example(|scope| {
/// // Customers and the days of their orders: how many customers has each day?
/// let orders = scope.new_collection_from([(1, 'M'), (1, 'M'), (1, 'T'), (2, 'M')]).1.arrange_by_key();
/// let customers = distinct_count(orders, "Customers", |_, day| Some(*day), |_, day| *day);
/// customers.assert_eq(scope.new_collection_from(['M', 'M', 'T']).1);
/// # });
/// ```
pub fn distinct_count<'scope, T: Epochs, K: ExchangeData, V: ExchangeData, P: Ord, G: Group>(
    arranged: ByKey<'scope, T, K, V>,
    name: &str,
    part: impl Fn(&K, &V) -> Option<P> + 'static,
    group: impl Fn(&K, &P) -> G + 'static,
) -> VecCollection<'scope, T, G> {
    accumulate_distinct(arranged, name, 1, part, group, |_, _| None)
}

/// Sums by group of a term for each row and a term for each distinct key, in one pass:
/// [`accumulate`](crate::accumulate()) and [`distinct_count`] fused.
///
/// `term` gives a row's group and term, or `None` for a row that adds nothing. Each key that has a row in a part adds
/// `once` to the group of that part; `part` and `group` are as in [`distinct_count`].
///
/// # Panics
///
/// As [`distinct_count`].
///
/// ```
/// # use differential_dataflow::input::Input;
/// # use millstream_operators::{accumulate_distinct, totals};
/// # timely::example(|scope| {
/// // Customers, days and pieces: how many customers and how many pieces has each day?
/// let orders = [(1, ('M', 3)), (1, ('M', 4)), (1, ('T', 1)), (2, ('M', 5))];
/// let orders = scope.new_collection_from(orders).1.arrange_by_key();
/// let sums = accumulate_distinct(
///     orders,
///     "Days",
///     (1_isize, 0_isize),
///     |_, (day, _)| Some(*day),
///     |_, day| *day,
///     |_, (day, pieces)| Some((*day, (0, *pieces))),
/// );
/// let days = totals(sums, "Totals", |day, (customers, pieces)| (*day, *customers, *pieces));
/// days.assert_eq(scope.new_collection_from([('M', 2, 12), ('T', 1, 1)]).1);
/// # });
/// ```
pub fn accumulate_distinct<'scope, T, K, V, P, G, R>(
    arranged: ByKey<'scope, T, K, V>,
    name: &str,
    once: R,
    part: impl Fn(&K, &V) -> Option<P> + 'static,
    group: impl Fn(&K, &P) -> G + 'static,
    term: impl Fn(&K, &V) -> Option<(G, R)> + 'static,
) -> VecCollection<'scope, T, G, R>
where
    T: Epochs,
    K: ExchangeData,
    V: ExchangeData,
    P: Ord,
    G: Group,
    R: Data + Semigroup + Multiply<isize, Output = R>,
{
    let shared = SharedReduce::new(arranged, name);
    let counts = shared.accumulate_distinct(once, part, group, term);
    shared.build();
    counts
}

impl<'scope, T: Epochs, K: ExchangeData, V: ExchangeData> Reductions<'scope, T, K, V> {
    /// Adds the reduction of [`accumulate_distinct`].
    pub fn accumulate_distinct<P: Ord, G: Group, R: Data + Semigroup + Multiply<isize, Output = R>>(
        &self,
        once: R,
        part: impl Fn(&K, &V) -> Option<P> + 'static,
        group: impl Fn(&K, &P) -> G + 'static,
        term: impl Fn(&K, &V) -> Option<(G, R)> + 'static,
    ) -> VecCollection<'scope, T, G, R> {
        let name = self.name().to_owned();
        self.add(|output| DistinctReducer { name, part, group, term, once, sums: Sums::at(self.after()), output })
    }
}

struct DistinctReducer<T: Timestamp, G: Group, R: Data, F, N, M> {
    name: String,
    part: F,
    group: N,
    term: M,
    once: R,
    sums: Sums<G, T, R>,
    output: OutputBuffer<T, G, R>,
}

impl<T, K, V, P, G, R, F, N, M> Reducer<K, V, T> for DistinctReducer<T, G, R, F, N, M>
where
    T: Epochs,
    K: ExchangeData,
    V: ExchangeData,
    P: Ord,
    G: Group,
    R: Data + Semigroup + Multiply<isize, Output = R>,
    F: Fn(&K, &V) -> Option<P>,
    N: Fn(&K, &P) -> G,
    M: Fn(&K, &V) -> Option<(G, R)>,
{
    fn reduce(&mut self, key: &K, change: &KeyChange<'_, V, T>, _: &CapabilitySet<T>) {
        let DistinctReducer { name, part, group, term, once, sums, .. } = self;
        change.for_each_update(|value, time, weight| {
            if let Some((group, term)) = term(key, value) {
                sums.add(group, time, term.multiply(&weight));
            }
        });
        let mut count = |found: &P, time: &T, diff| sums.add(group(key, found), time, once.clone().multiply(&diff));
        match change.only_time() {
            Some(time) if change.is_new() => {
                let mut steps = change.steps();
                steps.advance();
                let is_sorted = each_part(&steps.values(), |value| part(key, value), |found| count(found, time, 1));
                assert!(
                    is_sorted,
                    "{name:?}: found a part that falls along the values of key {key:?}, wanted parts that never fall"
                );
            }
            _ => each_change(change, |value| part(key, value), &mut count),
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

/// Shows each part that has a row, by one pass over all rows; false if a part is less than one before it.
fn each_part<V: Ord, T: Timestamp, P: Ord>(
    values: &Values<'_, V, T>,
    part: impl Fn(&V) -> Option<P>,
    mut show: impl FnMut(&P),
) -> bool {
    let mut last = None;
    for (value, _) in values.ascending() {
        let found = part(value);
        match found.cmp(&last) {
            Ordering::Less => return false,
            Ordering::Equal => (),
            Ordering::Greater => {
                found.iter().for_each(&mut show);
                last = found;
            }
        }
    }
    true
}

/// Shows when each part with an update got its first row or lost its last.
fn each_change<V: Ord, T: Epochs, P: Ord>(
    change: &KeyChange<'_, V, T>,
    part: impl Fn(&V) -> Option<P>,
    show: &mut impl FnMut(&P, &T, isize),
) {
    let has_row = |values: &Values<'_, V, T>, wanted: &P| {
        let next = values.ascending_from(|value| part(value).as_ref() < Some(wanted)).next();
        next.is_some_and(|(value, _)| part(value).as_ref() == Some(wanted))
    };
    let (mut steps, mut parts) = (change.steps(), Vec::new());
    while let Some(time) = steps.time() {
        parts.clear();
        steps.for_each_update(|value, diff| parts.extend(part(value).map(|part| (part, diff))));
        parts.sort_unstable();
        // Weights are never negative, so a part that loses a row and gains another had rows before and has some after.
        let changed = parts.chunk_by(|one, other| one.0 == other.0).filter_map(|updates| {
            let ((part, least), (_, greatest)) = (updates.first()?, updates.last()?);
            let (gains, loses) = (*greatest > 0, *least < 0);
            (gains != loses && !(gains && has_row(&steps.values(), part))).then_some((part, gains))
        });
        let changed: Vec<_> = changed.collect();
        steps.advance();
        for (part, gains) in changed {
            if gains {
                show(part, time, 1);
            } else if !has_row(&steps.values(), part) {
                show(part, time, -1);
            }
        }
    }
}
