//! The last row written under each key, joined to a table that is small enough to be copied to every worker.
//!
//! A fact table with upserts (orders) meets a dimension (products). With [`latest`](super::latest()) and a join every
//! row would be kept twice, once by each, and be sent and sorted for the second. Here rows stay on the worker on
//! which their upserts are resolved, and the dimension is copied to it. The rows of one dimension key are chained to
//! each other through their slots, so that a change of the dimension finds them. The rows of one popular product are
//! spread over all workers, as their ids are.
//!
//! *Cost per change*: O(1) a row; a change of the dimension, each of its rows. *State*: one row for each key and 8
//! bytes to chain it, and the dimension on every worker; none once both inputs are closed.

use std::collections::BTreeMap;

use differential_dataflow::{AsCollection, Data, ExchangeData, VecCollection};
use hashbrown::HashMap;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::frontier::MutableAntichain;
use timely::scheduling::Activator;

use crate::bounds::{Epochs, Key};
use crate::exchange::{LocalHash, route, to_all_workers};
use crate::many_keys::get_all;
use crate::read_ahead::TOGETHER;
use crate::slot_chains::SlotChains;
use crate::spill::Spill;
use crate::stash::{Accepted, Stash};
use crate::state_log::StateLog;
use crate::unique::UniqueRows;
use crate::upsert::Upsert;
use crate::upsert_table::{Slot, UpsertTable, WrittenPart};

/// Applies `logic` to each row that [`latest`](super::latest()) would leave and to the partner that it names: a left
/// join, with `None` for a row that names none, or one that does not exist.
///
/// `partner_of` returns the key of a row's partner. Of two upserts of one key in one epoch and at one position, the
/// greater row wins, as in [`latest`](super::latest()).
///
/// # Panics
///
/// If `partners` has two different rows under one key at the end of an epoch, or one of negative weight. Copies of one
/// row count as one. Also if a worker has about 2³² keys of rows, as in [`latest`](super::latest()).
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
pub fn latest_joined<'scope, T: Epochs, K: Key, V: ExchangeData, J: Key, P: ExchangeData, D: Data>(
    upserts: StreamVec<'scope, T, Upsert<K, V>>,
    partners: VecCollection<'scope, T, (J, P)>,
    name: &str,
    partner_of: impl Fn(&K, &V) -> Option<J> + 'static,
    logic: impl Fn(&K, &V, Option<&P>) -> D + 'static,
) -> VecCollection<'scope, T, D> {
    let partners = partners.map(|(key, partner)| (key, (partner, ())));
    let hooks = JoinHooks { inspect: |_: &K, _: &V, _: &V| (), touch: |_: &K, _: &V| (), spill: None };
    latest_joined_with(upserts, partners, name, partner_of, logic, hooks).0
}

/// What [`latest_joined_with`] does beside the join.
pub struct JoinHooks<I, C> {
    /// Called as [`latest_inspect`](super::latest_inspect) calls its own.
    pub inspect: I,
    /// Makes a record of the second output of a key and its row.
    pub touch: C,
    /// Where upserts wait for the end of their epoch that do not fit memory.
    pub spill: Option<Spill>,
}

