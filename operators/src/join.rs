//! Joins over arrangements, and of a small table with rows that are not exchanged.
//!
//! | join | result |
//! |---|---|
//! | [`inner_join`] | each pair of rows with the same key |
//! | [`left_join`] | the same, and each row that has no partner |
//! | [`semi_join`] | each row that has a partner, once |
//! | [`anti_join`] | each row that has no partner |
//! | [`broadcast_join`] | the pairs, where one side is small enough to be copied to every worker |
//!
//! The weight of a pair is the product of the weights, of whatever type; an arrangement may be one of keys alone. A
//! null in a key equals a null: filter such rows first where nulls must not match. *Cost per change*: O(log n) and
//! the matches at its time, also where a batch has many changes of one row. *State*: none beside the arrangements;
//! `left_join`, `semi_join` and `anti_join` also keep the partners' keys, twice. *Times*: any lattice.

mod large_key;
mod merge;
mod presence;
mod side;

use std::rc::Rc;

use differential_dataflow::difference::{Abelian, Monoid, Multiply, Semigroup};
use differential_dataflow::operators::arrange::Arranged;
use differential_dataflow::operators::join::join_with_tactic;
use differential_dataflow::trace::implementations::{ValBuilder, ValSpine};
use differential_dataflow::{AsCollection, Data, ExchangeData, VecCollection};
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use crate::arrange::arrange_in_place;
use crate::batch::{DiffOf, KeyOf, ProductOf, SortedBatch, SortedTrace, ValOf, push_values};
use crate::bounds::{Key, Times};
use crate::exchange::to_all_workers;
use merge::MergeTactic;
use presence::Presence;

/// Applies `logic` to each pair of rows with the same key.
///
/// Faster than differential's `join_core`: values are read in place, and the output is not consolidated a buffer at a
/// time, which costs more than the join itself when rows are wide and none of them cancel. A key with many pairs of
/// updates is joined in pieces, and the operator yields between them.
///
/// ```
/// use differential_dataflow::input::Input;
/// use millstream_operators::inner_join;
///
/// timely::example(|scope| {
///     let orders = scope.new_collection_from([('T', 3), ('M', 1)]).1.arrange_by_key();
///     let prices = scope.new_collection_from([('T', 4)]).1.arrange_by_key();
///     let amounts = inner_join(orders, prices, "Amounts", |product, quantity, price| (*product, quantity * price));
///     amounts.assert_eq(scope.new_collection_from([('T', 12)]).1);
/// });
/// ```
pub fn inner_join<'scope, Tr0, Tr1, D>(
    rows: Arranged<'scope, Tr0>,
    partners: Arranged<'scope, Tr1>,
    name: &str,
    logic: impl FnMut(&KeyOf<Tr0>, &ValOf<Tr0>, &ValOf<Tr1>) -> D + 'static,
) -> VecCollection<'scope, Tr0::Time, D, ProductOf<Tr0, Tr1>>
where
    Tr0: SortedTrace<Batch: SortedBatch<Diff: Multiply<DiffOf<Tr1>>>>,
    Tr1: SortedTrace<Time = Tr0::Time, Batch: SortedBatch<Key = KeyOf<Tr0>>>,
    D: Data,
    ProductOf<Tr0, Tr1>: Semigroup + 'static,
{
    join_with_tactic(rows, partners, name, MergeTactic::new(logic)).as_collection()
}

