//! A job that stays: after the batch, what is changed together is an epoch of its own, and what it moved is told.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, unbounded};
use timely::communication::WorkerGuards;
use timely::worker::Worker;

use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::io::Exact;
use crate::io::cells::IdColumn;
use crate::io::layout::Layout;
use crate::io::rejected::Rejection;
use crate::io::tables::TableRow;
use crate::io::{OutputTable, Shown};
use crate::model::{Customer, Order, Product};
use crate::operators::Position;
use crate::report::{Report, StageReport};
use crate::udf::forest::Forest;

use super::feed::Feed;
use super::sink::Watch;
use super::{Epoch, Inputs, Progress, Work, start};

/// A row that an epoch put into a table or took out of it.
pub(super) struct Moved {
    table: OutputTable,
    diff: isize,
    epoch: Epoch,
    row: Box<dyn Fn(&Layout) -> Result<std::result::Result<Exact, Rejection>> + Send>,
}

impl Moved {
    pub(super) fn new<R: TableRow>(table: OutputTable, epoch: Epoch, diff: isize, row: R) -> Moved {
        let row = move |layout: &Layout| Exact::of(&row, layout);
        Moved { table, epoch, diff, row: Box::new(row) }
    }
}

/// Something to change.
#[derive(Clone, Debug)]
pub enum Change<I> {
    /// Writes an order, or deletes it.
    Order(I, Option<Order<I>>),
    /// Writes a product, or deletes it.
    Product(I, Option<Arc<Product>>),
    /// Writes a customer, or deletes it.
    Customer(I, Option<Arc<Customer>>),
    /// Scores all orders by this model from now on: a change of every row of `order_anomalies`, each of which a job from
    /// [`Live::start`] also tells. A function `anomaly_score` of the config keeps the model of its file.
    Model(Arc<Forest>),
}

/// What the workers of a live job have beside those of a run.
pub(super) struct Workers<I> {
    changes: Mutex<Option<Receiver<Vec<Change<I>>>>>,
    loaded: Sender<()>,
    done: Sender<()>,
    /// Where the changes after epoch 0 are told; `None` where nobody asks.
    moved: Option<Sender<Moved>>,
}

/// A job whose tables are there, and which now takes changes.
pub struct Live<I> {
    work: Arc<Work>,
    /// Dropped before `guards`, which wait for workers that wait for changes.
    changes: Option<Sender<Vec<Change<I>>>>,
    guards: Option<WorkerGuards<()>>,
    done: Receiver<()>,
    moved: Receiver<Moved>,
    /// What was rejected since the batch: table, reason, row.
    rejected: RefCell<BTreeMap<(OutputTable, String, String), isize>>,
    report: Report,
    epoch: Epoch,
}

impl<I: IdColumn> Live<I> {
    /// Runs the batch job, publishes its tables, and stays; then tells what each change moves.
    ///
    /// # Errors
    ///
    /// As a run; and if the input's ids are not of type `I`.
    pub fn start(config: &RunConfig, progress: &Arc<Progress>) -> Result<Live<I>> {
        Self::begin(config, progress, true)
    }

    /// Loads the input, makes the tables and keeps them, without writing them or telling what moves.
    ///
    /// `enriched_data` is kept in its parts, the lines and the accounts by customer and the products, and not joined: nobody
    /// reads its rows.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start); the output folder is not used.
    pub fn load(config: &RunConfig, progress: &Arc<Progress>) -> Result<Live<I>> {
        Self::begin(config, progress, false)
    }

    fn begin(config: &RunConfig, progress: &Arc<Progress>, writes: bool) -> Result<Live<I>> {
        let started = Instant::now();
        if config.cluster.is_some() {
            return Err(Error::usage("cluster: a job that stays runs in one process; run it without"));
        }
        let feed = Feed::open(&config.input, config.max_rejected, progress)?;
        if feed.has_text_ids() != I::HAS_TEXT {
            return Err(Error::unusable("the input's ids are not of the type that is expected"));
        }
        let (changes, receiver) = unbounded();
        let ((loaded, is_loaded), (done, is_done), (moved, is_moved)) = (unbounded(), unbounded(), unbounded());
        let workers = Workers { changes: Mutex::new(Some(receiver)), loaded, done, moved: writes.then_some(moved) };
        let work = if writes {
            Work::begin(config, feed, None, &Arc::default())?
        } else {
            Work::without_output(config, feed)?
        };
        let (work, guards) = start(config, work, Some(workers))?;
        if is_loaded.recv().is_err() {
            guards.join();
            work.check()?;
            return Err(Error::failed("a bug: the workers ended before the tables were there"));
        }
        let report = match work.check().and_then(|()| work.publish(config, started)) {
            Ok(report) => report,
            Err(error) => {
                drop(changes); // or the workers would wait for one while they are waited for
                guards.join();
                return Err(error);
            }
        };
        let (changes, guards) = (Some(changes), Some(guards));
        Ok(Live {
            work,
            guards,
            changes,
            done: is_done,
            moved: is_moved,
            rejected: RefCell::default(),
            report,
            epoch: 0,
        })
    }

