//! Joins over arrangements that are there anyway, and of a small table with rows that stay where they are.
//!
//! | join | gives |
//! |---|---|
//! | [`inner_join`] | each pair of rows with the same key |
//! | [`left_join`] | those, and each row that has no partner, alone |
//! | [`semi_join`] | each row that has a partner, once |
//! | [`anti_join`] | each row that has no partner |
//! | [`broadcast_join`] | the pairs, where one side is small enough for every worker to have it whole |
//!
//! The weight of a pair is the product of the weights. Keys are compared as they are: a null that is to match nothing
//! must not be a key. *Cost per change*: O(log n) and the matches. *State*: none beside the arrangements; `left_join`,
//! `semi_join` and `anti_join` also keep the partners' keys. *Times*: any lattice.

mod merge;

use std::hash::Hash;
use std::rc::Rc;

use differential_dataflow::difference::{Multiply, Semigroup};
use differential_dataflow::lattice::Lattice;
use differential_dataflow::operators::arrange::Arranged;
use differential_dataflow::operators::join::join_with_tactic;
use differential_dataflow::trace::TraceReader;
use differential_dataflow::trace::implementations::{ValBuilder, ValSpine};
use differential_dataflow::{AsCollection, Data, ExchangeData, VecCollection};
use timely::dataflow::operators::vec::Broadcast;
use timely::progress::Timestamp;

use crate::arrange::arrange_in_place;
use crate::batch::{ByKey, DiffOf, KeyOf, ProductOf, SortedBatch, ValOf, push_values};
use merge::MergeTactic;

/// What `logic` makes of each pair of rows with the same key.
///
/// As differential's `join_core`, but for less: both sides are walked where they lie, and the output is not sorted and
/// consolidated a buffer at a time, which there costs more than the join itself when rows are wide and none of them cancel.
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
    Tr0: TraceReader<Batch: SortedBatch<Time = Tr0::Time, Diff: Multiply<DiffOf<Tr1>>>> + 'static,
    Tr1: TraceReader<Time = Tr0::Time, Batch: SortedBatch<Time = Tr0::Time, Key = KeyOf<Tr0>>> + 'static,
    D: Data,
    ProductOf<Tr0, Tr1>: Semigroup + 'static,
{
    join_with_tactic(rows, partners, name, MergeTactic::new(logic)).as_collection()
}

/// What `logic` makes of each pair of rows with the same key, and of each row without a partner and `None`.
///
/// *Updates per change*: 2 a match; when a key gets its first partner or loses its last, 2 for each of its rows.
///
/// ```
/// use differential_dataflow::input::Input;
/// use millstream_operators::left_join;
///
/// timely::example(|scope| {
///     let orders = scope.new_collection_from([('T', 3), ('M', 1)]).1.arrange_by_key();
///     let prices = scope.new_collection_from([('T', 4)]).1.arrange_by_key();
///     let priced = left_join(orders, prices, "Priced", |product, quantity, price| (*product, *quantity, price.copied()));
///     priced.assert_eq(scope.new_collection_from([('T', 3, Some(4)), ('M', 1, None)]).1);
/// });
/// ```
pub fn left_join<'scope, T, K, V1, V2, D>(
    rows: ByKey<'scope, T, K, V1>,
    partners: ByKey<'scope, T, K, V2>,
    name: &str,
    logic: impl Fn(&K, &V1, Option<&V2>) -> D + 'static,
) -> VecCollection<'scope, T, D>
where
    T: Timestamp + Lattice,
    K: ExchangeData + Hash,
    V1: ExchangeData,
    V2: ExchangeData,
    D: Data,
{
    let logic = Rc::new(logic);
    let alone = Rc::clone(&logic);
    anti_join(rows.clone(), partners.clone(), name, move |key, row| alone(key, row, None)).concat(inner_join(
        rows,
        partners,
        name,
        move |key, row, partner| logic(key, row, Some(partner)),
    ))
}

/// What `logic` makes of each row whose key has a partner, however many.
///
/// A key has a partner while the weights of its partners add up to more than nothing.
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
pub fn semi_join<'scope, T, K, V1, V2, D>(
    rows: ByKey<'scope, T, K, V1>,
    partners: ByKey<'scope, T, K, V2>,
    name: &str,
    logic: impl Fn(&K, &V1) -> D + 'static,
) -> VecCollection<'scope, T, D>
where
    T: Timestamp + Lattice,
    K: ExchangeData + Hash,
    V1: ExchangeData,
    V2: ExchangeData,
    D: Data,
{
    let present = partners
        .as_collection(|key, _| key.clone())
        .arrange_by_self_named(&format!("{name}: keys"))
        .reduce_abelian::<_, ValBuilder<_, _, _, _>, ValSpine<_, _, _, _>, _, _>(
        &format!("{name}: present"),
        |_, weight, present| present.extend(weight.iter().filter(|((), weight)| *weight > 0).map(|_| ((), 1))),
        push_values,
    );
    inner_join(rows, present, name, move |key, row, ()| logic(key, row))
}

/// What `logic` makes of each row whose key has no partner: all rows, without those of [`semi_join`].
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
pub fn anti_join<'scope, T, K, V1, V2, D>(
    rows: ByKey<'scope, T, K, V1>,
    partners: ByKey<'scope, T, K, V2>,
    name: &str,
    logic: impl Fn(&K, &V1) -> D + 'static,
) -> VecCollection<'scope, T, D>
where
    T: Timestamp + Lattice,
    K: ExchangeData + Hash,
    V1: ExchangeData,
    V2: ExchangeData,
    D: Data,
{
    let matched = semi_join(rows.clone(), partners, name, |key, row| (key.clone(), row.clone()));
    let others = rows.as_collection(|key, row| (key.clone(), row.clone())).concat(matched.negate());
    let others = arrange_in_place(others, &format!("{name}: without a partner"));
    others.as_collection(move |key, row| logic(key, row))
}

/// What `logic` makes of each pair of a row and an entry of a small table with the row's key.
///
/// Each worker has the whole small table, and rows stay where they are: no row is sent, and a key that many rows share
/// makes no worker busier than others. The rows are still sorted and kept, for the small table may change.
/// *State*: the rows, and the small table on every worker. A row that is taken back on another worker than it was put
/// in on leaves the answer right, and both its updates in memory.
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
pub fn broadcast_join<'scope, T, R, K, V, D>(
    rows: VecCollection<'scope, T, R>,
    small: VecCollection<'scope, T, (K, V)>,
    name: &str,
    key: impl Fn(&R) -> K + 'static,
    logic: impl Fn(&R, &V) -> D + 'static,
) -> VecCollection<'scope, T, D>
where
    T: Timestamp + Lattice,
    R: ExchangeData,
    K: ExchangeData + Hash,
    V: ExchangeData,
    D: Data,
{
    let rows = arrange_in_place(rows.map(move |row| (key(&row), row)), &format!("{name}: rows"));
    let small = arrange_in_place(small.inner.broadcast().as_collection(), &format!("{name}: small table"));
    inner_join(rows, small, name, move |_, row, entry| logic(row, entry))
}
