//! The settings of a service: flags, environment and config file.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use crate::durable::Durability;
use crate::error::{Error, Result};

use super::args::RunArgs;
use super::byte_size::ByteSize;
use super::ends::{
    DELTA, FOLDER, HTTP, KAFKA, LateKeys, POSTGRES, PostgresKeys, PostgresSourceKeys, PublishKeys, SinkKeys, SourceKeys,
};
use super::file::ConfigFile;
use super::file_on_disk;
use super::lakes::DeltaSinkKeys;
use super::listen::ListenConfig;
use super::topics::{KafkaSinkKeys, KafkaSourceKeys};
use super::views::{self, ViewKeys};

/// Flags and environment variables of a service, beside those of a run.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
pub struct ServeArgs {
    /// Folder of the durable state [default: OUTPUT/.millstream/state].
    #[cfg_attr(feature = "cli", arg(long, env = "MILLSTREAM_STATE", value_name = "DIR"))]
    pub state: Option<PathBuf>,
    /// When an epoch is durable: fsync (survives a power cut), os (survives a killed process), none [default: fsync].
    #[cfg_attr(feature = "cli", arg(long, env = "MILLSTREAM_DURABILITY", value_name = "WHEN"))]
    pub durability: Option<String>,
    /// Compact the log when it has this size and half that of the checkpoint [default: 64MB].
    #[cfg_attr(feature = "cli", arg(long, env = "MILLSTREAM_CHECKPOINT_EVERY", value_name = "SIZE"))]
    pub checkpoint_every: Option<ByteSize>,
    /// Publish the tables every so often, such as 5m [default: when the service stops].
    #[cfg_attr(
        feature = "cli",
        arg(long, env = "MILLSTREAM_PUBLISH_EVERY", value_name = "TIME", value_parser = humantime::parse_duration)
    )]
    pub publish_every: Option<Duration>,
    /// Listen for HTTP requests, such as at 127.0.0.1:8080 [default: nowhere].
    #[cfg_attr(feature = "cli", arg(long, env = "MILLSTREAM_LISTEN", value_name = "ADDR"))]
    pub listen: Option<String>,
    /// Listen for PostgreSQL clients, such as at 127.0.0.1:5433 [default: nowhere].
    #[cfg_attr(feature = "cli", arg(long, env = "MILLSTREAM_POSTGRES", value_name = "ADDR"))]
    pub postgres: Option<String>,
    /// File with the token that clients must know [default: MILLSTREAM_TOKEN, or nothing on loopback].
    #[cfg_attr(feature = "cli", arg(long, env = "MILLSTREAM_TOKEN_FILE", value_name = "FILE"))]
    pub token_file: Option<PathBuf>,
}

/// The settings of a service, beside those of its job.
#[derive(Clone, Debug)]
pub struct ServeSettings {
    /// The folder of the durable state; `None` for the default.
    pub state: Option<PathBuf>,
    /// The folder in which files arrive; `None` for the input folder.
    pub incoming: Option<PathBuf>,
    /// Whether files that arrive in that folder are taken.
    pub takes_files: bool,
    /// When an epoch is durable.
    pub durability: Durability,
    /// The least size of a log that is made a checkpoint; `None` for the default.
    pub checkpoint_every: Option<ByteSize>,
    /// How often the tables are published; `None` for not at all while the service runs.
    pub publish_every: Option<Duration>,
    /// Orders are rejected if they are so many days behind the greatest day that was seen; `None` for never.
    pub reject_after: Option<u32>,
    /// Whether the tables are published when the service stops.
    pub publish_on_stop: bool,
    /// True if no reference date is given, so that it is today.
    pub follows_today: bool,
    /// Where it listens for HTTP requests; `None` for nowhere.
    pub listen: Option<ListenConfig>,
    /// The database whose tables it follows.
    pub postgres_source: Option<PostgresSourceKeys>,
    /// The databases to which it delivers tables.
    pub postgres_sinks: Vec<PostgresKeys>,
    /// The topics that it follows.
    pub kafka_sources: Vec<KafkaSourceKeys>,
    /// The topics to which it delivers tables.
    pub kafka_sinks: Vec<KafkaSinkKeys>,
    /// The lakes to which it delivers tables.
    pub delta_sinks: Vec<DeltaSinkKeys>,
    /// Queries that are given a name.
    pub views: Vec<ViewKeys>,
}

