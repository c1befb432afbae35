//! A collection as upserts: what changes in an epoch, as rows that are written and deleted.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::Hash;

use differential_dataflow::consolidation::consolidate;
use differential_dataflow::{ExchangeData, VecCollection};
use hashbrown::HashSet;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;
use timely::order::TotalOrder;
use timely::progress::Timestamp;

use super::{Position, Upsert, retain, route};
use crate::exchange::LocalHash;

/// The changes of a collection as upserts, one for each key and epoch in which its row changed.
///
/// [`latest`](super::latest()) is the inverse. *Cost per change*: O(log n) for the n changes of its epoch. *State*: the
/// keys that have a row; none once the input is closed.
///
/// # Panics
///
/// If a key has more than one row at the end of an epoch, counting copies.
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
    let place = format!("upserts {name:?}");
    rows.inner.unary_frontier(by_key, name, |_, _| {
        let mut pending = BTreeMap::new();
        let mut present: HashSet<K, LocalHash> = HashSet::default();
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
                let mut updates = updates.into_iter().peekable();
                while let Some(((key, row), weight)) = updates.next() {
                    let others = std::iter::from_fn(|| updates.next_if(|((other, _), _)| *other == key));
                    let of_key = std::iter::once((row, weight)).chain(others.map(|((_, row), weight)| (row, weight)));
                    let written = written(present.contains(&key), of_key).unwrap_or_else(|found| {
                        panic!("{place}: found {found} under key {key:?}, wanted at most one row")
                    });
                    if written.is_none() {
                        present.remove(&key);
                    } else if !present.contains(&key) {
                        present.insert(key.clone());
                    }
                    session.give((key, Position::after(0), written));
                }
            }
            if frontier.is_empty() {
                present = HashSet::default();
            }
        }
    })
}

/// The row that consolidated updates of one key write, or `None` if they delete it; `Err` with what is wrong with them.
fn written<V: Debug>(was_present: bool, updates: impl Iterator<Item = (V, isize)>) -> Result<Option<V>, String> {
    let (mut written, mut retracted) = (None, false);
    for (row, weight) in updates {
        match weight {
            1 if written.is_none() => written = Some(row),
            -1 if was_present && !retracted => retracted = true,
            1 => return Err(format!("{written:?} and {row:?}")),
            _ => return Err(format!("{row:?} with weight {weight}")),
        }
    }
    match written {
        Some(row) if was_present && !retracted => Err(format!("a row already present and {row:?}")),
        written => Ok(written),
    }
}
