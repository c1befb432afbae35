//! A left join of two collections that each have no more than one row under a key.
//!
//! The totals of a product and its name, a customer's tier and details: one row meets one row, or none. Arrangements
//! would keep both sides sorted, with their times; here a table of each is enough, and a key is looked up once an epoch.
//!
//! *Updates per change*: ≤ 2. *Cost per change*: O(log n) of the n changes of its epoch. *State*: the rows and the partners, each once;
//! none once both inputs are closed.

use std::collections::BTreeMap;
use std::hash::Hash;

use differential_dataflow::{AsCollection, Data, ExchangeData, VecCollection};
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;
use timely::order::TotalOrder;
use timely::progress::Timestamp;

use super::route;
use crate::unique::UniqueRows;

/// What `logic` makes of each row and the partner with its key, or `None` where there is none.
///
/// # Panics
///
/// If `rows` or `partners` has two different rows under one key at the end of an epoch, or one of negative weight.
/// Copies of one row count as one.
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
    let places = ["rows", "partners"].map(|input| format!("left_join_unique {name:?}: {input}"));
    let joined = rows.inner.binary_frontier(partners.inner, row_by_key, partner_by_key, name, move |_, _| {
        let (mut rows, mut partners) = (UniqueRows::default(), UniqueRows::default());
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
                let former_rows = rows.apply(row_updates, &places[0]);
                let former_partners = partners.apply(partner_updates, &places[1]);
                let (mut session, time) = (output.session(&capability), capability.time());
                let mut give = |key: &K, row: Option<&V>, partner: Option<&P>| {
                    let before = row.map(|row| logic(key, row, partner));
                    let after = rows.get(Some(key)).map(|row| logic(key, row, partners.get(Some(key))));
                    if before != after {
                        let updates = [(before, -1), (after, 1)].into_iter();
                        session.give_iterator(updates.filter_map(|(row, diff)| Some((row?, time.clone(), diff))));
                    }
                };
                for (key, row) in &former_rows {
                    let partner = former_partners.binary_search_by(|(other, _)| other.cmp(key)).ok();
                    let partner = partner.map_or_else(|| partners.get(Some(key)), |at| former_partners[at].1.as_ref());
                    give(key, row.as_ref(), partner);
                }
                for (key, partner) in &former_partners {
                    if former_rows.binary_search_by(|(other, _)| other.cmp(key)).is_err() {
                        give(key, rows.get(Some(key)), partner.as_ref());
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
