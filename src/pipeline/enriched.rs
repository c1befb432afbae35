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
use differential_dataflow::trace::cursor::{CursorList, cursor_list};
use differential_dataflow::trace::implementations::ValSpine;
use differential_dataflow::trace::{Cursor, Navigable, TraceReader};
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
    /// Batches of lines that are not joined yet, in the order of their times.
    batches: Vec<OpenBatch<T, I>>,
    changes: BTreeMap<T, EpochChanges<I>>,
    accounts: ById<Option<I>, Arc<Account>>,
    products: ById<I, Arc<Product>>,
    current: Option<CurrentEpoch<T, I>>,
}

/// A batch of lines with epochs that are not joined yet.
struct OpenBatch<T: Epochs, I: Id> {
    lines: Lines<T, I>,
    /// The first of these epochs.
    first: T,
    /// The last of them.
    last: T,
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
    /// Of the first epoch: the lines of the batch from this key and value on.
    First { next: (usize, usize), is_only_epoch: bool, items: Items<I> },
    /// Of any other: these customers, in order, with all their lines or only those that changed.
    Customers(std::iter::Peekable<std::vec::IntoIter<(Option<I>, bool)>>),
}

/// The products of the first epoch, and the position of each.
struct Items<I> {
    positions: ById<I, u32>,
    products: Vec<Arc<Product>>,
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
        self.batches.extend(OpenBatch::of(batch));
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
        let of_lines = self.batches.first().map(|batch| &batch.first);
        let epoch = of_lines.into_iter().chain(self.changes.keys().next()).min()?.clone();
        if frontier.less_equal(&epoch) {
            return None;
        }
        let EpochChanges { accounts, products, buyers } = self.changes.remove(&epoch).unwrap_or_default();
        let (accounts, products) = (after(accounts), after(products));
        let is_first = self.accounts.is_empty() && self.products.is_empty();
        let is_only_epoch = self.batches.iter().all(|batch| batch.first == epoch && batch.last == epoch);
        let work = match is_first {
            true => Remaining::First { next: (0, 0), is_only_epoch, items: Items::of(&products) },
            false => Remaining::Customers(self.affected(&epoch, &accounts, buyers).into_iter().peekable()),
        };
        Some(CurrentEpoch { epoch, accounts, products, work })
    }

    /// The customers whose rows may differ, in order, and whether all of their lines are affected.
    fn affected(
        &self,
        epoch: &T,
        accounts: &ById<Option<I>, Option<Arc<Account>>>,
        buyers: Vec<Option<I>>,
    ) -> Vec<(Option<I>, bool)> {
        let has_changed = |(customer, account): &(&Option<I>, &Option<Arc<Account>>)| {
            self.accounts.get(*customer) != account.as_ref()
        };
        let changed = accounts.iter().filter(has_changed).map(|(customer, _)| customer.clone());
        let mut customers: BTreeMap<Option<I>, bool> = changed.chain(buyers).map(|customer| (customer, true)).collect();
        for OpenBatch { lines, .. } in &self.batches {
            let changes =
                |(_, values): &(_, Range<usize>)| values.clone().any(|value| lines.updates(value).0.contains(epoch));
            for (customer, _) in lines.by_key().filter(changes) {
                customers.entry(customer.clone()).or_insert(false);
            }
        }
        customers.into_iter().collect()
    }

    /// Joins some lines of the first epoch; false if that were all.
    fn join_first<E>(
        &self,
        current: &mut CurrentEpoch<T, I>,
        give: &mut impl FnMut(&T, EnrichedRows<'_, I>) -> Result<(), E>,
    ) -> Result<bool, E> {
        let CurrentEpoch { epoch, accounts, work: Remaining::First { next, is_only_epoch, items }, .. } = current
        else {
            unreachable!("the first epoch is joined as such")
        };
        let Some(OpenBatch { lines, .. }) = self.batches.first() else { return Ok(false) };
        let (keys, values) = (lines.keys(), lines.values());
        let (mut key, mut value) = *next;
        let mut rows = Vec::with_capacity(ROWS_MAX);
        while key < keys.len() && rows.len() < ROWS_MAX {
            let customer = &keys[key];
            let Range { start, end } = lines.range(key);
            let from = start.max(value);
            let to = end.min(from + ROWS_MAX - rows.len());
            // A customer without an account has lines in later epochs only.
            if let Some(Some(account)) = accounts.get(customer) {
                let is_here = |at: &usize| *is_only_epoch || weight_at(lines, *at, epoch) > 0;
                rows.extend((from..to).filter(is_here).map(|at| {
                    let line = &values[at];
                    LinePart { customer, line, item: items.position(line), account }
                }));
            }
            (key, value) = if to == end { (key + 1, end) } else { (key, to) };
        }
        *next = (key, value);
        if !rows.is_empty() {
            give(epoch, EnrichedRows::First(&rows, &items.products))?;
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
        let mut lines = TraceReading::of(trace);
        let mut rows = Vec::new();
        while rows.len() < ROWS_MAX
            && let Some((customer, all_lines)) = customers.next()
        {
            let before = self.accounts.get(&customer);
            let after = accounts.get(&customer).map_or(before, Option::as_ref);
            let products = (&self.products, &*products);
            let mut joined =
                BeforeAndAfter { customer: &customer, accounts: (before, after), products, rows: &mut rows };
            if all_lines {
                lines.each(&customer, epoch, |line, was, is| joined.add(line, was, is));
            } else {
                for batch in &self.batches {
                    let mut add = |line: &Line<I>, diff: isize| joined.add(line, (-diff).max(0), diff.max(0));
                    each_change(&batch.lines, &customer, epoch, &mut add);
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
        self.batches = std::mem::take(&mut self.batches).into_iter().filter_map(|batch| batch.after(&epoch)).collect();
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

impl<T: Epochs, I: Id> OpenBatch<T, I> {
    /// A batch of which no epoch is joined; `None` if it has no updates.
    fn of(lines: Lines<T, I>) -> Option<OpenBatch<T, I>> {
        let (first, last) = (lines.times().min()?.clone(), lines.times().max()?.clone());
        Some(OpenBatch { lines, first, last })
    }

    /// What is left of the batch after an epoch.
    fn after(self, epoch: &T) -> Option<OpenBatch<T, I>> {
        let first = self.lines.times().filter(|time| *time > epoch).min()?.clone();
        Some(OpenBatch { first, ..self })
    }
}

impl<I: Id> Items<I> {
    /// The products that are there.
    fn of(products: &ById<I, Option<Arc<Product>>>) -> Items<I> {
        let there = products.iter().filter_map(|(id, product)| Some((id.clone(), Arc::clone(product.as_ref()?))));
        let (ids, products): (Vec<I>, Vec<_>) = there.unzip();
        Items { positions: ids.into_iter().zip(0..).collect(), products }
    }

    fn position(&self, line: &Line<I>) -> Option<u32> {
        self.positions.get(line.product.as_ref()?).copied()
    }
}

/// The rows of a customer before an epoch and after it, of which those that differ are added.
struct BeforeAndAfter<'a, I> {
    customer: &'a Option<I>,
    accounts: (Option<&'a Arc<Account>>, Option<&'a Arc<Account>>),
    /// The products before the epoch, and those that it changed.
    products: (&'a ById<I, Arc<Product>>, &'a ById<I, Option<Arc<Product>>>),
    rows: &'a mut Vec<(Enriched<I>, isize)>,
}

impl<I: Id> BeforeAndAfter<'_, I> {
    /// A line, and how often it was there and is there.
    fn add(&mut self, line: &Line<I>, was: isize, is: isize) {
        let item_before = line.product.as_ref().and_then(|id| self.products.0.get(id));
        let changed = line.product.as_ref().and_then(|id| self.products.1.get(id));
        let item_after = changed.map_or(item_before, Option::as_ref);
        let (before, after) = ((item_before, self.accounts.0), (item_after, self.accounts.1));
        if was != is || before != after {
            self.push(line, before, -was);
            self.push(line, after, is);
        }
    }

    fn push(&mut self, line: &Line<I>, parts: (Option<&Arc<Product>>, Option<&Arc<Account>>), weight: isize) {
        if weight != 0 {
            let (item, account) = (parts.0.cloned(), parts.1.cloned());
            let account = account.expect("a customer with lines has an account");
            let (customer, line) = (self.customer.clone(), line.clone());
            self.rows.push((Enriched { customer, line, item, account }, weight));
        }
    }
}

/// A cursor over all lines.
struct TraceReading<T: Epochs, I: Id> {
    cursor: CursorList<<Lines<T, I> as Navigable>::Cursor>,
    batches: Vec<Lines<T, I>>,
}

impl<T: Epochs, I: Id> TraceReading<T, I> {
    fn of(trace: &mut Trace<T, I>) -> Self {
        let batches = trace.batches_through(AntichainRef::new(&[])).expect("all batches can be read");
        let (cursor, batches) = cursor_list(batches);
        TraceReading { cursor, batches }
    }

    /// The lines of a customer, each with its weight before an epoch and after it. Customers are to come in order.
    fn each(&mut self, customer: &Option<I>, epoch: &T, mut see: impl FnMut(&Line<I>, isize, isize)) {
        let TraceReading { cursor, batches } = self;
        cursor.seek_key(batches, customer);
        if cursor.get_key(batches) != Some(customer) {
            return;
        }
        while let Some(line) = cursor.get_val(batches) {
            let (mut was, mut is) = (0, 0);
            cursor.map_times(batches, |time, diff| {
                was += if time < epoch { *diff } else { 0 };
                is += if time <= epoch { *diff } else { 0 };
            });
            see(line, was, is);
            cursor.step_val(batches);
        }
    }
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
    see: &mut impl FnMut(&Line<I>, isize),
) {
    let Ok(key) = batch.keys().binary_search(customer) else { return };
    for value in batch.range(key) {
        let weight = weight_at(batch, value, epoch);
        if weight != 0 {
            see(&batch.values()[value], weight);
        }
    }
}
