//! A collection as upserts: what changes in an epoch, as rows that are written and deleted.

use std::collections::BTreeMap;
use std::hash::Hash;

use differential_dataflow::consolidation::consolidate;
use differential_dataflow::{ExchangeData, VecCollection};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;
use timely::order::TotalOrder;
use timely::progress::Timestamp;

use super::{Position, Upsert, retain, route};

/// The changes of a collection as upserts, one for each key and epoch in which its row changed.
///
/// At every time, `rows` must have at most one row under a key, with weight 1. It is what
/// [`latest`](super::latest()) undoes. *Cost per change*: O(log n) of the n of its epoch. *State*: none beside the epochs that are not over.
///
/// ```
/// use differential_dataflow::input::Input;
/// use millstream_operators::{latest, upserts};
///
/// timely::example(|scope| {
///     let prices = scope.new_collection_from([('T', 4), ('M', 5)]).1;
///     latest(upserts(prices.clone(), "Written"), "Prices").assert_eq(prices);
/// });
/// ```
pub fn upserts<'scope, T, K, V>(
    rows: VecCollection<'scope, T, (K, V)>,
    name: &str,
) -> StreamVec<'scope, T, Upsert<K, V>>
where
    T: Timestamp + TotalOrder,
    K: ExchangeData + Hash,
    V: ExchangeData,
{
    let by_key = Exchange::new(|((key, _), _, _): &((K, V), T, isize)| route(key));
    rows.inner.unary_frontier(by_key, name, |_, _| {
        let mut pending = BTreeMap::new();
        move |(input, frontier), output| {
            input.for_each(|capability, updates| {
                let capability = retain(&capability);
                for (row, time, diff) in updates.drain(..) {
                    let epoch = pending.entry(time);
                    let (_, waiting) = epoch.or_insert_with_key(|time| (capability.delayed(time), Vec::new()));
                    waiting.push((row, diff));
                }
            });
            while let Some(first) = pending.first_entry() {
                if frontier.less_equal(first.key()) {
                    break;
                }
                let (capability, mut updates) = first.remove();
                consolidate(&mut updates);
                let mut session = output.session(&capability);
                for ((key, row), diff) in updates {
                    // Of a row that goes and one that comes under the same key, the one that comes is the last.
                    let written = (diff > 0).then_some(row);
                    session.give((key, Position::after(u64::from(written.is_some())), written));
                }
            }
        }
    })
}
