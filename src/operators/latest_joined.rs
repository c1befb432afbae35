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
use std::hash::{BuildHasher, Hash};

use differential_dataflow::{AsCollection, Data, ExchangeData, VecCollection};
use foldhash::fast::FixedState;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::vec::Map;
use timely::order::TotalOrder;
use timely::progress::Timestamp;
use timely::scheduling::Activator;

use super::latest::{Slot, Table, Upsert};
use super::route;
use partners::{Chains, Dimension};

/// What `logic` makes of each row that [`latest`](super::latest()) would leave, and the partner it names, or `None` where
/// it names none or there is none.
///
/// `partner_of` says which partner a row names. At every time, `partners` must have at most one row under a key.
///
/// ```
/// use differential_dataflow::input::Input;
/// use millstream::operators::{Position, latest_joined};
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
    let to_worker = Exchange::new(|(worker, _): &(u64, _)| *worker);
    let (scope, peers) = (upserts.scope(), upserts.scope().peers() as u64);
    let worker = scope.worker().index();
    // One operator, where timely's own broadcast is three.
    let partners = partners.inner.flat_map(move |update| (0..peers).map(move |worker| (worker, update.clone())));
    let joined = upserts.binary_frontier(partners, by_key, to_worker, name, move |_, info| {
        let activator = Activator::new(info.address, scope.activations());
        let mut join = Join::new(worker, partner_of, logic);
        move |(upserts, upserts_frontier), (partners, partners_frontier), output| {
            upserts.for_each(|capability, rows| {
                let Some(capability) = capability.retain_least(0) else { return };
                join.write(capability, rows);
            });
            partners.for_each(|capability, updates| {
                let Some(capability) = capability.retain_least(0) else { return };
                // An update may lie after the time of its message.
                for (_, (row, time, diff)) in updates.drain(..) {
                    join.epoch(capability.delayed(&time)).partners.push((row, diff));
                }
            });
            let may_come = |time: &T| upserts_frontier.less_equal(time) || partners_frontier.less_equal(time);
            let may_come_before = |time: &T| upserts_frontier.less_than(time) || partners_frontier.less_than(time);
            let is_closed = upserts_frontier.is_empty() && partners_frontier.is_empty();
            loop {
                if let Some(capability) = join.fresh_capability() {
                    let (mut session, time) = (output.session(&capability), capability.time());
                    // A large epoch is handed on in parts, so that what comes after takes them in between.
                    if join.give_fresh(is_closed, |row| session.give((row, time.clone(), 1))) {
                        return activator.activate();
                    }
                }
                let Some(epoch) = join.next_epoch(may_come, may_come_before) else { break };
                let capability = epoch.capability.clone();
                let (mut session, time) = (output.session(&capability), capability.time());
                join.change(epoch, |row, diff| session.give((row, time.clone(), diff)));
            }
        }
    });
    joined.as_collection()
}

