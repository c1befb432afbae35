//! A left join of two collections that each have no more than one row under a key.
//!
//! The totals of a product and its name, a customer's tier and details: one row meets one row, or none. Arrangements
//! would keep both sides sorted, with their times; here a table of each is enough, and a key is looked up once an epoch.
//!
//! *Updates per change*: ≤ 2. *Cost per change*: O(log n) of the n changes of its epoch. *State*: the rows and the partners, each once;
//! none once both inputs are closed.

use std::collections::BTreeMap;
use std::hash::Hash;

use crate::exchange::LocalHash;
use differential_dataflow::{AsCollection, Data, ExchangeData, VecCollection};
use indexmap::IndexMap;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;
use timely::order::TotalOrder;
use timely::progress::Timestamp;

use super::latest_joined::Dimension;
use super::route;

/// What `logic` makes of each row and the partner with its key, or `None` where there is none.
///
/// At every time, `rows` and `partners` must each have at most one row under a key, with weight 1.
///
/// ```
/// use differential_dataflow::input::Input;
/// use millstream_operators::left_join_unique;
///
/// timely::example(|scope| {
///     let sold = scope.new_collection_from([('T', 7), ('X', 1)]).1;
///     let prices = scope.new_collection_from([('T', 4), ('M', 5)]).1;
///     let revenue = left_join_unique(sold, prices, "Revenue", |product, pieces, price| {
///         (*product, price.map(|price| pieces * price))
///     });
///     revenue.assert_eq(scope.new_collection_from([('T', Some(28)), ('X', None)]).1);
/// });
/// ```
pub fn left_join_unique<'scope, T, K, V, P, D>(
    rows: VecCollection<'scope, T, (K, V)>,
    partners: VecCollection<'scope, T, (K, P)>,
    name: &str,
    logic: impl Fn(&K, &V, Option<&P>) -> D + 'static,
) -> VecCollection<'scope, T, D>
where
    T: Timestamp + TotalOrder,
    K: ExchangeData + Hash,
    V: ExchangeData,
    P: ExchangeData,
    D: Data,
{
    let row_by_key = Exchange::new(|((key, _), _, _): &((K, V), T, isize)| route(key));
    let partner_by_key = Exchange::new(|((key, _), _, _): &((K, P), T, isize)| route(key));
    let joined = rows.inner.binary_frontier(partners.inner, row_by_key, partner_by_key, name, move |_, _| {
        let (mut rows, mut partners) = (Dimension::default(), Dimension::default());
        let mut pending: BTreeMap<T, (Capability<T>, Updates<K, V>, Updates<K, P>)> = BTreeMap::new();
        move |(row_input, row_frontier), (partner_input, partner_frontier), output| {
            row_input.for_each(|capability, updates| {
                for (row, time, diff) in updates.drain(..) {
                    let new = || (capability.delayed(&time, 0), Vec::new(), Vec::new());
                    pending.entry(time.clone()).or_insert_with(new).1.push((row, diff));
                }
            });
            partner_input.for_each(|capability, updates| {
                for (partner, time, diff) in updates.drain(..) {
                    let new = || (capability.delayed(&time, 0), Vec::new(), Vec::new());
                    pending.entry(time.clone()).or_insert_with(new).2.push((partner, diff));
                }
            });
            let is_over = |time: &T| !row_frontier.less_equal(time) && !partner_frontier.less_equal(time);
            while let Some(epoch) = pending.first_entry().filter(|epoch| is_over(epoch.key())) {
                let (capability, row_updates, partner_updates) = epoch.remove();
                let shown = |key: &K, rows: &Dimension<K, V>, partners: &Dimension<K, P>| {
                    rows.get(Some(key)).map(|row| logic(key, row, partners.get(Some(key))))
                };
                let keys = row_updates.iter().map(|((key, _), _)| key);
                let keys = keys.chain(partner_updates.iter().map(|((key, _), _)| key));
                let before: IndexMap<K, Option<D>, LocalHash> =
                    keys.map(|key| (key.clone(), shown(key, &rows, &partners))).collect();
                rows.apply(row_updates);
                partners.apply(partner_updates);
                let (mut session, time) = (output.session(&capability), capability.time());
                for (key, before) in before {
                    let after = shown(&key, &rows, &partners);
                    if before != after {
                        let updates = [(before, -1), (after, 1)].into_iter();
                        session.give_iterator(updates.filter_map(|(row, diff)| Some((row?, time.clone(), diff))));
                    }
                }
            }
            if row_frontier.is_empty() && partner_frontier.is_empty() {
                (rows, partners) = Default::default();
            }
        }
    });
    joined.as_collection()
}

type Updates<K, V> = Vec<((K, V), isize)>;
