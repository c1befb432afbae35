//! The configuration of a service.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};

use crate::config::{
    ByteSize, DeltaSinkKeys, JobConfig, KafkaSinkKeys, KafkaSourceKeys, ListenConfig, PostgresKeys, PostgresSourceKeys,
    RunArgs, RunConfig, ServeArgs, ServeSettings, ViewKeys, absolute,
};
use crate::durable::Durability;
use crate::error::{Error, Result};
use crate::model::{Day, InputTable};
use crate::objects::is_url;
use crate::sinks::folder::OutputFormat;

use super::remote::RemoteFolders;
use super::{brokers, databases};

/// Smaller logs are read in less time than a checkpoint takes.
const CHECKPOINT_EVERY: u64 = 64 << 20;

/// The configuration of a service.
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    /// The job, the folder in which files arrive, and the folder in which tables are published.
    pub run: RunConfig,
    /// The folder in which files arrive, if it is not the input folder.
    pub incoming: Option<PathBuf>,
    /// Whether files that arrive there are taken.
    pub takes_files: bool,
    /// The folder of the durable state.
    pub state: PathBuf,
    /// When an epoch is durable.
    pub durability: Durability,
    /// The log is made a checkpoint when it has so many bytes, and half as many as the checkpoint.
    pub checkpoint_every: u64,
    /// How often the tables are published, if they have changed; `None` for not at all while it runs.
    pub publish_every: Option<Duration>,
    /// Orders are rejected if they are so many days behind the greatest day that was seen; `None` for never.
    pub reject_after: Option<u32>,
    /// Whether the tables are published when the service stops, if they have changed.
    pub publish_on_stop: bool,
    /// Whether the reference date is the day in the job's time zone, and moves on at midnight.
    pub follows_today: bool,
    /// After a start, the last epochs are applied again one by one, up to so many rows, for sinks that keep what each
    /// epoch changed.
    pub replayed_rows: u64,
    /// Where it listens for HTTP requests; `None` for nowhere.
    pub listen: Option<ListenConfig>,
    /// The databases to which it delivers tables.
    pub postgres_sinks: Vec<PostgresKeys>,
    /// The database whose tables it follows.
    pub postgres_source: Option<PostgresSourceKeys>,
    /// The topics to which it delivers tables.
    pub kafka_sinks: Vec<KafkaSinkKeys>,
    /// The topics that it follows.
    pub kafka_sources: Vec<KafkaSourceKeys>,
    /// The lakes to which it delivers tables.
    pub delta_sinks: Vec<DeltaSinkKeys>,
    /// Queries of its tables that are given a name, and computed when they are read.
    pub views: Vec<ViewKeys>,
    /// Which of its folders are in object storage.
    pub remote: RemoteFolders,
    /// The folder of the demo that it is of, which its page may then control; `None` for any other service.
    pub demo: Option<PathBuf>,
}

impl ServiceConfig {
    /// A service with default settings: it publishes when it stops.
    #[must_use]
    pub fn new(run: RunConfig) -> ServiceConfig {
        let state = run.output.path.join(".millstream/state");
        ServiceConfig {
            run,
            incoming: None,
            takes_files: true,
            state,
            durability: Durability::default(),
            checkpoint_every: CHECKPOINT_EVERY,
            publish_every: None,
            reject_after: None,
            publish_on_stop: true,
            follows_today: false,
            replayed_rows: 0,
            listen: None,
            postgres_sinks: Vec::new(),
            postgres_source: None,
            kafka_sinks: Vec::new(),
            kafka_sources: Vec::new(),
            delta_sinks: Vec::new(),
            views: Vec::new(),
            remote: RemoteFolders::default(),
            demo: None,
        }
    }

