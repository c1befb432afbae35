//! A live job: loaded once, then changed, one epoch at a time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arrow::record_batch::RecordBatch;
use crossbeam_channel::unbounded;
use timely::communication::WorkerGuards;

use crate::config::JobConfig;
use crate::error::{Error, Result};
use crate::forest::Forest;
use crate::model::{AnyId, Change, Epoch, InputTable, IntId, Payload, Rejection};
use crate::pipeline::EnrichedRowsOf;
use crate::report::{RejectionReport, Report};
use crate::sinks::Sink;
use crate::sources::{Source, SourceBatch};
use crate::tables::{JobId, LookupQueues};

use super::cluster::Cluster;
use super::commit::{commit, commit_first_epoch, prepare, saved_model};
use super::context::{RunContext, open_sinks};
use super::followers::{ASLEEP, EpochInput, Followers};
use super::ids::{typed, typed_lookup};
use super::intake::Intake;
use super::job_sinks::JobSinks;
use super::operator_log::OperatorLog;
use super::progress::{Phase, Progress};
use super::worker::{self, Alarm};

/// A job that has loaded its input, and then takes changes.
///
/// Each call of [`apply`](Self::apply) is one epoch: when it returns, all tables have it, and all sinks have committed
/// it.
///
/// ```
/// use std::sync::Arc;
/// use millstream::config::{InputConfig, JobConfig};
/// use millstream::model::{AnyId, Change, Day, Order};
/// use millstream::runtime::{Live, Progress};
/// use millstream::sinks::{ChangeFeed, MemoryTables};
///
/// let folder = tempfile::tempdir()?;
/// millstream::generate::generate(0.001, folder.path())?;
/// let source = Arc::new(InputConfig::at(folder.path()).open()?);
/// let config = JobConfig::new(Day::from_ymd(2024, 12, 31).expect("a day"));
///
/// let (feed, tables) = (ChangeFeed::new(), MemoryTables::of(&["daily_sales"]));
/// let sinks = vec![Box::new(feed.clone()) as _, Box::new(tables.clone()) as _];
/// let mut live = Live::start(&config, source, sinks, &Arc::new(Progress::default()))?;
///
/// let day = Day::from_ymd(2024, 5, 1);
/// let order = Order { day, ..Order::of(AnyId::from(1), AnyId::from(1)) };
/// live.apply([Change::Order(1_000_000.into(), Some(order))])?;
/// let (epoch, changes) = feed.take().expect("an epoch is committed");
/// assert_eq!(epoch, 1);
/// assert!(changes.iter().any(|table| table.table.name == "daily_sales" && table.plus.num_rows() == 1));
/// let (epoch, daily_sales) = tables.read("daily_sales")?;
/// assert!(epoch == 1 && daily_sales.num_rows() > 0);
/// live.stop()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Live {
    config: JobConfig,
    started: Instant,
    context: Arc<RunContext>,
    sinks: JobSinks,
    /// Dropped before `guards`, which wait for workers that wait for changes.
    send: Option<Box<dyn FnMut(NextEpoch) -> Result<()> + Send>>,
    guards: Option<WorkerGuards<()>>,
    report: Report,
    epoch: Epoch,
    /// True while an epoch is begun and not finished.
    is_open: bool,
    /// True while what was gathered is asked for and not committed.
    is_gathering: bool,
    /// When all workers had computed the newest epoch.
    computed_at: Instant,
}

/// What enters the dataflow in one epoch.
#[derive(Default)]
struct NextEpoch {
    changes: Vec<Change<AnyId>>,
    /// Rows as a source reads them; no two of a table share part and number.
    batches: Vec<SourceBatch>,
    /// Rows that were rejected, and are not any more.
    forgotten: Vec<Rejection>,
    model: Option<Arc<Forest>>,
}

