//! Sources and sinks in Kafka, in the config file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use chrono::DateTime;
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::kafka::{RecordFormat, StartAt};
use crate::model::InputTable;
use crate::redacted::without_credentials;

use super::cluster::Secret;
use super::environment::expanded;
use super::table_names::TableNames;

/// A cluster, as the config file has it.
#[derive(Clone, Debug)]
pub struct KafkaCluster {
    /// `HOST:PORT`, or several with commas.
    pub brokers: String,
    /// Further properties of the client, which may be secrets.
    pub properties: BTreeMap<String, Secret>,
}

/// A schema registry, as the config file has it.
#[derive(Clone, Debug)]
pub struct SchemaRegistryKeys {
    /// Its URL, without credentials.
    pub url: String,
    /// A user and its password.
    pub user: Option<(String, Secret)>,
    /// A file with the CA certificates to trust.
    pub ca: Option<PathBuf>,
}

/// A source of the type `kafka`.
#[derive(Clone, Debug)]
pub struct KafkaSourceKeys {
    /// Its name.
    pub name: String,
    /// The cluster.
    pub cluster: KafkaCluster,
    /// The topics of each table.
    pub topics: Vec<(InputTable, String)>,
    /// How rows are written in records.
    pub format: RecordFormat,
    /// The registry of their schemas, if records have one.
    pub registry: Option<SchemaRegistryKeys>,
    /// Where a topic begins that is read for the first time.
    pub start: StartAt,
    /// The consumer group that is told how far it is.
    pub group: String,
}

/// A sink of the type `kafka`.
#[derive(Clone, Debug)]
pub struct KafkaSinkKeys {
    /// Its name.
    pub name: String,
    /// The cluster.
    pub cluster: KafkaCluster,
    /// What the names of its topics begin with.
    pub prefix: String,
    /// How rows are written in records.
    pub format: RecordFormat,
    /// The registry of their schemas, if records have one.
    pub registry: Option<SchemaRegistryKeys>,
    /// How many partitions topics have that are made; `None` for as many as the brokers choose.
    pub partitions: Option<i32>,
    /// Its tables; `None` for the default ones.
    pub tables: Option<Vec<String>>,
}

/// Properties of the client, by name.
pub(super) type Properties = BTreeMap<String, PropertyValue>;

/// The value of a property of the client.
#[derive(Clone, Deserialize)]
#[serde(untagged, expecting = "wanted a text, a number, true or false")]
pub(super) enum PropertyValue {
    Text(String),
    Boolean(bool),
    Number(serde_json::Number),
}

/// Without the value, which may be a secret.
impl fmt::Debug for PropertyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PropertyValue")
    }
}

/// The cluster of a source or sink.
///
/// # Errors
///
/// If it lacks brokers, or an environment variable is not set. The message names the key.
pub(super) fn cluster(of: &str, brokers: Option<&String>, properties: &Properties) -> Result<KafkaCluster> {
    let missing = || Error::usage(format!("{of}: brokers: wanted HOST:PORT, or several with commas"));
    let brokers = expanded(&format!("{of}: brokers"), brokers.ok_or_else(missing)?)?;
    let property = |(name, value): (&String, &PropertyValue)| {
        let value = match value {
            PropertyValue::Text(text) => expanded(&format!("{of}: properties: {name}"), text)?,
            PropertyValue::Boolean(value) => value.to_string(),
            PropertyValue::Number(value) => value.to_string(),
        };
        Ok((name.clone(), Secret::new(value.as_bytes())))
    };
    Ok(KafkaCluster { brokers, properties: properties.iter().map(property).collect::<Result<_>>()? })
}

/// `schema_registry`.
#[derive(Clone, Deserialize)]
pub(super) struct RegistryKeys {
    url: String,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    ca: Option<String>,
}

