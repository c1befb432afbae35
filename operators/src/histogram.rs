//! The number of a key's values between given bounds, empty intervals included.

use crate::bounds::{Key, Times};
use differential_dataflow::{ExchangeData, VecCollection};

/// Counts, for each key, the values below the first bound, from each bound up to the next, and from the last on.
///
/// The list has one more number than `bounds`. A value equal to a bound counts in the interval above it. A key without
/// values has no list.
///
/// *Updates per change*: ≤ 2. *Cost per change*: the number of bounds. *State*: a count for each interval that has
/// values, and the lists. *Times*: any lattice.
///
/// ```
/// use differential_dataflow::input::Input;
/// use millstream_operators::histogram;
///
/// timely::example(|scope| {
///     let ages = scope.new_collection_from([('S', 3), ('S', 18), ('S', 20), ('S', 90)]).1;
///     let histogram = histogram(ages, "Ages", vec![18, 40, 65]);
///     histogram.assert_eq(scope.new_collection_from([('S', vec![1, 2, 0, 1])]).1);
/// });
/// ```
///
/// # Panics
/// If the bounds do not ascend.
pub fn histogram<'scope, T: Times, K: Key, V: ExchangeData>(
    values: VecCollection<'scope, T, (K, V)>,
    name: &str,
    bounds: Vec<V>,
) -> VecCollection<'scope, T, (K, Vec<u64>)> {
    assert!(bounds.is_sorted_by(|a, b| a < b), "histogram {name}: found bounds {bounds:?}, wanted ascending ones");
    let intervals = bounds.len() + 1;
    let placed = values.map(move |(key, value)| (key, bounds.partition_point(|bound| *bound <= value)));
    placed.reduce_named(name, move |_, places, histograms| {
        let mut counts = vec![0; intervals];
        for (place, weight) in places {
            counts[**place] = u64::try_from(*weight).unwrap_or(0);
        }
        if counts.iter().any(|count| *count > 0) {
            histograms.push((counts, 1));
        }
    })
}
