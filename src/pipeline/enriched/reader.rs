//! Rows of `enriched_data` that are looked up in a live job: joined when they are asked for, and not kept.
//!
//! A search is as of an epoch, and may take longer: it holds the batches of lines as they were when it began, and what
//! accounts and products were before they changed.
//!
//! *Cost*: of a customer, their lines; of an order, a product or days, a look at each line. *State*: the accounts by
//! customer and the products by id, by reference, once more than the join has them, which may be behind.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use differential_dataflow::consolidation::consolidate;
use differential_dataflow::trace::TraceReader;
use timely::progress::frontier::AntichainRef;

use crate::model::{Account, Day, Id, Line, Product};
use crate::operators::{Epochs, SortedBatch, UniqueRows};

use super::changed_lines::Lines;
use super::epoch_changes::EpochChanges;
use super::line_cursor::Trace;
use super::row::Enriched;

/// Which rows of `enriched_data` are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnrichedRowsOf<I> {
    /// The row of an order.
    Order(I),
    /// The rows of a customer.
    Customer(I),
    /// The rows of a product.
    Product(I),
    /// The rows from one day to another, both included.
    Days(Day, Day),
}

/// Looks rows up, on one worker.
pub(crate) struct EnrichedReader<T: Epochs, I: Id> {
    trace: Trace<T, I>,
    /// The changes of epochs that are not applied yet.
    changes: BTreeMap<T, EpochChanges<I>>,
    accounts: UniqueRows<Option<I>, Arc<Account>>,
    products: UniqueRows<I, Arc<Product>>,
}

/// A search for rows as of an epoch.
pub(crate) struct RowSearch<T: Epochs, I: Id> {
    rows_of: EnrichedRowsOf<I>,
    epoch: T,
    /// The batches that are left to be searched, the last one first, from this value on.
    batches: Vec<Lines<T, I>>,
    next: usize,
    found: Vec<((Option<I>, Line<I>), isize)>,
    /// The accounts and products that changed since, as they were.
    accounts: HashMap<Option<I>, Option<Arc<Account>>>,
    products: HashMap<I, Option<Arc<Product>>>,
}

impl<T: Epochs, I: Id> EnrichedReader<T, I> {
    /// Of nothing yet.
    pub(crate) fn new(trace: Trace<T, I>) -> EnrichedReader<T, I> {
        let (changes, accounts, products) = Default::default();
        EnrichedReader { trace, changes, accounts, products }
    }

    /// Takes changes of accounts.
    pub(crate) fn take_accounts(&mut self, updates: &[((Option<I>, Arc<Account>), T, isize)]) {
        for (account, epoch, diff) in updates {
            self.changes.entry(epoch.clone()).or_default().accounts.push((account.clone(), *diff));
        }
    }

    /// Takes changes of products.
    pub(crate) fn take_products<'a>(&mut self, updates: impl Iterator<Item = &'a ((I, Arc<Product>), T, isize)>) {
        for (product, epoch, diff) in updates {
            self.changes.entry(epoch.clone()).or_default().products.push((product.clone(), *diff));
        }
    }

    /// Applies the changes of all epochs through one, of which these searches see nothing.
    pub(crate) fn apply_through<'a>(&mut self, epoch: &T, searches: impl Iterator<Item = &'a mut RowSearch<T, I>>)
    where
        T: 'a,
        I: 'a,
    {
        let (mut accounts, mut products) = (Vec::new(), Vec::new());
        while let Some(changes) = self.changes.first_entry().filter(|changes| changes.key() <= epoch) {
            let changes = changes.remove();
            accounts.extend(self.accounts.apply(changes.accounts, "enriched_data, accounts to look up"));
            products.extend(self.products.apply(changes.products, "enriched_data, products to look up"));
        }
        for search in searches {
            search.remember(&accounts, &products);
        }
    }

    /// Lets the trace merge what is before the frontier, as if it were of one epoch, the last that is complete.
    pub(crate) fn compact(&mut self, complete: &T, frontier: AntichainRef<'_, T>) {
        self.trace.set_logical_compaction(AntichainRef::new(std::slice::from_ref(complete)));
        self.trace.set_physical_compaction(frontier);
    }

    /// Begins a search as of an epoch, the last one that was [applied](Self::apply_through).
    pub(crate) fn begin(&mut self, rows_of: EnrichedRowsOf<I>, epoch: T) -> RowSearch<T, I> {
        let batches = self.trace.batches_through(AntichainRef::new(&[])).expect("all batches can be read");
        let (found, accounts, products) = Default::default();
        RowSearch { rows_of, epoch, batches, next: 0, found, accounts, products }
    }

    /// The rows that a search has found.
    ///
    /// # Panics
    ///
    /// If a customer with lines has no account.
    pub(crate) fn rows(&self, search: RowSearch<T, I>) -> Vec<Enriched<I>> {
        let RowSearch { mut found, accounts, products, .. } = search;
        consolidate(&mut found);
        let row = |((customer, line), _): ((Option<I>, Line<I>), isize)| {
            let account = accounts.get(&customer).map_or(self.accounts.get(Some(&customer)), Option::as_ref);
            let account = Arc::clone(account.expect("a customer with lines has an account"));
            let former = line.product.as_ref().and_then(|product| products.get(product));
            let item = former.map_or(self.products.get(line.product.as_ref()), Option::as_ref).cloned();
            Enriched { customer, line, item, account }
        };
        found.into_iter().map(row).collect()
    }
}

