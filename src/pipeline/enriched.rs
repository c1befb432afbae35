//! The rows of `enriched_data`: a delta join of lines, accounts and products, which are each kept once.
//!
//! ```text
//! changed lines ────┐
//! changed accounts ─┼─▶ customers affected ─▶ their lines before and after ─▶ rows that differ
//! changed products ─┘
//! ```
//!
//! No joined row is stored: a row to delete is joined again from what was there before the epoch. The
//! first epoch, in which nothing was there before, is joined from its batch alone, without looking anything up.
//!
//! *Cost per change*: the changed lines; of a customer whose account changed, or who bought a product that changed in
//! another column than its price, all lines. *State*: the accounts by customer and the products by id, by reference.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::ops::Range;
use std::sync::Arc;

use differential_dataflow::operators::arrange::TraceAgent;
use differential_dataflow::trace::cursor::cursor_list;
use differential_dataflow::trace::implementations::ValSpine;
use differential_dataflow::trace::{Cursor, TraceReader};
use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};
use timely::progress::frontier::AntichainRef;

use crate::model::{Account, Id, Line, Product};
use crate::operators::{Batch, Epochs, SortedBatch};

/// A row of `enriched_data`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Enriched<I> {
    /// Who ordered; `None` for a guest.
    pub customer: Option<I>,
    /// The order.
    pub line: Line<I>,
    /// The product; `None` where it is unknown.
    pub item: Option<Arc<Product>>,
    /// What is known of the customer.
    pub account: Arc<Account>,
}

/// A line with its account, by reference.
#[derive(Clone, Copy)]
pub struct LinePart<'a, I> {
    /// Who ordered; `None` for a guest.
    pub customer: &'a Option<I>,
    /// The order.
    pub line: &'a Line<I>,
    /// The position of the product among those given beside it; `None` where it is unknown.
    pub item: Option<u32>,
    /// What is known of the customer.
    pub account: &'a Arc<Account>,
}

/// Rows that an epoch inserts or deletes.
pub enum EnrichedRows<'a, I> {
    /// Rows of the first epoch, each of which is inserted once, and the products.
    First(&'a [LinePart<'a, I>], &'a [Arc<Product>]),
    /// Rows that differ, with their weights.
    Differing(&'a [(Enriched<I>, isize)]),
}

/// The most rows of a part of an epoch.
const ROWS_MAX: usize = 1 << 12;

/// The parts of an epoch that are joined before other operators get a turn.
const PARTS_AT_A_TIME: usize = 16;

type Trace<T, I> = TraceAgent<ValSpine<Option<I>, Line<I>, T, isize>>;
type Lines<T, I> = Batch<Option<I>, Line<I>, T>;
type ById<K, V> = HashMap<K, V, FixedState>;

/// The join of lines, accounts and products on one worker.
pub struct EnrichedJoin<T: Epochs, I: Id> {
    /// All lines; `None` if nothing changes after the first epoch.
    trace: Option<Trace<T, I>>,
    /// Batches of lines that are not joined yet, in the order of their times, each with its least time.
    batches: Vec<(T, Lines<T, I>)>,
    changes: BTreeMap<T, EpochChanges<I>>,
    accounts: ById<Option<I>, Arc<Account>>,
    products: ById<I, Arc<Product>>,
    current: Option<CurrentEpoch<T, I>>,
}

/// What an epoch that is not joined yet changes.
struct EpochChanges<I> {
    accounts: Vec<((Option<I>, Arc<Account>), isize)>,
    products: Vec<((I, Arc<Product>), isize)>,
    /// Customers who bought a product that changed.
    buyers: Vec<Option<I>>,
}

impl<I> Default for EpochChanges<I> {
    fn default() -> Self {
        EpochChanges { accounts: Vec::new(), products: Vec::new(), buyers: Vec::new() }
    }
}

/// The epoch that is being joined.
struct CurrentEpoch<T, I> {
    epoch: T,
    /// The accounts and products that changed, as they are after the epoch.
    accounts: ById<Option<I>, Option<Arc<Account>>>,
    products: ById<I, Option<Arc<Product>>>,
    work: Remaining<I>,
}

/// What is left to be joined of an epoch.
enum Remaining<I> {
    /// Of the first epoch: the lines of the batch from this key and value on. Products are found by their positions.
    First { next: (usize, usize), is_only_epoch: bool, positions: ById<I, u32>, items: Vec<Arc<Product>> },
    /// Of any other: these customers, in order, with all their lines or only those that changed.
    Customers(std::iter::Peekable<std::vec::IntoIter<(Option<I>, bool)>>),
}

