//! The look-ups of rows of `enriched_data` on one worker.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use timely::progress::Antichain;

use crate::columns::ShopId;
use crate::error::{Error, Result};
use crate::model::{AnyId, Epoch};
use crate::pipeline::{Enriched, EnrichedReader, EnrichedRowsOf, LineLook};

use super::lookups::{Lookup, LookupQueues};

/// Lines that are looked at before other operators get a turn.
const LINES_AT_A_TIME: usize = 1 << 16;
/// The most rows that a worker gives.
const ROWS_MAX: usize = 500_000;

/// The look-ups of one worker.
pub(crate) struct WorkerLookups<I: ShopId> {
    queues: LookupQueues,
    worker: usize,
    pub(crate) reader: EnrichedReader<Epoch, I>,
    waiting: VecDeque<Arc<Lookup>>,
    current: Option<(Arc<Lookup>, LineLook<Epoch, I>)>,
}

impl<I: ShopId> WorkerLookups<I> {
    pub(crate) fn new(queues: &LookupQueues, worker: usize, reader: EnrichedReader<Epoch, I>) -> WorkerLookups<I> {
        WorkerLookups { queues: queues.clone(), worker, reader, waiting: VecDeque::new(), current: None }
    }

    /// Goes on with what is looked up, if there is time for that; the rows of a customer are looked up at once. True if
    /// something is left.
    pub(crate) fn advance(
        &mut self,
        frontier: &Antichain<Epoch>,
        is_free: bool,
        encode: impl Fn(&[Enriched<I>]) -> Result<RecordBatch>,
    ) -> bool {
        // What is asked for as of an epoch is here before the next one is complete.
        self.waiting.append(&mut self.queues.of(self.worker));
        let mut has_had_turn = !is_free;
        while let Some((lookup, mut look)) = self.current.take().or_else(|| self.begin_next(&encode)) {
            let is_scan = !matches!(lookup.rows_of, EnrichedRowsOf::Customer(_));
            if is_scan && has_had_turn {
                self.current = Some((lookup, look));
                return true;
            }
            has_had_turn |= is_scan;
            let is_more = look.go_on(LINES_AT_A_TIME);
            if look.found() > ROWS_MAX {
                lookup.add(Err(Error::usage(format!("more than {ROWS_MAX} rows of enriched_data"))));
            } else if is_more {
                self.current = Some((lookup, look));
            } else {
                lookup.add(encode(&self.reader.join(look)));
            }
        }
        if let Some(complete) = frontier.first().and_then(|open| open.checked_sub(1)) {
            self.reader.advance(&complete);
        }
        self.reader.compact(frontier.borrow());
        false
    }

    fn begin_next(
        &mut self,
        encode: impl Fn(&[Enriched<I>]) -> Result<RecordBatch>,
    ) -> Option<(Arc<Lookup>, LineLook<Epoch, I>)> {
        loop {
            let lookup = self.waiting.pop_front()?;
            let of_job = |id: &AnyId| I::of_any(id);
            let rows_of = match &lookup.rows_of {
                EnrichedRowsOf::Order(order) => of_job(order).map(EnrichedRowsOf::Order),
                EnrichedRowsOf::Customer(customer) => of_job(customer).map(EnrichedRowsOf::Customer),
                EnrichedRowsOf::Day(day) => Some(EnrichedRowsOf::Day(*day)),
            };
            match rows_of {
                Some(rows_of) => {
                    let look = self.reader.begin(rows_of, lookup.epoch);
                    return Some((lookup, look));
                }
                // No row has an id that the type of the job's ids can't have.
                None => lookup.add(encode(&[])),
            }
        }
    }
}
