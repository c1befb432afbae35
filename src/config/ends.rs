//! The sources and sinks of a service in the config file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::error::{Error, Result};
use crate::kafka::StartAt;
use crate::model::InputTable;
use crate::objects::local_path;

use super::cluster::Secret;
use super::environment::expanded;
use super::lakes::{self, DeltaModeKey, DeltaSinkKeys};
use super::table_names::TableNames;
use super::topics::{self, KafkaSinkKeys, KafkaSourceKeys, Properties, RegistryKeys};

/// An entry of `sources`.
#[derive(Clone, Deserialize)]
pub(super) struct SourceKeys {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) path: Option<PathBuf>,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    publication: Option<String>,
    #[serde(default)]
    slot: Option<String>,
    #[serde(default)]
    tables: BTreeMap<String, String>,
    #[serde(default)]
    topics: BTreeMap<String, TableNames>,
    #[serde(default)]
    start: Option<String>,
    #[serde(default)]
    group: Option<String>,
    #[serde(default)]
    brokers: Option<String>,
    #[serde(default)]
    format: Option<String>,
    #[serde(default)]
    schema_registry: Option<RegistryKeys>,
    #[serde(default)]
    properties: Properties,
}

/// A source of the type `postgres`.
#[derive(Clone, Debug)]
pub struct PostgresSourceKeys {
    /// Its name.
    pub name: String,
    /// The URL of its database.
    pub url: Secret,
    /// The publication.
    pub publication: String,
    /// The replication slot.
    pub slot: String,
    /// The tables there, as schema and name.
    pub tables: Vec<(InputTable, (String, String))>,
}

impl SourceKeys {
    /// Checks that a source has no key of another type.
    ///
    /// # Errors
    ///
    /// If it has. The message names the key.
    pub(super) fn check_keys(&self) -> Result<()> {
        let keys = [
            (FOLDER, "path", self.path.is_some()),
            (POSTGRES, "url", self.url.is_some()),
            (POSTGRES, "publication", self.publication.is_some()),
            (POSTGRES, "slot", self.slot.is_some()),
            (POSTGRES, "tables", !self.tables.is_empty()),
            (KAFKA, "topics", !self.topics.is_empty()),
            (KAFKA, "start", self.start.is_some()),
            (KAFKA, "group", self.group.is_some()),
            (KAFKA, "brokers", self.brokers.is_some()),
            (KAFKA, "format", self.format.is_some()),
            (KAFKA, "schema_registry", self.schema_registry.is_some()),
            (KAFKA, "properties", !self.properties.is_empty()),
        ];
        check_name("sources", &self.name, &self.kind)?;
        check_own("sources", &self.name, &self.kind, &keys)
    }

    /// True if another system has this table, so that the input folder need not have it.
    pub(super) fn has(&self, table: InputTable) -> bool {
        match self.kind.as_str() {
            POSTGRES => self.tables.contains_key(table.name()),
            KAFKA => self.topics.contains_key(table.name()),
            _ => false,
        }
    }

    /// Reads it as a source of the type `kafka`.
    ///
    /// # Errors
    ///
    /// If a key is missing or invalid.
    pub(super) fn kafka(&self) -> Result<KafkaSourceKeys> {
        let of = format!("sources: {}", self.name);
        let (format, registry) = topics::format(&of, self.format.as_deref(), self.schema_registry.as_ref())?;
        Ok(KafkaSourceKeys {
            name: self.name.clone(),
            cluster: topics::cluster(&of, self.brokers.as_ref(), &self.properties)?,
            topics: topics::topics(&of, &self.topics)?,
            format,
            registry,
            start: self.start.as_deref().map_or(Ok(StartAt::default()), |start| topics::start_at(&of, start))?,
            group: self.group.clone().unwrap_or_else(|| format!("millstream-{}", self.name)),
        })
    }

    /// Reads it as a source of the type `postgres`.
    ///
    /// # Errors
    ///
    /// If a key is missing or invalid.
    pub(super) fn postgres(&self) -> Result<PostgresSourceKeys> {
        let wrong = |key: &str, cause: &str| Error::usage(format!("sources: {}: {key}: {cause}", self.name));
        let url = self.url.as_ref().ok_or_else(|| wrong("url", "wanted the URL of a database"))?;
        let publication = self.publication.clone().ok_or_else(|| wrong("publication", "wanted its name"))?;
        let slot = self.slot.clone().unwrap_or_else(|| format!("millstream_{}", self.name));
        let is_letter = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
        if !slot.chars().all(is_letter) || slot.is_empty() || slot.len() > 63 {
            return Err(wrong("slot", &format!("found {slot}, wanted at most 63 of a-z, 0-9 and _")));
        }
        let table = |(table, name): (&String, &String)| {
            let known = InputTable::ALL.iter().find(|known| known.name() == table);
            let known =
                known.ok_or_else(|| wrong("tables", &format!("{table} is none of orders, products, customers")))?;
            let (schema, name) = name.split_once('.').unwrap_or(("public", name));
            Ok((*known, (schema.to_owned(), name.to_owned())))
        };
        let tables = self.tables.iter().map(table).collect::<Result<Vec<_>>>()?;
        if tables.is_empty() {
            return Err(wrong("tables", "wanted at least one, such as {orders: public.orders}"));
        }
        let url = Secret::new(expanded(&format!("sources: {}: url", self.name), url)?.trim().as_bytes());
        Ok(PostgresSourceKeys { name: self.name.clone(), url, publication, slot, tables })
    }
}