impl ServeSettings {
    /// Resolves the settings.
    ///
    /// # Errors
    ///
    /// If the config file can't be read, or a setting is invalid. The message names the flag or key.
    pub fn resolve(run: &RunArgs, serve: &ServeArgs) -> Result<ServeSettings> {
        let file = file_on_disk::read(run.config.as_deref())?;
        let follows_today = matches!(run.as_of.as_deref().or(file.as_of.as_deref()), None | Some("today"));
        let given = serve.durability.as_deref().or(file.durability.as_deref());
        let durability = match given.map(str::to_lowercase).as_deref() {
            None | Some("fsync") => Durability::Fsync,
            Some("os") => Durability::Os,
            Some("none") => Durability::None,
            Some(found) => return Err(Error::usage(format!("durability: found {found}, wanted fsync, os or none"))),
        };
        file.sources.iter().try_for_each(SourceKeys::check_keys)?;
        file.sinks.iter().try_for_each(SinkKeys::check_keys)?;
        let sink = folder_sink(&file)?;
        let takes_rows = file.sources.is_empty() || file.sources.iter().any(|source| source.kind == HTTP);
        let default_token = env::var("MILLSTREAM_TOKEN").ok().filter(|token| !token.is_empty());
        let (keys, token_file) = (file.serve.clone(), serve.token_file.clone());
        let addresses = (serve.listen.as_deref(), serve.postgres.as_deref());
        let listen = ListenConfig::decide(addresses, token_file, keys, default_token, takes_rows)?;
        if let Some(source) = file.sources.iter().find(|source| source.kind == HTTP && listen.is_none()) {
            let name = &source.name;
            return Err(Error::usage(format!("sources: {name}: it needs an address; wanted serve.listen or --listen")));
        }
        Ok(ServeSettings {
            state: serve.state.clone().or(file.data.checkpoint_path.clone()),
            incoming: folder_source(&file)?,
            takes_files: file.sources.is_empty() || file.sources.iter().any(|source| source.kind == FOLDER),
            durability,
            checkpoint_every: serve.checkpoint_every,
            publish_every: serve.publish_every.or(sink.every),
            reject_after: file.late.as_ref().and_then(LateKeys::reject_after),
            publish_on_stop: sink.on_stop.unwrap_or(true),
            follows_today,
            listen,
            postgres_source: postgres_source(&file)?,
            postgres_sinks: postgres_sinks(&file)?,
            kafka_sources: kafka_sources(&file)?,
            kafka_sinks: kafka_sinks(&file)?,
            delta_sinks: delta_sinks(&file)?,
            views: views::views(&file)?,
        })
    }
}

/// What a build says of types that it is without.
const WITHOUT_POSTGRES: &str = "this build is without it; wanted one with the feature postgres";
const WITHOUT_KAFKA: &str = "this build is without it; wanted one with the feature kafka";
const WITHOUT_DELTA: &str = "this build is without it; wanted one with the feature delta";

/// The folder of the one source there may be.
fn folder_source(file: &ConfigFile) -> Result<Option<PathBuf>> {
    let is_known = |source: &&SourceKeys| matches!(source.kind.as_str(), FOLDER | HTTP | KAFKA | POSTGRES);
    if let Some(SourceKeys { name, kind, .. }) = file.sources.iter().find(|source| !is_known(source)) {
        let wanted = "wanted folder, http, kafka or postgres";
        return Err(Error::usage(format!("sources: {name}: there is no source of the type {kind}; {wanted}")));
    }
    let folders: Vec<_> = file.sources.iter().filter(|source| source.kind == FOLDER).collect();
    match folders.as_slice() {
        [] => Ok(None),
        [SourceKeys { path, .. }] => Ok(path.clone()),
        [first, second, ..] => {
            let names = format!("{} and {}", first.name, second.name);
            Err(Error::usage(format!("sources: found the folders {names}; wanted one")))
        }
    }
}

