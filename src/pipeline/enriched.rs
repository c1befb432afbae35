//! The rows of `enriched_data`: a delta join of lines, accounts and products, which are each kept once.
//!
//! ```text
//! changed lines ────┐
//! changed accounts ─┼─▶ customers affected ─▶ their lines before and after ─▶ rows that differ
//! changed products ─┘
//! ```
//!
//! No joined row is stored: a row to delete is joined again from the state before the epoch. The first epoch, before
//! which there was nothing, is joined from its batch alone, without lookups. Several later epochs can be joined
//! together, when that is asked for: until then the join only knows whose rows may differ.
//!
//! *Cost per change*: the changed lines; of a customer whose account changed, or who bought a product that changed in
//! another column than its price, all lines. *State*: the accounts by customer and the products by id, by reference.

mod changed_lines;
mod epoch_changes;
mod line_cursor;
mod reader;
mod row;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use differential_dataflow::trace::TraceReader;
use foldhash::fast::FixedState;
use timely::progress::frontier::AntichainRef;

use crate::model::{Account, Id, Line, Product};
use crate::operators::{Epochs, UniqueRows};

use changed_lines::{ChangedLines, Lines};
use epoch_changes::EpochChanges;
use line_cursor::{LineCursor, Trace};
pub use reader::EnrichedRowsOf;
pub(crate) use reader::{EnrichedReader, RowSearch};
pub use row::Enriched;

/// A line with its account, by reference.
#[derive(Clone, Copy)]
pub(crate) struct LinePart<'a, I> {
    /// Who ordered; `None` for a guest.
    pub(crate) customer: &'a Option<I>,
    /// The order.
    pub(crate) line: &'a Line<I>,
    /// The position of the product among those given beside it; `None` where it is unknown.
    pub(crate) item: Option<u32>,
    /// What is known of the customer.
    pub(crate) account: &'a Arc<Account>,
}

/// Rows that an epoch inserts or deletes.
pub(crate) enum EnrichedRows<'a, I> {
    /// Rows of the first epoch, each of which is inserted once, and the products.
    First(&'a [LinePart<'a, I>], &'a [Arc<Product>]),
    /// Rows that differ, with their weights.
    Differing(&'a [(Enriched<I>, isize)]),
}

/// When epochs that are gathered are joined.
pub(crate) struct GatheredJoin<'a, T> {
    /// The newest epoch that asks for those since the last such one.
    pub(crate) asked: &'a T,
    /// True if there is time for some of them now.
    pub(crate) is_free: bool,
}

/// What is left to be joined.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unjoined {
    /// Nothing.
    Nothing,
    /// Epochs that are joined together. Later ones wait until they are.
    Gathered,
    /// Complete epochs.
    Epochs,
}

/// The most rows of a part of an epoch.
const ROWS_MAX: usize = 1 << 12;

/// The parts of an epoch that are joined before other operators get a turn.
const PARTS_AT_A_TIME: usize = 16;

type ById<K, V> = HashMap<K, V, FixedState>;

/// The join of lines, accounts and products on one worker.
pub(crate) struct EnrichedJoin<T: Epochs, I: Id> {
    /// All lines; `None` if nothing changes after the first epoch.
    trace: Option<Trace<T, I>>,
    is_in_waves: bool,
    /// Lines that changed in epochs that are not joined yet, in the order of their times.
    lines: VecDeque<ChangedLines<T, I>>,
    changes: BTreeMap<T, EpochChanges<I>>,
    accounts: UniqueRows<Option<I>, Arc<Account>>,
    products: UniqueRows<I, Arc<Product>>,
    /// The products of all waves, once the first has begun.
    items: Option<Rc<ItemPositions<I>>>,
    /// Complete epochs that are gathered until they are asked for, and the first of them.
    gathered: Option<(T, EpochChanges<I>)>,
    /// The last epoch that was joined, or begun to be.
    joined: Option<T>,
    current: Option<JoinedEpoch<T, I>>,
}