impl Live {
    /// Loads a source, commits the first epoch in the sinks, and stays.
    ///
    /// # Errors
    ///
    /// As [`run_with`](super::run_with).
    pub fn start(
        config: &JobConfig,
        source: Arc<dyn Source>,
        sinks: Vec<Box<dyn Sink>>,
        progress: &Arc<Progress>,
    ) -> Result<Live> {
        let mut sinks = JobSinks::new(sinks);
        match Live::start_to(config, source, &mut sinks, progress) {
            Ok(mut live) => {
                live.sinks = sinks;
                Ok(live)
            }
            Err(error) => sinks.end(Err(error)),
        }
    }

    /// Starts a job whose first epoch these sinks have.
    fn start_to(
        config: &JobConfig,
        source: Arc<dyn Source>,
        sinks: &mut JobSinks,
        progress: &Arc<Progress>,
    ) -> Result<Live> {
        let started = Instant::now();
        config.validate()?;
        if config.cluster.as_ref().is_some_and(|cluster| cluster.hosts.len() > 1) {
            return Err(Error::usage("cluster: a live job runs in one process; remove the cluster settings"));
        }
        let intake = Intake::new(source, config, progress)?;
        match intake.has_text_ids() {
            true => Live::load::<AnyId>(config, intake, sinks, started),
            false => Live::load::<IntId>(config, intake, sinks, started),
        }
    }

    fn load<I: JobId>(config: &JobConfig, intake: Intake, sinks: &mut JobSinks, started: Instant) -> Result<Live> {
        let mut context = RunContext::new(config, intake, None::<&Arc<Cluster>>, &Arc::default())?;
        context.stays = true;
        open_sinks(&mut context, config, sinks)?;
        let model = saved_model(config, &context, sinks)?;
        let context = Arc::new(context);
        let (sender, receiver) = unbounded();
        let followers = Followers::new(receiver);
        let guards = worker::start::<I>(config, &context, move |worker, context, inputs| {
            followers.follow(worker, context, inputs);
        })?;
        let alarm = Alarm::new(&context, "a sink panicked; see the panic message above");
        let loaded = await_sealed(&context, 0, || ());
        let report = loaded.and_then(|()| commit_first_epoch(config, &context, sinks, model, started));
        let report = match report {
            Ok(report) => report,
            Err(error) => {
                drop(sender); // or the workers would wait for changes while they are waited for
                context.wake(0);
                guards.join();
                return Err(context.check().err().unwrap_or(error));
            }
        };
        drop(alarm);
        context.intake.progress().set_epochs(1);
        context.intake.progress().enter(Phase::Live);
        let shared = Arc::clone(&context);
        let send = move |NextEpoch { changes, batches, forgotten, model }: NextEpoch| {
            shared.layout.check_payloads(&changes)?;
            let typed = |change| typed::<I>(change, &shared.layout);
            let changes = changes.into_iter().map(typed).collect::<Result<_>>()?;
            sender.send(EpochInput { changes, batches, forgotten, model }).map_err(|_| ended_error(&shared))?;
            shared.wake(0);
            Ok(())
        };
        let (config, send, guards) = (config.clone(), Some(Box::new(send) as _), Some(guards));
        let sinks = JobSinks::default();
        Ok(Live {
            config,
            started,
            context,
            sinks,
            send,
            guards,
            report,
            epoch: 0,
            is_open: false,
            is_gathering: false,
            computed_at: Instant::now(),
        })
    }

    /// The report of the first epoch.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// A report up to now: the rows of the source, the changes since, the current rows and, with
    /// [`JobConfig::profile`], the time spent in each operator. It has no output tables.
    #[must_use]
    pub fn progress_report(&self) -> Report {
        let mut report = self.context.report(&self.config);
        for (now, loaded) in report.inputs.iter_mut().zip(&self.report.inputs) {
            now.duplicates = loaded.duplicates;
        }
        report.seconds = self.started.elapsed().as_secs_f64();
        report
    }

    /// Fails if the job has failed, and tells those who watch it that it is alive.
    pub(crate) fn check(&self) -> Result<()> {
        self.context.intake.progress().step();
        self.context.check()
    }

    /// When all workers had computed the newest epoch.
    pub(crate) fn computed_at(&self) -> Instant {
        self.computed_at
    }

