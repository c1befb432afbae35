//! A value or `None` for each required key, which turns an inner join into an outer one.
//!
//! A left join usually joins, finds the rows without a partner and adds them back, which moves every row twice. Here
//! the *right* side is completed instead: it gets a `None` for each key that only the left side has. Keys are few
//! where rows are many, and an inner join then finds one partner for every row.

use crate::bounds::{Key, Times};
use differential_dataflow::trace::implementations::{ValBuilder, ValSpine};
use differential_dataflow::{ExchangeData, VecCollection};

use crate::batch::{ByKey, push_values};

/// The values by key, and `None` under each key of `needed` that has no value.
///
/// A key has one row in the result, whatever the weights in `needed`; of several values it has the greatest. Rows of
/// negative weight count as absent.
///
/// *Cost per change*: O(1). *State*: every key and value, twice.
///
/// ```
/// # use differential_dataflow::input::Input;
/// # use millstream_operators::complete;
/// # timely::example(|scope| {
/// let needed = scope.new_collection_from(['T', 'M']).1;
/// let prices = scope.new_collection_from([('T', 4)]).1;
/// let completed = complete(needed, prices, "Prices").as_collection(|product, price| (*product, *price));
/// completed.assert_eq(scope.new_collection_from([('T', Some(4)), ('M', None)]).1);
/// # });
/// ```
pub fn complete<'scope, T: Times, K: Key, V: ExchangeData>(
    needed: VecCollection<'scope, T, K>,
    values: VecCollection<'scope, T, (K, V)>,
    name: &str,
) -> ByKey<'scope, T, K, Option<V>> {
    let missing = needed.map(|key| (key, None));
    missing
        .concat(values.map(|(key, value)| (key, Some(value))))
        .arrange_by_key_named(&format!("{name}: candidates"))
        .reduce_abelian::<_, ValBuilder<_, _, _, _>, ValSpine<_, _, _, _>, _, _>(
        name,
        |_, candidates, chosen| {
            let greatest = candidates.iter().rev().find(|(_, weight)| *weight > 0);
            chosen.extend(greatest.map(|(candidate, _)| ((*candidate).clone(), 1)));
        },
        push_values,
    )
}
