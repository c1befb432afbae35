//! The last row written under each key, joined to a table that is small enough for every worker to have it whole.
//!
//! A fact table with upserts (orders) meets a dimension (products). Done with what there is, that is [`latest`](super::latest()), which
//! keeps every row, then an index of the rows by the dimension's key, which keeps every row again and sends and sorts
//! it for that, then a join. Here the rows stay where their upserts are resolved: the dimension comes to them. Rows of
//! one dimension key are chained to each other through their slots, so that a change of the dimension finds them.
//!
//! Orders of one product that everyone wants are spread over all workers, as their ids are.
//!
//! *Cost per change*: O(1) a row; a change of the dimension, each of its rows. *State*: one row for each key and 8 bytes
//! to chain it, and the dimension on every worker; none once both inputs are closed.

mod partners;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::Hash;

use differential_dataflow::{AsCollection, Data, ExchangeData, VecCollection};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;
use timely::order::TotalOrder;
use timely::progress::Timestamp;
use timely::scheduling::Activator;

use super::latest::{Slot, Table, Upsert};
use super::{retain, route, to_all_workers};
use crate::unique::UniqueRows;
use partners::Chains;

/// What `logic` makes of each row that [`latest`](super::latest()) would leave, and the partner it names, or `None` where
/// it names none or there is none.
///
/// `partner_of` says which partner a row names. Of two upserts of one key in one epoch and at one position, the greater row wins, as in [`latest`](super::latest()).
///
/// # Panics
///
/// If `partners` has two different rows under one key at the end of an epoch, or one of negative weight. Copies of one
/// row count as one.
///
/// ```
/// use differential_dataflow::input::Input;
/// use millstream_operators::{Position, latest_joined};
/// use timely::dataflow::operators::ToStream;
///
/// timely::example(|scope| {
///     let order = |id, product, pieces| (id, Position::after(0), Some((product, pieces)));
///     let orders = vec![order(1, 'T', 2), order(2, 'M', 3), order(3, 'X', 1)].to_stream(scope);
///     let prices = scope.new_collection_from([('T', 4), ('M', 5)]).1;
///     let amounts = latest_joined(orders, prices, "Amounts", |_, row| Some(row.0), |id, (_, pieces), price| {
///         (*id, price.map(|price| pieces * price))
///     });
///     amounts.assert_eq(scope.new_collection_from([(1, Some(8)), (2, Some(15)), (3, None)]).1);
/// });
/// ```
pub fn latest_joined<'scope, T, K, V, J, P, D>(
    upserts: StreamVec<'scope, T, Upsert<K, V>>,
    partners: VecCollection<'scope, T, (J, P)>,
    name: &str,
    partner_of: impl Fn(&K, &V) -> Option<J> + 'static,
    logic: impl Fn(&K, &V, Option<&P>) -> D + 'static,
) -> VecCollection<'scope, T, D>
where
    T: Timestamp + TotalOrder,
    K: ExchangeData + Hash,
    V: ExchangeData,
    J: ExchangeData + Hash,
    P: ExchangeData,
    D: Data,
{
    let by_key = Exchange::new(|(key, _, _): &Upsert<K, V>| route(key));
    let (partners, to_worker) = to_all_workers(partners);
    let scope = upserts.scope();
    let operator = name.to_owned();
    let joined = upserts.binary_frontier(partners, by_key, to_worker, name, move |_, info| {
        let activator = Activator::new(info.address, scope.activations());
        let mut join = Join::new(&operator, partner_of, logic);
        move |(upserts, upserts_frontier), (partners, partners_frontier), output| {
            upserts.for_each(|capability, rows| {
                let capability = retain(&capability);
                join.write(capability, rows);
            });
            partners.for_each(|capability, updates| {
                let capability = retain(&capability);
                // An update may lie after the time of its message.
                for (_, (row, time, diff)) in updates.drain(..) {
                    join.epoch(capability.delayed(&time)).partners.push((row, diff));
                }
            });
            let may_come = |time: &T| upserts_frontier.less_equal(time) || partners_frontier.less_equal(time);
            let may_come_before = |time: &T| upserts_frontier.less_than(time) || partners_frontier.less_than(time);
            let is_closed = upserts_frontier.is_empty() && partners_frontier.is_empty();
            loop {
                if let Some(capability) = join.settling.clone() {
                    let (mut session, time) = (output.session(&capability), capability.time());
                    // A large epoch is handed on in parts, so that what comes after takes them in between.
                    if join.settle(is_closed, |row, diff| session.give((row, time.clone(), diff))) {
                        return activator.activate();
                    }
                }
                let Some(epoch) = join.next_epoch(may_come, may_come_before) else { break };
                let (mut session, time) = (output.session(&epoch.capability), epoch.capability.time());
                join.change_partners(epoch.partners, |row, diff| session.give((row, time.clone(), diff)));
                join.settling = Some(epoch.capability.clone());
            }
        }
    });
    joined.as_collection()
}

