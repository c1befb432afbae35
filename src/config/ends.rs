//! The sources and sinks of a service in the config file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::error::{Error, Result};
use crate::model::InputTable;

use super::cluster::Secret;
use super::environment::expanded;
use super::table_names::TableNames;

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
    /// Checks that a source of another type than `postgres` has no key of a database, and one of this type no path.
    ///
    /// # Errors
    ///
    /// If it has. The message names the key.
    pub(super) fn check_keys(&self) -> Result<()> {
        let of_database = [
            ("url", self.url.is_some()),
            ("publication", self.publication.is_some()),
            ("slot", self.slot.is_some()),
            ("tables", !self.tables.is_empty()),
        ];
        let is_database = self.kind == POSTGRES;
        let unwanted: &[(&str, bool)] = if is_database { &[("path", self.path.is_some())] } else { &of_database };
        check_none("sources", &self.name, &self.kind, unwanted)
    }

    /// True if all input tables are in its database, so that no input folder is needed.
    pub(super) fn has_all_tables(&self) -> bool {
        self.kind == POSTGRES && InputTable::ALL.iter().all(|table| self.tables.contains_key(table.name()))
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
    url: Option<String>,
    #[serde(default)]
    schema: Option<String>,
    #[serde(default)]
    tables: Option<TableNames>,
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

/// Checks that none of these keys is given.
fn check_none(of: &str, name: &str, kind: &str, keys: &[(&str, bool)]) -> Result<()> {
    let Some((key, _)) = keys.iter().find(|(_, is_given)| *is_given) else { return Ok(()) };
    Err(Error::usage(format!("{of}: {name}: {key}: one of the type {kind} has no such key")))
}

/// The type of sources and sinks in a PostgreSQL database.
pub(super) const POSTGRES: &str = "postgres";

impl SinkKeys {
    /// Checks that a sink of another type than `postgres` has no key of a database.
    ///
    /// # Errors
    ///
    /// If it has. The message names the key.
    pub(super) fn check_keys(&self) -> Result<()> {
        let of_database =
            [("url", self.url.is_some()), ("schema", self.schema.is_some()), ("tables", self.tables.is_some())];
        let unwanted: &[(&str, bool)] = if self.kind == POSTGRES { &[] } else { &of_database };
        check_none("sinks", &self.name, &self.kind, unwanted)
    }

    /// Reads it as a sink of the type `postgres`.
    ///
    /// # Errors
    ///
    /// If a key is missing, or is one of a folder.
    pub(super) fn postgres(&self) -> Result<PostgresKeys> {
        let of_key = |key: &str| format!("sinks: {}: {key}", self.name);
        let Some(url) = &self.url else {
            return Err(Error::usage(format!("{}: wanted the URL of a database", of_key("url"))));
        };
        if self.publish.every.is_some() || self.publish.on_stop.is_some() {
            let cause = "every epoch is delivered; wanted no such key";
            return Err(Error::usage(format!("{}: {cause}", of_key("publish"))));
        }
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

fn some_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| {
        humantime::parse_duration(&text)
            .map_err(|_| serde::de::Error::custom(format!("found {text}, wanted a time such as 5m")))
    })
    .transpose()
}