/// The rows, their partners, and the epochs that are not over.
struct Join<T: Timestamp, K, V, J, P, F, L> {
    table: Table<K, V>,
    dimension: Dimension<J, P>,
    chains: Chains<J>,
    pending: BTreeMap<T, Epoch<T, K, V, (J, P)>>,
    /// True while the first pending epoch's rows are written as they come.
    is_open: bool,
    /// What an epoch wrote under keys that had no row, as far as it has not been given.
    fresh: Option<(Capability<T>, Fresh)>,
    worker: usize,
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
    V: Clone + Eq,
    J: Clone + Ord + Hash,
    P: Clone + Ord,
    F: Fn(&K, &V) -> Option<J>,
    L: Fn(&K, &V, Option<&P>) -> D,
{
    fn new(worker: usize, partner_of: F, logic: L) -> Self {
        Join {
            table: Table::default(),
            dimension: Dimension::default(),
            chains: Chains::default(),
            pending: BTreeMap::new(),
            is_open: false,
            fresh: None,
            worker,
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

    /// Ends an epoch: partners change under the rows as they were, then rows do. What is written under new keys is still to be
    /// given, by [`give_fresh`](Self::give_fresh).
    fn change(&mut self, epoch: Epoch<T, K, V, (J, P)>, mut give: impl FnMut(D, isize)) {
        for (partner, before) in self.dimension.apply(epoch.partners) {
            for slot in self.chains.of(&partner) {
                if let (key, Some(row)) = self.table.get(slot) {
                    give((self.logic)(key, row, before.as_ref()), -1);
                    give((self.logic)(key, row, self.dimension.get(Some(&partner))), 1);
                }
            }
        }
        let written = self.table.settle();
        for (slot, before) in written.replaced {
            let (key, after) = self.table.get(slot);
            if after == Some(&before) {
                continue;
            }
            let (old, new) = ((self.partner_of)(key, &before), after.and_then(|row| (self.partner_of)(key, row)));
            give((self.logic)(key, &before, self.dimension.get(old.as_ref())), -1);
            if let Some(row) = after {
                give((self.logic)(key, row, self.dimension.get(new.as_ref())), 1);
            } else {
                self.table.remove(slot);
            }
            if old != new {
                old.iter().for_each(|partner| self.chains.remove(partner, slot));
                new.into_iter().for_each(|partner| self.chains.add(partner, slot));
            }
        }
        let (there, deleted): (Vec<_>, Vec<_>) =
            written.fresh.into_iter().partition(|slot| self.table.get(*slot).1.is_some());
        deleted.into_iter().for_each(|slot| self.table.remove(slot));
        self.fresh = Some((epoch.capability, Fresh { slots: self.by_partner(there), next: 0 }));
    }

    /// Slots in an order in which those of a partner lie near each other, so that few partners are looked up at a time,
    /// from the cache.
    fn by_partner(&self, slots: Vec<Slot>) -> Vec<Slot> {
        const GROUPS: usize = 256;
        if slots.len() <= AT_A_TIME {
            return slots;
        }
        // Workers begin with different partners, so as not to count references to the same ones at the same time.
        let (hasher, turn) = (FixedState::default(), (self.worker % GROUPS * 37).to_le_bytes()[0]);
        let group = |slot: &Slot| {
            let (key, row) = self.table.get(*slot);
            let partner = row.and_then(|row| (self.partner_of)(key, row));
            partner.map_or(0, |partner| usize::from(hasher.hash_one(partner).to_le_bytes()[0].wrapping_add(turn)))
        };
        let groups: Vec<usize> = slots.iter().map(group).collect();
        let mut next = [0; GROUPS + 1];
        groups.iter().for_each(|group| next[group + 1] += 1);
        (0..GROUPS).for_each(|group| next[group + 1] += next[group]);
        let mut ordered = slots.clone();
        for (slot, group) in slots.into_iter().zip(groups) {
            ordered[next[group]] = slot;
            next[group] += 1;
        }
        ordered
    }

    /// What the epoch that ended last has not been given all of.
    fn fresh_capability(&self) -> Option<Capability<T>> {
        self.fresh.as_ref().map(|(capability, _)| capability.clone())
    }

    /// Gives some of what an epoch wrote under new keys; true if there is more. If nothing can come any more, it is not kept.
    fn give_fresh(&mut self, is_closed: bool, mut give: impl FnMut(D)) -> bool {
        let Some((_, fresh)) = &mut self.fresh else { return false };
        let is_last = is_closed && self.pending.is_empty();
        let end = fresh.slots.len().min(fresh.next + AT_A_TIME);
        for slots in fresh.slots[fresh.next..end].chunks(BLOCK) {
            // All rows of a block are looked for before the first is used, so that the memory they lie in is fetched at
            // the same time: counting a reference would wait for what was asked for before.
            let rows = slots.iter().filter_map(|slot| {
                let (key, Some(row)) = self.table.get(*slot) else { return None };
                let partner = (self.partner_of)(key, row);
                Some((*slot, key, row, self.dimension.get(partner.as_ref()), partner))
            });
            for (slot, key, row, found, partner) in rows.collect::<Vec<_>>() {
                give((self.logic)(key, row, found));
                if !is_last {
                    partner.into_iter().for_each(|partner| self.chains.add(partner, slot));
                }
            }
        }
        fresh.next = end;
        let is_more = end < fresh.slots.len();
        if !is_more {
            self.fresh = None;
            if is_last {
                (self.table, self.chains, self.dimension) = Default::default();
            }
        }
        is_more
    }
}

/// The slots first written in an epoch, and the first of them that has not been given.
struct Fresh {
    slots: Vec<Slot>,
    next: usize,
}

/// How many rows are given at a time.
const AT_A_TIME: usize = 1 << 15;
/// How many rows are looked for at a time.
const BLOCK: usize = 1 << 7;
