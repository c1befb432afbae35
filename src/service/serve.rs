//! The service from its start to its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::config::JobConfig;
use crate::crash;
use crate::durable::{
    Commit, Compaction, Disk, LastEpoch, LogWriter, RealDisk, RowsFrame, Snapshot, State, StateSource,
};
use crate::error::{Error, Result};
use crate::model::Day;
use crate::runtime::{Live, Progress, check_source};
use crate::sinks::folder::OutputFormat;
use crate::sinks::{ChangeFeed, Checksums, Committed, CurrentEpoch, Sink};
use crate::sources::SourceBatch;
use crate::tables::{EnrichedDataTable, RejectedTable};

use super::activity::Activity;
use super::admission::Admission;
use super::arriving;
use super::background::{Background, Task};
use super::consumed;
use super::copying;
use super::deliveries::Deliveries;
use super::epoch::EpochOfArrivals;
use super::forget::{EpochOfForgotten, Forgetting, Forgotten, RejectedRows};
use super::import::{self, ImportSettings};
use super::inbox::{Inbox, WaitingLookup};
use super::ingest::{Ingest, Open};
use super::lock::StateLock;
use super::made_by::MadeBy;
use super::offsets::{self, now_ms};
use super::publish::Publication;
use super::published::{Fingerprints, Published};
use super::recent_log::RecentLog;
use super::replicated;
use super::request::WaitFor;
use super::settings::ServiceConfig;
use super::stats::{EpochObserver, EpochStats};

/// How a program, or a signal handler, talks to a service. Clones are for the same service.
#[derive(Clone, Default)]
pub struct ServiceHandle {
    /// To stop: to finish the epoch, publish, and end.
    pub stop: Arc<AtomicBool>,
    /// To publish the tables now.
    pub publish: Arc<AtomicBool>,
    /// To recompute all tables from the state and compare them.
    pub verify: Arc<AtomicBool>,
    /// Takes rows while the service is live.
    pub ingest: Ingest,
    /// The epoch that is committed.
    pub current: CurrentEpoch,
    /// Is called for each epoch.
    pub observer: EpochObserver,
    /// What the service has done and is doing.
    pub activity: Activity,
    /// To forget the rejected rows, or to try them again.
    pub rejected: RejectedRows,
    /// The last lines of the log, for those who watch the service; whoever logs adds them.
    pub log: RecentLog,
}

/// Of more bytes of changed rows than these, the tables are published anew.
const PUBLISHED_MOST: usize = 256 << 20;
/// After so many rows, what the tables have gathered is taken, so that it does not grow.
const GATHERED_MOST: u64 = 2_000_000;
/// How long an idle service waits for rows before it looks what it is asked to do.
const PATIENCE: Duration = Duration::from_millis(250);
/// The same while something is done in the background.
const PATIENCE_WHEN_BUSY: Duration = Duration::from_millis(50);
/// How long to wait before a write is tried again for which there was no room.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Runs the service until it is asked to stop.
///
/// `sinks` makes the sinks that receive every epoch, of which the first is the whole state. It is called once, and
/// again each time that the job is started anew for another day.
///
/// # Errors
///
/// If another service has the state, the state is damaged, the input of a first start can't be used, or a write to
/// stable storage fails. What was committed is then still there.
pub fn serve(
    config: &ServiceConfig,
    sinks: impl FnMut() -> Vec<Box<dyn Sink>>,
    progress: &Arc<Progress>,
    requests: &ServiceHandle,
) -> Result<()> {
    let (_lock, began) = (StateLock::take(&config.state)?, Instant::now());
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let mut found_epoch = 0;
    let state = match State::open(&disk, &config.state)? {
        Some(state) if state.epoch() > 0 => {
            found_epoch = state.epoch();
            ImportSettings::check(config)?;
            with_new_columns(config, state)
        }
        _ => import::import(config, &disk, progress),
    };
    let started = state.and_then(|state| Service::start(config, &state, sinks, progress, requests));
    let mut service = match started {
        Err(_) if requests.stop.load(Ordering::Relaxed) => return Ok(()),
        started => started?,
    };
    copying::publish_again(config)?;
    service.tell_rejections();
    requests.activity.is_live(began.elapsed(), found_epoch, service.as_of);
    requests.ingest.set(Some(Arc::clone(&service.open)));
    tracing::info!(epoch = service.epoch, "live at epoch {}, as of {}", service.epoch, service.as_of);
    let served = service.follow(requests);
    requests.ingest.set(None);
    service.open.inbox.close();
    requests.rejected.close();
    let ended = service.end();
    served.and(ended)
}

