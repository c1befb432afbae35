//! From collections to files: what a table has in epoch 0 is written as it comes, or sorted first where it has an order.
//!
//! All tables end in one operator. Each has an input of its own there, and none is done with an epoch before all are: so there is
//! one place that knows which epochs are over, and a live job has fewer operators to tell that one is.

use std::cell::{Cell, RefCell};
use std::hash::BuildHasher;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crossbeam_channel::Sender;
use differential_dataflow::VecCollection;
use foldhash::fast::FixedState;
use timely::dataflow::channels::pact::{Exchange, ParallelizationContract, Pipeline};
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, StreamVec};
use timely::progress::frontier::MutableAntichain;
use timely::scheduling::Activator;

use crate::error::Result;
use crate::io::OutputTable;
use crate::io::cells::IdColumn;
use crate::io::tables::TableRow;
use crate::io::write::{PartWriter, TableWriter};
use crate::operators::to_all_workers;
use crate::pipeline::Job;
use crate::udf::forest::Forest;

use super::enrich::Enriching;
use super::live::Moved;
use super::{Epoch, Work};

/// Rows that are encoded at a time: few enough to stay in the cache while column after column is made of them.
pub(super) const BATCH_ROWS: usize = 1 << 12;

/// The name of the operator in which tables end.
pub(super) const TABLES: &str = "Tables";

/// The tables of a job, on one worker.
pub(super) struct Tables<'a, 'scope> {
    work: &'a Arc<Work>,
    /// Where the changes after epoch 0 go.
    observer: Option<Sender<Moved>>,
    scope: Scope<'scope, Epoch>,
    /// The inputs, to be connected when the collections are there: an operator that stands behind those that send to it
    /// is run after them, in the same step.
    inputs: Vec<Connect<'scope>>,
    /// What is to be done after all inputs were read; true if there is more to do.
    last: Option<Box<dyn FnMut(&[MutableAntichain<Epoch>]) -> bool>>,
}