/// The epoch that is being joined.
struct JoinedEpoch<T, I> {
    /// The first epoch that is joined together with it.
    first: T,
    epoch: T,
    is_gathered: bool,
    work: Remaining<I>,
}

/// What is left to be joined of an epoch.
enum Remaining<I> {
    /// Of the first epoch: the lines from this key and value on.
    First { next: (usize, usize), items: Rc<ItemPositions<I>> },
    /// Of any other: these customers.
    Customers { former: Former<I>, customers: std::vec::IntoIter<(Option<I>, Affected)> },
}

/// The products of the first epoch, and the position of each.
struct ItemPositions<I> {
    positions: ById<I, u32>,
    products: Vec<Arc<Product>>,
}

/// Which lines of a customer an epoch affects.
#[derive(Clone, Copy, PartialEq)]
enum Affected {
    All,
    Changed,
}

/// The accounts and products that an epoch changed, as they were before it.
struct Former<I> {
    accounts: ById<Option<I>, Option<Arc<Account>>>,
    products: ById<I, Option<Arc<Product>>>,
}

impl<T: Epochs, I: Id> EnrichedJoin<T, I> {
    /// A join of nothing yet. Without a trace of the lines it joins only the first epoch; in waves, each epoch is the
    /// first of its customers.
    pub(crate) fn new(trace: Option<Trace<T, I>>, is_in_waves: bool) -> Self {
        let (lines, changes, accounts, products, items) = Default::default();
        let (gathered, joined, current) = (None, None, None);
        EnrichedJoin { trace, is_in_waves, lines, changes, accounts, products, items, gathered, joined, current }
    }

    /// Takes a batch of changed lines.
    pub(crate) fn take_lines(&mut self, batch: Lines<T, I>) {
        self.lines.extend(ChangedLines::of(batch));
    }

    /// Takes changes of accounts.
    pub(crate) fn take_accounts(&mut self, updates: impl Iterator<Item = ((Option<I>, Arc<Account>), T, isize)>) {
        for (account, epoch, diff) in updates {
            self.changes.entry(epoch).or_default().accounts.push((account, diff));
        }
    }

    /// Takes changes of products.
    pub(crate) fn take_products(&mut self, updates: impl Iterator<Item = ((I, Arc<Product>), T, isize)>) {
        for (product, epoch, diff) in updates {
            self.changes.entry(epoch).or_default().products.push((product, diff));
        }
    }

    /// Takes customers who bought a product that changed in another column than its price.
    pub(crate) fn take_buyers(&mut self, updates: impl Iterator<Item = (Option<I>, T, isize)>) {
        for (customer, epoch, _) in updates {
            self.changes.entry(epoch).or_default().customers.push(customer);
        }
    }