/// A state that carries the columns that files had and it did not have, if a job can be made of them.
fn with_new_columns(config: &ServiceConfig, mut state: State) -> Result<State> {
    let (mut is_other, mut columns) = (false, offsets::new_columns(&state)?);
    columns.truncate(NEW_COLUMNS_MAX);
    for (table, column) in columns {
        let Some(next) = state.with_column(table, &column)? else { continue };
        let name = column.name();
        match check_source(&config.run.job, Arc::new(next.source()?)) {
            Ok(()) => {
                tracing::info!("{table}: column {name} is carried from now on");
                (state, is_other) = (next, true);
            }
            Err(error) => tracing::warn!("{table}: column {name} can't be carried: {error}"),
        }
    }
    if is_other {
        // The published tables lack them.
        Published::default().write(&config.state)?;
        state.store_columns()?;
    }
    Ok(state)
}

/// The most columns that a start adds.
const NEW_COLUMNS_MAX: usize = 100;

/// A service that is running.
struct Service<'a, S> {
    config: &'a ServiceConfig,
    sinks: S,
    progress: Arc<Progress>,
    live: Option<Live>,
    checksums: Checksums,
    /// What has changed since an epoch, for the next publication.
    changes: ChangeFeed,
    since: u64,
    /// How many rows were taken since the last gathering.
    taken: u64,
    log: LogWriter,
    open: Arc<Open>,
    /// The last epoch that is durable and visible.
    epoch: u64,
    current: CurrentEpoch,
    deliveries: Deliveries,
    as_of: Day,
    background: Background,
    activity: Activity,
    /// How often rejected rows had changed when they were last told.
    rejections: u64,
    forgetting: Option<Forgetting>,
    /// What is to be done once the changes of the tables are gathered.
    gathering: Option<AfterGathering>,
    /// When it was last begun to publish.
    published_at: Instant,
    /// True if the live job has begun an epoch for which there was no room in the log.
    is_cut_off: bool,
    /// Before that, nothing is done in the background: there was no room.
    retry_at: Option<Instant>,
}