/// The one database there may be.
fn postgres_source(file: &ConfigFile) -> Result<Option<PostgresSourceKeys>> {
    let databases: Vec<_> = file.sources.iter().filter(|source| source.kind == POSTGRES).collect();
    match databases.as_slice() {
        [] => Ok(None),
        [database] if !cfg!(feature = "postgres") => {
            Err(Error::usage(format!("sources: {}: {WITHOUT_POSTGRES}", database.name)))
        }
        [database] => database.postgres().map(Some),
        [first, second, ..] => {
            let names = format!("{} and {}", first.name, second.name);
            Err(Error::usage(format!("sources: found the databases {names}; wanted one")))
        }
    }
}

/// The sources in Kafka, whose tables no other source has.
fn kafka_sources(file: &ConfigFile) -> Result<Vec<KafkaSourceKeys>> {
    let mut sources: Vec<KafkaSourceKeys> = Vec::new();
    for source in file.sources.iter().filter(|source| source.kind == KAFKA) {
        let name = &source.name;
        let wrong = |cause: &str| Err(Error::usage(format!("sources: {name}: {cause}")));
        if !cfg!(feature = "kafka") {
            return wrong(WITHOUT_KAFKA);
        }
        if sources.iter().any(|known| known.name == *name) {
            return wrong("there are two sources of this name");
        }
        let made = source.kafka()?;
        let others = file.sources.iter().filter(|other| other.name != *name);
        for (table, _) in &made.topics {
            if let Some(other) = others.clone().find(|other| other.has(*table)) {
                return wrong(&format!("topics: {table} are in the source {}, too; wanted one of them", other.name));
            }
        }
        sources.push(made);
    }
    Ok(sources)
}

/// When the one sink there may be publishes.
fn folder_sink(file: &ConfigFile) -> Result<PublishKeys> {
    let folders: Vec<_> = file.sinks.iter().filter(|sink| sink.kind == FOLDER).collect();
    match folders.as_slice() {
        [] => Ok(PublishKeys::default()),
        [folder] => Ok(folder.publish.clone()),
        [first, second, ..] => {
            let names = format!("{} and {}", first.name, second.name);
            Err(Error::usage(format!("sinks: found the folders {names}; wanted one, which is data.output_path")))
        }
    }
}

/// The sinks in databases; fails for sinks of unknown types.
fn postgres_sinks(file: &ConfigFile) -> Result<Vec<PostgresKeys>> {
    let mut sinks: Vec<PostgresKeys> = Vec::new();
    for sink in file.sinks.iter().filter(|sink| ![DELTA, FOLDER, KAFKA].contains(&sink.kind.as_str())) {
        let (name, kind) = (&sink.name, &sink.kind);
        let problem = match kind.as_str() {
            POSTGRES if !cfg!(feature = "postgres") => WITHOUT_POSTGRES,
            POSTGRES => {
                let made = sink.postgres()?;
                let is_same =
                    |known: &PostgresKeys| known.url.bytes() == made.url.bytes() && known.schema == made.schema;
                match sinks.iter().find(|known| known.name == *name || is_same(known)) {
                    Some(known) if known.name == *name => "there are two sinks of this name",
                    Some(_) => "there is another sink of this database and schema",
                    None => {
                        sinks.push(made);
                        continue;
                    }
                }
            }
            _ => "there is no sink of this type; wanted delta, folder, kafka or postgres",
        };
        return Err(Error::usage(format!("sinks: {name}: found the type {kind}: {problem}")));
    }
    Ok(sinks)
}

/// Checks that a name is that of one sink.
fn check_one_of_name(file: &ConfigFile, name: &str) -> Result<()> {
    match file.sinks.iter().filter(|sink| sink.name == name).count() {
        0 | 1 => Ok(()),
        _ => Err(Error::usage(format!("sinks: {name}: there are two sinks of this name"))),
    }
}

/// The sinks in lakes.
fn delta_sinks(file: &ConfigFile) -> Result<Vec<DeltaSinkKeys>> {
    let mut sinks: Vec<DeltaSinkKeys> = Vec::new();
    for sink in file.sinks.iter().filter(|sink| sink.kind == DELTA) {
        let name = &sink.name;
        let wrong = |cause: &str| Err(Error::usage(format!("sinks: {name}: {cause}")));
        if !cfg!(feature = "delta") {
            return wrong(WITHOUT_DELTA);
        }
        let made = sink.delta()?;
        check_one_of_name(file, name)?;
        sinks.push(made);
    }
    Ok(sinks)
}