    /// Gives some rows of the epochs before the frontier; returns what is left.
    ///
    /// With `gathering`, the epochs after the first that has rows are given together once the one that asks for them is
    /// before the frontier, as rows of it, a part in each call.
    ///
    /// # Errors
    ///
    /// Those of `give`.
    ///
    /// # Panics
    ///
    /// If an epoch leaves two different products under one id.
    pub(crate) fn join<E>(
        &mut self,
        frontier: AntichainRef<'_, T>,
        gathering: Option<GatheredJoin<'_, T>>,
        mut give: impl FnMut(&T, EnrichedRows<'_, I>) -> Result<(), E>,
    ) -> Result<Unjoined, E> {
        let gathered_at_a_time = usize::from(gathering.as_ref().is_none_or(|gathering| gathering.is_free));
        let mut parts = 0;
        loop {
            // The first epoch is not gathered.
            let may_gather = self.current.as_ref().map_or(!self.is_first(), |current| current.is_gathered);
            let asked = gathering.as_ref().map(|gathering| gathering.asked).filter(|_| may_gather);
            if asked.is_some() && frontier.is_empty() {
                // The job ends, and nobody waits for what is gathered any more.
                self.current = None;
                return Ok(Unjoined::Nothing);
            }
            asked.into_iter().for_each(|asked| self.gather(frontier, asked));
            let next = self.current.take().or_else(|| match asked {
                Some(asked) => self.begin_gathered(frontier, asked),
                None => self.begin_next(frontier),
            });
            let Some(mut current) = next else { return Ok(Unjoined::Nothing) };
            let (left, at_a_time) = match current.is_gathered {
                true => (Unjoined::Gathered, gathered_at_a_time),
                false => (Unjoined::Epochs, PARTS_AT_A_TIME),
            };
            if parts >= at_a_time {
                self.current = Some(current);
                return Ok(left);
            }
            parts += 1;
            let JoinedEpoch { first, epoch, work, .. } = &mut current;
            let is_more = match work {
                Remaining::First { next, items } => self.join_first(epoch, next, items, &mut give)?,
                Remaining::Customers { former, customers } => {
                    self.join_customers((first, epoch), former, customers, &mut give)?
                }
            };
            if is_more {
                self.current = Some(current);
            } else {
                self.finish(current.epoch);
            }
        }
    }

    /// True if the next epoch is the first of its customers.
    fn is_first(&self) -> bool {
        self.joined.is_none() || self.is_in_waves
    }

    /// The least epoch before the frontier that has changes, which the state then contains.
    fn begin_next(&mut self, frontier: AntichainRef<'_, T>) -> Option<JoinedEpoch<T, I>> {
        let (epoch, is_first) = (self.next_epoch(frontier)?, self.is_first());
        let changes = self.changes.remove(&epoch).unwrap_or_default();
        Some(self.begin(epoch.clone(), epoch, changes, is_first))
    }

    /// The least epoch that has changes, if it is before the frontier.
    fn next_epoch(&self, frontier: AntichainRef<'_, T>) -> Option<T> {
        let of_lines = self.lines.front().map(|lines| lines.first());
        let epoch = of_lines.into_iter().chain(self.changes.keys().next()).min()?;
        (!frontier.less_equal(epoch)).then(|| epoch.clone())
    }

    /// True if an epoch asks for what is gathered that was not joined since, nor begun to be.
    fn is_asked(&self, asked: &T) -> bool {
        self.joined.as_ref().is_none_or(|joined| joined < asked)
    }

    /// Gathers the changes of all epochs before the frontier, up to one that asks for them.
    fn gather(&mut self, frontier: AntichainRef<'_, T>, asked: &T) {
        let is_asked = self.is_asked(asked);
        while let Some(epoch) = self.next_epoch(frontier).filter(|epoch| !is_asked || epoch <= asked) {
            let mut changes = self.changes.remove(&epoch).unwrap_or_default();
            for lines in self.lines_through(&epoch) {
                changes.customers.extend(lines.customers(&epoch).cloned());
            }
            self.drop_lines_through(&epoch);
            self.gathered.get_or_insert_with(|| (epoch, EpochChanges::default())).1.add(changes);
        }
    }

    /// Begins to join what is gathered if an epoch before the frontier asks for it.
    fn begin_gathered(&mut self, frontier: AntichainRef<'_, T>, asked: &T) -> Option<JoinedEpoch<T, I>> {
        if !self.is_asked(asked) || frontier.less_equal(asked) {
            return None;
        }
        self.joined = Some(asked.clone());
        let (first, changes) = self.gathered.take()?;
        Some(JoinedEpoch { is_gathered: true, ..self.begin(first, asked.clone(), changes, false) })
    }

    /// The batches that have lines of an epoch, or of earlier ones.
    fn lines_through(&self, epoch: &T) -> impl Iterator<Item = &ChangedLines<T, I>> {
        self.lines.iter().take_while(move |lines| lines.first() <= epoch)
    }

    /// Drops the lines of an epoch, and of those before it.
    fn drop_lines_through(&mut self, epoch: &T) {
        while self.lines.front().is_some_and(|lines| lines.first() <= epoch) {
            let later = self.lines.pop_front().and_then(|lines| lines.after(epoch));
            later.into_iter().for_each(|later| self.lines.push_front(later));
        }
    }

    fn begin(&mut self, first: T, epoch: T, changes: EpochChanges<I>, is_first: bool) -> JoinedEpoch<T, I> {
        let EpochChanges { accounts, products, customers, .. } = changes;
        let accounts = self.accounts.apply(accounts, "enriched_data, accounts");
        let items =
            self.items.take().or_else(|| ItemPositions::of_distinct(&products).filter(|_| is_first).map(Rc::new));
        // If nothing follows, distinct products need no other state.
        let products = match (&items, &self.trace) {
            (Some(_), None) => Vec::new(),
            _ => self.products.apply(products, "enriched_data, products"),
        };
        let work = if is_first {
            let items = items.unwrap_or_else(|| Rc::new(ItemPositions::of(&self.products)));
            self.items = self.is_in_waves.then(|| Rc::clone(&items));
            Remaining::First { next: (0, 0), items }
        } else {
            let former = Former { accounts: accounts.into_iter().collect(), products: products.into_iter().collect() };
            let customers = self.affected(&epoch, &former, customers).into_iter();
            Remaining::Customers { former, customers }
        };
        JoinedEpoch { first, epoch, is_gathered: false, work }
    }

    /// The customers whose rows may differ, in order.
    fn affected(&self, epoch: &T, former: &Former<I>, others: Vec<Option<I>>) -> Vec<(Option<I>, Affected)> {
        let changed = former.accounts.keys().cloned();
        let mut customers: BTreeMap<_, _> = changed.chain(others).map(|customer| (customer, Affected::All)).collect();
        for lines in self.lines_through(epoch) {
            for customer in lines.customers(epoch) {
                customers.entry(customer.clone()).or_insert(Affected::Changed);
            }
        }
        customers.into_iter().collect()
    }

    /// Joins some lines of the first epoch; false if those were all.
    fn join_first<E>(
        &self,
        epoch: &T,
        next: &mut (usize, usize),
        items: &ItemPositions<I>,
        give: &mut impl FnMut(&T, EnrichedRows<'_, I>) -> Result<(), E>,
    ) -> Result<bool, E> {
        let Some(lines) = self.lines.front().filter(|lines| lines.first() == epoch) else { return Ok(false) };
        let mut rows = Vec::with_capacity(ROWS_MAX);
        let is_more = lines.some_of_first(next, ROWS_MAX, |customer, values| {
            // A customer without an account has lines in later epochs only.
            if let Some(account) = self.accounts.get(Some(customer)) {
                rows.extend(values.map(|line| LinePart { customer, line, item: None, account }));
            }
        });
        // Looked up back to back, so that cache misses overlap.
        rows.iter_mut().for_each(|row| row.item = items.position(row.line));
        if !rows.is_empty() {
            give(epoch, EnrichedRows::First(&rows, &items.products))?;
        }
        Ok(is_more)
    }

    /// Joins the lines of some customers, before the first of these epochs and after the last; false if those were all.
    fn join_customers<E>(
        &mut self,
        (first, epoch): (&T, &T),
        former: &Former<I>,
        customers: &mut std::vec::IntoIter<(Option<I>, Affected)>,
        give: &mut impl FnMut(&T, EnrichedRows<'_, I>) -> Result<(), E>,
    ) -> Result<bool, E> {
        let trace = self.trace.as_mut().expect("the lines are kept where they may change");
        let mut all_lines = LineCursor::of(trace);
        let mut rows = Vec::new();
        while rows.len() < ROWS_MAX
            && let Some((customer, affected)) = customers.next()
        {
            let after = self.accounts.get(Some(&customer));
            let before = former.accounts.get(&customer).map_or(after, Option::as_ref);
            let (customer, products) = (&customer, (&former.products, &self.products));
            let mut joined = BeforeAndAfter { customer, accounts: (before, after), products, rows: &mut rows };
            if affected == Affected::All {
                all_lines.seek(customer, (first, epoch), |line, was, is| joined.add(line, was, is));
            } else {
                for lines in self.lines.iter().take_while(|lines| lines.first() <= epoch) {
                    lines.of_customer(customer, epoch, |line, diff| joined.add(line, (-diff).max(0), diff.max(0)));
                }
            }
        }
        if !rows.is_empty() {
            give(epoch, EnrichedRows::Differing(&rows))?;
        }
        Ok(!customers.as_slice().is_empty())
    }

    /// Drops what is joined.
    fn finish(&mut self, epoch: T) {
        self.drop_lines_through(&epoch);
        if let Some(trace) = &mut self.trace {
            trace.set_logical_compaction(AntichainRef::new(std::slice::from_ref(&epoch)));
        }
        if self.is_in_waves {
            // These customers do not come again.
            self.accounts = UniqueRows::default();
        }
        self.joined = Some(epoch);
    }

    /// Lets the trace merge what is before the frontier.
    pub(crate) fn compact(&mut self, frontier: AntichainRef<'_, T>) {
        self.trace.iter_mut().for_each(|trace| trace.set_physical_compaction(frontier));
    }
}

impl<I: Id> ItemPositions<I> {
    /// Of products in the order in which they arrived, in which they lie in memory; `None` unless each has one update.
    fn of_distinct(products: &[((I, Arc<Product>), isize)]) -> Option<ItemPositions<I>> {
        let positions: ById<I, u32> = products.iter().map(|((id, _), _)| id.clone()).zip(0..).collect();
        let is_distinct = positions.len() == products.len() && products.iter().all(|(_, weight)| *weight == 1);
        let products = || products.iter().map(|((_, product), _)| Arc::clone(product)).collect();
        is_distinct.then(|| ItemPositions { positions, products: products() })
    }

    fn of(products: &UniqueRows<I, Arc<Product>>) -> ItemPositions<I> {
        let positions = products.iter().map(|(id, _)| id.clone()).zip(0..).collect();
        ItemPositions { positions, products: products.iter().map(|(_, product)| Arc::clone(product)).collect() }
    }

    fn position(&self, line: &Line<I>) -> Option<u32> {
        self.positions.get(line.product.as_ref()?).copied()
    }
}

/// The rows of a customer before an epoch and after it, of which those that differ are added.
struct BeforeAndAfter<'a, I> {
    customer: &'a Option<I>,
    accounts: (Option<&'a Arc<Account>>, Option<&'a Arc<Account>>),
    /// The products that the epoch changed, as they were before it, and all products after it.
    products: (&'a ById<I, Option<Arc<Product>>>, &'a UniqueRows<I, Arc<Product>>),
    rows: &'a mut Vec<(Enriched<I>, isize)>,
}

/// What a line is joined with.
type Partners<'a> = (Option<&'a Arc<Product>>, Option<&'a Arc<Account>>);

impl<I: Id> BeforeAndAfter<'_, I> {
    /// Adds a line of this weight before and after the epoch.
    fn add(&mut self, line: &Line<I>, was: isize, is: isize) {
        let item_after = self.products.1.get(line.product.as_ref());
        let former = line.product.as_ref().and_then(|product| self.products.0.get(product));
        let item_before = former.map_or(item_after, Option::as_ref);
        let (before, after) = ((item_before, self.accounts.0), (item_after, self.accounts.1));
        if was != is || before != after {
            self.push(line, before, -was);
            self.push(line, after, is);
        }
    }

    fn push(&mut self, line: &Line<I>, (item, account): Partners<'_>, weight: isize) {
        if weight != 0 {
            let account = account.cloned().expect("a customer with lines has an account");
            let (customer, line) = (self.customer.clone(), line.clone());
            self.rows.push((Enriched { customer, line, item: item.cloned(), account }, weight));
        }
    }
}