/// Without the URL, which may have a password.
impl fmt::Debug for SourceKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceKeys").field("name", &self.name).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// An entry of `sinks`.
#[derive(Clone, Deserialize)]
pub(super) struct SinkKeys {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) publish: PublishKeys,
    #[serde(default)]
    pub(super) path: Option<PathBuf>,
    #[serde(default)]
    pub(super) mode: Option<DeltaModeKey>,
    #[serde(default, deserialize_with = "some_time")]
    pub(super) retention: Option<Duration>,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    schema: Option<String>,
    #[serde(default)]
    pub(super) tables: Option<TableNames>,
    #[serde(default)]
    prefix: Option<String>,
    #[serde(default)]
    partitions: Option<u16>,
    #[serde(default)]
    brokers: Option<String>,
    #[serde(default)]
    format: Option<String>,
    #[serde(default)]
    schema_registry: Option<RegistryKeys>,
    #[serde(default)]
    properties: Properties,
}

/// A sink of the type `postgres`.
#[derive(Clone, Debug)]
pub struct PostgresKeys {
    /// Its name.
    pub name: String,
    /// The URL of its database.
    pub url: Secret,
    /// The schema of its tables.
    pub schema: String,
    /// Its tables; `None` for the default ones.
    pub tables: Option<Vec<String>>,
}

/// Checks the name of a source or sink in another system, which becomes part of names there and of files here.
fn check_name(of: &str, name: &str, kind: &str) -> Result<()> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    match [FOLDER, HTTP].contains(&kind) || (!name.is_empty() && name.chars().all(is_plain)) {
        true => Ok(()),
        false => Err(Error::usage(format!("{of}: name: found {name:?}, wanted letters, digits, '-' and '_'"))),
    }
}

/// Checks that no key of another type is given: each has the type that it is of, its name, and whether it is there.
fn check_own(of: &str, name: &str, kind: &str, keys: &[(&str, &str, bool)]) -> Result<()> {
    // Of an unknown type, that is what is wrong.
    if ![DELTA, FOLDER, HTTP, KAFKA, POSTGRES].contains(&kind) {
        return Ok(());
    }
    let own = |key: &str| keys.iter().any(|(owner, known, _)| *known == key && *owner == kind);
    let wrong = keys.iter().find(|(_, key, is_given)| *is_given && !own(key));
    let Some((_, key, _)) = wrong else { return Ok(()) };
    Err(Error::usage(format!("{of}: {name}: {key}: one of the type {kind} has no such key")))
}

/// The types of sources and sinks.
pub(super) const DELTA: &str = "delta";
pub(super) const HTTP: &str = "http";
pub(super) const FOLDER: &str = "folder";
pub(super) const KAFKA: &str = "kafka";
pub(super) const POSTGRES: &str = "postgres";

impl SinkKeys {
    /// Checks that a sink has no key of another type.
    ///
    /// # Errors
    ///
    /// If it has. The message names the key.
    pub(super) fn check_keys(&self) -> Result<()> {
        let PublishKeys { every, on_stop } = &self.publish;
        let is_of = |kinds: &[&str]| kinds.contains(&self.kind.as_str());
        let of_others = (every.is_some() && !is_of(&[FOLDER, DELTA])) || (on_stop.is_some() && !is_of(&[FOLDER]));
        if of_others {
            let cause = match self.kind.as_str() {
                DELTA => "what waits is delivered when the service stops; wanted no on_stop",
                _ => "every epoch is delivered; wanted no such key",
            };
            return Err(Error::usage(format!("sinks: {}: publish: {cause}", self.name)));
        }
        // The folder of the sink `folder` is that of the job.
        let keys = [
            (DELTA, "path", self.path.is_some()),
            (DELTA, "mode", self.mode.is_some()),
            (DELTA, "retention", self.retention.is_some()),
            (DELTA, "tables", self.tables.is_some()),
            (POSTGRES, "url", self.url.is_some()),
            (POSTGRES, "schema", self.schema.is_some()),
            (POSTGRES, "tables", self.tables.is_some()),
            (KAFKA, "tables", self.tables.is_some()),
            (KAFKA, "prefix", self.prefix.is_some()),
            (KAFKA, "partitions", self.partitions.is_some()),
            (KAFKA, "brokers", self.brokers.is_some()),
            (KAFKA, "format", self.format.is_some()),
            (KAFKA, "schema_registry", self.schema_registry.is_some()),
            (KAFKA, "properties", !self.properties.is_empty()),
        ];
        check_name("sinks", &self.name, &self.kind)?;
        check_own("sinks", &self.name, &self.kind, &keys)
    }

