//! Statistics of groups: many of them, from one arrangement of sums.
//!
//! Every row gives a group and a *term*, such as [`Moments`](super::Moments) of its amount or a tuple of several. Terms
//! are diffs: those of a group are added up where the rows lie, sent, and added up again, and the sum is the group's
//! state. What is read from it, a mean or a correlation, is worked out by whoever reads it.

use std::collections::BTreeMap;
use std::hash::Hash;

use crate::exchange::LocalHash;
use differential_dataflow::difference::{Monoid, Multiply, Semigroup};
use differential_dataflow::lattice::Lattice;
use differential_dataflow::trace::implementations::{ValBuilder, ValSpine};
use differential_dataflow::{AsCollection, Data, ExchangeData, VecCollection};
use hashbrown::HashMap;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::{Capability, CapabilitySet};
use timely::order::TotalOrder;
use timely::progress::Timestamp;

use super::accumulate::{Group, Sums};
use super::route;
use crate::batch::push_values;

/// The sum of the terms of each group's rows.
///
/// `term` gives a row's group and term, or `None` for a row that counts nowhere. A group is there while it has rows,
/// even if their terms add up to nothing; the rows are counted beside the terms.
///
/// *Updates per change*: ≤ 2 a group. *Cost per change*: O(1). *State*: one sum a group, and the same as the output.
/// *Times*: any lattice; where they are totally ordered, [`aggregate_total`] does without a copy of its output.
///
/// ```
/// use differential_dataflow::input::Input;
/// use millstream_operators::{Covariance, Moments, aggregate};
///
/// timely::example(|scope| {
///     let orders = scope.new_collection_from([('T', 2, 10), ('T', 4, 20), ('M', 1, 500)]).1;
///     let statistics = aggregate(orders, "Products", |&(product, quantity, amount)| {
///         Some((product, (Moments::<0>::of(amount), Covariance::<0, 0>::of(quantity, amount))))
///     });
///     statistics.filter(|(product, _)| *product == 'T').inspect(|((_, (amount, both)), _, _)| {
///         assert_eq!(amount.variance().sample(), Ok(Some(50.0)));
///         assert_eq!(both.correlation(), Ok(Some(1.0)));
///     });
/// });
/// ```
pub fn aggregate<'scope, T, D, G, R>(
    rows: VecCollection<'scope, T, D>,
    name: &str,
    term: impl Fn(&D) -> Option<(G, R)> + 'static,
) -> VecCollection<'scope, T, (G, R)>
where
    T: Timestamp + Lattice,
    D: Data,
    G: ExchangeData + Hash,
    R: ExchangeData + Semigroup + Multiply<isize, Output = R>,
{
    let arranged = sums(rows, name, term).arrange_by_self_named(&format!("{name}: sums"));
    let totals = arranged.reduce_abelian::<_, ValBuilder<_, _, _, _>, ValSpine<_, _, _, _>, _, _>(
        name,
        |_, sums, total| total.extend(sums.iter().map(|(_, (_rows, sum))| (sum.clone(), 1))),
        push_values,
    );
    totals.as_collection(|group, total| (group.clone(), total.clone()))
}

/// As [`aggregate`], for totally ordered times, and leaner.
///
/// Where times are totally ordered there is one state for now, and a table of sums will do in place of an arrangement
/// that keeps times apart: a change takes less than half the time, which `benches/operators.rs` shows.
///
/// *Updates per change*: ≤ 2 a group. *Cost per change*: O(1). *State*: one sum a group.
///
/// ```
/// # use differential_dataflow::input::Input;
/// # use millstream_operators::{Sum, aggregate_total};
/// # timely::example(|scope| {
/// // Prices in cents, one of them unknown.
/// let prices = scope.new_collection_from([('T', Some(350)), ('T', Some(450)), ('T', None)]).1;
/// let sums = aggregate_total(prices, "Prices", |row| Some((row.0, Sum::<2>::of_nullable(row.1))));
/// sums.inspect(|((_, price), _, _)| assert_eq!((price.count(), price.mean()), (Ok(2), Ok(Some(4.0)))));
/// # });
/// ```
pub fn aggregate_total<'scope, T, D, G, R>(
    rows: VecCollection<'scope, T, D>,
    name: &str,
    term: impl Fn(&D) -> Option<(G, R)> + 'static,
) -> VecCollection<'scope, T, (G, R)>
where
    T: Timestamp + Lattice + TotalOrder,
    D: Data,
    G: ExchangeData + Hash,
    R: ExchangeData + Monoid + Multiply<isize, Output = R>,
{
    totals(sums(rows, name, term), &format!("{name}: totals"), |group, (_rows, sum)| (group.clone(), sum.clone()))
}

