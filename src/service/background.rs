//! What is done beside the live job, each on a snapshot of the state: making a checkpoint, publishing, verifying.

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::durable::{Compaction, Snapshot};
use crate::error::Result;
use crate::model::Day;

use super::activity::{Activity, TaskKind};
use super::forget::RejectedReading;
use super::publish::Publication;
use super::published::Fingerprints;
use super::settings::ServiceConfig;
use super::verify;

/// The one thing that is done in the background at a time.
pub(super) struct Background {
    activity: Activity,
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
    Publish(Publication),
    /// To recompute the tables as of a day, and compare them with the live ones.
    Verify(Day, Fingerprints),
    /// To compact the log.
    Compact(Compaction),
    /// To read the rejected rows.
    ReadRejected(RejectedReading),
}

impl Background {
    pub(super) fn new(activity: &Activity) -> Background {
        Background { activity: activity.clone(), thread: None, is_compaction: false, failed: None }
    }

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
            let what = "internal error: a task in the background panicked; see the message above";
            tracing::error!("{what}");
            self.activity.end(Duration::ZERO, Err(what.to_owned()));
            false
        });
        if self.is_compaction {
            self.failed = has_failed.then(Instant::now);
        }
    }

    /// Begins a task, for which this is the state of an epoch.
    pub(super) fn begin(&mut self, config: ServiceConfig, epoch: u64, snapshot: Snapshot, task: Task) {
        self.is_compaction = matches!(task, Task::Compact(_));
        self.activity.begin(task.kind(), epoch);
        let activity = self.activity.clone();
        self.thread = Some(thread::spawn(move || {
            let started = Instant::now();
            give_way();
            let kind = task.kind().to_string();
            let done = task.run(&config, epoch, &snapshot);
            let task = &kind[..];
            activity.end(started.elapsed(), done.clone().map_err(|error| error.to_string()));
            match done {
                Ok(what) => {
                    tracing::info!(epoch, task, "{what} in {:.1} s", started.elapsed().as_secs_f64());
                    true
                }
                Err(error) => {
                    tracing::error!(epoch, task, "in the background: {error}");
                    false
                }
            }
        }));
    }
}

/// Makes this thread, and those that it starts, give way to the workers where the system lets it.
fn give_way() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 10);
}

/// Waits for what is being done.
impl Drop for Background {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Task {
    fn kind(&self) -> TaskKind {
        match self {
            Task::Publish(_) => TaskKind::Publish,
            Task::Verify(..) => TaskKind::Verify,
            Task::Compact(_) => TaskKind::Checkpoint,
            Task::ReadRejected(..) => TaskKind::Rejected,
        }
    }

    /// Does it; returns what was done.
    fn run(self, config: &ServiceConfig, epoch: u64, snapshot: &Snapshot) -> Result<String> {
        match self {
            Task::Publish(publication) => {
                let what = publication.publish(config, snapshot)?;
                Ok(format!("published epoch {epoch}: {what}"))
            }
            Task::Verify(as_of, live) => {
                verify::compare_live(config, &snapshot.read()?, as_of, &live)?;
                Ok(format!("verified epoch {epoch}"))
            }
            Task::ReadRejected(reading) => reading.read(config, snapshot),
            Task::Compact(compaction) => {
                compaction.run(&snapshot.read()?, &config.run.job.conversion())?;
                Ok(format!("made a checkpoint of epoch {epoch}"))
            }
        }
    }
}