/// As [`latest_joined`], for partners with details that `logic` does not see, and with hooks.
///
/// Where only the details of a partner change, the joined records stay. The second output then has `touch(key, row)`
/// for each of the partner's rows, as they were before that epoch. It is a stream of events: nothing is retracted.
/// `P` is cloned for each new row, so what `logic` does not read belongs to the details.
///
/// *Cost per change* of details: the partner's rows.
///
/// # Panics
///
/// As `latest_joined`.
pub fn latest_joined_with<'scope, T, K, V, J, P, X, D, C>(
    upserts: StreamVec<'scope, T, Upsert<K, V>>,
    partners: VecCollection<'scope, T, (J, (P, X))>,
    name: &str,
    partner_of: impl Fn(&K, &V) -> Option<J> + 'static,
    logic: impl Fn(&K, &V, Option<&P>) -> D + 'static,
    hooks: JoinHooks<impl FnMut(&K, &V, &V) + 'static, impl Fn(&K, &V) -> C + 'static>,
) -> (VecCollection<'scope, T, D>, StreamVec<'scope, T, (C, T, isize)>)
where
    T: Epochs,
    K: Key,
    V: ExchangeData,
    J: Key,
    P: ExchangeData,
    X: ExchangeData,
    D: Data,
    C: Data,
{
    let scope = upserts.scope();
    let mut builder = OperatorBuilder::new(name.to_owned(), scope);
    let mut upserts = builder.new_input(upserts, Exchange::new(|(key, _, _): &Upsert<K, V>| route(key)));
    let (partners, to_worker) = to_all_workers(partners, &format!("{name}: partners"));
    let mut partners = builder.new_input(partners, to_worker);
    let (output, joined) = builder.new_output();
    let mut output = OutputBuilder::<T, CapacityContainerBuilder<Vec<(D, T, isize)>>>::from(output);
    let (touched_output, touched) = builder.new_output();
    let mut touched_output = OutputBuilder::<T, CapacityContainerBuilder<Vec<(C, T, isize)>>>::from(touched_output);
    let activator = Activator::new(builder.operator_info().address, scope.activations());
    let mut state_log = StateLog::new(&scope, builder.operator_info().global_id);
    let JoinHooks { inspect, touch, spill } = hooks;
    let mut join = LatestJoin::new(name, partner_of, logic, inspect, spill);
    builder.build(move |_| {
        // Capabilities of the second output, for epochs in which partners change.
        let mut touching = BTreeMap::new();
        move |frontiers| {
            let (mut output, mut touched) = (output.activate(), touched_output.activate());
            let frontiers = [&frontiers[0], &frontiers[1]];
            upserts.for_each(|message, rows| match join.stash.accept(&message) {
                Some(Accepted::Open) => join.table.write_all(rows.drain(..)),
                Some(Accepted::Held(epoch)) => epoch.upserts.append(rows),
                None => (),
            });
            partners.for_each(|message, updates| {
                let updates = updates.drain(..).map(|(_, update)| update).inspect(|(_, time, _)| {
                    touching.entry(time.clone()).or_insert_with(|| message.delayed(time, 1));
                });
                join.stash.accept_updates(&message, updates, |epoch, row, diff| epoch.partners.push((row, diff)));
            });
            loop {
                if let Some(epoch) = join.settling.clone() {
                    let (mut session, time) = (output.session(&epoch), epoch.time());
                    // A large epoch is sent in parts, so that its rows are consumed before they accumulate.
                    if join.settle(&frontiers, |row, diff| session.give((row, time.clone(), diff))) {
                        return activator.activate();
                    }
                }
                let Some((epoch, changes)) = join.next_epoch(&frontiers) else { break };
                let (mut session, time) = (output.session(&epoch), epoch.time());
                let touched_rows = join.change_partners(changes, |row, diff| session.give((row, time.clone(), diff)));
                if let Some(held) = touching.remove(time) {
                    let rows = touched_rows.into_iter().map(|slot| join.table.get(slot));
                    let records = rows.filter_map(|(key, row)| Some((touch(key, row?), time.clone(), 1)));
                    touched.session(&held).give_iterator(records);
                }
                join.table.read_ahead();
                join.settling = Some(epoch.clone());
            }
            if join.stash.is_closed(&frontiers) {
                join.clear();
            }
            let (records, bytes) = (join.table.len() + join.partners.len(), || join.bytes());
            state_log.log(records, bytes);
        }
    });
    (joined.as_collection(), touched)
}

/// The rows, their partners, and the epochs that are not complete.
struct LatestJoin<T: Epochs, K, V, J, P, X, F, L> {
    table: UpsertTable<K, V>,
    partners: UniqueRows<J, (P, X)>,
    /// What the joined records have of each partner: every row looks it up, so it is kept close together.
    seen: HashMap<J, P, LocalHash>,
    /// Names the operator and its input of partners.
    place: String,
    chains: SlotChains<J>,
    stash: Stash<T, EpochInputs<K, V, J, (P, X)>>,
    /// The epoch whose rows are being sent.
    settling: Option<Capability<T>>,
    partner_of: F,
    logic: L,
}

type PartnerUpdates<J, P, X> = Vec<((J, (P, X)), isize)>;

/// What the joined record has of a partner.
fn seen<P, X>((seen, _details): &(P, X)) -> &P {
    seen
}

/// The input of an epoch.
struct EpochInputs<K, V, J, P> {
    upserts: Vec<Upsert<K, V>>,
    partners: Vec<((J, P), isize)>,
}

impl<K, V, J, P> Default for EpochInputs<K, V, J, P> {
    fn default() -> Self {
        EpochInputs { upserts: Vec::new(), partners: Vec::new() }
    }
}

