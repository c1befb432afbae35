//! `enriched_data` from its parts: lines, accounts and products are joined where the table is written, and nowhere before.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use foldhash::fast::FixedState;

use crate::error::Result;
use crate::io::OutputTable;
use crate::io::cells::IdColumn;
use crate::io::layout::Layout;
use crate::io::tables::enriched::{EnrichedParts, Items, batch};
use crate::io::write::PartWriter;
use crate::model::{Account, Line, Product};
use crate::operators::Batch;

use super::sink::BATCH_ROWS;
use super::{Epoch, Work};

/// What epoch 0 has of lines and accounts on one worker, and of products, and how much of it is written.
pub(super) struct Enriching<I: IdColumn> {
    work: Arc<Work>,
    /// Open until all is written.
    part: Option<PartWriter>,
    lines: Vec<Batch<Option<I>, Line<I>, Epoch>>,
    accounts: HashMap<Option<I>, Arc<Account>, FixedState>,
    products: Products<I>,
    /// The next key of the first batch of lines, and its next line.
    next: (usize, usize),
}

/// Record batches that are written before others get a turn.
const AT_A_TIME: usize = 16;

impl<I: IdColumn> Enriching<I> {
    pub(super) fn new(work: &Arc<Work>, part: PartWriter) -> Self {
        let work = Arc::clone(work);
        let (accounts, products) = Default::default();
        Enriching { work, part: Some(part), lines: Vec::new(), accounts, products, next: (0, 0) }
    }

    pub(super) fn take_lines(&mut self, batch: Batch<Option<I>, Line<I>, Epoch>) {
        if self.part.is_some() {
            assert!(each_once(&batch), "a line of the first epoch comes once");
            self.lines.push(batch);
        }
    }

    pub(super) fn take_accounts(&mut self, updates: impl Iterator<Item = ((Option<I>, Arc<Account>), Epoch, isize)>) {
        if self.part.is_some() {
            for ((customer, account), _, diff) in updates.filter(|(_, epoch, _)| *epoch == 0) {
                let before = self.accounts.insert(customer, account);
                assert!(diff == 1 && before.is_none(), "a customer of the first epoch has one account");
            }
        }
    }

    pub(super) fn take_products(&mut self, updates: impl Iterator<Item = ((I, Arc<Product>), Epoch, isize)>) {
        if let Products::Coming(products) = &mut self.products {
            for (product, _, diff) in updates.filter(|(_, epoch, _)| *epoch == 0) {
                assert_eq!(diff, 1, "a product of the first epoch comes once");
                products.push(product);
            }
        }
    }

    /// Writes some of what there is, once epoch 0 is over; true if there is more.
    pub(super) fn proceed(&mut self, is_over: bool) -> bool {
        let started = Instant::now();
        let Some(mut part) = self.part.take_if(|_| is_over) else { return false };
        if self.work.has_failed() {
            return false;
        }
        let written = self.products.index(&self.work.layout);
        let written = written.and_then(|()| (0..AT_A_TIME).try_for_each(|_| self.write(&mut part)));
        let is_more = !self.lines.is_empty();
        if !is_more {
            (self.accounts, self.products) = Default::default();
        }
        match written {
            Err(error) => self.work.fail(error),
            Ok(()) if is_more => self.part = Some(part),
            Ok(()) => match part.finish() {
                Ok(()) => self.work.part_is_written(),
                Err(error) => self.work.fail(error),
            },
        }
        let name = format!("Write {}", OutputTable::EnrichedData.name());
        self.work.profile.iter().for_each(|profile| profile.add(&name, started.elapsed()));
        is_more
    }

    /// Writes the rows of one record batch.
    fn write(&mut self, part: &mut PartWriter) -> Result<()> {
        let (Some(lines), Products::There(products)) = (self.lines.first(), &self.products) else { return Ok(()) };
        let (places, items) = products.as_ref();
        let (keys, values) = (&lines.storage.keys, &lines.storage.vals);
        let (mut key, mut line) = self.next;
        let mut rows = Vec::with_capacity(BATCH_ROWS);
        while key < keys.len() && rows.len() < BATCH_ROWS {
            let customer = &keys[key];
            let account = self.accounts.get(customer).expect("every customer with orders has an account");
            let (start, end) = values.bounds(key);
            let first = start.max(line);
            let last = end.min(first + BATCH_ROWS - rows.len());
            rows.extend(values.vals[first..last].iter().map(|line| {
                let item = line.product.as_ref().and_then(|product| places.get(product)).copied();
                EnrichedParts { customer, line, item, account }
            }));
            (key, line) = if last == end { (key + 1, end) } else { (key, last) };
        }
        if !rows.is_empty() {
            let made = batch(&rows, items, &self.work.layout)?;
            part.write(&made.rows)?;
            self.work.feed.keep_rejected(made.rejected)?;
            self.work.feed.progress().add_written(rows.len() as u64);
        }
        self.next = (key, line);
        if key == keys.len() {
            drop(rows);
            self.lines.remove(0);
            self.next = (0, 0);
        }
        Ok(())
    }
}

/// The products: as they come, and then by id, with their columns.
enum Products<I> {
    Coming(Vec<(I, Arc<Product>)>),
    There(Box<(HashMap<I, u32, FixedState>, Items)>),
}

impl<I> Default for Products<I> {
    fn default() -> Self {
        Products::Coming(Vec::new())
    }
}

impl<I: IdColumn> Products<I> {
    fn index(&mut self, layout: &Layout) -> Result<()> {
        if let Products::Coming(products) = self {
            let items = Items::of(products.iter().map(|(_, product)| Some(product.as_ref())), layout)?;
            *self = Products::There(Box::new((products.drain(..).map(|(id, _)| id).zip(0..).collect(), items)));
        }
        Ok(())
    }
}

/// True if every row comes once: whatever would cancel has been added up on the way.
fn each_once<K: Ord + Clone + 'static, V: Ord + Clone + 'static>(batch: &Batch<K, V, Epoch>) -> bool {
    batch.updates == batch.storage.vals.vals.len() && batch.storage.upds.diffs.iter().all(|diff| *diff == 1)
}