/// What `show` makes of each group and the sum of its diffs, unless that is zero.
///
/// It is differential's `count_total` with a table of sums in place of the arrangement. *Updates per change*: ≤ 2 a
/// group. *Cost per change*: O(1). *State*: one sum a group.
pub fn totals<'scope, T, G, R, D>(
    sums: VecCollection<'scope, T, G, R>,
    name: &str,
    show: impl Fn(&G, &R) -> D + 'static,
) -> VecCollection<'scope, T, D>
where
    T: Timestamp + Lattice + TotalOrder,
    G: ExchangeData + Hash,
    R: ExchangeData + Semigroup,
    D: Data,
{
    let by_group = Exchange::new(|(group, _, _): &(G, T, R)| route(group));
    let totals = sums.inner.unary_frontier(by_group, name, move |_, _| {
        let mut totals: HashMap<G, R, LocalHash> = HashMap::default();
        let mut pending: BTreeMap<T, (Capability<T>, Sums<G, T, R>)> = BTreeMap::new();
        move |(input, frontier), output| {
            input.for_each(|capability, updates| {
                for (group, time, sum) in updates.drain(..) {
                    let (_, sums) =
                        pending.entry(time.clone()).or_insert_with(|| (capability.delayed(&time, 0), Sums::default()));
                    sums.add(group, &time, sum);
                }
            });
            while let Some(epoch) = pending.first_entry().filter(|epoch| !frontier.less_equal(epoch.key())) {
                let (capability, sums) = epoch.remove();
                let mut session = output.session(&capability);
                for (group, time, change) in sums.into_updates() {
                    let before = totals.remove(&group);
                    let total = match &before {
                        Some(before) => {
                            let mut total = before.clone();
                            total.plus_equals(&change);
                            total
                        }
                        None => change,
                    };
                    let total = Some(total).filter(|total| !total.is_zero());
                    let shown = [&before, &total].map(|total| total.as_ref().map(|total| show(&group, total)));
                    if shown[0] != shown[1] {
                        let updates = shown.into_iter().zip([-1, 1]);
                        session.give_iterator(updates.filter_map(|(row, diff)| Some((row?, time.clone(), diff))));
                    }
                    if let Some(total) = total {
                        totals.insert(group, total);
                    }
                }
            }
        }
    });
    totals.as_collection()
}

/// For each row its group, with the row's weight and its term as the diff; the diffs of an epoch's rows are added up.
fn sums<'scope, T, D, G, R>(
    rows: VecCollection<'scope, T, D>,
    name: &str,
    term: impl Fn(&D) -> Option<(G, R)> + 'static,
) -> VecCollection<'scope, T, G, (isize, R)>
where
    T: Timestamp,
    D: Data,
    G: Group,
    R: Data + Semigroup + Multiply<isize, Output = R>,
{
    let sums = rows.inner.unary_frontier(Pipeline, name, move |_, _| {
        let mut capabilities = CapabilitySet::new();
        let mut sums = Sums::default();
        move |(input, frontier), output| {
            input.for_each(|capability, updates| {
                capability.retain_stamp(0).iter().for_each(|capability| capabilities.insert(capability.clone()));
                for (row, time, weight) in updates.drain(..) {
                    if let Some((group, term)) = term(&row) {
                        sums.add(group, &time, (weight, term.multiply(&weight)));
                    }
                }
            });
            // Nobody can use the sums of an epoch before it is over, so they are held and go on growing, up to a bound.
            let is_over = |held: &Capability<T>| !frontier.less_equal(held.time());
            if sums.len() > GROUPS_MAX || capabilities.iter().any(is_over) {
                output.session(&capabilities).give_iterator(std::mem::take(&mut sums).into_updates());
                capabilities = CapabilitySet::new();
            }
        }
    });
    sums.as_collection()
}

/// Groups whose sums are held before they are sent.
const GROUPS_MAX: usize = 1 << 16;
