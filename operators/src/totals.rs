//! The sum of each group's diffs, where times are totally ordered.

use differential_dataflow::difference::{IsZero, Semigroup};
use differential_dataflow::{AsCollection, Data, ExchangeData, VecCollection};
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;

use crate::bounds::{Epochs, Key};
use crate::exchange::{LocalHash, route};
use crate::read_ahead::{TOGETHER, read_ahead};
use crate::stash::Stash;
use crate::state_log::StateLog;
use crate::sums::Sums;

/// Applies `show` to each group and the sum of its diffs, unless that sum is zero.
///
/// It is differential's `count_total` with a hash table of sums in place of the arrangement, so that `show` may be
/// anything and only one sum is kept. Diffs are any semigroup, such as the statistics of
/// [`accumulate`](crate::accumulate()).
///
/// *Updates per change*: ≤ 2 a group. *Cost per change*: O(1). *State*: one sum a group.
///
/// ```
/// use differential_dataflow::input::Input;
/// use millstream_operators::{Sum, accumulate, totals};
///
/// timely::example(|scope| {
///     let orders = scope.new_collection_from([('T', 3), ('T', 4), ('M', 1)]).1.arrange_by_key();
///     let sums = accumulate(orders, "Sums", |product, pieces| Some((*product, Sum::<0>::of(*pieces))));
///     let whole = |sum: &Sum| sum.mean().map(|mean| mean.map(|mean| mean as i64));
///     let means = totals(sums, "Means", move |product, sum| (*product, whole(sum)));
///     means.assert_eq(scope.new_collection_from([('T', Ok(Some(3))), ('M', Ok(Some(1)))]).1);
/// });
/// ```
pub fn totals<'scope, T: Epochs, G: Key, R: ExchangeData + Semigroup, D: Data>(
    sums: VecCollection<'scope, T, G, R>,
    name: &str,
    show: impl Fn(&G, &R) -> D + 'static,
) -> VecCollection<'scope, T, D> {
    let by_group = Exchange::new(|(group, _, _): &(G, T, R)| route(group));
    let scope = sums.scope();
    let totals = sums.inner.unary_frontier(by_group, name, move |_, info| {
        let mut state_log = StateLog::new(&scope, info.global_id);
        let mut totals: HashMap<G, R, LocalHash> = HashMap::default();
        let mut stash: Stash<T, Sums<G, (), R>> = Stash::default();
        move |(input, frontier), output| {
            let frontiers = [frontier];
            input.for_each(|message, updates| {
                stash.accept_updates(&message, updates.drain(..), |sums, group, diff| sums.add(group, &(), diff));
            });
            while let Some((epoch, sums)) = stash.next_complete(&frontiers) {
                let (mut session, time) = (output.session(&epoch), epoch.time());
                let (mut changes, mut together) = (sums.into_updates(), Vec::new());
                loop {
                    together.extend(changes.by_ref().take(TOGETHER));
                    if together.is_empty() {
                        break;
                    }
                    let is_zero = |(group, (), _): &(G, (), R)| totals.get(group).is_some_and(IsZero::is_zero);
                    read_ahead(together.iter().map(is_zero));
                    for (group, (), change) in together.drain(..) {
                        let shown = change_total(&mut totals, group, change, &show);
                        if shown[0] != shown[1] {
                            let updates = shown.into_iter().zip([-1, 1]);
                            session.give_iterator(updates.filter_map(|(row, diff)| Some((row?, time.clone(), diff))));
                        }
                    }
                }
            }
            if stash.is_closed(&frontiers) {
                totals = HashMap::default();
            }
            state_log.log(totals.len(), || totals.allocation_size());
        }
    });
    totals.as_collection()
}

/// Adds a change to the total of a group. Returns what is shown of the total before and after.
fn change_total<G: Key, R: Semigroup, D>(
    totals: &mut HashMap<G, R, LocalHash>,
    group: G,
    change: R,
    show: &impl Fn(&G, &R) -> D,
) -> [Option<D>; 2] {
    match totals.entry(group) {
        Entry::Vacant(_) if change.is_zero() => [None, None],
        Entry::Vacant(entry) => {
            let after = show(entry.key(), &change);
            entry.insert(change);
            [None, Some(after)]
        }
        Entry::Occupied(mut entry) => {
            let before = show(entry.key(), entry.get());
            entry.get_mut().plus_equals(&change);
            if entry.get().is_zero() {
                entry.remove();
                return [Some(before), None];
            }
            [Some(before), Some(show(entry.key(), entry.get()))]
        }
    }
}