impl<T, K, V, J, P, X, D, F, L> LatestJoin<T, K, V, J, P, X, F, L>
where
    T: Epochs,
    K: Key,
    V: ExchangeData,
    J: Key,
    P: ExchangeData,
    X: ExchangeData,
    F: Fn(&K, &V) -> Option<J>,
    L: Fn(&K, &V, Option<&P>) -> D,
{
    fn new(
        name: &str,
        partner_of: F,
        logic: L,
        inspect: impl FnMut(&K, &V, &V) + 'static,
        spill: Option<Spill>,
    ) -> Self {
        LatestJoin {
            table: UpsertTable::new(format!("latest_joined {name:?}: rows"), inspect).spilling(spill),
            partners: UniqueRows::default(),
            seen: HashMap::default(),
            place: format!("latest_joined {name:?}: partners"),
            chains: SlotChains::default(),
            stash: Stash::default(),
            settling: None,
            partner_of,
            logic,
        }
    }

    /// The next epoch that is complete, and the changes of partners in it. Rows are written as soon as no earlier epoch
    /// can begin.
    fn next_epoch(&mut self, frontiers: &[&MutableAntichain<T>]) -> Option<(Capability<T>, PartnerUpdates<J, P, X>)> {
        if let Some(epoch) = self.stash.open(frontiers) {
            self.table.write_all(epoch.upserts.drain(..));
        }
        self.stash.next_complete(frontiers).map(|(epoch, inputs)| (epoch, inputs.partners))
    }

    /// Changes partners under the rows as they were before the epoch. Returns the slots of rows of which only details
    /// of the partner changed.
    fn change_partners(&mut self, updates: PartnerUpdates<J, P, X>, mut give: impl FnMut(D, isize)) -> Vec<Slot> {
        let mut touched = Vec::new();
        let changed = self.partners.apply(updates, &self.place);
        if self.seen.is_empty() {
            self.seen.reserve(changed.len());
        }
        for (key, before) in changed {
            let (before, after) = (before.as_ref().map(seen), self.partners.get(Some(&key)).map(seen));
            let slots = self.chains.of(&key);
            if before == after {
                touched.extend(slots);
                continue;
            }
            match after {
                Some(seen) => drop(self.seen.insert(key.clone(), seen.clone())),
                None => drop(self.seen.remove(&key)),
            }
            for slot in slots {
                if let (key, Some(row)) = self.table.get(slot) {
                    give((self.logic)(key, row, before), -1);
                    give((self.logic)(key, row, after), 1);
                }
            }
        }
        touched
    }

    /// Sends some of the epoch's rows, after its partners have changed; true if there are more. If nothing can arrive
    /// any more, rows are not kept.
    fn settle(&mut self, frontiers: &[&MutableAntichain<T>], mut give: impl FnMut(D, isize)) -> bool {
        let is_last = self.stash.is_closed(frontiers);
        let (mut given, at_a_time) = (0, AT_A_TIME / self.table.upsert_bytes());
        while given <= at_a_time {
            let Some(written) = self.table.settle() else {
                self.settling = None;
                return false;
            };
            let part = written.part;
            given += written.fresh.len() + written.replaced.len();
            self.change_rows(written, is_last, &mut give);
            if is_last {
                self.table.clear_part(part);
            }
        }
        true
    }

    /// The memory of what is kept.
    fn bytes(&self) -> usize {
        self.table.bytes() + self.partners.bytes() + self.seen.allocation_size() + self.chains.bytes()
    }

    /// Drops the rows and the partners.
    fn clear(&mut self) {
        self.table.clear();
        (self.chains, self.partners, self.seen) = Default::default();
    }

    /// Sends rows that an epoch wrote, each with the row that it replaces.
    fn change_rows(&mut self, written: WrittenPart<V>, is_last: bool, give: &mut impl FnMut(D, isize)) {
        self.add_rows(written.fresh, is_last, give);
        let LatestJoin { table, seen, chains, partner_of, logic, .. } = self;
        for (slot, before) in written.replaced {
            let (key, after) = table.get(slot);
            if after == Some(&before) {
                continue;
            }
            let (old, new) = (partner_of(key, &before), after.and_then(|row| partner_of(key, row)));
            let partner = |key: &Option<J>| seen.get(key.as_ref()?);
            give(logic(key, &before, partner(&old)), -1);
            match after {
                Some(row) => give(logic(key, row, partner(&new)), 1),
                None => table.remove(slot),
            }
            if old != new && !is_last {
                old.iter().for_each(|partner| chains.remove(partner, slot));
                new.into_iter().for_each(|partner| chains.add(partner, slot));
            }
        }
    }

    /// Sends rows of keys that had none.
    fn add_rows(&mut self, slots: Vec<Slot>, is_last: bool, give: &mut impl FnMut(D, isize)) {
        let LatestJoin { table, seen, chains, partner_of, logic, .. } = self;
        let partner_key = |slot: &Slot| {
            let (key, row) = table.get(*slot);
            partner_of(key, row?)
        };
        let partner_keys: Vec<Option<J>> = slots.iter().map(partner_key).collect();
        let partners = get_all(seen, &partner_keys);
        let mut rows = slots.into_iter().zip(partner_keys).zip(partners);
        let mut together = Vec::new();
        loop {
            together.extend(rows.by_ref().take(TOGETHER));
            if together.is_empty() {
                return;
            }
            if !is_last {
                chains.read_ahead(together.iter().filter_map(|((_, key), _)| key.as_ref()));
            }
            for ((slot, partner_key), partner) in together.drain(..) {
                let (key, row) = table.get(slot);
                let Some(row) = row else {
                    table.remove(slot);
                    continue;
                };
                give(logic(key, row, partner.as_ref()), 1);
                if !is_last {
                    partner_key.into_iter().for_each(|partner| chains.add(partner, slot));
                }
            }
        }
    }
}

/// How many bytes of rows are given at a time, about.
const AT_A_TIME: usize = 1 << 20;
