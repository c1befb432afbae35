//! The last row written under each key, joined to a table that is small enough for every worker to have it whole.
//!
//! A fact table with upserts (orders) meets a dimension (products). Done with what there is, that is [`latest`], which
//! keeps every row, then an index of the rows by the dimension's key, which keeps every row again and sends and sorts
//! it for that, then a join. Here the rows stay where their upserts are resolved: the dimension comes to them. Rows of
//! one dimension key are chained to each other through their slots, so that a change of the dimension finds them.
//!
//! Measured on six million orders and two workers, this took 1.9 s of processor time where the three operators took
//! 6.6 s, and 84 bytes a row where they kept 220. Orders of one product that all customers want are spread over all
//! workers, as their ids are.
//!
//! *Cost per change*: O(1) a row; a change of the dimension, each of its rows. *State*: one row for each key and 8 bytes
//! to chain it, and the dimension on every worker; none once both inputs are closed.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hash};

use differential_dataflow::consolidation::consolidate;
use differential_dataflow::{AsCollection, Data, ExchangeData, Hashable, VecCollection};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::vec::Broadcast;
use timely::order::TotalOrder;
use timely::progress::Timestamp;
use timely::scheduling::Activator;

use super::latest::{Slot, Table, Upsert};

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
///     let amounts = latest_joined(orders, prices, "Amounts", |row| Some(row.0), |id, (_, pieces), price| {
///         (*id, price.map(|price| pieces * price))
///     });
///     amounts.assert_eq(scope.new_collection_from([(1, Some(8)), (2, Some(15)), (3, None)]).1);
/// });
/// ```
pub fn latest_joined<'scope, T, K, V, J, P, D>(
    upserts: StreamVec<'scope, T, Upsert<K, V>>,
    partners: VecCollection<'scope, T, (J, P)>,
    name: &str,
    partner_of: impl Fn(&V) -> Option<J> + 'static,
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
    let by_key = Exchange::new(|(key, _, _): &Upsert<K, V>| key.hashed());
    let (scope, worker) = (upserts.scope(), upserts.scope().worker().index());
    let joined = upserts.binary_frontier(partners.inner.broadcast(), by_key, Pipeline, name, move |_, info| {
        let activator = Activator::new(info.address, scope.activations());
        let mut table = Table::default();
        let mut dimension = Dimension::default();
        let mut chains = Chains::default();
        let mut pending: BTreeMap<T, Epoch<T, K, V, (J, P)>> = BTreeMap::new();
        // True while the first pending epoch's rows are written as they come.
        let mut open = false;
        let mut fresh: Option<(Capability<T>, Fresh)> = None;
        move |(upserts, upserts_frontier), (partners, partners_frontier), output| {
            upserts.for_each(|capability, rows| {
                let Some(capability) = capability.retain_least(0) else { return };
                let is_open = open && pending.first_key_value().is_some_and(|(first, _)| first == capability.time());
                if is_open {
                    table.write_all(rows.drain(..));
                } else {
                    Epoch::at(&mut pending, capability).upserts.append(rows);
                }
            });
            partners.for_each(|capability, updates| {
                let Some(capability) = capability.retain_least(0) else { return };
                // An update may lie after the time of its message.
                for (row, time, diff) in updates.drain(..) {
                    Epoch::at(&mut pending, capability.delayed(&time)).partners.push((row, diff));
                }
            });
            loop {
                // A large epoch is handed on in parts, so that what comes after takes them in between.
                if let Some((capability, some)) = &mut fresh {
                    let is_last = upserts_frontier.is_empty() && partners_frontier.is_empty() && pending.is_empty();
                    let (mut session, time) = (output.session(&*capability), capability.time());
                    for slots in some.next_slots().chunks(BLOCK) {
                        // All rows of a block are looked for before the first is used, so that the memory they lie in
                        // is fetched at the same time: counting a reference would wait for what was asked for before.
                        let rows = slots.iter().filter_map(|slot| {
                            let (key, Some(row)) = table.get(*slot) else { return None };
                            let partner = partner_of(row);
                            Some((*slot, key, row, dimension.get(partner.as_ref()), partner))
                        });
                        for (slot, key, row, found, partner) in rows.collect::<Vec<_>>() {
                            session.give((logic(key, row, found), time.clone(), 1));
                            if !is_last {
                                partner.into_iter().for_each(|partner| chains.add(partner, slot));
                            }
                        }
                    }
                    if !some.is_over() {
                        return activator.activate();
                    }
                    drop(session);
                    fresh = None;
                    if is_last {
                        (table, chains) = (Table::default(), Chains::default());
                    }
                }
                // Rows are taken as soon as no earlier epoch can come, and joined when their epoch is over.
                let Some(mut first) = pending.first_entry() else { break };
                if !open && (upserts_frontier.less_than(first.key()) || partners_frontier.less_than(first.key())) {
                    break;
                }
                table.write_all(first.get_mut().upserts.drain(..));
                open = upserts_frontier.less_equal(first.key()) || partners_frontier.less_equal(first.key());
                if open {
                    break;
                }
                let (time, epoch) = first.remove_entry();
                let mut session = output.session(&epoch.capability);
                let mut give = |key: &K, row: &V, partner: Option<&P>, diff| {
                    session.give((logic(key, row, partner), time.clone(), diff));
                };
                // First the partners change, under the rows as they were; then the rows.
                for (partner, before) in dimension.apply(epoch.partners) {
                    for slot in chains.of(&partner) {
                        if let (key, Some(row)) = table.get(slot) {
                            give(key, row, before.as_ref(), -1);
                            give(key, row, dimension.get(Some(&partner)), 1);
                        }
                    }
                }
                let written = table.settle();
                for (slot, before) in written.replaced {
                    let (key, after) = table.get(slot);
                    if after == Some(&before) {
                        continue;
                    }
                    let (old, new) = (partner_of(&before), after.and_then(&partner_of));
                    give(key, &before, dimension.get(old.as_ref()), -1);
                    after.iter().for_each(|row| give(key, row, dimension.get(new.as_ref()), 1));
                    if old != new {
                        old.iter().for_each(|partner| chains.remove(partner, slot));
                        new.into_iter().for_each(|partner| chains.add(partner, slot));
                    }
                    if after.is_none() {
                        table.remove(slot);
                    }
                }
                drop(session);
                let partner = |slot| partner_of(table.get(slot).1?);
                let (some, deleted) =
                    Fresh::by_partner(written.fresh, partner, |slot| table.get(slot).1.is_none(), worker);
                deleted.into_iter().for_each(|slot| table.remove(slot));
                fresh = Some((epoch.capability, some));
            }
        }
    });
    joined.as_collection()
}