/// How rows are written, and the registry of their schemas.
///
/// # Errors
///
/// If there is no such format, or a registry is missing or useless.
pub(super) fn format(
    of: &str,
    name: Option<&str>,
    registry: Option<&RegistryKeys>,
) -> Result<(RecordFormat, Option<SchemaRegistryKeys>)> {
    let format = RecordFormat::ALL.into_iter().find(|(known, _)| *known == name.unwrap_or("json"));
    let Some((name, format)) = format else {
        let known = RecordFormat::ALL.map(|(name, _)| name).join(", ");
        return Err(Error::usage(format!("{of}: format: found {}, wanted one of {known}", name.unwrap_or_default())));
    };
    let of = format!("{of}: schema_registry");
    match (format.is_avro(), registry) {
        (true, None) => {
            Err(Error::usage(format!("{of}: wanted the registry of schemas, such as {{url: http://r:8081}}")))
        }
        (false, Some(_)) => {
            Err(Error::usage(format!("{of}: records of the format {name} have no schemas in a registry")))
        }
        (_, registry) => Ok((format, registry.map(|registry| registry.resolved(&of)).transpose()?)),
    }
}

impl RegistryKeys {
    fn resolved(&self, of: &str) -> Result<SchemaRegistryKeys> {
        let expanded = |key: &str, text: &String| expanded(&format!("{of}: {key}"), text);
        let user = match (&self.username, &self.password) {
            (Some(name), Some(password)) => {
                let password = Secret::new(expanded("password", password)?.as_bytes());
                Some((expanded("username", name)?, password))
            }
            (None, None) => None,
            _ => return Err(Error::usage(format!("{of}: wanted both username and password, or none"))),
        };
        let ca = self.ca.as_ref().map(|path| expanded("ca", path).map(PathBuf::from)).transpose()?;
        Ok(SchemaRegistryKeys { url: expanded("url", &self.url)?, user, ca })
    }
}

/// Without the password.
impl fmt::Debug for RegistryKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryKeys").field("url", &without_credentials(&self.url)).finish_non_exhaustive()
    }
}

/// Reads `earliest`, `latest` or a time.
///
/// # Errors
///
/// If it is none of these.
pub(super) fn start_at(of: &str, text: &str) -> Result<StartAt> {
    let wanted = "wanted earliest, latest or a time such as 2026-01-31T00:00:00Z";
    let wrong = |_| Error::usage(format!("{of}: start: found {text}, {wanted}"));
    match text {
        "earliest" => Ok(StartAt::Earliest),
        "latest" => Ok(StartAt::Latest),
        time => DateTime::parse_from_rfc3339(time).map(|time| StartAt::Time(time.timestamp_millis())).map_err(wrong),
    }
}

/// The topics of each table.
///
/// # Errors
///
/// If there is none, a table is unknown, or a topic is named twice.
pub(super) fn topics(of: &str, topics: &BTreeMap<String, TableNames>) -> Result<Vec<(InputTable, String)>> {
    let wrong = |cause: &str| Error::usage(format!("{of}: topics: {cause}"));
    let mut found: Vec<(InputTable, String)> = Vec::new();
    for (table, names) in topics {
        let known = InputTable::ALL.into_iter().find(|known| known.name() == table);
        let known = known.ok_or_else(|| wrong(&format!("{table} is none of orders, products, customers")))?;
        for topic in names.clone().into_names() {
            if found.iter().any(|(_, other)| *other == topic) {
                return Err(wrong(&format!("{topic} is named twice")));
            }
            check_topic(&topic).map_err(|cause| wrong(&cause))?;
            found.push((known, topic));
        }
    }
    match found.is_empty() {
        true => Err(wrong("wanted at least one, such as {orders: shop.orders}")),
        false => Ok(found),
    }
}

/// Checks the name of a topic, or the beginning of one.
///
/// # Errors
///
/// If brokers would refuse it.
pub(super) fn check_topic(topic: &str) -> std::result::Result<(), String> {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    match topic.chars().all(is_letter) && topic.len() <= 249 {
        true => Ok(()),
        false => Err(format!("found {topic:?}, wanted at most 249 letters, digits, '.', '_' and '-'")),
    }
}
