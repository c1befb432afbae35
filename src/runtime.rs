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

mod cluster;
mod enrich;
mod failure;
mod feed;
mod live;
mod profile;
mod progress;
mod sink;
mod train;
mod work;

use std::sync::Arc;
use std::time::{Duration, Instant};

use differential_dataflow::AsCollection;
use timely::WorkerConfig;
use timely::communication::{Config, WorkerGuards};
use timely::dataflow::operators::vec::Input;
use timely::dataflow::operators::vec::input::Handle;
use timely::execute::execute_from;
use timely::worker::Worker;

use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::io::cells::IdColumn;
use crate::io::{InputTable, OutputTable};
use crate::model::{Customer, Name, Number, Order, Product};
use crate::operators::{Upsert, latest};
use crate::pipeline::{Job, Shop};
use crate::report::Report;
use crate::udf::forest::Forest;

use cluster::Cluster;
use failure::Failure;
use feed::Feed;
pub use live::{Change, Live};
pub use progress::{Phase, Progress};
use work::Work;

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
    let failure = Arc::default();
    let Some(several) = config.cluster.as_ref().filter(|cluster| cluster.hosts.len() > 1) else {
        return run_as(config, None, &failure, progress, started);
    };
    let cluster = Arc::new(Cluster::join(config, several, &failure, progress)?);
    let done = run_as(config, Some(&cluster), &failure, progress, started);
    cluster.leave(done)
}

/// Runs the job, or one process's share of it.
fn run_as(
    config: &RunConfig,
    cluster: Option<&Arc<Cluster>>,
    failure: &Arc<Failure>,
    progress: &Arc<Progress>,
    started: Instant,
) -> Result<Report> {
    let feed = Feed::open(&config.input, config.max_rejected, progress)?;
    let has_text_ids = feed.has_text_ids();
    let work = Work::begin(config, feed, cluster, failure)?;
    let (work, guards) =
        if has_text_ids { start::<Name>(config, work, None)? } else { start::<Number>(config, work, None)? };
    let results = guards.join();
    work.check()?;
    results.into_iter().collect::<Result<Vec<()>, _>>().map_err(|panic| Error::failed(format!("a bug: {panic}")))?;
    work.publish(config, started)
}

/// Starts the workers on the input, and on tables that wait to be published.
fn start<I: IdColumn>(
    config: &RunConfig,
    work: Work,
    live: Option<live::Workers<I>>,
) -> Result<(Arc<Work>, WorkerGuards<()>)> {
    let work = Arc::new(work);
    let (workers, threads) = match work.cluster() {
        None => Config::Process(config.workers).try_build().map_err(Error::failed)?,
        Some(cluster) => cluster.workers(config.workers)?,
    };
    let (config, live) = (config.clone(), Arc::new(live));
    let shared = Arc::clone(&work);
    let guards = execute_from(workers, threads, WorkerConfig::default(), move |worker| {
        let _alarm = Alarm(&shared);
        shared.follow(worker);
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
    work.feed.progress().enter(Phase::Reading);
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
            work.feed.progress().step();
            worker.step();
        }
    }
    work.feed.progress().enter(Phase::Computing);
    match live {
        None => {
            drop(inputs);
            while worker.has_dataflows() && !work.has_failed() {
                work.feed.progress().step();
                worker.step_or_park(Some(Duration::from_millis(100)));
            }
            Ok(())
        }
        Some(live) => live.follow(worker, work, inputs, &watch),
    }
}