/// Slots that were first written in an epoch, so ordered that those of partners with similar hashes lie together: then few partners
/// are looked up at a time, from the cache.
struct Fresh {
    slots: Vec<Slot>,
    next: usize,
}

/// How many slots are handed on at a time.
const AT_A_TIME: usize = 1 << 15;
/// How many rows are looked for at a time.
const BLOCK: usize = 1 << 7;

impl Fresh {
    /// Orders slots, and sets those apart that have no row.
    fn by_partner<J: Hash>(
        slots: Vec<Slot>,
        partner_of: impl Fn(Slot) -> Option<J>,
        is_deleted: impl Fn(Slot) -> bool,
        worker: usize,
    ) -> (Fresh, Vec<Slot>) {
        let (deleted, mut slots): (Vec<_>, Vec<_>) = slots.into_iter().partition(|slot| is_deleted(*slot));
        if slots.len() > AT_A_TIME {
            // Workers begin with different partners, so as not to count references to the same ones at the same time.
            let hasher = FixedState::default();
            let turn = (worker as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
            let group =
                |slot: Slot| partner_of(slot).map_or(0, |partner| (hasher.hash_one(partner) >> 56) + turn) as u8;
            let groups: Vec<u8> = slots.iter().map(|slot| group(*slot)).collect();
            let mut starts = [0_usize; 257];
            groups.iter().for_each(|group| starts[usize::from(*group) + 1] += 1);
            (0..256).for_each(|group| starts[group + 1] += starts[group]);
            let mut ordered = slots.clone();
            for (slot, group) in slots.into_iter().zip(groups) {
                ordered[starts[usize::from(group)]] = slot;
                starts[usize::from(group)] += 1;
            }
            slots = ordered;
        }
        (Fresh { slots, next: 0 }, deleted)
    }

    fn next_slots(&mut self) -> &[Slot] {
        let rest = &self.slots[self.next..];
        let some = &rest[..rest.len().min(AT_A_TIME)];
        self.next += some.len();
        some
    }

    fn is_over(&self) -> bool {
        self.next == self.slots.len()
    }
}

/// What has come of an epoch that is not over.
struct Epoch<T: Timestamp, K, V, P> {
    capability: Capability<T>,
    upserts: Vec<Upsert<K, V>>,
    partners: Vec<(P, isize)>,
}

impl<T: Timestamp, K, V, P> Epoch<T, K, V, P> {
    fn at(pending: &mut BTreeMap<T, Self>, capability: Capability<T>) -> &mut Self {
        let new = |capability| Epoch { capability, upserts: Vec::new(), partners: Vec::new() };
        pending.entry(capability.time().clone()).or_insert_with(|| new(capability))
    }
}

/// The partners by key.
struct Dimension<J, P>(HashMap<J, P, FixedState>);

impl<J, P> Default for Dimension<J, P> {
    fn default() -> Self {
        Dimension(HashMap::default())
    }
}

impl<J: Ord + Hash + Clone, P: Ord> Dimension<J, P> {
    fn get(&self, key: Option<&J>) -> Option<&P> {
        self.0.get(key?)
    }

