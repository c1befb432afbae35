//! All the values of a key in one record.
//!
//! The record holds the whole group, so a change costs the group, and replaces one record by another. Prefer rows of
//! their own where the consumer can take them.
//!
//! *Updates per change*: ≤ 2, each as large as the group. *Cost*: the group. *State*: the values, twice. *Nulls*:
//! values like others, where Spark's functions skip them. *Times*: any lattice.

use crate::bounds::{Key, Times};
use differential_dataflow::{ExchangeData, VecCollection};

/// The values of each key in one list, ordered by `O` and then by themselves. A value of weight w is listed w times. A
/// key without values has no list.
///
/// ```
/// use differential_dataflow::input::Input;
/// use millstream_operators::collect_list;
///
/// timely::example(|scope| {
///     let visits = scope.new_collection_from([(1, (12, 'C')), (1, (8, 'H')), (1, (12, 'C'))]).1;
///     let paths = collect_list(visits, "Paths");
///     paths.assert_eq(scope.new_collection_from([(1, vec!['H', 'C', 'C'])]).1);
/// });
/// ```
pub fn collect_list<'scope, T: Times, K: Key, O: ExchangeData, V: ExchangeData>(
    values: VecCollection<'scope, T, (K, (O, V))>,
    name: &str,
) -> VecCollection<'scope, T, (K, Vec<V>)> {
    values.reduce_named(name, |_, values, lists| {
        let each = values.iter().flat_map(|((_, value), weight)| {
            std::iter::repeat_n(value, usize::try_from(*weight).unwrap_or(0)).cloned()
        });
        let list: Vec<_> = each.collect();
        if !list.is_empty() {
            lists.push((list, 1));
        }
    })
}

/// The distinct values of each key, ascending. A key without values has no set.
///
/// ```
/// use differential_dataflow::input::Input;
/// use millstream_operators::collect_set;
///
/// timely::example(|scope| {
///     let visits = scope.new_collection_from([(1, 'H'), (1, 'C'), (1, 'H')]).1;
///     collect_set(visits, "Pages").assert_eq(scope.new_collection_from([(1, vec!['C', 'H'])]).1);
/// });
/// ```
pub fn collect_set<'scope, T: Times, K: Key, V: ExchangeData>(
    values: VecCollection<'scope, T, (K, V)>,
    name: &str,
) -> VecCollection<'scope, T, (K, Vec<V>)> {
    values.reduce_named(name, |_, values, sets| {
        let present = values.iter().filter(|(_, weight)| *weight > 0).map(|(value, _)| (*value).clone());
        let set: Vec<_> = present.collect();
        if !set.is_empty() {
            sets.push((set, 1));
        }
    })
}
