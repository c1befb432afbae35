//! The service from its start to its end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::crash;
use crate::durable::{Commit, Compaction, Disk, LogWriter, Offset, RealDisk, State};
use crate::error::{Error, Result};
use crate::model::{Day, InputTable};
use crate::runtime::{Live, Progress};
use crate::sinks::{Checksums, Sink};
use crate::sources::{FileLedger, FolderWatch, SourceBatch};

use super::background::{self, Background, Task};
use super::import;
use super::lock::StateLock;
use super::offsets::{FOLDER, now_ms};
use super::published::Published;
use super::settings::ServiceConfig;

/// What a running service is asked to do. Signal handlers may set it.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    /// To stop: to finish the epoch, publish, and end.
    pub stop: Arc<AtomicBool>,
    /// To publish the tables now.
    pub publish: Arc<AtomicBool>,
    /// To recompute all tables from the state and compare them.
    pub verify: Arc<AtomicBool>,
}

/// How often the folder is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long a service that has nothing to do sleeps before it looks at its requests.
const NAP: Duration = Duration::from_millis(50);
/// An epoch takes no more files once it has so many rows.
const EPOCH_ROWS: u64 = 100_000;
/// How long to wait before a write is tried again for which there was no room.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Runs the service until it is asked to stop.
///
/// `sinks` receive every epoch; they start from the state as their first one.
///
/// # Errors
///
/// If another service has the state, the state is damaged, the input of a first start can't be used, or a write to
/// stable storage fails. What was committed is then still there.
pub fn serve(
    config: &ServiceConfig,
    sinks: Vec<Box<dyn Sink>>,
    progress: &Arc<Progress>,
    requests: &Requests,
) -> Result<()> {
    let _lock = StateLock::take(&config.state)?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let state = match State::open(&disk, &config.state)? {
        Some(state) if state.epoch() > 0 => state,
        _ => import::import(config, &disk, progress)?,
    };
    let mut service = Service::start(config, &state, sinks, progress)?;
    drop(state);
    tracing::info!("live at epoch {}, as of {}", service.epoch, service.as_of);
    let served = service.follow(requests);
    let ended = service.end();
    served.and(ended)
}

/// A service that is running.
struct Service<'a> {
    config: &'a ServiceConfig,
    progress: Arc<Progress>,
    live: Option<Live>,
    checksums: Checksums,
    log: LogWriter,
    schemas: BTreeMap<InputTable, crate::columns::InputSchema>,
    watch: FolderWatch,
    ledger: FileLedger,
    /// The last epoch that is durable and visible.
    epoch: u64,
    as_of: Day,
    background: Background,
    /// When it was last begun to publish.
    published_at: Instant,
}

