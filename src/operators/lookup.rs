//! An inner join whose output is sent as it is made.

use differential_dataflow::lattice::Lattice;
use differential_dataflow::operators::join::join_traces;
use differential_dataflow::{AsCollection, Data, ExchangeData, VecCollection};
use timely::container::{CapacityContainerBuilder, PushInto};
use timely::progress::Timestamp;

use super::ByKey;

/// What `logic` makes of each pair of rows with the same key; the weight is the product of theirs.
///
/// As differential's `join_core`, but the output is not sorted and consolidated a buffer at a time, which there costs
/// more than the join itself when rows are wide and, as after [`complete`](super::complete()), none of them cancel.
pub fn lookup<'scope, T, K, V1, V2, D>(
    rows: ByKey<'scope, T, K, V1>,
    partners: ByKey<'scope, T, K, V2>,
    name: &str,
    mut logic: impl FnMut(&K, &V1, &V2) -> D + 'static,
) -> VecCollection<'scope, T, D>
where
    T: Timestamp + Lattice,
    K: ExchangeData,
    V1: ExchangeData,
    V2: ExchangeData,
    D: Data,
{
    let made = join_traces::<_, _, _, _, CapacityContainerBuilder<Vec<(D, T, isize)>>>(
        rows,
        partners,
        name,
        move |key, row, partner, time, weight, partner_weight, output| {
            output.push_into((logic(key, row, partner), time, weight * partner_weight));
        },
    );
    made.as_collection()
}