    /// What the batch came to.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Does one thing, waits until it is in all tables, and says how long that took.
    ///
    /// # Errors
    ///
    /// If the workers have ended.
    pub fn apply(&mut self, change: Change<I>) -> Result<Duration> {
        self.apply_all(vec![change])
    }

    /// Does all these things at once, in one epoch, waits until they are in all tables, and says how long that took.
    ///
    /// Of several that write one id, the last counts.
    ///
    /// # Errors
    ///
    /// If the workers have ended.
    pub fn apply_all(&mut self, changes: Vec<Change<I>>) -> Result<Duration> {
        let started = Instant::now();
        self.moved.try_iter().for_each(drop);
        self.epoch += 1;
        let ended = || Error::failed("the workers have ended");
        self.changes.as_ref().ok_or_else(ended)?.send(changes).map_err(|_| ended())?;
        receive(&self.done).ok_or_else(ended)?;
        Ok(started.elapsed())
    }

    /// A number that is the same for the same rows of a table, however they came about: of a change after the other or of one
    /// batch, on any number of workers. `None` where the configuration asks for no checksums, or the table is not made; that of
    /// `enriched_data` says nothing where it is kept in its parts.
    #[must_use]
    pub fn checksum(&self, table: OutputTable) -> Option<u64> {
        self.work.checksum(table).map(|sum| sum.load(Ordering::Relaxed))
    }

    /// How long each operator has worked until now, where the configuration asks for a profile.
    #[must_use]
    pub fn stages(&self) -> Vec<StageReport> {
        self.work.profile.as_ref().map_or(Vec::new(), |profile| profile.stages())
    }

    /// The rows that the last epoch moved, with their weights, table by table; those that came and went again are left
    /// out. A row that a function of the config rejects is in no table: [`rejected`](Self::rejected) has it.
    ///
    /// # Errors
    ///
    /// If a row can't be shown as its table has it.
    pub fn moved(&self) -> Result<Vec<(OutputTable, Shown, isize)>> {
        let recent = self.moved.try_iter().filter(|moved| moved.epoch == self.epoch);
        let mut rows: BTreeMap<(OutputTable, Vec<String>), (Shown, isize)> = BTreeMap::new();
        for moved in recent {
            match (moved.row)(&self.work.layout)? {
                Ok(Exact { digits, shown }) => {
                    let (_, weight) = rows.entry((moved.table, digits)).or_insert((shown, 0));
                    *weight += moved.diff;
                }
                Err(Rejection { reason, json, .. }) => {
                    let mut rejected = self.rejected.borrow_mut();
                    *rejected.entry((moved.table, reason, json)).or_default() += moved.diff;
                }
            }
        }
        let moved = rows.into_iter().filter(|(_, (_, weight))| *weight != 0);
        Ok(moved.map(|((table, _), (shown, weight))| (table, shown, weight)).collect())
    }

    /// The rows that functions of the config have rejected since the batch, as far as [`moved`](Self::moved) was asked: the table, the
    /// reason, the row as JSON, and how many there are more (or, of those that the batch rejected, fewer) than after the batch.
    #[must_use]
    pub fn rejected(&self) -> Vec<(OutputTable, String, String, isize)> {
        let rejected = self.rejected.borrow();
        let rejected = rejected.iter().filter(|(_, weight)| **weight != 0);
        rejected.map(|((table, reason, row), weight)| (*table, reason.clone(), row.clone(), *weight)).collect()
    }