    /// Reads it as a sink of the type `kafka`.
    ///
    /// # Errors
    ///
    /// If a key is missing or invalid.
    pub(super) fn kafka(&self) -> Result<KafkaSinkKeys> {
        let of = format!("sinks: {}", self.name);
        let prefix = self.prefix.clone().unwrap_or_else(|| "shop.".to_owned());
        topics::check_topic(&prefix).map_err(|cause| Error::usage(format!("{of}: prefix: {cause}")))?;
        if self.partitions == Some(0) {
            return Err(Error::usage(format!("{of}: partitions: found 0, wanted 1 or more")));
        }
        let (format, registry) = topics::format(&of, self.format.as_deref(), self.schema_registry.as_ref())?;
        Ok(KafkaSinkKeys {
            name: self.name.clone(),
            cluster: topics::cluster(&of, self.brokers.as_ref(), &self.properties)?,
            prefix,
            format,
            registry,
            partitions: self.partitions.map(i32::from),
            tables: self.tables.clone().map(TableNames::into_names),
        })
    }

    /// Reads it as a sink of the type `delta`.
    ///
    /// # Errors
    ///
    /// If a key is missing.
    pub(super) fn delta(&self) -> Result<DeltaSinkKeys> {
        let Some(path) = self.path.clone() else {
            return Err(Error::usage(format!("sinks: {}: path: wanted a folder, or s3://BUCKET/FOLDER", self.name)));
        };
        Ok(DeltaSinkKeys {
            name: self.name.clone(),
            path: local_path(path),
            mode: self.mode.unwrap_or_default(),
            every: self.publish.every.unwrap_or(lakes::EVERY),
            retention: self.retention.unwrap_or(lakes::RETENTION),
            tables: self.tables.clone().map(TableNames::into_names),
        })
    }

    /// Reads it as a sink of the type `postgres`.
    ///
    /// # Errors
    ///
    /// If a key is missing.
    pub(super) fn postgres(&self) -> Result<PostgresKeys> {
        let of_key = |key: &str| format!("sinks: {}: {key}", self.name);
        let Some(url) = &self.url else {
            return Err(Error::usage(format!("{}: wanted the URL of a database", of_key("url"))));
        };
        Ok(PostgresKeys {
            name: self.name.clone(),
            url: Secret::new(expanded(&of_key("url"), url)?.trim().as_bytes()),
            schema: self.schema.clone().unwrap_or_else(|| "shop".to_owned()),
            tables: self.tables.clone().map(TableNames::into_names),
        })
    }
}

/// When a folder sink publishes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PublishKeys {
    #[serde(deserialize_with = "some_time")]
    pub(super) every: Option<Duration>,
    pub(super) on_stop: Option<bool>,
}

/// `late`: what happens to orders whose day is far behind the greatest one.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct LateKeys {
    #[serde(deserialize_with = "whole_days")]
    after: u32,
    #[serde(default)]
    then: WhenLate,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WhenLate {
    #[default]
    Accept,
    Reject,
}

impl LateKeys {
    /// The number of days after which an order is rejected.
    pub(super) fn reject_after(&self) -> Option<u32> {
        (self.then == WhenLate::Reject).then_some(self.after)
    }
}

/// Without the URL, which may have a password.
impl fmt::Debug for SinkKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SinkKeys").field("name", &self.name).field("kind", &self.kind).finish_non_exhaustive()
    }
}

fn whole_days<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    const DAY: u64 = 24 * 60 * 60;
    let text = String::deserialize(deserializer)?;
    let time = humantime::parse_duration(&text).ok().filter(|time| time.as_secs() % DAY == 0);
    let days = time.and_then(|time| u32::try_from(time.as_secs() / DAY).ok());
    days.ok_or_else(|| serde::de::Error::custom(format!("found {text}, wanted whole days such as 30d")))
}

pub(super) fn some_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| {
        humantime::parse_duration(&text)
            .map_err(|_| serde::de::Error::custom(format!("found {text}, wanted a time such as 5m")))
    })
    .transpose()
}