impl<'a, S: FnMut() -> Vec<Box<dyn Sink>>> Service<'a, S> {
    fn start(
        config: &'a ServiceConfig,
        state: &State,
        mut sinks: S,
        progress: &Arc<Progress>,
        requests: &ServiceHandle,
    ) -> Result<Service<'a, S>> {
        let (checksums, changes, as_of) = (Checksums::gathered(), ChangeFeed::gathered(PUBLISHED_MOST), config.today());
        let mut log = state.log(config.durability);
        let made_anew = match config.is_followed() {
            false => None,
            true => MadeBy::new(config, as_of, state).begin(state, &mut log)?,
        };
        let replayed = config.replayed_rows;
        // What was made in another way does not lead to the tables of now.
        let (source, last) = match made_anew {
            Some(_) => (state.source()?, Vec::new()),
            None => state.source_before_last(replayed)?,
        };
        let epoch = made_anew.unwrap_or(Committed { epoch: state.epoch(), time_ms: state.time_ms() });
        let (before, current) = (epoch.epoch - last.len() as u64, requests.current.clone());
        let time_ms = last.first().map_or(epoch.time_ms, |next| next.commit.time_ms);
        current.set(Committed { epoch: before, time_ms });
        let again: Vec<_> = last.iter().map(|next| committed(&next.commit)).collect();
        let (stop, activity) = (Arc::clone(&requests.stop), requests.activity.clone());
        let deliveries = Deliveries { current: current.clone(), stop, activity };
        let mut job_sinks = sinks();
        // A model that is trained anew gives other scores.
        job_sinks.extend(deliveries.sinks(config, current.get(), &again, !trains_model(config))?);
        let mut live = start_live(
            config,
            as_of,
            &Arc::new(source),
            job_sinks,
            (&checksums, &changes),
            progress,
            &requests.activity,
        )?;
        apply_again(last, &mut live, &current, &changes)?;
        let (admission, inbox) = (Arc::new(Admission::new(config, state)?), Arc::new(Inbox::default()));
        if config.takes_files {
            copying::begin_fetching(config, &inbox)?;
            arriving::begin(&admission, state, &inbox)?;
        }
        replicated::begin(config, &admission, state, &inbox, &requests.activity)?;
        consumed::begin(config, &admission, state, &inbox, &requests.activity)?;
        let open = Arc::new(Open::new(&admission, &inbox, state, &current)?);
        Ok(Service {
            config,
            sinks,
            progress: Arc::clone(progress),
            live: Some(live),
            checksums,
            changes,
            since: epoch.epoch,
            taken: 0,
            log,
            open,
            epoch: epoch.epoch,
            current,
            deliveries,
            as_of,
            background: Background::new(&requests.activity),
            activity: requests.activity.clone(),
            rejections: 0,
            forgetting: None,
            gathering: None,
            published_at: Instant::now(),
            is_cut_off: false,
            retry_at: None,
        })
    }

    /// Takes what arrives until asked to stop.
    fn follow(&mut self, requests: &ServiceHandle) -> Result<()> {
        while !requests.stop.load(Ordering::Relaxed) {
            self.live_job().check()?;
            self.do_in_background(requests)?;
            let is_busy = self.gathering.is_some() || self.background.is_busy();
            let (lookups, arrived) = self.open.inbox.take(if is_busy { PATIENCE_WHEN_BUSY } else { PATIENCE })?;
            for give in self.open.inbox.take_snapshots() {
                // If it can't be, nobody gets it.
                let _ = Snapshot::of(&mut self.log).map(|snapshot| give.send(snapshot));
            }
            for WaitingLookup { rows_of, begin } in lookups {
                self.live_job().look_up(rows_of, begin())?;
            }
            if !arrived.is_empty() {
                self.take(EpochOfArrivals::new(self.epoch + 1, arrived), requests)?;
            }
        }
        Ok(())
    }

    /// Makes an epoch of what has arrived.
    fn take(&mut self, mut epoch: EpochOfArrivals, requests: &ServiceHandle) -> Result<()> {
        if self.apply(&mut epoch, requests)? {
            epoch.log();
        } else {
            self.is_cut_off = true;
        }
        Ok(())
    }

    /// Makes an epoch durable and visible; false if it was asked to stop before there was room for that.
    fn apply(&mut self, arrived: &mut EpochOfArrivals, requests: &ServiceHandle) -> Result<bool> {
        let offsets = arrived.offsets(self.config.incoming(), &mut self.open.keys())?;
        let (started, Committed { epoch, time_ms }) = (Instant::now(), arrived.epoch);
        let commit = Commit { epoch, time_ms, offsets, ..Commit::default() };
        self.taken += arrived.rows;
        self.forgetting.iter_mut().for_each(|forgetting| forgetting.remember(arrived.batches()));
        self.live_job().begin_batches(arrived.take_batches())?;
        if !self.log_epoch(arrived.frames(), &commit, requests)? {
            return Ok(false);
        }
        let committed = started.elapsed();
        arrived.reached(WaitFor::Committed);
        let stats = self.show_epoch(arrived.epoch, started, committed)?;
        crash::point("epoch visible");
        arrived.finish(&mut self.open.keys());
        arrived.report_to(&requests.activity);
        self.tell_rejections();
        self.open.inbox.applied();
        arrived.reached(WaitFor::Visible);
        let (decoded, queued) = arrived.waited;
        let tables = arrived.applied().to_vec();
        requests.observer.observe(|| EpochStats { tables, decoded, queued, visible: started.elapsed(), ..stats });
        Ok(true)
    }

    /// Makes an epoch durable that the live job has begun; false if it was asked to stop before there was room for
    /// that.
    fn log_epoch<'f>(
        &mut self,
        mut frames: impl Iterator<Item = &'f RowsFrame>,
        commit: &Commit,
        requests: &ServiceHandle,
    ) -> Result<bool> {
        let is_written = frames.try_fold(true, |all, frame| {
            Ok::<_, Error>(all && written(&mut self.log, requests, |log| log.frame(frame))?)
        })?;
        if !is_written || !written(&mut self.log, requests, |log| log.commit(commit))? {
            return Ok(false);
        }
        self.log.sync()?;
        Ok(true)
    }

    /// Makes an epoch visible that is durable; returns what was measured of it.
    fn show_epoch(&mut self, epoch: Committed, started: Instant, committed: Duration) -> Result<EpochStats> {
        self.current.set(epoch);
        self.live_job().finish()?;
        self.epoch = epoch.epoch;
        Ok(EpochStats {
            epoch: epoch.epoch,
            committed,
            computed: self.live_job().computed_at().saturating_duration_since(started),
            visible: started.elapsed(),
            log_bytes: self.log.bytes(),
            checkpoint_bytes: self.log.checkpoint_bytes(),
            ..EpochStats::default()
        })
    }

    /// Makes an epoch that forgets the rejected rows.
    fn forget(&mut self, epoch: EpochOfForgotten, requests: &ServiceHandle) -> Result<()> {
        let EpochOfForgotten { batches, forgotten, matched, retried, answer } = epoch;
        let epoch = Committed { epoch: self.epoch + 1, time_ms: now_ms() };
        let started = Instant::now();
        let schema = |batch: &SourceBatch| self.open.admission.schema(batch.table).clone();
        let frames =
            batches.iter().map(|batch| LogWriter::encode(&schema(batch), batch)).collect::<Result<Vec<_>>>()?;
        let (number, time_ms, accepted) = (epoch.epoch, epoch.time_ms, retried.accepted);
        self.taken += accepted;
        let commit = Commit { epoch: number, time_ms, forgets_unusable: true, ..Commit::default() };
        self.live_job().begin_forgetting(batches, forgotten)?;
        if !self.log_epoch(frames.iter(), &commit, requests)? {
            self.is_cut_off = true;
            return Ok(());
        }
        let stats = self.show_epoch(epoch, started, started.elapsed())?;
        crash::point("rejected rows forgotten");
        self.tell_rejections();
        requests.observer.observe(|| stats);
        tracing::info!(
            epoch = number,
            "epoch {number}: {} rejected rows are rejected no more, {accepted} of them are accepted",
            matched - retried.rejected
        );
        answer(Ok(Forgotten { epoch, matched, retried }));
        Ok(())
    }

    /// Tells which rows are rejected, if that has changed.
    fn tell_rejections(&mut self) {
        let changes = self.live_job().rejection_changes();
        if changes != self.rejections {
            let rejections = self.live_job().rejections();
            self.activity.rejections_changed(rejections);
            self.rejections = changes;
        }
    }

    /// Begins what is due in the background.
    fn do_in_background(&mut self, requests: &ServiceHandle) -> Result<()> {
        if let Some(after) = self.gathering.take() {
            match self.live_job().is_gathered(Duration::ZERO)? {
                true => self.begin_after(after),
                false => self.gathering = Some(after),
            }
            return Ok(());
        }
        if !self.background.is_busy()
            && let Some(forgetting) = self.forgetting.take()
        {
            let schema = |table| self.open.admission.schema(table).clone();
            return match forgetting.end(self.current.get(), schema)? {
                Some(epoch) => self.forget(epoch, requests),
                None => Ok(()),
            };
        }
        if self.background.is_busy() || self.retry_at.is_some_and(|at| Instant::now() < at) {
            return Ok(());
        }
        if self.config.today() > self.as_of {
            self.change_day()?;
        }
        let is_large = self.log.bytes() >= self.config.checkpoint_every.max(self.log.checkpoint_bytes() / 2);
        if is_large && self.background.may_compact() {
            return self.compact();
        }
        if let Some(request) = requests.rejected.take() {
            return match Snapshot::of(&mut self.log) {
                Ok(snapshot) => {
                    let (forgetting, reading) = Forgetting::begin(request);
                    self.forgetting = Some(forgetting);
                    self.background.begin(self.config.clone(), self.epoch, snapshot, Task::ReadRejected(reading));
                    Ok(())
                }
                Err(error) => {
                    (request.answer)(Err(error.clone()));
                    self.wait_for_room(error)
                }
            };
        }
        if requests.verify.load(Ordering::Relaxed) {
            // If there is no room to begin, it stays requested.
            let has_begun = self.gather_for(AfterGathering::Verify)?;
            requests.verify.store(!has_begun, Ordering::Relaxed);
            return Ok(());
        }
        let is_due = self.config.publish_every.is_some_and(|every| self.published_at.elapsed() >= every);
        if requests.publish.load(Ordering::Relaxed) || is_due {
            self.published_at = Instant::now();
            let is_published = Published::read(&self.config.state).is_of(self.epoch, self.config, self.as_of);
            if is_published && !is_due {
                tracing::info!("epoch {} is published already", self.epoch);
            }
            let is_done = is_published || self.gather_for(AfterGathering::Publish)?;
            requests.publish.store(!is_done, Ordering::Relaxed);
        } else if self.taken >= GATHERED_MOST {
            self.live_job().begin_gathering()?;
            (self.taken, self.gathering) = (0, Some(AfterGathering::Nothing));
        }
        Ok(())
    }

    /// Asks for what the tables have changed up to now, to do this with it; false if there is no room to begin.
    fn gather_for(&mut self, then: fn(u64, Snapshot) -> AfterGathering) -> Result<bool> {
        match Snapshot::of(&mut self.log) {
            Ok(snapshot) => {
                self.live_job().begin_gathering()?;
                self.mark();
                (self.taken, self.gathering) = (0, Some(then(self.epoch, snapshot)));
                Ok(true)
            }
            Err(error) => self.wait_for_room(error).map(|()| false),
        }
    }

    /// Begins what the changes of the tables were gathered for.
    fn begin_after(&mut self, after: AfterGathering) {
        let (epoch, snapshot, task) = match after {
            AfterGathering::Nothing => return,
            AfterGathering::Publish(epoch, snapshot) => (epoch, snapshot, Task::Publish(self.publication(epoch))),
            AfterGathering::Verify(epoch, snapshot) => (epoch, snapshot, Task::Verify(self.as_of, self.fingerprints())),
        };
        self.background.begin(self.config.clone(), epoch, snapshot, task);
    }

    /// Begins to compact the log.
    fn compact(&mut self) -> Result<()> {
        match Snapshot::of(&mut self.log) {
            Ok(snapshot) => {
                let task = Task::Compact(Compaction::of(&self.log));
                self.background.begin(self.config.clone(), self.epoch, snapshot, task);
                Ok(())
            }
            Err(error) => self.wait_for_room(error),
        }
    }

    /// Waits a while after the log could not be written; fails if it is unusable.
    fn wait_for_room(&mut self, error: Error) -> Result<()> {
        if !self.log.is_usable() {
            return Err(error);
        }
        tracing::warn!("{error}; it is tried again in a minute");
        self.retry_at = Some(Instant::now() + Duration::from_secs(60));
        Ok(())
    }

    /// Keeps apart what the tables have now, and what comes late of it.
    fn mark(&self) {
        self.checksums.mark();
        self.changes.mark();
    }

    /// What the tables had when it was marked. It is gathered.
    fn fingerprints(&self) -> Fingerprints {
        let is_comparable = |name: &&str| *name != SCORES || !trains_model(self.config);
        let names = self.config.run.job.tables.names().filter(is_comparable);
        let names = names.chain([RejectedTable::NAME]);
        names.filter_map(|name| Some((name.to_owned(), self.checksums.fingerprint(name)?))).collect()
    }

    /// The tables of the epoch that was marked, as they are to be published. They are gathered.
    fn publication(&mut self, epoch: u64) -> Publication {
        let since = std::mem::replace(&mut self.since, epoch);
        let since = updates_folder(self.config).then_some(since);
        let (as_of, fingerprints, changes) = (self.as_of, self.fingerprints(), self.changes.take_marked());
        Publication { epoch, as_of, fingerprints, since, changes }
    }

    /// The tables as they are to be published of a job that has begun an epoch that is not committed.
    fn publication_without_changes(&self) -> Publication {
        let (fingerprints, since, changes) = Default::default();
        Publication { epoch: self.epoch, as_of: self.as_of, fingerprints, since, changes }
    }

    /// Starts the live job anew as of today, in an epoch without rows.
    fn change_day(&mut self) -> Result<()> {
        let snapshot = match Snapshot::of(&mut self.log) {
            Ok(snapshot) => snapshot,
            Err(error) => return self.wait_for_room(error),
        };
        let (state, as_of) = (snapshot.read()?, self.config.today());
        let epoch = Committed { epoch: self.epoch + 1, time_ms: now_ms() };
        if let Err(error) = MadeBy::new(self.config, as_of, &state).commit(epoch, &mut self.log) {
            return self.wait_for_room(error);
        }
        self.epoch = epoch.epoch;
        self.current.set(epoch);
        tracing::info!("epoch {}: the day is {as_of} now", epoch.epoch);
        self.live.take().map_or(Ok(()), Live::stop)?;
        let (source, mut sinks) = (Arc::new(state.source()?), (self.sinks)());
        sinks.extend(self.deliveries.sinks(self.config, epoch, &[], !trains_model(self.config))?);
        self.changes = ChangeFeed::gathered(PUBLISHED_MOST);
        let own = (&self.checksums, &self.changes);
        self.live = Some(start_live(self.config, as_of, &source, sinks, own, &self.progress, &self.activity)?);
        (self.since, self.taken) = (self.epoch, 0);
        self.as_of = as_of;
        self.activity.day_changed(as_of);
        Ok(())
    }

    fn live_job(&mut self) -> &mut Live {
        self.live.as_mut().expect("the job is live")
    }

    /// Stops the live job, and publishes if asked to.
    fn end(mut self) -> Result<()> {
        self.background.finish();
        let is_published = || Published::read(&self.config.state).is_of(self.epoch, self.config, self.as_of);
        if matches!(self.gathering, Some(AfterGathering::Verify(..))) {
            tracing::warn!("the tables are not verified: the service stops");
        }
        let is_asked = matches!(self.gathering, Some(AfterGathering::Publish(..))) || self.config.publish_on_stop;
        let publication = match is_asked && !is_published() {
            true if self.is_cut_off || self.live.is_none() => Some(self.publication_without_changes()),
            true => {
                self.live_job().gather()?;
                self.mark();
                Some(self.publication(self.epoch))
            }
            false => None,
        };
        self.live.take().map_or(Ok(()), Live::stop)?;
        if let Some(publication) = publication {
            let done = publication.publish(self.config, &Snapshot::of(&mut self.log)?)?;
            tracing::info!(epoch = self.epoch, task = "publish", "published epoch {}: {done}", self.epoch);
        }
        self.log.end()
    }
}

