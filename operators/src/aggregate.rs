//! Statistics of groups: many of them, from one arrangement of sums.
//!
//! Every row gives a group and a *term*, such as [`Moments`](super::Moments) of its amount or a tuple of several. Terms
//! are diffs: those of a group are added up on the worker that holds the rows, sent, and added up again, and the sum is
//! the group's state. A mean or a correlation is computed from it where it is read.

use differential_dataflow::difference::{Multiply, Semigroup};
use differential_dataflow::trace::implementations::{ValBuilder, ValSpine};
use differential_dataflow::{AsCollection, Data, ExchangeData, VecCollection};
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::{Capability, CapabilitySet};
use timely::progress::Timestamp;
use timely::progress::frontier::MutableAntichain;

use crate::batch::push_values;
use crate::bounds::{Epochs, Key, Times};
use crate::sums::{Group, Sums};
use crate::totals::totals;

/// The sum of the terms of each group's rows.
///
/// `term` gives a row's group and term, or `None` for a row that counts nowhere. A group is present while it has rows,
/// even if their terms add up to zero; the rows are counted beside the terms.
///
/// *Updates per change*: ≤ 2 a group. *Cost per change*: O(1). *State*: one sum a group, and the same as the output.
/// *Times*: any lattice; where they are totally ordered, [`aggregate_total`] keeps no copy of its output.
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
pub fn aggregate<'scope, T, D, W, G, R>(
    rows: VecCollection<'scope, T, D, W>,
    name: &str,
    term: impl Fn(&D) -> Option<(G, R)> + 'static,
) -> VecCollection<'scope, T, (G, R)>
where
    T: Times,
    D: Data,
    W: ExchangeData + Semigroup,
    G: Key,
    R: ExchangeData + Semigroup + Multiply<W, Output = R>,
{
    let arranged = counted(rows, name, term).arrange_by_self_named(&format!("{name}: sums"));
    let totals = arranged.reduce_abelian::<_, ValBuilder<_, _, _, _>, ValSpine<_, _, _, _>, _, _>(
        name,
        |_, sums, total| total.extend(sums.iter().map(|(_, (_rows, sum))| (sum.clone(), 1))),
        push_values,
    );
    totals.as_collection(|group, total| (group.clone(), total.clone()))
}

/// As [`aggregate`], for totally ordered times, and leaner.
///
/// Where times are totally ordered only the latest sums are needed, so a hash table takes the place of an arrangement
/// that keeps times apart. A change takes less than half the time (`benches/operators.rs`).
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
pub fn aggregate_total<'scope, T, D, W, G, R>(
    rows: VecCollection<'scope, T, D, W>,
    name: &str,
    term: impl Fn(&D) -> Option<(G, R)> + 'static,
) -> VecCollection<'scope, T, (G, R)>
where
    T: Epochs,
    D: Data,
    W: ExchangeData + Semigroup,
    G: Key,
    R: ExchangeData + Semigroup + Multiply<W, Output = R>,
{
    totals(counted(rows, name, term), &format!("{name}: totals"), |group, (_rows, sum)| (group.clone(), sum.clone()))
}

/// For each row its group, with the row's weight and its term as the diff.
fn counted<'scope, T, D, W, G, R>(
    rows: VecCollection<'scope, T, D, W>,
    name: &str,
    term: impl Fn(&D) -> Option<(G, R)> + 'static,
) -> VecCollection<'scope, T, G, (W, R)>
where
    T: Times,
    D: Data,
    W: Data + Semigroup,
    G: Group,
    R: Data + Semigroup + Multiply<W, Output = R>,
{
    sums(rows, name, move |row, weight: &W| {
        let (group, term) = term(row)?;
        Some((group, (weight.clone(), term.multiply(weight))))
    })
}

/// For each row its group, with a term of the row and its weight as the diff; the diffs of an epoch's rows are added up
/// where the rows are.
pub(crate) fn sums<'scope, T, D, W, G, R>(
    rows: VecCollection<'scope, T, D, W>,
    name: &str,
    term: impl Fn(&D, &W) -> Option<(G, R)> + 'static,
) -> VecCollection<'scope, T, G, R>
where
    T: Times,
    D: Data,
    W: Data + Semigroup,
    G: Group,
    R: Data + Semigroup,
{
    let sums = rows.inner.unary_frontier(Pipeline, name, move |_, _| {
        let mut held = HeldSums::default();
        move |(input, frontier), output| {
            input.for_each(|message, updates| {
                if message.stamp().is_empty() {
                    return;
                }
                held.hold(&message.retain_stamp(0));
                for (row, time, weight) in updates.drain(..) {
                    if let Some((group, sum)) = term(&row, &weight) {
                        held.sums.add(group, &time, sum);
                    }
                }
            });
            if let Some((capabilities, sums)) = held.ready(frontier) {
                output.session(&capabilities).give_iterator(sums.into_updates());
            }
        }
    });
    sums.as_collection()
}

/// Sums of epochs that are open: nothing is observable before an epoch closes, so they are held and grow until then,
/// up to a bound.
pub(crate) struct HeldSums<T: Timestamp, G, R> {
    capabilities: CapabilitySet<T>,
    pub(crate) sums: Sums<G, T, R>,
}

/// Groups whose sums are held before they are sent.
const GROUPS_MAX: usize = 1 << 16;

impl<T: Timestamp, G, R> Default for HeldSums<T, G, R> {
    fn default() -> Self {
        HeldSums { capabilities: CapabilitySet::new(), sums: Sums::default() }
    }
}

impl<T: Timestamp, G: Group, R: Semigroup> HeldSums<T, G, R> {
    /// Keeps what is needed to send sums of these times.
    pub(crate) fn hold(&mut self, capabilities: &CapabilitySet<T>) {
        capabilities.iter().for_each(|capability| self.capabilities.insert(capability.clone()));
    }

    /// The sums, with what is needed to send them, if an epoch is complete or they are many.
    pub(crate) fn ready(&mut self, frontier: &MutableAntichain<T>) -> Option<(CapabilitySet<T>, Sums<G, T, R>)> {
        let is_complete = |held: &Capability<T>| !frontier.less_equal(held.time());
        let is_ready = self.sums.len() > GROUPS_MAX || self.capabilities.iter().any(is_complete);
        is_ready.then(|| {
            let HeldSums { capabilities, sums } = std::mem::take(self);
            (capabilities, sums)
        })
    }
}
