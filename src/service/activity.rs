//! What a service has done and is doing, for those who watch it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::model::Day;
#[cfg(feature = "connectors")]
use crate::printable::printable;
use crate::report::RejectionReport;
use crate::runtime::{OperatorLog, OperatorReport};
#[cfg(feature = "connectors")]
use crate::sinks::DeliveryState;
use crate::sinks::{DeliveryReport, DeliveryStatus};

use super::offsets::now_ms;

/// What a service has done and is doing. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Activity {
    report: Arc<Mutex<ActivityReport>>,
    operators: Arc<Mutex<Option<Arc<OperatorLog>>>>,
    followed: Arc<Mutex<Vec<Followed>>>,
}

/// What a service has done and is doing. Times are in milliseconds since 1970.
#[derive(Clone, Debug, Default)]
pub struct ActivityReport {
    /// Since when the tables can be read; `None` while they are loaded.
    pub live_since_ms: Option<u64>,
    /// How long the load took.
    pub load: Duration,
    /// The epoch that the state had at the start; 0 if the input was imported.
    pub found_epoch: u64,
    /// The reference date.
    pub as_of: Option<Day>,
    /// The task that runs in the background.
    pub running: Option<TaskReport>,
    /// The last task of each kind that has ended.
    pub ended: BTreeMap<TaskKind, TaskReport>,
    /// The rows that are rejected, by table and reason, the commonest first.
    pub rejections: Vec<RejectionReport>,
    /// What came in since the start, by source.
    pub sources: BTreeMap<SourceKind, SourceReport>,
    /// What is delivered to other systems.
    pub deliveries: Vec<DeliveryTo>,
}

/// How it goes to follow another system.
#[derive(Clone, Debug, Default)]
pub struct FollowReport {
    /// The name of the source.
    pub name: String,
    /// Its type, as the configuration has it.
    pub kind: &'static str,
    /// The system, without secrets.
    pub place: String,
    /// What it does.
    pub state: FollowState,
    /// Of a database, the position of its log up to which everything is committed here.
    pub position: Option<String>,
    /// Of a database, the log that it keeps for this source, in bytes.
    pub held_bytes: Option<u64>,
    /// Of topics, the records that are there and were not taken yet.
    pub lag: Option<u64>,
    /// How often it has failed.
    pub failures: u64,
    /// When that was last, in milliseconds since 1970, and why.
    pub last_failure: Option<(u64, String)>,
}

/// What the follower of another system does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FollowState {
    /// It connects.
    #[default]
    Connecting,
    /// It takes what is committed there.
    Streaming,
    /// It has failed, and tries again.
    Retrying,
    /// It has ended: what was committed there can't be had any more.
    Lost,
}

/// A report that is kept up to date. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Followed(Arc<Mutex<FollowReport>>);

#[cfg(feature = "connectors")]
impl Followed {
    pub(super) fn update(&self, update: impl FnOnce(&mut FollowReport)) {
        update(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn has_failed(&self, state: FollowState, cause: &str) {
        self.update(|report| {
            report.state = state;
            report.failures += 1;
            report.last_failure = Some((now_ms(), printable(cause)));
        });
    }
}

/// A sink that delivers to another system.
#[derive(Clone, Debug)]
pub struct DeliveryTo {
    /// Its name.
    pub name: String,
    /// Its type, as the configuration has it.
    pub kind: &'static str,
    /// Where it delivers to.
    pub place: String,
    /// How that goes.
    pub report: DeliveryReport,
    status: DeliveryStatus,
}

/// A task beside the epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// Making a checkpoint of the log.
    Checkpoint,
    /// Writing the tables to the output folder.
    Publish,
    /// Recomputing the tables from the state and comparing them.
    Verify,
    /// Reading the rejected rows, to forget them or to try them again.
    Rejected,
}

/// A task that runs or has ended.
#[derive(Clone, Debug)]
pub struct TaskReport {
    /// The epoch of which it is.
    pub epoch: u64,
    /// When it began.
    pub began_ms: u64,
    /// Its kind.
    pub kind: TaskKind,
    /// How long it took; `None` while it runs.
    pub took: Option<Duration>,
    /// What was done, or why it failed; `None` while it runs.
    pub outcome: Option<Result<String, String>>,
}

/// Where rows come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// Files that arrive.
    Folder,
    /// Requests.
    Http,
    /// Records of topics.
    Kafka,
    /// Transactions of a database.
    Postgres,
}

/// What came in from a source since the start.
#[derive(Clone, Debug, Default)]
pub struct SourceReport {
    /// Files or requests.
    pub arrivals: u64,
    /// Their rows, including those that were rejected.
    pub rows: u64,
    /// The rows that were rejected.
    pub rejected: u64,
    /// When an epoch last had rows of it.
    pub last_ms: u64,
    /// The last file, or the idempotency key of the last request that had one.
    pub offset: Option<String>,
    /// The last row that was rejected: when, and why.
    pub last_rejected: Option<(u64, String)>,
}

