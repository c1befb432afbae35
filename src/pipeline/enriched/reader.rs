//! Rows of `enriched_data` that are looked up in a live job: joined when they are asked for, and not kept.
//!
//! *Cost*: of a customer, their lines; of an order or of a day, a look at each line. *State*: the accounts by customer
//! and the products by id, by reference, once more than the join has them, which may be behind.

use std::collections::BTreeMap;
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
    /// The rows of a day.
    Day(Day),
}

/// Looks rows up, on one worker.
pub(crate) struct EnrichedReader<T: Epochs, I: Id> {
    trace: Trace<T, I>,
    /// What changed in epochs that are not in the following two.
    changes: BTreeMap<T, EpochChanges<I>>,
    accounts: UniqueRows<Option<I>, Arc<Account>>,
    products: UniqueRows<I, Arc<Product>>,
}

/// A look for the lines of some rows as of an epoch.
pub(crate) struct LineLook<T: Epochs, I: Id> {
    rows_of: EnrichedRowsOf<I>,
    epoch: T,
    /// The batches that are left to be looked at, the last one first, from this value on.
    batches: Vec<Lines<T, I>>,
    next: usize,
    found: Vec<((Option<I>, Line<I>), isize)>,
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

    /// Forgets what was before an epoch, which nobody looks up any more.
    pub(crate) fn advance(&mut self, epoch: &T) {
        self.apply_through(epoch);
        self.trace.set_logical_compaction(AntichainRef::new(std::slice::from_ref(epoch)));
    }

    /// Lets the trace merge what is before the frontier.
    pub(crate) fn compact(&mut self, frontier: AntichainRef<'_, T>) {
        self.trace.set_physical_compaction(frontier);
    }

    fn apply_through(&mut self, epoch: &T) {
        while let Some(changes) = self.changes.first_entry().filter(|changes| changes.key() <= epoch) {
            let EpochChanges { accounts, products, .. } = changes.remove();
            self.accounts.apply(accounts, "enriched_data, accounts to look up");
            self.products.apply(products, "enriched_data, products to look up");
        }
    }

    /// Begins to look rows up as of an epoch, which is the one that was [advanced](Self::advance) to, or a later one
    /// that is complete.
    pub(crate) fn begin(&mut self, rows_of: EnrichedRowsOf<I>, epoch: T) -> LineLook<T, I> {
        self.apply_through(&epoch);
        let batches = self.trace.batches_through(AntichainRef::new(&[])).expect("all batches can be read");
        LineLook { rows_of, epoch, batches, next: 0, found: Vec::new() }
    }

    /// The rows of the lines that were found.
    pub(crate) fn join(&self, look: LineLook<T, I>) -> Vec<Enriched<I>> {
        let mut lines = look.found;
        consolidate(&mut lines);
        let rows = lines.into_iter().filter_map(|((customer, line), _)| {
            let account = Arc::clone(self.accounts.get(Some(&customer))?);
            let item = self.products.get(line.product.as_ref()).cloned();
            Some(Enriched { customer, line, item, account })
        });
        rows.collect()
    }
}

impl<T: Epochs, I: Id> LineLook<T, I> {
    /// Looks at up to `most` lines, or at those of one customer; true if more are left.
    pub(crate) fn go_on(&mut self, most: usize) -> bool {
        let Some(batch) = self.batches.last().cloned() else { return false };
        let (values, end) = match &self.rows_of {
            EnrichedRowsOf::Customer(customer) => {
                let key = batch.keys().binary_search_by(|key| key.as_ref().cmp(&Some(customer)));
                (key.map_or(0..0, |key| batch.range(key)), batch.values().len())
            }
            _ => {
                let end = batch.values().len().min(self.next + most);
                (self.next..end, end)
            }
        };
        self.look_at(&batch, values);
        self.next = end;
        if end == batch.values().len() {
            (self.next, _) = (0, self.batches.pop());
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
                EnrichedRowsOf::Day(day) => line.day == Some(*day),
            };
            if !is_wanted {
                continue;
            }
            let (times, diffs) = batch.updates(value);
            let diffs = times.iter().zip(diffs).filter(|(time, _)| **time <= self.epoch);
            let weight: isize = diffs.map(|(_, diff)| diff).sum();
            let key = *key.insert(key_of(batch, value, key));
            self.found.push(((batch.keys()[key].clone(), line.clone()), weight));
        }
    }

    /// How many lines were found.
    pub(crate) fn found(&self) -> usize {
        self.found.len()
    }
}

/// The place of the key of a value, which is that of a value before it or a later one.
fn key_of<T: Epochs, I: Id>(batch: &Lines<T, I>, value: usize, before: Option<usize>) -> usize {
    let (mut low, mut high) = (before.unwrap_or(0), batch.keys().len());
    while low < high {
        let middle = usize::midpoint(low, high);
        if batch.range(middle).end <= value { low = middle + 1 } else { high = middle }
    }
    low
}
