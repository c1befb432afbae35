//! Workers, epochs and the order of things: the one place that knows threads, time and when something is finished.
//!
//! ```text
//! open the input ─ lay out the tables ─ take the output ─┬─ worker 0: read, feed, step ─┬─ finish ─ publish
//!                                                        └─ worker 1: read, feed, step ─┘
//! ```
//!
//! Epoch 0 is the batch: all that the files have. A *run* closes its inputs after it, so operators hand their state on
//! instead of keeping it. A *live* job keeps them open, and what is
//! changed together is an epoch of its own.

mod enrich;
mod feed;
mod live;
mod profile;
mod progress;
mod sink;
mod train;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use differential_dataflow::AsCollection;
use timely::WorkerConfig;
use timely::communication::WorkerGuards;
use timely::dataflow::operators::vec::Input;
use timely::dataflow::operators::vec::input::Handle;
use timely::worker::Worker;

use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::io::cells::IdColumn;
use crate::io::derived::Derived;
use crate::io::layout::Layout;
use crate::io::publish::Output;
use crate::io::tables::{own_schema_of, schema_of};
use crate::io::write::{Placing, TableWriter};
use crate::io::{InputTable, OutputTable, rejected};
use crate::model::{Customer, Name, Number, Order, Product};
use crate::operators::{Upsert, latest};
use crate::pipeline::{Job, Shop};
use crate::report::{Report, TableReport};
use crate::udf::forest::Forest;

use feed::Feed;
pub use live::{Change, Live};
use profile::Profile;
pub use progress::Progress;

/// When something happened, in epochs: 0 is the batch.
type Epoch = u64;

/// Runs the batch job: reads the three tables, makes those that are asked for, and puts them into their places.
///
/// # Errors
///
/// If the input can't be used, which is found before anything is written, or something can't be written; the tables of
/// earlier runs are then still there.
pub fn run(config: &RunConfig, progress: &Arc<Progress>) -> Result<Report> {
    let started = Instant::now();
    let feed = Feed::open(&config.input, config.max_rejected, progress)?;
    if feed.has_text_ids() {
        let (work, guards) = start::<Name>(config, Work::begin(config, feed)?, None)?;
        finish(config, &work, guards, started)
    } else {
        let (work, guards) = start::<Number>(config, Work::begin(config, feed)?, None)?;
        finish(config, &work, guards, started)
    }
}

/// Starts the workers on the input, and on tables that wait to be published.
fn start<I: IdColumn>(
    config: &RunConfig,
    work: Work,
    live: Option<live::Workers<I>>,
) -> Result<(Arc<Work>, WorkerGuards<()>)> {
    let work = Arc::new(work);
    let timely = timely::Config {
        communication: timely::CommunicationConfig::Process(config.workers),
        worker: WorkerConfig::default(),
    };
    let (config, live) = (config.clone(), Arc::new(live));
    let shared = Arc::clone(&work);
    let guards = timely::execute(timely, move |worker| {
        let _alarm = Alarm(&shared);
        shared.profile.iter().for_each(|profile| profile.follow(worker));
        if let Err(error) = work_as::<I>(worker, &shared, &config, live.as_ref().as_ref()) {
            shared.fail(error);
        }
        if shared.has_failed() {
            worker.installed_dataflows().into_iter().for_each(|dataflow| worker.drop_dataflow(dataflow));
        }
    });
    Ok((work, guards.map_err(Error::failed)?))
}

/// Tells the other workers to stop if this one panics.
struct Alarm<'a>(&'a Work);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(Error::failed("a bug: a worker panicked; its message stands above"));
        }
    }
}

/// Waits for the workers, ends the tables and publishes them.
fn finish(config: &RunConfig, work: &Arc<Work>, guards: WorkerGuards<()>, started: Instant) -> Result<Report> {
    let results = guards.join();
    work.check()?;
    results.into_iter().collect::<Result<Vec<()>, _>>().map_err(|panic| Error::failed(format!("a bug: {panic}")))?;
    work.publish(config, started)
}

/// What the workers of a run share.
struct Work {
    feed: Feed,
    layout: Layout,
    /// The tables that are made.
    tables: Vec<OutputTable>,
    /// Where they are written; none once they are published, and none for a job that only keeps them.
    output: Mutex<Option<Output>>,
    writers: Vec<(OutputTable, Arc<TableWriter>)>,
    run_id: String,
    /// Shares of tables that are not finished yet.
    open_parts: AtomicUsize,
    failure: Mutex<Option<Error>>,
    failed: AtomicBool,
    profile: Option<Arc<Profile>>,
    /// The sum of the hashes of each table's rows: the same for the same rows, however they came about. Empty if nobody asks.
    checksums: Vec<(OutputTable, AtomicU64)>,
    /// The model that scores orders, once there is one.
    model: Mutex<Option<Arc<Forest>>>,
}