    /// Applies an epoch's updates; gives the keys that changed, each with the partner it had.
    fn apply(&mut self, mut updates: Vec<((J, P), isize)>) -> HashMap<J, Option<P>, FixedState> {
        consolidate(&mut updates);
        let mut changed = HashMap::default();
        let (put, taken): (Vec<_>, Vec<_>) = updates.into_iter().partition(|(_, diff)| *diff > 0);
        for ((key, _), _) in taken {
            let before = self.0.remove(&key);
            changed.insert(key, before);
        }
        for ((key, partner), _) in put {
            let before = self.0.insert(key.clone(), partner);
            changed.entry(key).or_insert(before);
        }
        changed
    }
}

/// The slots of the rows that name each partner, as doubly linked lists.
struct Chains<J> {
    first: HashMap<J, Slot, FixedState>,
    /// By part and slot.
    links: Vec<Vec<Link>>,
}

#[derive(Clone, Copy)]
struct Link {
    before: Slot,
    after: Slot,
}

impl<J> Default for Chains<J> {
    fn default() -> Self {
        Chains { first: HashMap::default(), links: (0..=u8::MAX).map(|_| Vec::new()).collect() }
    }
}

impl<J: Eq + Hash> Chains<J> {
    fn link(&mut self, slot: Slot) -> Option<&mut Link> {
        self.links[slot.part()].get_mut(slot.at())
    }

    fn add(&mut self, partner: J, slot: Slot) {
        let after = self.first.insert(partner, slot).unwrap_or(Slot::NONE);
        let (links, at) = (&mut self.links[slot.part()], slot.at());
        if links.len() <= at {
            links.resize(at + 1, Link { before: Slot::NONE, after: Slot::NONE });
        }
        links[at] = Link { before: Slot::NONE, after };
        if let Some(next) = self.link(after) {
            next.before = slot;
        }
    }

    fn remove(&mut self, partner: &J, slot: Slot) {
        let Some(Link { before, after }) = self.link(slot).copied() else { return };
        if let Some(next) = self.link(after) {
            next.before = before;
        }
        if let Some(previous) = self.link(before) {
            previous.after = after;
        } else if after == Slot::NONE {
            self.first.remove(partner);
        } else if let Some(first) = self.first.get_mut(partner) {
            *first = after;
        }
    }

    fn of(&self, partner: &J) -> impl Iterator<Item = Slot> {
        let next = |slot: &Slot| Some(self.links[slot.part()].get(slot.at())?.after);
        std::iter::successors(self.first.get(partner).copied(), next).take_while(|slot| *slot != Slot::NONE)
    }
}