/// Applies `logic` to each pair of rows with the same key, and to each row without a partner and `None`.
///
/// *Updates per change*: 1 a match; when a key gets its first partner or loses its last, 1 more for each of its rows.
///
/// ```
/// use differential_dataflow::input::Input;
/// use millstream_operators::left_join;
///
/// timely::example(|scope| {
///     let orders = scope.new_collection_from([('T', 3), ('M', 1)]).1.arrange_by_key();
///     let prices = scope.new_collection_from([('T', 4)]).1.arrange_by_key();
///     let priced = left_join(orders, prices, "Priced", |product, pieces, price| (*product, *pieces, price.copied()));
///     priced.assert_eq(scope.new_collection_from([('T', 3, Some(4)), ('M', 1, None)]).1);
/// });
/// ```
pub fn left_join<'scope, Tr0, Tr1, D>(
    rows: Arranged<'scope, Tr0>,
    partners: Arranged<'scope, Tr1>,
    name: &str,
    logic: impl Fn(&KeyOf<Tr0>, &ValOf<Tr0>, Option<&ValOf<Tr1>>) -> D + 'static,
) -> VecCollection<'scope, Tr0::Time, D, DiffOf<Tr0>>
where
    Tr0: SortedTrace<Batch: SortedBatch<Key: Key, Val: ExchangeData>> + Clone,
    Tr1: SortedTrace<Time = Tr0::Time, Batch: SortedBatch<Key = KeyOf<Tr0>>> + Clone,
    DiffOf<Tr0>: ExchangeData + Abelian + Multiply<DiffOf<Tr1>, Output = DiffOf<Tr0>>,
    DiffOf<Tr1>: ExchangeData + Monoid,
    D: Data,
{
    let logic = Rc::new(logic);
    let alone = Rc::clone(&logic);
    let unmatched = anti_join(rows.clone(), partners.clone(), name, move |key, row| alone(key, row, None));
    let matched = inner_join(rows, partners, name, move |key, row, partner| logic(key, row, Some(partner)));
    unmatched.concat(matched)
}

/// Applies `logic` once to each row whose key has a partner.
///
/// A key has a partner while the weights of its partners add up to more than zero.
///
/// *Updates per change*: 1 for a row; when a key gets its first partner or loses its last, 1 for each of its rows.
///
/// ```
/// use differential_dataflow::input::Input;
/// use millstream_operators::semi_join;
///
/// timely::example(|scope| {
///     let orders = scope.new_collection_from([('T', 3), ('M', 1)]).1.arrange_by_key();
///     let sold = scope.new_collection_from([('T', 5), ('T', 6)]).1.arrange_by_key();
///     semi_join(orders, sold, "Sold", |product, _| *product).assert_eq(scope.new_collection_from(['T']).1);
/// });
/// ```
pub fn semi_join<'scope, Tr0, Tr1, D>(
    rows: Arranged<'scope, Tr0>,
    partners: Arranged<'scope, Tr1>,
    name: &str,
    logic: impl Fn(&KeyOf<Tr0>, &ValOf<Tr0>) -> D + 'static,
) -> VecCollection<'scope, Tr0::Time, D, DiffOf<Tr0>>
where
    Tr0: SortedTrace<Batch: SortedBatch<Key: Key>>,
    Tr1: SortedTrace<Time = Tr0::Time, Batch: SortedBatch<Key = KeyOf<Tr0>>>,
    DiffOf<Tr0>: Abelian,
    DiffOf<Tr1>: ExchangeData + Monoid,
    D: Data,
{
    let present = flatten(partners, &format!("{name}: partners"), |key, _| key.clone())
        .arrange_by_self_named(&format!("{name}: keys"))
        .reduce_abelian::<_, ValBuilder<_, _, _, Presence>, ValSpine<_, _, _, Presence>, _, _>(
            &format!("{name}: present"),
            |_, weight, present| {
                let zero = DiffOf::<Tr1>::zero();
                present.extend(weight.iter().filter(|((), weight)| *weight > zero).map(|_| ((), Presence::ONE)));
            },
            push_values,
        );
    inner_join(present, rows, name, move |key, (), row| logic(key, row))
}