impl<'a> Service<'a> {
    fn start(
        config: &'a ServiceConfig,
        state: &State,
        mut sinks: Vec<Box<dyn Sink>>,
        progress: &Arc<Progress>,
    ) -> Result<Service<'a>> {
        let (checksums, as_of) = (Checksums::new(), config.today());
        sinks.push(Box::new(checksums.clone()));
        let job = config.job_as_of(as_of);
        let live = Live::start(&job, Arc::new(state.source()?), sinks, progress)?;
        let ledger = state.offsets().get(FOLDER).map(|offset| serde_json::from_value(offset["files"].clone()));
        let ledger =
            ledger.transpose().map_err(|cause| Error::unusable(format!("the offsets of the folder: {cause}")))?;
        Ok(Service {
            config,
            progress: Arc::clone(progress),
            live: Some(live),
            checksums,
            log: state.log(config.durability),
            schemas: InputTable::ALL.iter().map(|table| (*table, state.schema(*table).clone())).collect(),
            watch: FolderWatch::new(
                config.incoming.as_ref().unwrap_or(&config.run.input.path),
                &config.run.input.files,
            ),
            ledger: ledger.unwrap_or_default(),
            epoch: state.epoch(),
            as_of,
            background: Background::default(),
            published_at: Instant::now(),
        })
    }

    /// Takes what arrives until asked to stop.
    fn follow(&mut self, requests: &Requests) -> Result<()> {
        let mut next_look = Instant::now();
        while !requests.stop.load(Ordering::Relaxed) {
            self.live_job().check()?;
            if Instant::now() >= next_look {
                next_look = Instant::now() + LOOK_EVERY;
                while self.take_files(requests)? && !requests.stop.load(Ordering::Relaxed) {}
            }
            self.do_in_background(requests)?;
            thread::sleep(NAP);
        }
        Ok(())
    }

    /// Makes an epoch of files that have arrived; true if there were any.
    fn take_files(&mut self, requests: &Requests) -> Result<bool> {
        let (mut batches, mut taken, mut rows, mut last) = (Vec::new(), FileLedger::new(), 0, String::new());
        for (part, file) in self.watch.look(&self.ledger).into_iter().enumerate() {
            let Some(of_file) = self.watch.read(&file, part, &self.schemas[&file.table()])? else { continue };
            rows += of_file.iter().map(SourceBatch::rows).sum::<u64>();
            batches.extend(of_file);
            file.name().clone_into(&mut last);
            taken.insert(last.clone(), file.stamp());
            if rows >= EPOCH_ROWS {
                break;
            }
        }
        if taken.is_empty() {
            return Ok(false);
        }
        let offset = serde_json::json!({ "files": taken });
        self.apply(batches, [(FOLDER.to_owned(), offset)].into_iter().collect(), requests)?;
        let (epoch, files) = (self.epoch, taken.len());
        tracing::info!("epoch {epoch}: {rows} rows of {files} files, the last {last}");
        self.ledger.extend(taken);
        Ok(true)
    }

    /// Makes an epoch durable and visible.
    fn apply(
        &mut self,
        batches: Vec<SourceBatch>,
        offsets: BTreeMap<String, Offset>,
        requests: &Requests,
    ) -> Result<()> {
        let commit = Commit { epoch: self.epoch + 1, time_ms: now_ms(), offsets };
        self.live_job().begin_batches(batches.clone())?;
        for batch in &batches {
            let schema = &self.schemas[&batch.table];
            retried(&mut self.log, requests, |log| log.rows(schema, batch))?;
        }
        retried(&mut self.log, requests, |log| log.commit(&commit))?;
        self.log.sync()?;
        self.live_job().finish()?;
        crash::point("epoch visible");
        self.epoch = commit.epoch;
        Ok(())
    }

    /// Begins what is due in the background.
    fn do_in_background(&mut self, requests: &Requests) -> Result<()> {
        self.background.collect();
        if self.background.is_busy() {
            return Ok(());
        }
        if self.config.today() > self.as_of {
            self.move_on()?;
        }
        let is_due = self.config.publish_every.is_some_and(|every| self.published_at.elapsed() >= every);
        if requests.publish.swap(false, Ordering::Relaxed) || is_due {
            self.published_at = Instant::now();
            if !Published::read(&self.config.state).is_of(self.epoch, self.config, self.as_of) {
                return self.begin(Task::Publish);
            }
        }
        if requests.verify.swap(false, Ordering::Relaxed) {
            return self.begin(Task::Verify(self.checksums_now()));
        }
        if self.log.bytes() >= self.config.checkpoint_every.max(self.log.checkpoint_bytes() / 2) {
            return self.begin(Task::Compact(Compaction::of(&self.log)));
        }
        Ok(())
    }

    fn begin(&mut self, task: Task) -> Result<()> {
        let state = State::snapshot(&mut self.log)?;
        self.background.begin(self.config.clone(), state, self.as_of, task);
        Ok(())
    }

    fn checksums_now(&self) -> BTreeMap<String, u64> {
        let names = self.config.run.job.tables.names().map(str::to_owned);
        names.filter_map(|name| Some((name.clone(), self.checksums.of(&name)?))).collect()
    }

    /// Starts the live job anew as of today.
    fn move_on(&mut self) -> Result<()> {
        let (state, as_of) = (State::snapshot(&mut self.log)?, self.config.today());
        tracing::info!("the day is {as_of} now");
        self.live.take().map_or(Ok(()), Live::stop)?;
        let sinks = vec![Box::new(self.checksums.clone()) as Box<dyn Sink>];
        self.live = Some(Live::start(&self.config.job_as_of(as_of), Arc::new(state.source()?), sinks, &self.progress)?);
        self.as_of = as_of;
        Ok(())
    }

    fn live_job(&mut self) -> &mut Live {
        self.live.as_mut().expect("the job is live")
    }

    /// Stops the live job, and publishes if asked to.
    fn end(mut self) -> Result<()> {
        self.background.finish();
        self.live.take().map_or(Ok(()), Live::stop)?;
        if self.config.publish_on_stop
            && !Published::read(&self.config.state).is_of(self.epoch, self.config, self.as_of)
        {
            let state = State::snapshot(&mut self.log)?;
            background::publish(self.config, &state, self.as_of)?;
        }
        Ok(())
    }
}

/// Writes to the log; while there is no room for that, tries again until the service is asked to stop.
fn retried(log: &mut LogWriter, requests: &Requests, write: impl Fn(&mut LogWriter) -> Result<()>) -> Result<()> {
    let mut is_told = false;
    loop {
        match write(log) {
            Err(error) if log.is_usable() && !requests.stop.load(Ordering::Relaxed) => {
                if !is_told {
                    tracing::warn!("{error}; trying again until there is room");
                }
                is_told = true;
                thread::sleep(RETRY_AFTER);
            }
            done => return done,
        }
    }
}