    /// Resolves flags, environment and config file.
    ///
    /// # Errors
    ///
    /// As [`RunConfig::resolve`] and [`ServeSettings::resolve`], and if the job has several processes.
    pub fn resolve(run: &RunArgs, serve: &ServeArgs) -> Result<ServiceConfig> {
        let (settings, mut run) = (ServeSettings::resolve(run, serve)?, RunConfig::resolve(run)?);
        if run.job.cluster.as_ref().is_some_and(|cluster| cluster.hosts.len() > 1) {
            return Err(Error::usage("cluster: a service runs in one process; remove the cluster settings"));
        }
        let ServeSettings {
            state,
            mut incoming,
            takes_files,
            durability,
            checkpoint_every,
            publish_every,
            reject_after,
            publish_on_stop,
            follows_today,
            listen,
            postgres_source,
            postgres_sinks,
            kafka_sources,
            kafka_sinks,
            delta_sinks,
            views,
        } = settings;
        if run.output.format.format == OutputFormat::Delta {
            let cause = "a service does not publish it; wanted a sink of the type delta";
            return Err(Error::usage(format!("output.format: delta: {cause}")));
        }
        let remote = RemoteFolders::localize(&mut run, &mut incoming, state.as_deref())?;
        let config = ServiceConfig::new(run);
        databases::check(postgres_source.as_ref(), &postgres_sinks)?;
        brokers::check(&kafka_sources, &kafka_sinks)?;
        check_versions(&config.run, postgres_source.as_ref())?;
        let state = state.unwrap_or_else(|| config.state.clone());
        let tables = InputTable::ALL.map(|table| absolute(&config.run.input.path.join(table.name())));
        if tables.iter().any(|table| absolute(&state).starts_with(table)) {
            let state = state.display();
            return Err(Error::usage(format!(
                "state {state} is in the input folder, whose files are read; choose another"
            )));
        }
        check_lakes(&delta_sinks, &config.run, &state)?;
        let checkpoint_every = checkpoint_every.map_or(CHECKPOINT_EVERY, ByteSize::bytes);
        Ok(ServiceConfig {
            incoming,
            takes_files,
            state,
            durability,
            checkpoint_every,
            publish_every,
            reject_after,
            publish_on_stop,
            follows_today,
            listen,
            postgres_source,
            postgres_sinks,
            kafka_sources,
            kafka_sinks,
            delta_sinks,
            views,
            remote,
            ..config
        })
    }

    /// True if somebody keeps the tables and follows what each epoch changes.
    pub(super) fn is_followed(&self) -> bool {
        let has_sinks = !self.postgres_sinks.is_empty() || !self.kafka_sinks.is_empty() || !self.delta_sinks.is_empty();
        self.replayed_rows > 0 || has_sinks
    }

    /// The folder in which files arrive.
    pub(super) fn incoming(&self) -> &Path {
        self.incoming.as_deref().unwrap_or(&self.run.input.path)
    }

    /// The reference date now.
    pub(super) fn today(&self) -> Day {
        let job = &self.run.job;
        let today = || Day::from_date(DateTime::<Utc>::from(SystemTime::now()).with_timezone(&job.zone).date_naive());
        // A clock that was set back changes nothing.
        Some(job.settings.as_of).max(self.follows_today.then(today).flatten()).unwrap_or(job.settings.as_of)
    }

    /// The job as of a day. Rejected rows never end it, unless their number is limited.
    pub(super) fn job_as_of(&self, as_of: Day) -> JobConfig {
        let mut job = self.run.job.clone();
        job.settings.as_of = as_of;
        job.max_rejected_share = 1.0;
        job
    }
}

/// Checks that each lake has a folder of its own.
fn check_lakes(sinks: &[DeltaSinkKeys], run: &RunConfig, state: &Path) -> Result<()> {
    let mut taken = vec![
        ("the input folder".to_owned(), absolute(&run.input.path)),
        ("the output folder".to_owned(), absolute(&run.output.path)),
        ("the state".to_owned(), absolute(state)),
    ];
    for DeltaSinkKeys { name, path, .. } in sinks {
        let path = if is_url(path) { path.clone() } else { absolute(path) };
        let is_within = |(_, other): &&(String, PathBuf)| path.starts_with(other) || other.starts_with(&path);
        if let Some((what, _)) = taken.iter().find(is_within) {
            let shown = path.display();
            return Err(Error::usage(format!("sinks: {name}: path: {shown} is that of {what}, or in it, or has it")));
        }
        taken.push((format!("the sink {name}"), path));
    }
    Ok(())
}

/// Checks that no table of a database has versions: its deletes have none.
fn check_versions(run: &RunConfig, source: Option<&PostgresSourceKeys>) -> Result<()> {
    let (Some(source), Some(version)) = (source, &run.input.files.version) else { return Ok(()) };
    if source.tables.iter().all(|(table, _)| version.of(*table).is_none()) {
        return Ok(());
    }
    let cause = "the server says which row of an id counts; wanted no version for its tables";
    Err(Error::usage(format!("version: the source {} is a database: {cause}", source.name)))
}
