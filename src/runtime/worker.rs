//! The workers of a job.

use std::num::NonZero;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use timely::WorkerConfig;
use timely::communication::{Config, WorkerGuards};
use timely::execute::execute_from;
use timely::worker::Worker;

use crate::config::JobConfig;
use crate::error::{Error, Result};
use crate::tables::JobId;

use super::context::RunContext;
use super::dataflow;
use super::inputs::Inputs;
use super::progress::Phase;

/// How long a worker with nothing to do stays awake if each has a core. Waking up takes it about as long. More is lost
/// where another process wants the core: the scheduler then makes this thread wait when there is something to do.
const AWAKE: Duration = Duration::from_micros(10);

/// Starts the workers: each reads its share of the source, and then does what `then` says with its inputs.
pub(super) fn start<I: JobId>(
    config: &JobConfig,
    context: &Arc<RunContext>,
    then: impl Fn(&mut Worker, &RunContext, Inputs<I>) + Send + Sync + 'static,
) -> Result<WorkerGuards<()>> {
    let (workers, threads) = match context.cluster() {
        None => Config::Process(config.workers).try_build().map_err(Error::failed)?,
        Some(cluster) => cluster.workers(config.workers)?,
    };
    // Workers that share a core would keep it from each other.
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let awake = if config.workers > cores { Duration::ZERO } else { AWAKE };
    let context = Arc::clone(context);
    let config = WorkerConfig::default().idle_spin(awake);
    let guards = execute_from(workers, threads, config, move |worker| {
        let _alarm = Alarm::new(&context, "internal error: a worker panicked; see the panic message above");
        context.follow(worker);
        if let Err(error) = work(worker, &context, &then) {
            context.fail(error);
        }
        if context.has_failed() {
            worker.installed_dataflows().into_iter().for_each(|dataflow| worker.drop_dataflow(dataflow));
        }
    });
    guards.map_err(Error::failed)
}

/// Ends the job with this message if the thread panics before the alarm is dropped.
pub(super) struct Alarm<'a> {
    context: &'a RunContext,
    message: &'static str,
}

impl<'a> Alarm<'a> {
    pub(super) fn new(context: &'a RunContext, message: &'static str) -> Alarm<'a> {
        Alarm { context, message }
    }
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.context.fail(Error::failed(self.message));
        }
    }
}

/// What one worker does, from the first row to the last.
fn work<I: JobId>(
    worker: &mut Worker,
    context: &Arc<RunContext>,
    then: &impl Fn(&mut Worker, &RunContext, Inputs<I>),
) -> Result<()> {
    let mut inputs = Inputs::new(context.intake.source());
    let model = context.model();
    worker.dataflow_named("millstream", |scope| dataflow::build(scope, &mut inputs, context));
    if let Some(model) = model.filter(|_| worker.index() == 0) {
        inputs.models.send((model, 0, 1));
    }
    read(worker, context, &mut inputs)?;
    context.intake.progress().enter(Phase::Computing);
    then(worker, context, inputs);
    Ok(())
}

/// Closes the inputs, and works until the dataflow is done.
pub(super) fn finish<I: JobId>(worker: &mut Worker, context: &RunContext, inputs: Inputs<I>) {
    drop(inputs);
    while worker.has_dataflows() && !context.has_failed() {
        context.intake.progress().step();
        worker.step_or_park(Some(Duration::from_millis(100)));
    }
}

/// Reads splits until there are none left.
fn read<I: JobId>(worker: &mut Worker, context: &RunContext, inputs: &mut Inputs<I>) -> Result<()> {
    let intake = &context.intake;
    intake.progress().enter(Phase::Reading);
    while let Some(split) = intake.next_split() {
        let mut batches = intake.read(split)?;
        loop {
            let started = Instant::now();
            let Some(batch) = batches.next() else { break };
            if context.has_failed() {
                return Ok(());
            }
            intake.send(split.table, &batch?, inputs, 0)?;
            context.profile.iter().for_each(|profile| profile.add("Read", started.elapsed()));
            intake.progress().step();
            worker.step();
        }
    }
    Ok(())
}