/// Connects an input of the operator, and gives what is done with what arrives there.
type Connect<'scope> =
    Box<dyn FnOnce(&mut OperatorBuilder<'scope, Epoch>) -> Box<dyn FnMut(&MutableAntichain<Epoch>)> + 'scope>;

/// Tells which epochs are in all tables.
#[derive(Clone)]
pub(super) struct Watch(Rc<Cell<Option<Epoch>>>);

impl Watch {
    /// The first epoch that is not in all tables; `None` if no more will come.
    pub(super) fn open(&self) -> Option<Epoch> {
        self.0.get()
    }

    /// True if an epoch before this one is not in all tables.
    pub(super) fn is_open_before(&self, epoch: Epoch) -> bool {
        self.open().is_some_and(|open| open < epoch)
    }
}

impl<'a, 'scope> Tables<'a, 'scope> {
    pub(super) fn new(scope: Scope<'scope, Epoch>, work: &'a Arc<Work>, observer: Option<Sender<Moved>>) -> Self {
        Tables { work, observer, scope, inputs: Vec::new(), last: None }
    }

    /// Makes the tables that are asked for, and writes those that are to be written. Orders are scored by `models`.
    pub(super) fn end<I: IdColumn>(
        mut self,
        job: &Job<'scope, Epoch, I>,
        models: VecCollection<'scope, Epoch, Arc<Forest>>,
    ) -> Watch {
        self.add_enriched(job);
        if self.observer.is_some() {
            self.add_share(OutputTable::EnrichedData, || job.enriched_data(), None);
        }
        self.add(OutputTable::DailySales, || job.daily_sales());
        self.add(OutputTable::ProductSales, || job.product_sales());
        self.add(OutputTable::CustomerPatterns, || job.customer_patterns());
        self.add(OutputTable::RfmAnalysis, || job.rfm_analysis());
        self.add(OutputTable::CohortAnalysis, || job.cohort_analysis());
        self.add(OutputTable::CustomerProductMatrix, || job.customer_product_matrix());
        self.add(OutputTable::ProductRanking, || job.product_ranking());
        self.add(OutputTable::CategoryStats, || job.category_stats());
        self.add(OutputTable::ProductFeatures, || job.product_features());
        self.add(OutputTable::OrderAnomalies, || job.order_anomalies(models));
        let mut builder = OperatorBuilder::new(TABLES.into(), self.scope);
        let mut inputs: Vec<_> = self.inputs.into_iter().map(|connect| connect(&mut builder)).collect();
        let (mut last, watch) = (self.last, Watch(Rc::new(Cell::new(Some(0)))));
        let told = watch.clone();
        let activator = Activator::new(builder.operator_info().address, self.scope.activations());
        builder.build_reschedule(|_| {
            move |frontiers| {
                inputs.iter_mut().zip(frontiers).for_each(|(input, frontier)| input(frontier));
                let open = frontiers.iter().filter_map(|frontier| frontier.frontier().first().copied());
                told.0.set(open.min());
                let is_more = last.as_mut().is_some_and(|last| last(frontiers));
                if is_more {
                    activator.activate();
                }
                is_more
            }
        });
        watch
    }

    /// Ends `enriched_data` in its parts, which are joined where they are written.
    fn add_enriched<I: IdColumn>(&mut self, job: &Job<'scope, Epoch, I>) {
        if !self.work.tables.contains(&OutputTable::EnrichedData) {
            return;
        }
        let writer = self.work.writer(OutputTable::EnrichedData);
        let enriching = writer.map(|writer| Rc::new(RefCell::new(Enriching::<I>::new(self.work, writer.part()))));
        let first = self.inputs.len();
        let (lines, accounts) = (enriching.clone(), enriching.clone());
        let batches = job.lines_by_customer().stream;
        self.inputs.push(Box::new(move |builder| {
            let mut input = builder.new_input(batches, Pipeline);
            Box::new(move |_| {
                input.for_each(|_, spans| {
                    for batch in spans.drain(..).filter_map(|span| span.inner) {
                        lines.iter().for_each(|lines| lines.borrow_mut().take_lines(batch.clone()));
                    }
                });
            })
        }));
        let rows = job.accounts().inner;
        self.inputs.push(Box::new(move |builder| {
            let mut input = builder.new_input(rows, Pipeline);
            Box::new(move |_| {
                input.for_each(|_, updates| {
                    accounts.iter().for_each(|accounts| accounts.borrow_mut().take_accounts(updates.drain(..)));
                });
            })
        }));
        let Some(enriching) = enriching else { return };
        let products = Rc::clone(&enriching);
        let (rows, to_worker) = to_all_workers(job.products());
        self.inputs.push(Box::new(move |builder| {
            let mut input = builder.new_input(rows, to_worker);
            Box::new(move |_| {
                input.for_each(|_, updates| {
                    products.borrow_mut().take_products(updates.drain(..).map(|(_, update)| update));
                });
            })
        }));
        self.last = Some(Box::new(move |frontiers| {
            let is_over = frontiers[first..first + 3].iter().all(|frontier| !frontier.less_equal(&0));
            enriching.borrow_mut().proceed(is_over)
        }));
    }

    fn add<R: TableRow>(&mut self, table: OutputTable, rows: impl FnOnce() -> VecCollection<'scope, Epoch, R>) {
        let part = self.work.writer(table).map(TableWriter::part);
        self.add_share(table, rows, part);
    }

    fn add_share<R: TableRow>(
        &mut self,
        table: OutputTable,
        rows: impl FnOnce() -> VecCollection<'scope, Epoch, R>,
        part: Option<PartWriter>,
    ) {
        if !self.work.tables.contains(&table) {
            return;
        }
        let rows = rows().inner;
        if part.is_some() && R::ORDER.is_some() {
            self.add_input(table, rows, part, Exchange::new(|_: &(R, Epoch, isize)| 0));
        } else {
            self.add_input(table, rows, part, Pipeline);
        }
    }

    fn add_input<R: TableRow, P>(
        &mut self,
        table: OutputTable,
        rows: StreamVec<'scope, Epoch, (R, Epoch, isize)>,
        part: Option<PartWriter>,
        pact: P,
    ) where
        P: ParallelizationContract<Epoch, Vec<(R, Epoch, isize)>> + 'scope,
    {
        let mut share = part.map(|part| Share::new(table, self.work, part));
        let (observer, work) = (self.observer.clone(), Arc::clone(self.work));
        self.inputs.push(Box::new(move |builder| {
            let mut input = builder.new_input(rows, pact);
            Box::new(move |frontier| {
                let started = Instant::now();
                input.for_each(|_, updates| {
                    observer.iter().for_each(|observer| tell(observer, table, updates));
                    work.checksum(table).into_iter().for_each(|sum| add_hashes(sum, updates));
                    share.iter_mut().for_each(|share| share.take(updates));
                });
                share.iter_mut().for_each(|share| share.proceed(frontier, started));
            })
        }));
    }
}

/// Adds the hash of each row that comes, and takes off that of each that goes.
fn add_hashes<R: TableRow>(sum: &AtomicU64, updates: &[(R, Epoch, isize)]) {
    const HASHER: FixedState = FixedState::with_seed(0x7461_626c_6573);
    let hashes = updates.iter().map(|(row, _, diff)| HASHER.hash_one(row).wrapping_mul(diff.cast_unsigned() as u64));
    sum.fetch_add(hashes.fold(0, u64::wrapping_add), Ordering::Relaxed);
}

/// Tells what an epoch after the first moved.
fn tell<R: TableRow>(observer: &Sender<Moved>, table: OutputTable, updates: &[(R, Epoch, isize)]) {
    for (row, epoch, diff) in updates.iter().filter(|(_, epoch, _)| *epoch > 0) {
        // A job that is no longer listened to has nobody to tell.
        let _ = observer.send(Moved::new(table, *epoch, *diff, row.clone()));
    }
}

/// One worker's share of a table.
struct Share<R> {
    table: OutputTable,
    work: Arc<Work>,
    /// Open until epoch 0 is over.
    part: Option<PartWriter>,
    rows: Vec<R>,
}

impl<R: TableRow> Share<R> {
    fn new(table: OutputTable, work: &Arc<Work>, part: PartWriter) -> Self {
        Share { table, work: Arc::clone(work), part: Some(part), rows: Vec::new() }
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
    fn proceed(&mut self, frontier: &MutableAntichain<Epoch>, started: Instant) {
        let Some(mut part) = self.part.take() else { return };
        if self.work.has_failed() {
            return;
        }
        let is_over = !frontier.less_equal(&0);
        if let (Some(order), true) = (R::ORDER, is_over) {
            self.rows.sort_by(order);
        }
        let may_write = R::ORDER.is_none() || is_over;
        let written = if may_write { self.write(&mut part, is_over) } else { Ok(()) };
        match written.and_then(|()| if is_over { part.finish().map(|()| None) } else { Ok(Some(part)) }) {
            Ok(Some(part)) => self.part = Some(part),
            Ok(None) => self.work.part_is_written(),
            Err(error) => self.work.fail(error),
        }
        self.work
            .profile
            .iter()
            .for_each(|profile| profile.add(&format!("Write {}", self.table.name()), started.elapsed()));
    }

    /// Writes full batches, and with `all` what is left too.
    fn write(&mut self, part: &mut PartWriter, all: bool) -> Result<()> {
        let full = if all { self.rows.len() } else { self.rows.len() / BATCH_ROWS * BATCH_ROWS };
        for rows in self.rows[..full].chunks(BATCH_ROWS) {
            let made = R::batch(rows, &self.work.layout)?;
            part.write(&made.rows)?;
            self.work.feed.keep_rejected(made.rejected)?;
            self.work.feed.progress().add_written(rows.len() as u64);
        }
        self.rows.drain(..full);
        Ok(())
    }
}
