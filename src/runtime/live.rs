//! A job that stays: after the batch, each command is an epoch of its own, and what it moved is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use timely::communication::WorkerGuards;
use timely::dataflow::operators::probe::Handle;
use timely::worker::Worker;

use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::io::Exact;
use crate::io::cells::IdColumn;
use crate::io::layout::Layout;
use crate::io::tables::TableRow;
use crate::io::{OutputTable, Shown};
use crate::model::{Order, Product};
use crate::operators::Position;
use crate::report::Report;

use super::feed::Feed;
use super::{Epoch, Inputs, Progress, Work, start};

/// A row that an epoch put into a table or took out of it.
pub(super) struct Moved {
    table: OutputTable,
    diff: isize,
    epoch: Epoch,
    row: Box<dyn Fn(&Layout) -> Result<Exact> + Send>,
}

impl Moved {
    pub(super) fn new<R: TableRow>(table: OutputTable, epoch: Epoch, diff: isize, row: R) -> Moved {
        let row = move |layout: &Layout| Exact::of(&row, layout);
        Moved { table, epoch, diff, row: Box::new(row) }
    }
}

/// Something to change, as an epoch of its own.
#[derive(Clone, Debug)]
pub enum Command<I> {
    /// Writes an order, or deletes it.
    Order(I, Option<Order<I>>),
    /// Writes a product.
    Product(I, Arc<Product>),
}

/// What the workers of a live job have beside those of a run.
pub(super) struct Workers<I> {
    commands: Mutex<Vec<Option<Receiver<Command<I>>>>>,
    loaded: Sender<()>,
    done: Sender<Duration>,
    moved: Sender<Moved>,
}

/// A job whose tables have been written, and which now takes commands.
pub struct Live<I> {
    work: Arc<Work>,
    /// Dropped before `guards`, which wait for workers that wait for commands.
    commands: Vec<Sender<Command<I>>>,
    guards: Option<WorkerGuards<()>>,
    done: Receiver<Duration>,
    moved: Receiver<Moved>,
    report: Report,
    epoch: Epoch,
}

impl<I: IdColumn> Live<I> {
    /// Runs the batch job, publishes its tables, and stays.
    ///
    /// # Errors
    ///
    /// As a run; and if the input's ids are not of type `I`.
    pub fn start(config: &RunConfig, progress: &Arc<Progress>) -> Result<Live<I>> {
        let started = Instant::now();
        let feed = Feed::open(&config.input, config.max_rejected, progress)?;
        if feed.has_text_ids() != I::HAS_TEXT {
            return Err(Error::unusable("the input's ids are not of the type that is expected"));
        }
        let (commands, receivers): (Vec<_>, Vec<_>) = (0..config.workers).map(|_| unbounded()).unzip();
        let ((loaded, is_loaded), (done, is_done), (moved, is_moved)) = (unbounded(), unbounded(), unbounded());
        let receivers = Mutex::new(receivers.into_iter().map(Some).collect());
        let (work, guards) = start(config, feed, Some(Workers { commands: receivers, loaded, done, moved }))?;
        if is_loaded.recv().is_err() {
            guards.join();
            work.check()?;
            return Err(Error::failed("a bug: the workers ended before the tables were written"));
        }
        let report = match work.check().and_then(|()| work.publish(config, started)) {
            Ok(report) => report,
            Err(error) => {
                drop(commands); // or the workers would wait for one while they are waited for
                guards.join();
                return Err(error);
            }
        };
        Ok(Live { work, guards: Some(guards), commands, done: is_done, moved: is_moved, report, epoch: 0 })
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
    pub fn apply(&mut self, command: &Command<I>) -> Result<Duration> {
        self.epoch += 1;
        let ended = || Error::failed("the workers have ended");
        for worker in &self.commands {
            worker.send(command.clone()).map_err(|_| ended())?;
        }
        self.done.recv().map_err(|_| ended())
    }

    /// The rows that the last command moved, with their weights, table by table; those that came and went again are left
    /// out.
    ///
    /// # Errors
    ///
    /// If a row can't be shown as its table has it.
    pub fn moved(&self) -> Result<Vec<(OutputTable, Shown, isize)>> {
        let recent = self.moved.try_iter().filter(|moved| moved.epoch == self.epoch);
        let mut rows: BTreeMap<(OutputTable, Vec<String>), (Shown, isize)> = BTreeMap::new();
        for moved in recent {
            let Exact { digits, shown } = (moved.row)(&self.work.layout)?;
            let (_, weight) = rows.entry((moved.table, digits)).or_insert((shown, 0));
            *weight += moved.diff;
        }
        let moved = rows.into_iter().filter(|(_, (_, weight))| *weight != 0);
        Ok(moved.map(|((table, _), (shown, weight))| (table, shown, weight)).collect())
    }

    /// The first orders of the input, as they were read.
    ///
    /// # Errors
    ///
    /// If the input can't be read any more.
    pub fn sample_orders(&self) -> Result<Vec<Order<I>>> {
        self.work.feed.first_orders()
    }

    /// The first products of the input, as they were read.
    ///
    /// # Errors
    ///
    /// If the input can't be read any more.
    pub fn sample_products(&self) -> Result<Vec<(I, Arc<Product>)>> {
        self.work.feed.first_products()
    }

    /// Ends the job.
    ///
    /// # Errors
    ///
    /// If a worker failed.
    pub fn stop(mut self) -> Result<()> {
        self.commands.clear();
        self.guards.take().map(WorkerGuards::join);
        self.work.check()
    }
}

impl<I: IdColumn> Workers<I> {
    pub(super) fn observer(&self) -> Sender<Moved> {
        self.moved.clone()
    }

    /// Finishes epoch 0, then turns each command into an epoch until there are no more.
    pub(super) fn follow(
        &self,
        worker: &mut Worker,
        work: &Arc<Work>,
        mut inputs: Inputs<I>,
        probe: &Handle<Epoch>,
    ) -> Result<()> {
        inputs.advance_to(1);
        while !work.has_failed() && (!work.is_written() || probe.less_than(&1)) {
            worker.step_or_park(Some(Duration::from_millis(1)));
        }
        if work.has_failed() {
            return Ok(());
        }
        let is_first = worker.index() == 0;
        if is_first {
            let _ = self.loaded.send(());
        }
        let commands = self.commands.lock().expect("no worker panicked")[worker.index()].take();
        for (command, epoch) in commands.iter().flatten().zip(1..) {
            let started = Instant::now();
            if is_first {
                match command {
                    Command::Order(id, row) => inputs.orders.send((id, Position::after(0), row)),
                    Command::Product(id, row) => inputs.products.send((id, Position::after(0), Some(row))),
                }
            }
            inputs.advance_to(epoch + 1);
            while probe.less_than(&(epoch + 1)) && !work.has_failed() {
                worker.step();
            }
            work.feed.progress().set_epochs(epoch + 1);
            if is_first {
                let _ = self.done.send(started.elapsed());
            }
        }
        Ok(())
    }
}