impl Work {
    /// Work whose tables are written.
    fn begin(config: &RunConfig, feed: Feed) -> Result<Work> {
        let mut work = Work::without_output(config, feed)?;
        let (layout, run_id) = (&work.layout, &work.run_id);
        let output = Output::open(&config.output, run_id)?;
        let writer = |table: OutputTable| {
            let is_enriched = table == OutputTable::EnrichedData;
            let placing = if is_enriched { config.placing.clone() } else { Placing::default() };
            let schema = schema_of(table, layout);
            let writer =
                TableWriter::create(output.staging(table.name()), run_id, schema, config.file_format, placing)?;
            Ok((table, Arc::new(writer)))
        };
        work.writers = config.tables.iter().map(|table| writer(*table)).collect::<Result<Vec<_>>>()?;
        work.open_parts = AtomicUsize::new(work.writers.len() * config.workers);
        work.output = Mutex::new(Some(output));
        Ok(work)
    }

    /// Work whose tables are only kept.
    fn without_output(config: &RunConfig, feed: Feed) -> Result<Work> {
        let mut layout = feed.layout(config.settings.tiers.clone())?;
        let model = config.anomaly.model.as_deref().map(Forest::load).transpose()?.map(Arc::new);
        if let Some(idle) = config.derived.iter().find(|column| !config.tables.contains(&column.table)) {
            let (name, table) = (&idle.name, idle.table.name());
            return Err(Error::usage(format!("udfs: {name}: the table {table} is not made; add it to tables")));
        }
        let mut functions = config.functions.clone();
        model.iter().try_for_each(|model| functions.register(model.udf()))?;
        let profile: Option<Arc<Profile>> = config.profile.then(Arc::default);
        let functions = match &profile {
            Some(profile) => functions.map(|function| profile.timed(function)),
            None => functions,
        };
        let own_schema = |table| own_schema_of(table, &layout);
        layout.derived = Derived::new(&config.derived, &functions, own_schema, &layout.money)?;
        let (failure, failed) = (Mutex::default(), AtomicBool::new(false));
        Ok(Work {
            feed,
            layout,
            tables: config.tables.clone(),
            output: Mutex::default(),
            writers: Vec::new(),
            run_id: run_id(),
            open_parts: AtomicUsize::new(0),
            failure,
            failed,
            profile,
            checksums: config
                .tables
                .iter()
                .filter(|_| config.checksums)
                .map(|table| (*table, AtomicU64::new(0)))
                .collect(),
            model: Mutex::new(model),
        })
    }

    fn checksum(&self, table: OutputTable) -> Option<&AtomicU64> {
        self.checksums.iter().find(|(known, _)| *known == table).map(|(_, sum)| sum)
    }

    fn model(&self) -> Option<Arc<Forest>> {
        self.model.lock().expect("no worker panicked").clone()
    }

    fn set_model(&self, model: &Arc<Forest>) {
        *self.model.lock().expect("no worker panicked") = Some(Arc::clone(model));
    }

    fn writer(&self, table: OutputTable) -> Option<&Arc<TableWriter>> {
        self.writers.iter().find(|(known, _)| *known == table).map(|(_, writer)| writer)
    }

    /// Keeps the first error, and tells all workers to stop.
    fn fail(&self, error: Error) {
        self.failure.lock().expect("no worker panicked").get_or_insert(error);
        self.failed.store(true, Ordering::Release);
    }

    fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    fn check(&self) -> Result<()> {
        self.failure.lock().expect("no worker panicked").take().map_or(Ok(()), Err)
    }

