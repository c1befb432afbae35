//! A collection as upserts: what changes in an epoch, as rows that are written and deleted.

use std::fmt::Debug;

use differential_dataflow::consolidation::consolidate;
use differential_dataflow::{ExchangeData, VecCollection};
use hashbrown::HashSet;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;

use crate::bounds::{Epochs, Key};
use crate::exchange::{LocalHash, route};
use crate::stash::Stash;
use crate::upsert::{Position, Upsert};

/// The changes of a collection as upserts, one for each key and epoch in which its row changed.
///
/// [`latest`](super::latest()) is the inverse. *Cost per change*: O(log n) for the n changes of its epoch. *State*: the
/// keys that have a row; none once the input is closed.
///
/// # Panics
///
/// If a key has more than one row at the end of an epoch, counting copies. Which row is retracted is not checked, since
/// only keys are kept.
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
pub fn upserts<'scope, T: Epochs, K: Key, V: ExchangeData>(
    rows: VecCollection<'scope, T, (K, V)>,
    name: &str,
) -> StreamVec<'scope, T, Upsert<K, V>> {
    let by_key = Exchange::new(|((key, _), _, _): &((K, V), T, isize)| route(key));
    let place = format!("upserts {name:?}");
    rows.inner.unary_frontier(by_key, name, |_, _| {
        let mut stash: Stash<T, Vec<((K, V), isize)>> = Stash::default();
        let mut present = HashSet::default();
        move |(input, frontier), output| {
            let frontiers = [frontier];
            input.for_each(|message, updates| {
                stash.accept_updates(&message, updates.drain(..), |epoch, row, diff| epoch.push((row, diff)));
            });
            while let Some((epoch, updates)) = stash.next_complete(&frontiers) {
                let mut session = output.session(&epoch);
                write(updates, &mut present, &place, |upsert| session.give(upsert));
            }
            if stash.is_closed(&frontiers) {
                present = HashSet::default();
            }
        }
    })
}

/// Gives the upserts that the updates of an epoch are, and updates which keys have a row.
fn write<K: Key, V: ExchangeData>(
    mut updates: Vec<((K, V), isize)>,
    present: &mut HashSet<K, LocalHash>,
    place: &str,
    mut give: impl FnMut(Upsert<K, V>),
) {
    consolidate(&mut updates);
    let mut updates = updates.into_iter().peekable();
    while let Some(((key, row), weight)) = updates.next() {
        let others = std::iter::from_fn(|| updates.next_if(|((other, _), _)| *other == key));
        let of_key = std::iter::once((row, weight)).chain(others.map(|((_, row), weight)| (row, weight)));
        let written = written(present.contains(&key), of_key)
            .unwrap_or_else(|found| panic!("{place}: found {found} under key {key:?}, wanted at most one row"));
        if written.is_none() {
            present.remove(&key);
        } else if !present.contains(&key) {
            present.insert(key.clone());
        }
        give((key, Position::after(0), written));
    }
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