/// Applies `logic` to each row whose key has no partner: to the rows that [`semi_join`] leaves out.
///
/// *Updates per change*: as [`semi_join`]. *State*: as there; what an epoch changes is sorted once.
///
/// ```
/// use differential_dataflow::input::Input;
/// use millstream_operators::anti_join;
///
/// timely::example(|scope| {
///     let orders = scope.new_collection_from([('T', 3), ('M', 1)]).1.arrange_by_key();
///     let prices = scope.new_collection_from([('T', 4)]).1.arrange_by_key();
///     anti_join(orders, prices, "Unpriced", |product, _| *product).assert_eq(scope.new_collection_from(['M']).1);
/// });
/// ```
pub fn anti_join<'scope, Tr0, Tr1, D>(
    rows: Arranged<'scope, Tr0>,
    partners: Arranged<'scope, Tr1>,
    name: &str,
    logic: impl Fn(&KeyOf<Tr0>, &ValOf<Tr0>) -> D + 'static,
) -> VecCollection<'scope, Tr0::Time, D, DiffOf<Tr0>>
where
    Tr0: SortedTrace<Batch: SortedBatch<Key: Key, Val: ExchangeData>> + Clone,
    Tr1: SortedTrace<Time = Tr0::Time, Batch: SortedBatch<Key = KeyOf<Tr0>>>,
    DiffOf<Tr0>: ExchangeData + Abelian,
    DiffOf<Tr1>: ExchangeData + Monoid,
    D: Data,
{
    let pair = |key: &KeyOf<Tr0>, row: &ValOf<Tr0>| (key.clone(), row.clone());
    let matched = semi_join(rows.clone(), partners, name, pair);
    let others = flatten(rows, &format!("{name}: rows"), pair).concat(matched.negate());
    let others = arrange_in_place(others, &format!("{name}: without a partner"));
    flatten(others, &format!("{name}: unmatched"), logic)
}

/// Applies `logic` to each pair of a row and an entry of a small table that has the row's key.
///
/// Each worker holds the whole small table, and rows are not exchanged, so a key that many rows share does not load one
/// worker more than others. The rows are still arranged, because the small table may change. *State*: the rows, and the
/// small table on every worker. A row that is retracted on another worker than the one it was inserted on is joined
/// correctly, but both its updates stay in memory.
///
/// ```
/// use differential_dataflow::input::Input;
/// use millstream_operators::broadcast_join;
///
/// timely::example(|scope| {
///     let orders = scope.new_collection_from([(1, 'F'), (2, 'D'), (3, 'F')]).1;
///     let countries = scope.new_collection_from([('F', 33)]).1;
///     let dialled = broadcast_join(orders, countries, "Countries", |order| order.1, |order, dial| (order.0, *dial));
///     dialled.assert_eq(scope.new_collection_from([(1, 33), (3, 33)]).1);
/// });
/// ```
pub fn broadcast_join<'scope, T, D0, R0, K, V, R1, D>(
    rows: VecCollection<'scope, T, D0, R0>,
    small: VecCollection<'scope, T, (K, V), R1>,
    name: &str,
    key: impl Fn(&D0) -> K + 'static,
    logic: impl Fn(&D0, &V) -> D + 'static,
) -> VecCollection<'scope, T, D, R0::Output>
where
    T: Times,
    D0: ExchangeData,
    R0: ExchangeData + Semigroup + Multiply<R1, Output: Semigroup + 'static>,
    K: Key,
    V: ExchangeData,
    R1: ExchangeData + Semigroup,
    D: Data,
{
    let rows = arrange_in_place(rows.map(move |row| (key(&row), row)), &format!("{name}: rows"));
    let (updates, to_worker) = to_all_workers(small, &format!("{name}: copies"));
    let small = updates.unary(to_worker, &format!("{name}: broadcast"), |_, _| {
        |input, output| {
            input.for_each(|message, updates| {
                output.session(&message).give_iterator(updates.drain(..).map(|(_, update)| update));
            });
        }
    });
    let small = arrange_in_place(small.as_collection(), &format!("{name}: small table"));
    inner_join(rows, small, name, move |_, row, entry| logic(row, entry))
}

/// A record for each row of an arrangement.
fn flatten<'scope, Tr: SortedTrace, D: Data>(
    arranged: Arranged<'scope, Tr>,
    name: &str,
    logic: impl Fn(&KeyOf<Tr>, &ValOf<Tr>) -> D + 'static,
) -> VecCollection<'scope, Tr::Time, D, DiffOf<Tr>> {
    let records = arranged.stream.unary(Pipeline, name, move |_, _| {
        move |input, output| {
            input.for_each(|message, spans| {
                let mut session = output.session(&message);
                for batch in spans.drain(..).filter_map(|span| span.inner) {
                    for (key, row, time, diff) in batch.rows() {
                        session.give((logic(key, row), time.clone(), diff.clone()));
                    }
                }
            });
        }
    });
    records.as_collection()
}