/// The sinks in Kafka.
fn kafka_sinks(file: &ConfigFile) -> Result<Vec<KafkaSinkKeys>> {
    let mut sinks: Vec<KafkaSinkKeys> = Vec::new();
    for sink in file.sinks.iter().filter(|sink| sink.kind == KAFKA) {
        let name = &sink.name;
        let wrong = |cause: &str| Err(Error::usage(format!("sinks: {name}: {cause}")));
        if !cfg!(feature = "kafka") {
            return wrong(WITHOUT_KAFKA);
        }
        let made = sink.kafka()?;
        check_one_of_name(file, name)?;
        let is_same =
            |known: &&KafkaSinkKeys| known.cluster.brokers == made.cluster.brokers && known.prefix == made.prefix;
        if let Some(known) = sinks.iter().find(is_same) {
            return wrong(&format!("the sink {} has these brokers and this prefix; wanted another prefix", known.name));
        }
        sinks.push(made);
    }
    Ok(sinks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(yaml: &str, serve: &ServeArgs) -> Result<ServeSettings> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.yaml");
        std::fs::write(&path, yaml).expect("written");
        ServeSettings::resolve(&RunArgs { config: Some(path), ..RunArgs::default() }, serve)
    }

    #[test]
    fn flags_are_before_the_config_file() {
        let yaml = "{data: {checkpoint_path: s}, durability: OS, as_of: today, \
                    sources: [{name: in, type: folder, path: p}], \
                    sinks: [{name: out, type: folder, publish: {every: 5m, on_stop: false}}], \
                    late: {after: 30d, then: reject}}";
        let of_file = ServeSettings {
            state: Some("s".into()),
            incoming: Some("p".into()),
            takes_files: true,
            durability: Durability::Os,
            checkpoint_every: None,
            publish_every: Some(Duration::from_secs(300)),
            reject_after: Some(30),
            publish_on_stop: false,
            follows_today: true,
            listen: None,
            postgres_source: None,
            postgres_sinks: Vec::new(),
            kafka_sources: Vec::new(),
            kafka_sinks: Vec::new(),
            delta_sinks: Vec::new(),
            views: Vec::new(),
        };
        let text = |settings: &ServeSettings| format!("{settings:?}");
        assert_eq!(text(&resolved(yaml, &ServeArgs::default()).expect("valid")), text(&of_file));
        let flags = ServeArgs {
            state: Some("t".into()),
            durability: Some("none".into()),
            checkpoint_every: "1KB".parse().ok(),
            publish_every: Some(Duration::from_secs(1)),
            ..ServeArgs::default()
        };
        let (state, checkpoint_every) = (flags.state.clone(), flags.checkpoint_every);
        let of_flags = ServeSettings {
            state,
            checkpoint_every,
            durability: Durability::None,
            publish_every: flags.publish_every,
            ..of_file
        };
        assert_eq!(text(&resolved(yaml, &flags).expect("valid")), text(&of_flags));
        let fixed = resolved("as_of: 2024-12-31", &ServeArgs::default()).expect("valid");
        assert!(!fixed.follows_today && fixed.publish_on_stop && fixed.durability == Durability::Fsync);
        for (yaml, words) in [
            (
                "sinks: [{name: a, type: folder}, {name: b, type: folder}]",
                "sinks: found the folders a and b; wanted one",
            ),
            ("sources: [{name: a, type: folder}, {name: b, type: folder}]", "sources: found the folders a and b"),
            ("sinks: [{name: a, type: folder, publish: {every: soon}}]", "found soon, wanted a time such as 5m"),
            ("sources: [{name: shop, type: http}]", "sources: shop: it needs an address; wanted serve.listen"),
            ("sources: [{name: in, type: folder, url: u}]", "sources: in: url: one of the type folder has no such key"),
            ("sinks: [{name: out, type: folder, schema: s}]", "sinks: out: schema: one of the type folder has no such"),
            ("late: {after: 36h, then: reject}", "found 36h, wanted whole days such as 30d"),
            ("late: {after: 30d, then: forget}", "unknown value forget"),
        ] {
            let error = resolved(yaml, &ServeArgs::default()).expect_err(yaml).to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
