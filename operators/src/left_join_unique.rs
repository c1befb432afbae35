//! A left join of two collections that each have no more than one row under a key.
//!
//! The totals of a product and its name, a customer's tier and details: one row meets one row, or none. Arrangements
//! would keep both sides sorted, with their times; here a hash table of each suffices, and a key is looked up once an
//! epoch.
//!
//! *Updates per change*: ≤ 2. *Cost per change*: O(log n) of the n changes of its epoch. *State*: the rows and the
//! partners, each once; none once both inputs are closed.

use differential_dataflow::{AsCollection, Data, ExchangeData, VecCollection};
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;

use crate::bounds::{Epochs, Key};
use crate::exchange::route;
use crate::read_ahead::TOGETHER;
use crate::stash::Stash;
use crate::state_log::StateLog;
use crate::unique::UniqueRows;

/// Applies `logic` to each row and the partner with its key, or `None` if there is none.
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
pub fn left_join_unique<'scope, T: Epochs, K: Key, V: ExchangeData, P: ExchangeData, D: Data>(
    rows: VecCollection<'scope, T, (K, V)>,
    partners: VecCollection<'scope, T, (K, P)>,
    name: &str,
    logic: impl Fn(&K, &V, Option<&P>) -> D + 'static,
) -> VecCollection<'scope, T, D> {
    let row_by_key = Exchange::new(|((key, _), _, _): &((K, V), T, isize)| route(key));
    let partner_by_key = Exchange::new(|((key, _), _, _): &((K, P), T, isize)| route(key));
    let mut join = UniqueJoin::new(name, logic);
    let scope = rows.scope();
    let joined = rows.inner.binary_frontier(partners.inner, row_by_key, partner_by_key, name, move |_, info| {
        let mut state_log = StateLog::new(&scope, info.global_id);
        let mut stash: Stash<T, (RowUpdates<K, V>, RowUpdates<K, P>)> = Stash::default();
        move |(row_input, row_frontier), (partner_input, partner_frontier), output| {
            let frontiers = [row_frontier, partner_frontier];
            row_input.for_each(|message, updates| {
                stash.accept_updates(&message, updates.drain(..), |epoch, row, diff| epoch.0.push((row, diff)));
            });
            partner_input.for_each(|message, updates| {
                stash.accept_updates(&message, updates.drain(..), |epoch, row, diff| epoch.1.push((row, diff)));
            });
            while let Some((epoch, (rows, partners))) = stash.next_complete(&frontiers) {
                let (mut session, time) = (output.session(&epoch), epoch.time());
                join.apply(rows, partners, |record, diff| session.give((record, time.clone(), diff)));
            }
            if stash.is_closed(&frontiers) {
                (join.rows, join.partners) = Default::default();
            }
            let (records, bytes) =
                (join.rows.len() + join.partners.len(), || join.rows.bytes() + join.partners.bytes());
            state_log.log(records, bytes);
        }
    });
    joined.as_collection()
}

type RowUpdates<K, V> = Vec<((K, V), isize)>;

/// The rows and partners of a join.
struct UniqueJoin<K, V, P, L> {
    /// Name the operator and each of its inputs.
    places: [String; 2],
    rows: UniqueRows<K, V>,
    partners: UniqueRows<K, P>,
    logic: L,
}

impl<K: Key, V: ExchangeData, P: ExchangeData, D: Data, L: Fn(&K, &V, Option<&P>) -> D> UniqueJoin<K, V, P, L> {
    fn new(name: &str, logic: L) -> Self {
        let places = ["rows", "partners"].map(|input| format!("left_join_unique {name:?}: {input}"));
        UniqueJoin { places, rows: UniqueRows::default(), partners: UniqueRows::default(), logic }
    }

    /// Applies the updates of an epoch, and gives the records that differ.
    fn apply(&mut self, rows: RowUpdates<K, V>, partners: RowUpdates<K, P>, mut give: impl FnMut(D, isize)) {
        let former_rows = self.rows.apply(rows, &self.places[0]);
        let former_partners = self.partners.apply(partners, &self.places[1]);
        let mut give_differences = |key: &K, before: (Option<&V>, Option<&P>), after: (Option<&V>, Option<&P>)| {
            let record = |(row, partner): (Option<&V>, _)| Some((self.logic)(key, row?, partner));
            let (before, after) = (record(before), record(after));
            if before != after {
                before.into_iter().for_each(|record| give(record, -1));
                after.into_iter().for_each(|record| give(record, 1));
            }
        };
        for together in former_rows.chunks(TOGETHER) {
            self.partners.read_ahead(together.iter().map(|(key, _)| key));
            for (key, former_row) in together {
                let (row, partner) = (self.rows.get(Some(key)), self.partners.get(Some(key)));
                let changed = former_partners.binary_search_by(|(other, _)| other.cmp(key));
                let former_partner = changed.map_or(partner, |at| former_partners[at].1.as_ref());
                give_differences(key, (former_row.as_ref(), former_partner), (row, partner));
            }
        }
        for together in former_partners.chunks(TOGETHER) {
            self.rows.read_ahead(together.iter().map(|(key, _)| key));
            for (key, former_partner) in together {
                if former_rows.binary_search_by(|(other, _)| other.cmp(key)).is_err() {
                    let (row, partner) = (self.rows.get(Some(key)), self.partners.get(Some(key)));
                    give_differences(key, (row, former_partner.as_ref()), (row, partner));
                }
            }
        }
    }
}
