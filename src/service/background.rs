//! What is done beside the live job, each on a snapshot of the state: making a checkpoint, publishing, verifying.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::durable::{Compaction, Snapshot, State};
use crate::error::{Error, Result};
use crate::model::Day;
use crate::runtime::{JobSinks, Progress, run_opened, run_with};
use crate::sinks::Checksums;
use crate::tables::RejectedTable;

use super::compare::compare as compare_table;
use super::published::Published;
use super::settings::ServiceConfig;
use super::state_commands;

/// The one thing that is done in the background at a time.
#[derive(Default)]
pub(super) struct Background {
    thread: Option<JoinHandle<bool>>,
    /// True if the thread compacts the log.
    is_compaction: bool,
    /// When a compaction failed last.
    failed: Option<Instant>,
}

/// How long to wait after a compaction that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(60);

/// Something to do.
pub(super) enum Task {
    /// To write the tables to the output folder.
    Publish,
    /// To recompute the tables, and compare them with these checksums.
    Verify(BTreeMap<String, u64>),
    /// To compact the log.
    Compact(Compaction),
}

impl Background {
    /// True if something is being done.
    pub(super) fn is_busy(&mut self) -> bool {
        if self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            self.finish();
        }
        self.thread.is_some()
    }

    /// True unless a compaction has failed a short time ago.
    pub(super) fn may_compact(&self) -> bool {
        self.failed.is_none_or(|failed| failed.elapsed() >= AFTER_FAILURE)
    }

    /// Waits for what is being done.
    pub(super) fn finish(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        let has_failed = !thread.join().unwrap_or_else(|_| {
            tracing::error!("internal error: a task in the background panicked; see the message above");
            false
        });
        if self.is_compaction {
            self.failed = has_failed.then(Instant::now);
        }
    }

    pub(super) fn begin(&mut self, config: ServiceConfig, snapshot: Snapshot, as_of: Day, task: Task) {
        self.is_compaction = matches!(task, Task::Compact(_));
        self.thread = Some(thread::spawn(move || {
            let started = Instant::now();
            match snapshot.read().and_then(|state| Ok((state.epoch(), task.run(&config, &state, as_of)?))) {
                Ok((epoch, what)) => {
                    tracing::info!("{what} of epoch {epoch} in {:.1} s", started.elapsed().as_secs_f64());
                    true
                }
                Err(error) => {
                    tracing::error!("in the background: {error}");
                    false
                }
            }
        }));
    }
}

/// Waits for what is being done.
impl Drop for Background {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Task {
    /// Does it; returns what was done.
    fn run(&self, config: &ServiceConfig, state: &State, as_of: Day) -> Result<&'static str> {
        Ok(match self {
            Task::Publish => (publish(config, state, as_of)?, "published").1,
            Task::Verify(live) => (compare(config, state, as_of, live)?, "verified").1,
            Task::Compact(compaction) => (compaction.run(state, &config.run.job.conversion())?, "made a checkpoint").1,
        })
    }
}

/// Writes the tables of a state to the output folder.
pub(super) fn publish(config: &ServiceConfig, state: &State, as_of: Day) -> Result<()> {
    let progress = Arc::new(Progress::default());
    let report = run_opened(&config.job_as_of(as_of), &progress, || {
        Ok((Arc::new(state.source()?), JobSinks::new(vec![Box::new(config.run.output.sink()?)])))
    })?;
    Published::new(state.epoch(), config, as_of, &report.run_id).write(&config.state)
}

/// Recomputes all tables of a state, and compares them with the checksums of the live ones.
fn compare(config: &ServiceConfig, state: &State, as_of: Day, live: &BTreeMap<String, u64>) -> Result<()> {
    let batch = checksums(config, state, as_of)?;
    let different: Vec<_> =
        live.iter().filter(|(table, sum)| batch.of(table) != Some(**sum)).map(|(table, _)| table.as_str()).collect();
    match different.is_empty() {
        true => Ok(()),
        false => Err(Error::failed(format!("tables differ from what is recomputed: {}", different.join(", ")))),
    }
}

fn checksums(config: &ServiceConfig, state: &State, as_of: Day) -> Result<Checksums> {
    let sums = Checksums::new();
    let sinks = vec![Box::new(sums.clone()) as _];
    run_with(&config.job_as_of(as_of), Arc::new(state.source()?), sinks, &Arc::new(Progress::default()))?;
    Ok(sums)
}

/// Recomputes all tables of a stopped service, and compares them row by row with the published ones. Returns what to
/// tell.
///
/// # Errors
///
/// If the service is running, the state is damaged, its last epoch was not published, or a table differs; the message
/// has the rows.
pub fn verify(config: &ServiceConfig) -> Result<String> {
    let (_lock, state) = state_commands::open(config)?;
    let (epoch, published) = (state.epoch(), Published::read(&config.state));
    let as_of = published.as_of.unwrap_or_else(|| config.today());
    if !published.is_of(epoch, config, as_of) {
        return Err(Error::unusable(format!(
            "the state is of epoch {epoch}; published was epoch {}, or with other settings, or something else has \
             published since: start the service and stop it, then verify",
            published.epoch
        )));
    }
    let recomputed = config.state.join("recomputed");
    let mut output = config.run.output.clone();
    output.path.clone_from(&recomputed);
    let sink = || Ok((Arc::new(state.source()?) as _, JobSinks::new(vec![Box::new(output.sink()?)])));
    run_opened(&config.job_as_of(as_of), &Arc::new(Progress::default()), sink)?;
    let tables: Vec<_> = config.run.job.tables.names().chain([RejectedTable::NAME]).collect();
    let different = tables.iter().map(|table| compare_table(&config.run.output.path, &recomputed, table));
    let different = different.collect::<Result<Vec<_>>>();
    let _ = std::fs::remove_dir_all(&recomputed);
    let different = different?.concat();
    match different.is_empty() {
        true => Ok(format!("epoch {epoch}: {} tables are what is recomputed from the accepted rows", tables.len())),
        false => Err(Error::unusable(format!("epoch {epoch}: rows differ\n{}", different.join("\n")))),
    }
}