/// What is to be done with the changes of the tables up to an epoch, whose state this is.
enum AfterGathering {
    /// Nothing: they were many.
    Nothing,
    Publish(u64, Snapshot),
    Verify(u64, Snapshot),
}

/// The table of anomaly scores.
const SCORES: &str = "order_anomalies";

/// True if the job trains the model that scores orders: trained anew from other orders, it gives other scores.
fn trains_model(config: &ServiceConfig) -> bool {
    config.run.job.anomaly.model.is_none() && config.run.job.tables.contains(SCORES)
}

/// True if the folder can be updated by what has changed; text files can't.
fn updates_folder(config: &ServiceConfig) -> bool {
    config.run.output.format.format == OutputFormat::Parquet && !trains_model(config)
}

/// Starts the live job from a state.
fn start_live(
    config: &ServiceConfig,
    as_of: Day,
    source: &Arc<StateSource>,
    mut sinks: Vec<Box<dyn Sink>>,
    (checksums, changes): (&Checksums, &ChangeFeed),
    progress: &Arc<Progress>,
    activity: &Activity,
) -> Result<Live> {
    sinks.push(Box::new(checksums.clone()));
    if updates_folder(config) {
        sinks.push(Box::new(changes.clone()));
    }
    let job = config.job_as_of(as_of);
    let with_lookups = config.listen.is_some() && job.tables.contains(EnrichedDataTable::NAME);
    let observed = config.listen.is_some();
    let live = Live::start(&JobConfig { with_lookups, observed, ..job }, Arc::clone(source) as _, sinks, progress)?;
    activity.begin_dataflow(live.operators());
    source.release();
    Ok(live)
}