/// The rows, their partners, and the epochs that are not over.
struct Join<T: Timestamp, K, V, J, P, F, L> {
    table: Table<K, V>,
    dimension: UniqueRows<J, P>,
    /// Names the operator and its partners, in what a violated assumption reports.
    place: String,
    chains: Chains<J>,
    pending: BTreeMap<T, Epoch<T, K, V, (J, P)>>,
    /// True while the first pending epoch's rows are written as they come.
    is_open: bool,
    /// The epoch whose rows are being ended.
    settling: Option<Capability<T>>,
    partner_of: F,
    logic: L,
}

/// What has come of an epoch that is not over.
struct Epoch<T: Timestamp, K, V, P> {
    capability: Capability<T>,
    upserts: Vec<Upsert<K, V>>,
    partners: Vec<(P, isize)>,
}

impl<T, K, V, J, P, D, F, L> Join<T, K, V, J, P, F, L>
where
    T: Timestamp,
    K: Clone + Eq + Hash,
    V: Clone + Ord,
    J: Clone + Ord + Hash + Debug,
    P: Clone + Ord + Debug,
    F: Fn(&K, &V) -> Option<J>,
    L: Fn(&K, &V, Option<&P>) -> D,
{
    fn new(name: &str, partner_of: F, logic: L) -> Self {
        Join {
            table: Table::default(),
            dimension: UniqueRows::default(),
            place: format!("latest_joined {name:?}: partners"),
            chains: Chains::default(),
            pending: BTreeMap::new(),
            is_open: false,
            settling: None,
            partner_of,
            logic,
        }
    }

    fn write(&mut self, capability: Capability<T>, rows: &mut Vec<Upsert<K, V>>) {
        let first = self.pending.first_key_value();
        if self.is_open && first.is_some_and(|(first, _)| first == capability.time()) {
            self.table.write_all(rows.drain(..));
        } else {
            self.epoch(capability).upserts.append(rows);
        }
    }

    fn epoch(&mut self, capability: Capability<T>) -> &mut Epoch<T, K, V, (J, P)> {
        let new = |capability| Epoch { capability, upserts: Vec::new(), partners: Vec::new() };
        self.pending.entry(capability.time().clone()).or_insert_with(|| new(capability))
    }

    /// The next epoch that is over. Until it is, its rows are written as soon as no earlier epoch can come.
    fn next_epoch(
        &mut self,
        may_come: impl Fn(&T) -> bool,
        may_come_before: impl Fn(&T) -> bool,
    ) -> Option<Epoch<T, K, V, (J, P)>> {
        let mut first = self.pending.first_entry()?;
        if !self.is_open && may_come_before(first.key()) {
            return None;
        }
        self.table.write_all(first.get_mut().upserts.drain(..));
        self.is_open = may_come(first.key());
        if self.is_open { None } else { Some(first.remove()) }
    }

    /// Changes partners under the rows as they were before the epoch.
    fn change_partners(&mut self, updates: Vec<((J, P), isize)>, mut give: impl FnMut(D, isize)) {
        for (partner, before) in self.dimension.apply(updates, &self.place) {
            for slot in self.chains.of(&partner) {
                if let (key, Some(row)) = self.table.get(slot) {
                    give((self.logic)(key, row, before.as_ref()), -1);
                    give((self.logic)(key, row, self.dimension.get(Some(&partner))), 1);
                }
            }
        }
    }

    /// Ends some of the rows of the epoch whose partners have changed; true if there are more. If nothing can come any
    /// more, rows are not kept.
    fn settle(&mut self, is_closed: bool, mut give: impl FnMut(D, isize)) -> bool {
        let is_last = is_closed && self.pending.is_empty();
        let mut given = 0;
        while given < AT_A_TIME {
            let Some(written) = self.table.settle() else {
                self.settling = None;
                if is_last {
                    (self.table, self.chains, self.dimension) = Default::default();
                }
                return false;
            };
            let part = written.part;
            for (slot, before) in written.slots() {
                self.change_row(slot, before, is_last, &mut give);
                given += 1;
            }
            if is_last {
                self.table.clear(part);
            }
        }
        true
    }

    fn change_row(&mut self, slot: Slot, before: Option<V>, is_last: bool, give: &mut impl FnMut(D, isize)) {
        let (key, after) = self.table.get(slot);
        if after.is_some() && after == before.as_ref() {
            return;
        }
        let partner = |row: Option<&V>| row.and_then(|row| (self.partner_of)(key, row));
        let (old, new) = (partner(before.as_ref()), partner(after));
        if let Some(row) = &before {
            give((self.logic)(key, row, self.dimension.get(old.as_ref())), -1);
        }
        match after {
            Some(row) => give((self.logic)(key, row, self.dimension.get(new.as_ref())), 1),
            None => self.table.remove(slot),
        }
        if old != new && !is_last {
            old.iter().for_each(|partner| self.chains.remove(partner, slot));
            new.into_iter().for_each(|partner| self.chains.add(partner, slot));
        }
    }
}

/// How many rows are given at a time, about.
const AT_A_TIME: usize = 1 << 14;