impl<T: Epochs, I: Id> RowSearch<T, I> {
    /// Remembers what was before it changed.
    fn remember(&mut self, accounts: &[(Option<I>, Option<Arc<Account>>)], products: &[(I, Option<Arc<Product>>)]) {
        for (customer, former) in accounts {
            self.accounts.entry(customer.clone()).or_insert_with(|| former.clone());
        }
        for (product, former) in products {
            self.products.entry(product.clone()).or_insert_with(|| former.clone());
        }
    }

    /// Looks at about `most` lines, or at those of one customer; true if more are left.
    pub(crate) fn go_on(&mut self, most: usize) -> bool {
        let mut left = most;
        while left > 0
            && let Some(batch) = self.batches.last().cloned()
        {
            let end = batch.values().len();
            let values = match &self.rows_of {
                EnrichedRowsOf::Customer(customer) => {
                    let key = batch.keys().binary_search_by(|key| key.as_ref().cmp(&Some(customer)));
                    key.map_or(0..0, |key| batch.range(key))
                }
                _ => self.next..end.min(self.next + left),
            };
            left -= values.len().min(left);
            let is_over = values.end == end || matches!(self.rows_of, EnrichedRowsOf::Customer(_));
            self.next = if is_over { 0 } else { values.end };
            self.look_at(&batch, values);
            if is_over {
                self.batches.pop();
            }
        }
        !self.batches.is_empty()
    }

    fn look_at(&mut self, batch: &Lines<T, I>, values: Range<usize>) {
        let mut key = None;
        for value in values {
            let line = &batch.values()[value];
            let is_wanted = match &self.rows_of {
                EnrichedRowsOf::Order(order) => line.order == *order,
                EnrichedRowsOf::Customer(_) => true,
                EnrichedRowsOf::Product(product) => line.product.as_ref() == Some(product),
                EnrichedRowsOf::Days(from, to) => line.day.is_some_and(|day| (*from..=*to).contains(&day)),
            };
            if !is_wanted {
                continue;
            }
            let (times, diffs) = batch.updates(value);
            let weight: isize =
                times.iter().zip(diffs).filter(|(time, _)| **time <= self.epoch).map(|(_, diff)| diff).sum();
            if weight != 0 {
                let key = *key.insert(key_of(batch, value, key));
                self.found.push(((batch.keys()[key].clone(), line.clone()), weight));
            }
        }
    }

    /// True if more rows than these were found.
    pub(crate) fn has_found_more_than(&mut self, most: usize) -> bool {
        if self.found.len() > most {
            consolidate(&mut self.found);
        }
        self.found.len() > most
    }
}

/// The place of the key of a value; `before` is that of an earlier value.
fn key_of<T: Epochs, I: Id>(batch: &Lines<T, I>, value: usize, before: Option<usize>) -> usize {
    let (mut low, mut high) = (before.unwrap_or(0), batch.keys().len());
    while low < high {
        let middle = usize::midpoint(low, high);
        if batch.range(middle).end <= value { low = middle + 1 } else { high = middle }
    }
    low
}