impl<T: Epochs, I: Id> EnrichedJoin<T, I> {
    /// A join of nothing yet. Without a trace of the lines it joins only the first epoch.
    #[must_use]
    pub fn new(trace: Option<Trace<T, I>>) -> Self {
        let (accounts, products) = Default::default();
        EnrichedJoin { trace, batches: Vec::new(), changes: BTreeMap::new(), accounts, products, current: None }
    }

    /// Takes a batch of changed lines.
    pub fn take_lines(&mut self, batch: Lines<T, I>) {
        self.batches.extend(least_time(&batch).cloned().map(|least| (least, batch)));
    }

    /// Takes changes of accounts.
    pub fn take_accounts(&mut self, updates: impl Iterator<Item = ((Option<I>, Arc<Account>), T, isize)>) {
        for (account, epoch, diff) in updates {
            self.changes.entry(epoch).or_default().accounts.push((account, diff));
        }
    }

    /// Takes changes of products.
    pub fn take_products(&mut self, updates: impl Iterator<Item = ((I, Arc<Product>), T, isize)>) {
        for (product, epoch, diff) in updates {
            self.changes.entry(epoch).or_default().products.push((product, diff));
        }
    }

    /// Takes customers who bought a product that changed in another column than its price.
    pub fn take_buyers(&mut self, updates: impl Iterator<Item = (Option<I>, T, isize)>) {
        for (customer, epoch, _) in updates {
            self.changes.entry(epoch).or_default().buyers.push(customer);
        }
    }

