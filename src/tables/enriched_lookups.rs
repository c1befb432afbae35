//! The look-ups of rows of `enriched_data` on one worker.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use timely::progress::Antichain;

use crate::columns::ShopId;
use crate::error::Result;
use crate::model::Epoch;
use crate::pipeline::{Enriched, EnrichedReader, EnrichedRowsOf, RowSearch};

use super::lookups::{Lookup, LookupQueues, ROWS_MAX};

/// Lines that are searched before other operators get a turn.
const LINES_AT_A_TIME: usize = 1 << 16;

/// The look-ups of one worker.
pub(crate) struct WorkerLookups<I: ShopId> {
    queues: LookupQueues,
    worker: usize,
    pub(crate) reader: EnrichedReader<Epoch, I>,
    /// Searches for orders, products and days, each of which looks at all lines.
    scans: VecDeque<(Arc<Lookup>, RowSearch<Epoch, I>)>,
}

impl<I: ShopId> WorkerLookups<I> {
    pub(crate) fn new(queues: &LookupQueues, worker: usize, reader: EnrichedReader<Epoch, I>) -> WorkerLookups<I> {
        WorkerLookups { queues: queues.clone(), worker, reader, scans: VecDeque::new() }
    }

    /// Answers look-ups of customers, and goes on with a scan if there is time; true if scans are left.
    pub(crate) fn advance(
        &mut self,
        frontier: &Antichain<Epoch>,
        is_free: bool,
        encode: impl Fn(&[Enriched<I>]) -> Result<RecordBatch>,
    ) -> bool {
        // A look-up as of an epoch is here before a later one is complete.
        for lookup in self.queues.take(self.worker) {
            self.begin(lookup, &encode);
        }
        if let Some(complete) = frontier.first().and_then(|open| open.checked_sub(1)) {
            self.reader.apply_through(&complete, self.scans.iter_mut().map(|(_, search)| search));
            self.reader.compact(&complete, frontier.borrow());
        }
        if is_free && let Some((lookup, mut search)) = self.scans.pop_front() {
            match self.search(&lookup, &mut search, LINES_AT_A_TIME) {
                true => self.scans.push_front((lookup, search)),
                false => self.answer(&lookup, search, &encode),
            }
        }
        !self.scans.is_empty()
    }

    fn begin(&mut self, lookup: Arc<Lookup>, encode: &impl Fn(&[Enriched<I>]) -> Result<RecordBatch>) {
        let rows_of = match &lookup.rows_of {
            EnrichedRowsOf::Order(order) => I::of_any(order).map(EnrichedRowsOf::Order),
            EnrichedRowsOf::Customer(customer) => I::of_any(customer).map(EnrichedRowsOf::Customer),
            EnrichedRowsOf::Product(product) => I::of_any(product).map(EnrichedRowsOf::Product),
            EnrichedRowsOf::Days(from, to) => Some(EnrichedRowsOf::Days(*from, *to)),
        };
        // No row has an id that the type of the job's ids can't have.
        let Some(rows_of) = rows_of else { return lookup.add(encode(&[])) };
        self.reader.apply_through(&lookup.epoch, self.scans.iter_mut().map(|(_, search)| search));
        let is_of_customer = matches!(rows_of, EnrichedRowsOf::Customer(_));
        let mut search = self.reader.begin(rows_of, lookup.epoch);
        if is_of_customer {
            while self.search(&lookup, &mut search, ROWS_MAX) {}
            self.answer(&lookup, search, encode);
        } else {
            self.scans.push_back((lookup, search));
        }
    }

    /// Goes on with a search; true if something is left that is wanted.
    fn search(&self, lookup: &Lookup, search: &mut RowSearch<Epoch, I>, lines: usize) -> bool {
        lookup.is_wanted() && search.go_on(lines) && !search.has_found_more_than(ROWS_MAX)
    }

    fn answer(
        &self,
        lookup: &Lookup,
        mut search: RowSearch<Epoch, I>,
        encode: &impl Fn(&[Enriched<I>]) -> Result<RecordBatch>,
    ) {
        if lookup.is_wanted() {
            lookup.add(match search.has_found_more_than(ROWS_MAX) {
                true => Err(Lookup::too_many()),
                false => encode(&self.reader.rows(search)),
            });
        }
    }
}

/// What waits is dropped, and nothing more is taken.
impl<I: ShopId> Drop for WorkerLookups<I> {
    fn drop(&mut self) {
        self.queues.close();
    }
}