/// Applies the last epochs of the log one by one.
fn apply_again(last: Vec<LastEpoch>, live: &mut Live, current: &CurrentEpoch, changes: &ChangeFeed) -> Result<()> {
    if last.is_empty() {
        return Ok(());
    }
    for LastEpoch { commit, batches } in last {
        current.set(committed(&commit));
        live.begin_batches(batches)?;
        live.finish()?;
    }
    // What these epochs changed is in the published tables, or these are made anew.
    live.gather()?;
    drop(changes.take_all());
    Ok(())
}

/// The epoch of a commit.
fn committed(Commit { epoch, time_ms, .. }: &Commit) -> Committed {
    Committed { epoch: *epoch, time_ms: *time_ms }
}

/// Writes to the log; while that is not possible, tries again until the service is asked to stop. False if it was.
fn written(
    log: &mut LogWriter,
    requests: &ServiceHandle,
    write: impl Fn(&mut LogWriter) -> Result<()>,
) -> Result<bool> {
    let mut is_told = false;
    loop {
        match write(log) {
            Ok(()) => return Ok(true),
            Err(error) if !log.is_usable() => return Err(error),
            Err(_) if requests.stop.load(Ordering::Relaxed) => return Ok(false),
            Err(error) => {
                if !is_told {
                    tracing::warn!("{error}; no more files are taken until it can be");
                }
                is_told = true;
                requests.ingest.refuse_lookups();
                thread::sleep(RETRY_AFTER);
            }
        }
    }
}