    /// The newest epoch that is in all tables.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// A payload for a row of a table, from its carried columns as JSON; columns that are left out are null.
    ///
    /// # Errors
    ///
    /// If the JSON is not an object, or a value is not of its column's type.
    pub fn payload(&self, table: InputTable, json: &str) -> Result<Payload> {
        self.context.layout.payload(table, json)
    }

    /// Applies changes in one epoch, waits until all tables have it and all sinks have committed it, and returns its
    /// number.
    ///
    /// Of several changes of one id, the last counts.
    ///
    /// # Errors
    ///
    /// If an id is a text and those of the input are integers, or a payload does not have the carried columns of its
    /// table: nothing is applied then, and the job goes on. Any other error ends the job, and later calls return it.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = Change<AnyId>>) -> Result<Epoch> {
        self.begin(NextEpoch { changes: changes.into_iter().collect(), ..NextEpoch::default() })?;
        self.finish()
    }

    /// Begins an epoch of rows as a source reads them, while the caller makes them durable. [`finish`](Self::finish)
    /// ends it. Rows that can't be used are rejected.
    ///
    /// # Errors
    ///
    /// If the job has ended.
    pub(crate) fn begin_batches(&mut self, batches: Vec<SourceBatch>) -> Result<()> {
        self.begin(NextEpoch { batches, ..NextEpoch::default() })
    }

    /// As [`begin_batches`](Self::begin_batches); these rows are not rejected any more.
    pub(crate) fn begin_forgetting(&mut self, batches: Vec<SourceBatch>, forgotten: Vec<Rejection>) -> Result<()> {
        self.begin(NextEpoch { batches, forgotten, ..NextEpoch::default() })
    }

    /// What the operators do, if the job is [observed](JobConfig::observed).
    pub(crate) fn operators(&self) -> Option<Arc<OperatorLog>> {
        self.context.operators.clone()
    }

    /// How often rows were rejected, or taken back.
    pub(crate) fn rejection_changes(&self) -> u64 {
        self.context.rejections.changes()
    }

    /// The rows that are rejected, by table and reason.
    pub(crate) fn rejections(&self) -> Vec<RejectionReport> {
        self.context.rejections.reports()
    }

    /// Gives the sinks that take the changes of several epochs [together](crate::sinks::PartOptions::gathered) what
    /// they have not got yet, in epochs that change nothing. Returns the last of these.
    ///
    /// # Errors
    ///
    /// If the job has ended, or an epoch is begun and not finished.
    pub fn gather(&mut self) -> Result<Epoch> {
        self.begin_gathering()?;
        while !self.is_gathered(ASLEEP)? {}
        Ok(self.epoch)
    }

    /// Asks for what [`gather`](Self::gather) gives, which are the changes up to now. Epochs can be applied until they
    /// are [there](Self::is_gathered); those are not included. Waits for what was asked for before.
    ///
    /// # Errors
    ///
    /// As [`gather`](Self::gather).
    pub fn begin_gathering(&mut self) -> Result<()> {
        if self.is_open {
            return Err(Error::failed("internal error: gathering within an epoch"));
        }
        while !self.is_gathered(ASLEEP)? {}
        self.context.gathering.store(self.epoch + 1, Ordering::Release);
        self.is_gathering = true;
        self.apply([]).map(drop)
    }

    /// True if the sinks have committed what was asked for last. Waits for that for at most `most`.
    ///
    /// # Errors
    ///
    /// As [`gather`](Self::gather).
    pub fn is_gathered(&mut self, most: Duration) -> Result<bool> {
        if self.is_gathering && self.context.gathered.wait(self.context.gathering.load(Ordering::Acquire), most) {
            // What was not ready in the epoch that asked for it belongs to the one that was open then.
            self.is_gathering = false;
            self.apply([])?;
        }
        self.check()?;
        Ok(!self.is_gathering)
    }

    /// Looks up rows of `enriched_data` as of the current epoch. They are not kept but joined; epochs go on meanwhile.
    /// `answer` is called with them in batches of all columns, or with an error if the id is not one of the input's
    /// type or there are more than 200,000 rows. It is dropped if the job ends before.
    ///
    /// *Cost*: of a customer, their lines. Of an order, a product or days, a look at each line: some milliseconds of
    /// a worker for a million, between epochs, and beside them for about half of its time.
    ///
    /// # Errors
    ///
    /// If the job has ended, an epoch is begun and not finished, or the job is not
    /// [prepared](JobConfig::with_lookups) for it: it needs a sink that takes `enriched_data`.
    pub fn look_up(
        &mut self,
        rows_of: EnrichedRowsOf<AnyId>,
        answer: impl FnOnce(Result<Vec<RecordBatch>>) + Send + 'static,
    ) -> Result<()> {
        self.check()?;
        let context = Arc::clone(&self.context);
        let lookups = self.context.lookups.as_ref().filter(|_| !self.is_open);
        let lookups =
            lookups.ok_or_else(|| Error::failed("rows of enriched_data can't be looked up in this job now"))?;
        let rows_of = match typed_lookup(rows_of, &self.context.layout) {
            Ok(rows_of) => rows_of,
            Err(error) => {
                answer(Err(error));
                return Ok(());
            }
        };
        let with_derived = move |batch| Ok(context.derived.add(LookupQueues::TABLE, batch)?.rows);
        let answer = |found: Result<Vec<_>>| answer(found.and_then(|all| all.into_iter().map(with_derived).collect()));
        lookups.add(rows_of, self.epoch, Box::new(answer));
        (0..self.config.workers).for_each(|worker| self.context.wake(worker));
        Ok(())
    }

    /// Scores all orders by this model from now on, in an epoch of its own: every score changes. A function
    /// `anomaly_score` of the config keeps the model of its file.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply).
    pub fn replace_model(&mut self, model: Arc<Forest>) -> Result<Epoch> {
        self.begin(NextEpoch { model: Some(model), ..NextEpoch::default() })?;
        self.finish()
    }

    fn begin(&mut self, input: NextEpoch) -> Result<()> {
        self.context.check()?;
        let send = self.send.as_mut().ok_or_else(|| ended_error(&self.context))?;
        send(input)?;
        self.context.begun.store(self.epoch + 1, Ordering::Release);
        self.is_open = true;
        Ok(())
    }

    /// Waits until all tables have the epoch that was begun, and commits it in all sinks.
    pub(crate) fn finish(&mut self) -> Result<Epoch> {
        let epoch = self.epoch + 1;
        await_sealed(&self.context, epoch, || self.context.intake.progress().step())?;
        self.computed_at = self.context.sealed.reached_at();
        self.context.intake.progress().set_epochs(epoch + 1);
        self.commit(epoch).inspect_err(|error| self.context.fail(error.clone()))?;
        (self.epoch, self.is_open) = (epoch, false);
        Ok(epoch)
    }

    fn commit(&mut self, epoch: Epoch) -> Result<()> {
        let _alarm = Alarm::new(&self.context, "a sink panicked; see the panic message above");
        let mut written = prepare(&self.context, &mut self.sinks, epoch)?;
        commit(&mut self.sinks, epoch, &mut written)
    }

    /// Ends the job.
    ///
    /// # Errors
    ///
    /// If it failed before.
    pub fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        self.send = None;
        self.context.wake(0);
        self.guards.take().map(WorkerGuards::join);
        self.sinks.end(self.context.check())
    }
}

/// Ends the job as [`stop`](Live::stop) does.
impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// Waits until all workers have handed an epoch over to the sinks, and calls `meanwhile` now and then.
fn await_sealed(context: &RunContext, epoch: Epoch, meanwhile: impl Fn()) -> Result<()> {
    loop {
        let is_sealed = context.sealed.wait(epoch + 1, ASLEEP);
        let _ = context.has_failed(); // which looks whether the job was cancelled
        context.check()?;
        if is_sealed {
            return Ok(());
        }
        meanwhile();
    }
}

/// Why there are no workers any more.
fn ended_error(context: &RunContext) -> Error {
    let _ = context.has_failed(); // which looks whether the job was cancelled
    context.check().err().unwrap_or_else(|| Error::failed("the job has ended"))
}
