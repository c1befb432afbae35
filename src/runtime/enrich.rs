//! `enriched_data` from its parts: lines and accounts are joined where the table is written, and nowhere before.

use std::sync::Arc;
use std::time::Instant;

use differential_dataflow::trace::implementations::BatchContainer;

use crate::error::Result;
use crate::io::OutputTable;
use crate::io::cells::IdColumn;
use crate::io::tables::enriched::{EnrichedParts, batch};
use crate::io::write::PartWriter;
use crate::model::{Account, Line};
use crate::operators::Batch;

use super::sink::BATCH_ROWS;
use super::{Epoch, Work};

/// What epoch 0 has of lines and accounts, on one worker, and how much of it is written.
pub(super) struct Enriching<I: IdColumn> {
    work: Arc<Work>,
    /// Open until all is written.
    part: Option<PartWriter>,
    lines: Vec<Batch<Option<I>, Line<I>, Epoch>>,
    accounts: Vec<Batch<Option<I>, Arc<Account>, Epoch>>,
    /// The next key of the first batch of lines, and its next line.
    next: (usize, usize),
}

/// Record batches that are written before others get a turn.
const AT_A_TIME: usize = 16;

impl<I: IdColumn> Enriching<I> {
    pub(super) fn new(work: &Arc<Work>, part: PartWriter) -> Self {
        let work = Arc::clone(work);
        Enriching { work, part: Some(part), lines: Vec::new(), accounts: Vec::new(), next: (0, 0) }
    }

    pub(super) fn take_lines(&mut self, batch: Batch<Option<I>, Line<I>, Epoch>) {
        if self.part.is_some() {
            assert!(each_once(&batch), "a line of the first epoch comes once");
            self.lines.push(batch);
        }
    }

    pub(super) fn take_accounts(&mut self, batch: Batch<Option<I>, Arc<Account>, Epoch>) {
        if self.part.is_some() {
            let is_one_each = batch.storage.keys.len() == batch.storage.vals.vals.len();
            assert!(is_one_each && each_once(&batch), "a customer of the first epoch has one account");
            self.accounts.push(batch);
        }
    }

    /// Writes some of what there is, once epoch 0 is over; true if there is more.
    pub(super) fn proceed(&mut self, is_over: bool) -> bool {
        let started = Instant::now();
        let Some(mut part) = self.part.take_if(|_| is_over) else { return false };
        if self.work.has_failed() {
            return false;
        }
        let written = (0..AT_A_TIME).try_for_each(|_| self.write(&mut part));
        let is_more = !self.lines.is_empty();
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
        let Some(lines) = self.lines.first() else { return Ok(()) };
        let (keys, values) = (&lines.storage.keys, &lines.storage.vals);
        let (mut key, mut line) = self.next;
        let mut rows = Vec::with_capacity(BATCH_ROWS);
        while key < keys.len() && rows.len() < BATCH_ROWS {
            let customer = &keys[key];
            let account = self.accounts.iter().find_map(|accounts| account(accounts, customer));
            let account = account.expect("every customer with orders has an account");
            let (start, end) = values.bounds(key);
            let first = start.max(line);
            let last = end.min(first + BATCH_ROWS - rows.len());
            rows.extend(values.vals[first..last].iter().map(|line| EnrichedParts { customer, line, account }));
            (key, line) = if last == end { (key + 1, end) } else { (key, last) };
        }
        if !rows.is_empty() {
            part.write(&batch(&rows, &self.work.layout)?)?;
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

/// True if every row comes once: whatever would cancel has been added up on the way.
fn each_once<K: Ord + Clone + 'static, V: Ord + Clone + 'static>(batch: &Batch<K, V, Epoch>) -> bool {
    batch.updates == batch.storage.vals.vals.len() && batch.storage.upds.diffs.iter().all(|diff| *diff == 1)
}

/// The account of a customer, where the batch has one.
fn account<'a, I: IdColumn>(
    accounts: &'a Batch<Option<I>, Arc<Account>, Epoch>,
    customer: &Option<I>,
) -> Option<&'a Account> {
    let keys = &accounts.storage.keys;
    let at = keys.advance(0, keys.len(), |key| key < customer);
    let (start, _) = accounts.storage.vals.bounds(at);
    (keys.get(at) == Some(customer)).then(|| accounts.storage.vals.vals[start].as_ref())
}
