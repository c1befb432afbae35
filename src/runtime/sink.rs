//! From collections to files: what a table has in epoch 0 is written as it comes, or sorted first where it has an order.

use std::sync::Arc;

use crossbeam_channel::Sender;
use differential_dataflow::VecCollection;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::probe::Handle;
use timely::progress::frontier::MutableAntichain;

use crate::error::Result;
use crate::io::OutputTable;
use crate::io::cells::IdColumn;
use crate::io::tables::TableRow;
use crate::io::write::PartWriter;
use crate::pipeline::Job;

use super::live::Moved;
use super::{Epoch, Work};

/// Rows that are encoded at a time: few enough to stay in the cache while column after column is made of them.
const BATCH_ROWS: usize = 1 << 12;

/// The tables of a job, on one worker.
pub(super) struct Tables<'a> {
    pub(super) work: &'a Arc<Work>,
    pub(super) probe: Handle<Epoch>,
    /// Where the changes after epoch 0 go.
    pub(super) observer: Option<Sender<Moved>>,
}

impl Tables<'_> {
    /// Makes and writes the tables that are asked for; the probe tells which epochs are in all of them.
    pub(super) fn add<I: IdColumn>(self, job: &Job<'_, Epoch, I>) -> Handle<Epoch> {
        self.write(OutputTable::EnrichedData, || job.enriched_data());
        self.write(OutputTable::DailySales, || job.daily_sales());
        self.write(OutputTable::ProductSales, || job.product_sales());
        self.write(OutputTable::CustomerPatterns, || job.customer_patterns());
        self.write(OutputTable::RfmAnalysis, || job.rfm_analysis());
        self.write(OutputTable::CohortAnalysis, || job.cohort_analysis());
        self.write(OutputTable::CustomerProductMatrix, || job.customer_product_matrix());
        self.probe
    }

    fn write<'scope, R: TableRow>(&self, table: OutputTable, rows: impl FnOnce() -> VecCollection<'scope, Epoch, R>) {
        if !self.work.tables.contains(&table) {
            return;
        }
        let mut rows = rows();
        if let Some(observer) = self.observer.clone() {
            rows = rows.inspect(move |(row, epoch, diff)| {
                if *epoch > 0 {
                    // A job that is no longer listened to has nobody to tell.
                    let _ = observer.send(Moved::new(table, *epoch, *diff, row.clone()));
                }
            });
        }
        let rows = rows.probe_with(&self.probe).inner;
        let Some(writer) = self.work.writer(table) else { return };
        let name = format!("Write {}", table.name());
        let mut share = Share::new(self.work, writer.part());
        match R::ORDER {
            None => rows.sink(Pipeline, &name, move |(input, frontier)| {
                input.for_each(|_, updates| share.take(updates));
                share.proceed(frontier, None);
            }),
            Some(order) => rows.sink(Exchange::new(|_| 0), &name, move |(input, frontier)| {
                input.for_each(|_, updates| share.take(updates));
                share.proceed(frontier, Some(order));
            }),
        }
    }
}

/// One worker's share of a table.
struct Share<R> {
    work: Arc<Work>,
    /// Open until epoch 0 is over.
    part: Option<PartWriter>,
    rows: Vec<R>,
}

impl<R: TableRow> Share<R> {
    fn new(work: &Arc<Work>, part: PartWriter) -> Self {
        Share { work: Arc::clone(work), part: Some(part), rows: Vec::new() }
    }

    /// Takes the rows of epoch 0, each of which comes once: whatever would cancel has been added up on the way.
    fn take(&mut self, updates: &mut Vec<(R, Epoch, isize)>) {
        for (row, epoch, diff) in updates.drain(..) {
            if epoch == 0 {
                assert_eq!(diff, 1, "a row of the first epoch comes once: {row:?}");
                self.rows.push(row);
            }
        }
    }

    /// Writes what can be written: rows in an order only when all are there.
    fn proceed(&mut self, frontier: &MutableAntichain<Epoch>, order: Option<fn(&R, &R) -> std::cmp::Ordering>) {
        let Some(mut part) = self.part.take() else { return };
        if self.work.has_failed() {
            return;
        }
        let is_over = !frontier.less_equal(&0);
        if let (Some(order), true) = (order, is_over) {
            self.rows.sort_by(order);
        }
        let may_write = order.is_none() || is_over;
        let written = if may_write { self.write(&mut part, is_over) } else { Ok(()) };
        match written.and_then(|()| if is_over { part.finish().map(|()| None) } else { Ok(Some(part)) }) {
            Ok(Some(part)) => self.part = Some(part),
            Ok(None) => self.work.part_is_written(),
            Err(error) => self.work.fail(error),
        }
    }

    /// Writes full batches, and with `all` what is left too.
    fn write(&mut self, part: &mut PartWriter, all: bool) -> Result<()> {
        let full = if all { self.rows.len() } else { self.rows.len() / BATCH_ROWS * BATCH_ROWS };
        for rows in self.rows[..full].chunks(BATCH_ROWS) {
            part.write(&R::batch(rows, &self.work.layout)?)?;
            self.work.feed.progress().add_written(rows.len() as u64);
        }
        self.rows.drain(..full);
        Ok(())
    }
}