    /// About so many orders from all parts of the input, as they were read.
    ///
    /// # Errors
    ///
    /// If the input can't be read any more.
    pub fn sample_orders(&self, many: usize) -> Result<Vec<(I, Order<I>)>> {
        self.work.feed.sample_orders(many)
    }

    /// About so many products from all parts of the input, as they were read.
    ///
    /// # Errors
    ///
    /// If the input can't be read any more.
    pub fn sample_products(&self, many: usize) -> Result<Vec<(I, Arc<Product>)>> {
        self.work.feed.sample_products(many)
    }

    /// Ends the job.
    ///
    /// # Errors
    ///
    /// If a worker failed.
    pub fn stop(mut self) -> Result<()> {
        self.changes = None;
        self.guards.take().map(WorkerGuards::join);
        self.work.check()
    }
}

impl<I: IdColumn> Workers<I> {
    pub(super) fn observer(&self) -> Option<Sender<Moved>> {
        self.moved.clone()
    }

    /// Finishes epoch 0, then turns all changes that are sent together into an epoch, until no more come.
    pub(super) fn follow(
        &self,
        worker: &mut Worker,
        work: &Arc<Work>,
        mut inputs: Inputs<I>,
        watch: &Watch,
    ) -> Result<()> {
        inputs.advance_to(1);
        while !work.has_failed() && (!work.is_written() || watch.is_open_before(1)) {
            worker.step_or_park(Some(Duration::from_millis(1)));
        }
        // All changes enter at the first worker. The others only do what these make to be done.
        if worker.index() != 0 {
            drop(inputs);
            let mut idle = Idle::new();
            while worker.has_dataflows() && !work.has_failed() {
                match idle.patience(watch) {
                    // The program that asks for changes may need this core to do so.
                    None => {
                        worker.step();
                        std::thread::yield_now();
                    }
                    patience => drop(worker.step_or_park(patience)),
                }
            }
            return Ok(());
        }
        if work.has_failed() {
            return Ok(());
        }
        let _ = self.loaded.send(());
        let changes = self.changes.lock().expect("no worker panicked").take();
        let next = || receive(changes.as_ref()?);
        for (changes, epoch) in std::iter::from_fn(next).zip(1..) {
            for (change, position) in changes.into_iter().zip(0..) {
                let at = Position::after(position);
                match change {
                    Change::Order(id, row) => inputs.orders.send((id, at, row)),
                    Change::Product(id, row) => inputs.products.send((id, at, row)),
                    Change::Customer(id, row) => inputs.customers.send((id, at, row)),
                    Change::Model(model) => {
                        let former = work.model().map(|former| (former, epoch, -1));
                        former.into_iter().for_each(|former| inputs.models.send(former));
                        work.set_model(&model);
                        inputs.models.send((model, epoch, 1));
                    }
                }
            }
            inputs.advance_to(epoch + 1);
            while watch.is_open_before(epoch + 1) && !work.has_failed() {
                worker.step();
            }
            if work.has_failed() {
                return Ok(()); // and nobody is told that it is done
            }
            work.feed.progress().set_epochs(epoch + 1);
            let _ = self.done.send(());
        }
        drop(inputs);
        while worker.has_dataflows() && !work.has_failed() {
            worker.step_or_park(Some(Duration::from_millis(1)));
        }
        Ok(())
    }
}

/// Waits for what another thread sends; `None` if it will send no more.
fn receive<E>(receiver: &Receiver<E>) -> Option<E> {
    let started = Instant::now();
    while started.elapsed() < AWAKE {
        match receiver.try_recv() {
            Ok(element) => return Some(element),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => std::thread::yield_now(),
        }
    }
    receiver.recv().ok()
}

/// How long a worker may sleep: not at all while there is something to do now and then.
struct Idle {
    open: Option<Epoch>,
    since: Instant,
}

/// How long a thread that has nothing to do stays awake: waking up would take it longer than an epoch takes.
const AWAKE: Duration = Duration::from_millis(5);

impl Idle {
    fn new() -> Idle {
        Idle { open: None, since: Instant::now() }
    }

    /// For how long to sleep until there is something to do; `None` for not at all.
    fn patience(&mut self, watch: &Watch) -> Option<Duration> {
        if watch.open() != self.open {
            (self.open, self.since) = (watch.open(), Instant::now());
        }
        (self.since.elapsed() >= AWAKE).then_some(Duration::from_millis(100))
    }
}