impl fmt::Display for TaskKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TaskKind::Checkpoint => "checkpoint",
            TaskKind::Publish => "publish",
            TaskKind::Verify => "verify",
            TaskKind::Rejected => "rejected",
        })
    }
}

impl SourceReport {
    /// Adds what came in later.
    pub(super) fn add(&mut self, later: SourceReport) {
        self.arrivals += later.arrivals;
        self.rows += later.rows;
        self.rejected += later.rejected;
        self.last_ms = later.last_ms;
        self.offset = later.offset.or(self.offset.take());
        self.last_rejected = later.last_rejected.or(self.last_rejected.take());
    }
}

impl Activity {
    /// What there is to tell now.
    #[must_use]
    pub fn report(&self) -> ActivityReport {
        let mut report = self.lock().clone();
        report.deliveries.iter_mut().for_each(|delivery| delivery.report = delivery.status.report());
        report
    }

    /// How it goes to follow other systems.
    #[must_use]
    pub fn followed(&self) -> Vec<FollowReport> {
        let followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        followed.iter().map(|one| one.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).collect()
    }

    /// Another system is followed; returns what is told how that goes.
    #[cfg(feature = "connectors")]
    pub(super) fn begin_following(&self, name: &str, kind: &'static str, place: String) -> Followed {
        let report = FollowReport { name: name.to_owned(), kind, place, ..FollowReport::default() };
        let one = Followed(Arc::new(Mutex::new(report)));
        self.followed.lock().unwrap_or_else(PoisonError::into_inner).push(one.clone());
        one
    }

    /// The sinks of the job are made anew, but for those that were fenced off. Returns the names of these.
    #[cfg(feature = "connectors")]
    pub(super) fn keep_fenced(&self) -> Vec<String> {
        let mut report = self.lock();
        report.deliveries.retain(|delivery| delivery.status.report().state == DeliveryState::Displaced);
        report.deliveries.iter().map(|delivery| delivery.name.clone()).collect()
    }

    /// There is a sink that delivers to another system; returns what it tells how that goes.
    #[cfg(feature = "connectors")]
    pub(super) fn begin_delivery(&self, name: &str, kind: &'static str, place: &str) -> DeliveryStatus {
        let (status, report) = (DeliveryStatus::default(), DeliveryReport::default());
        let (name, place) = (name.to_owned(), place.to_owned());
        self.lock().deliveries.push(DeliveryTo { name, kind, place, report, status: status.clone() });
        status
    }

    /// What the operators of the dataflow do and keep; none if nobody may look.
    #[must_use]
    pub fn operators(&self) -> Vec<OperatorReport> {
        let log = self.operators.lock().unwrap_or_else(PoisonError::into_inner).clone();
        log.map_or(Vec::new(), |log| log.reports())
    }

    /// The job has another dataflow.
    pub(super) fn begin_dataflow(&self, log: Option<Arc<OperatorLog>>) {
        *self.operators.lock().unwrap_or_else(PoisonError::into_inner) = log;
    }

    /// The tables can be read.
    pub(super) fn is_live(&self, load: Duration, found_epoch: u64, as_of: Day) {
        let mut report = self.lock();
        (report.live_since_ms, report.load, report.found_epoch) = (Some(now_ms()), load, found_epoch);
        report.as_of = Some(as_of);
    }

    /// The reference date is another one.
    pub(super) fn day_changed(&self, as_of: Day) {
        self.lock().as_of = Some(as_of);
    }

    /// Other rows are rejected than before.
    pub(super) fn rejections_changed(&self, rejections: Vec<RejectionReport>) {
        self.lock().rejections = rejections;
    }

    /// A task begins.
    pub(super) fn begin(&self, kind: TaskKind, epoch: u64) {
        let task = TaskReport { epoch, began_ms: now_ms(), kind, took: None, outcome: None };
        self.lock().running = Some(task);
    }

    /// The task that runs has ended.
    pub(super) fn end(&self, took: Duration, outcome: Result<String, String>) {
        let mut report = self.lock();
        if let Some(task) = report.running.take() {
            let kind = task.kind;
            report.ended.insert(kind, TaskReport { took: Some(took), outcome: Some(outcome), ..task });
        }
    }

    /// An epoch had rows of these sources.
    pub(super) fn arrived(&self, sources: BTreeMap<SourceKind, SourceReport>) {
        let mut report = self.lock();
        sources.into_iter().for_each(|(kind, of_epoch)| report.sources.entry(kind).or_default().add(of_epoch));
    }

    fn lock(&self) -> MutexGuard<'_, ActivityReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