    /// Gives some rows of the epochs before the frontier; true if more are left.
    ///
    /// # Errors
    ///
    /// Those of `give`.
    pub fn join<E>(
        &mut self,
        frontier: AntichainRef<'_, T>,
        mut give: impl FnMut(&T, EnrichedRows<'_, I>) -> Result<(), E>,
    ) -> Result<bool, E> {
        for _ in 0..PARTS_AT_A_TIME {
            let Some(mut current) = self.current.take().or_else(|| self.begin_next(frontier)) else { return Ok(false) };
            let is_more = match &mut current.work {
                Remaining::First { .. } => self.join_first(&mut current, &mut give)?,
                Remaining::Customers(_) => self.join_customers(&mut current, &mut give)?,
            };
            if is_more {
                self.current = Some(current);
            } else {
                self.finish(current);
            }
        }
        Ok(true)
    }

    /// The least epoch before the frontier that has changes.
    fn begin_next(&mut self, frontier: AntichainRef<'_, T>) -> Option<CurrentEpoch<T, I>> {
        let of_lines = self.batches.first().map(|(least, _)| least);
        let epoch = of_lines.into_iter().chain(self.changes.keys().next()).min()?.clone();
        if frontier.less_equal(&epoch) {
            return None;
        }
        let EpochChanges { accounts, products, buyers } = self.changes.remove(&epoch).unwrap_or_default();
        let (accounts, products) = (after(accounts), after(products));
        let is_first = self.accounts.is_empty() && self.products.is_empty();
        let is_only_epoch = self.batches.iter().all(|(_, batch)| is_only(batch, &epoch));
        let work = if is_first { first(&products, is_only_epoch) } else { self.affected(&epoch, &accounts, buyers) };
        Some(CurrentEpoch { epoch, accounts, products, work })
    }

    /// The customers whose rows may differ.
    fn affected(
        &self,
        epoch: &T,
        accounts: &ById<Option<I>, Option<Arc<Account>>>,
        buyers: Vec<Option<I>>,
    ) -> Remaining<I> {
        let has_changed = |(customer, account): &(&Option<I>, &Option<Arc<Account>>)| {
            self.accounts.get(*customer) != account.as_ref()
        };
        let changed = accounts.iter().filter(has_changed).map(|(customer, _)| customer.clone());
        let mut customers: BTreeMap<Option<I>, bool> = changed.chain(buyers).map(|customer| (customer, true)).collect();
        for (_, batch) in &self.batches {
            let changes =
                |(_, values): &(_, Range<usize>)| values.clone().any(|value| batch.updates(value).0.contains(epoch));
            for (customer, _) in batch.by_key().filter(changes) {
                customers.entry(customer.clone()).or_insert(false);
            }
        }
        Remaining::Customers(customers.into_iter().collect::<Vec<_>>().into_iter().peekable())
    }

    /// Joins some lines of the first epoch; false if that were all.
    fn join_first<E>(
        &self,
        current: &mut CurrentEpoch<T, I>,
        give: &mut impl FnMut(&T, EnrichedRows<'_, I>) -> Result<(), E>,
    ) -> Result<bool, E> {
        let CurrentEpoch { epoch, accounts, work: Remaining::First { next, is_only_epoch, positions, items }, .. } =
            current
        else {
            unreachable!("the first epoch is joined as such")
        };
        let Some((_, batch)) = self.batches.first() else { return Ok(false) };
        let (keys, values) = (batch.keys(), batch.values());
        let (mut key, mut value) = *next;
        let mut rows = Vec::with_capacity(ROWS_MAX);
        while key < keys.len() && rows.len() < ROWS_MAX {
            let customer = &keys[key];
            let Range { start, end } = batch.range(key);
            let from = start.max(value);
            let to = end.min(from + ROWS_MAX - rows.len());
            // A customer without an account has lines in later epochs only.
            if let Some(Some(account)) = accounts.get(customer) {
                let is_here = |at: &usize| *is_only_epoch || weight_at(batch, *at, epoch) > 0;
                rows.extend((from..to).filter(is_here).map(|at| {
                    let line = &values[at];
                    let item = line.product.as_ref().and_then(|product| positions.get(product)).copied();
                    LinePart { customer, line, item, account }
                }));
            }
            (key, value) = if to == end { (key + 1, end) } else { (key, to) };
        }
        *next = (key, value);
        if !rows.is_empty() {
            give(epoch, EnrichedRows::First(&rows, items))?;
        }
        Ok(key < keys.len())
    }

    /// Joins the lines of some customers, before the epoch and after it; false if those were all.
    fn join_customers<E>(
        &mut self,
        current: &mut CurrentEpoch<T, I>,
        give: &mut impl FnMut(&T, EnrichedRows<'_, I>) -> Result<(), E>,
    ) -> Result<bool, E> {
        let CurrentEpoch { epoch, accounts, products, work: Remaining::Customers(customers) } = current else {
            unreachable!("the first epoch is over")
        };
        let trace = self.trace.as_mut().expect("the lines are kept where they may change");
        let (mut cursor, storage) =
            cursor_list(trace.batches_through(AntichainRef::new(&[])).expect("all batches can be read"));
        let mut rows = Vec::new();
        while rows.len() < ROWS_MAX {
            let Some((customer, all_lines)) = customers.next() else { break };
            let before = self.accounts.get(&customer);
            let after = accounts.get(&customer).map_or(before, Option::as_ref);
            let items = |line: &Line<I>| {
                let product = line.product.as_ref();
                let before = product.and_then(|product| self.products.get(product));
                let changed = product.and_then(|product| products.get(product));
                (before.cloned(), changed.map_or(before, Option::as_ref).cloned())
            };
            let mut push = |line: &Line<I>, item, account: Option<&Arc<Account>>, weight| {
                let account = Arc::clone(account.expect("a customer with lines has an account"));
                let (customer, line) = (customer.clone(), line.clone());
                rows.push((Enriched { customer, line, item, account }, weight));
            };
            let mut see = |line: &Line<I>, was: isize, is: isize| {
                let (item_before, item_after) = items(line);
                if was != is || before != after || item_before != item_after {
                    if was != 0 {
                        push(line, item_before, before, -was);
                    }
                    if is != 0 {
                        push(line, item_after, after, is);
                    }
                }
            };
            if all_lines {
                cursor.seek_key(&storage, &customer);
                if cursor.get_key(&storage) == Some(&customer) {
                    while let Some(line) = cursor.get_val(&storage) {
                        let (mut was, mut is) = (0, 0);
                        cursor.map_times(&storage, |time, diff| {
                            was += if time < epoch { *diff } else { 0 };
                            is += if time <= epoch { *diff } else { 0 };
                        });
                        see(line, was, is);
                        cursor.step_val(&storage);
                    }
                }
            } else {
                for (_, batch) in &self.batches {
                    each_change(batch, &customer, epoch, |line, diff| see(line, (-diff).max(0), diff.max(0)));
                }
            }
        }
        if !rows.is_empty() {
            give(epoch, EnrichedRows::Differing(&rows))?;
        }
        Ok(customers.peek().is_some())
    }

    /// Takes over what an epoch changed.
    fn finish(&mut self, current: CurrentEpoch<T, I>) {
        let CurrentEpoch { epoch, accounts, products, .. } = current;
        self.batches =
            std::mem::take(&mut self.batches).into_iter().filter_map(|(_, batch)| after_epoch(batch, &epoch)).collect();
        let Some(trace) = &mut self.trace else { return };
        replace(&mut self.accounts, accounts);
        replace(&mut self.products, products);
        trace.set_logical_compaction(AntichainRef::new(&[epoch]));
    }

    /// Lets the trace merge what is before the frontier.
    pub fn compact(&mut self, frontier: AntichainRef<'_, T>) {
        self.trace.iter_mut().for_each(|trace| trace.set_physical_compaction(frontier));
    }
}

/// The first epoch's work: all lines, with products by their positions.
fn first<I: Id>(products: &ById<I, Option<Arc<Product>>>, is_only_epoch: bool) -> Remaining<I> {
    let there = products.iter().filter_map(|(id, product)| Some((id, product.as_ref()?)));
    let (mut positions, mut items) = (HashMap::default(), Vec::new());
    for ((id, product), position) in there.zip(0..) {
        positions.insert(id.clone(), position);
        items.push(Arc::clone(product));
    }
    Remaining::First { next: (0, 0), is_only_epoch, positions, items }
}

/// What each key has after changes; `None` if nothing.
fn after<K: Hash + Eq, V: Eq>(changes: Vec<((K, V), isize)>) -> ById<K, Option<V>> {
    let mut values: ById<K, Option<V>> = HashMap::with_capacity_and_hasher(changes.len(), FixedState::default());
    let mut deletions = Vec::new();
    for ((key, value), diff) in changes {
        if diff > 0 { drop(values.insert(key, Some(value))) } else { deletions.push(key) }
    }
    for key in deletions {
        values.entry(key).or_insert(None);
    }
    values
}

/// Puts changed values into a map.
fn replace<K: Hash + Eq, V>(values: &mut ById<K, V>, changed: ById<K, Option<V>>) {
    values.reserve(changed.len().saturating_sub(values.len()));
    for (key, value) in changed {
        match value {
            Some(value) => drop(values.insert(key, value)),
            None => drop(values.remove(&key)),
        }
    }
}

/// The least time of a batch.
fn least_time<T: Epochs, I: Id>(batch: &Lines<T, I>) -> Option<&T> {
    let mut last = None;
    // Updates in sequence that share their time are stored once: the first of each is enough.
    let times = (0..batch.values().len()).map(|value| batch.updates(value).0);
    let changed = times.filter(|times| last.replace(times.as_ptr()) != Some(times.as_ptr()));
    changed.flatten().min()
}

/// A batch that has updates after an epoch, and the least time of these.
fn after_epoch<T: Epochs, I: Id>(batch: Lines<T, I>, epoch: &T) -> Option<(T, Lines<T, I>)> {
    if is_only(&batch, epoch) {
        return None;
    }
    let least = batch.rows().map(|(_, _, time, _)| time).filter(|time| *time > epoch).min().cloned();
    least.map(|least| (least, batch))
}

/// True if all updates of a batch are in this epoch.
fn is_only<T: Epochs, I: Id>(batch: &Lines<T, I>, epoch: &T) -> bool {
    let mut last = None;
    let times = (0..batch.values().len()).map(|value| batch.updates(value).0);
    let mut changed = times.filter(|times| last.replace(times.as_ptr()) != Some(times.as_ptr()));
    changed.all(|times| times.iter().all(|time| time == epoch))
}

/// The weight that an epoch gives to the value at this position of a batch.
fn weight_at<T: Epochs, I: Id>(batch: &Lines<T, I>, value: usize, epoch: &T) -> isize {
    let (times, diffs) = batch.updates(value);
    times.iter().zip(diffs).filter(|(time, _)| *time == epoch).map(|(_, diff)| diff).sum()
}

/// The changes of a customer's lines in an epoch of a batch.
fn each_change<T: Epochs, I: Id>(
    batch: &Lines<T, I>,
    customer: &Option<I>,
    epoch: &T,
    mut see: impl FnMut(&Line<I>, isize),
) {
    let Ok(key) = batch.keys().binary_search(customer) else { return };
    for value in batch.range(key) {
        let weight = weight_at(batch, value, epoch);
        if weight != 0 {
            see(&batch.values()[value], weight);
        }
    }
}