    /// A worker has written its share of a table.
    fn part_is_written(&self) {
        if self.open_parts.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.feed.progress().set_epochs(1);
        }
    }

    /// True when the workers have written all they have of epoch 0.
    fn is_written(&self) -> bool {
        self.open_parts.load(Ordering::Acquire) == 0
    }

    /// Ends the tables, writes the rejected rows, and puts all in place.
    fn publish(&self, config: &RunConfig, started: Instant) -> Result<Report> {
        let mut tables = Vec::new();
        if let Some(path) = &config.anomaly.save_model {
            let none = || Error::failed("save_model: there is no model, for no order has a price to train one on");
            self.model().ok_or_else(none)?.save(path)?;
        }
        if let Some(output) = self.output.lock().expect("no worker panicked").take() {
            tables = self.write(config, &output)?;
            output.finish()?;
        }
        let inputs = self.feed.reports();
        let stages = self.profile.as_ref().map_or(Vec::new(), |profile| profile.stages());
        Ok(Report::new(self.run_id.clone(), config, inputs, tables, stages, started.elapsed()))
    }

    fn write(&self, config: &RunConfig, output: &Output) -> Result<Vec<TableReport>> {
        let mut tables = Vec::new();
        for (table, writer) in &self.writers {
            tables.push(TableReport { name: table.name().into(), written: writer.finish()? });
        }
        let mut rejections = self.feed.take_rejections();
        let folder = output.staging(REJECTED);
        let (schema, placing) = (rejected::schema(), Placing::default());
        let writer = TableWriter::create(folder, &self.run_id, schema, config.file_format, placing)?;
        let writer = Arc::new(writer);
        let mut part = writer.part();
        rejections.sort();
        for some in rejections.chunks(1 << 16) {
            part.write(&rejected::batch(some, |table, file| self.feed.file_name(table, file))?)?;
        }
        part.finish()?;
        tables.push(TableReport { name: REJECTED.into(), written: writer.finish()? });
        tables.iter().try_for_each(|table| output.publish(&table.name))?;
        Ok(tables)
    }
}

/// The table of rows that could not be used.
pub(crate) const REJECTED: &str = "rejected";

/// A name that no other run has: when it began, and which process it is.
fn run_id() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}", since.as_micros(), std::process::id())
}

/// The inputs of one worker.
struct Inputs<I: IdColumn> {
    orders: Handle<Epoch, Upsert<I, Order<I>>>,
    products: Handle<Epoch, Upsert<I, Arc<Product>>>,
    customers: Handle<Epoch, Upsert<I, Arc<Customer>>>,
    models: Handle<Epoch, (Arc<Forest>, Epoch, isize)>,
}

impl<I: IdColumn> Inputs<I> {
    fn new() -> Self {
        Inputs { orders: Handle::new(), products: Handle::new(), customers: Handle::new(), models: Handle::new() }
    }

    fn advance_to(&mut self, epoch: Epoch) {
        self.orders.advance_to(epoch);
        self.products.advance_to(epoch);
        self.customers.advance_to(epoch);
        self.models.advance_to(epoch);
    }
}

/// What one worker does, from the first row to the last.
fn work_as<I: IdColumn>(
    worker: &mut Worker,
    work: &Arc<Work>,
    config: &RunConfig,
    live: Option<&live::Workers<I>>,
) -> Result<()> {
    let mut inputs = Inputs::new();
    let model = work.model();
    let watch = worker.dataflow_named("millstream", |scope| {
        let products = latest(scope.input_from(&mut inputs.products), "Products by id");
        let customers = latest(scope.input_from(&mut inputs.customers), "Customers by id");
        let shop = Shop {
            orders: scope.input_from(&mut inputs.orders),
            products: work.feed.count_kept(InputTable::Products, products),
            customers: work.feed.count_kept(InputTable::Customers, customers),
        };
        let job = Job::new(shop, config.settings.clone());
        work.feed.count_lines(job.lines_by_customer());
        let given = scope.input_from(&mut inputs.models).as_collection();
        let models = match &model {
            None if work.tables.contains(&OutputTable::OrderAnomalies) => {
                given.concat(train::trained(job.lines_by_customer(), &config.anomaly.training, work))
            }
            _ => given,
        };
        sink::Tables::new(scope, work, live.and_then(live::Workers::observer)).end(&job, models)
    });
    if let Some(model) = model.filter(|_| worker.index() == 0) {
        inputs.models.send((model, 0, 1));
    }
    while let Some((table, unit)) = work.feed.next_unit() {
        let mut batches = work.feed.read(table, &unit)?;
        loop {
            let started = Instant::now();
            let Some(batch) = batches.next() else { break };
            if work.has_failed() {
                return Ok(());
            }
            work.feed.send(table, unit.file, &batch?, &mut inputs)?;
            work.profile.iter().for_each(|profile| profile.add("Read", started.elapsed()));
            worker.step();
        }
    }
    match live {
        None => {
            drop(inputs);
            while worker.has_dataflows() && !work.has_failed() {
                worker.step_or_park(Some(Duration::from_millis(100)));
            }
            Ok(())
        }
        Some(live) => live.follow(worker, work, inputs, &watch),
    }
}
