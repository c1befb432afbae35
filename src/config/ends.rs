//! The sources and sinks of a service in the config file.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// An entry of `sources`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct SourceKeys {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) path: Option<PathBuf>,
}

/// An entry of `sinks`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct SinkKeys {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) publish: PublishKeys,
}

/// When a folder sink publishes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PublishKeys {
    #[serde(deserialize_with = "some_time")]
    pub(super) every: Option<Duration>,
    pub(super) on_stop: Option<bool>,
}

fn some_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| {
        humantime::parse_duration(&text)
            .map_err(|_| serde::de::Error::custom(format!("found {text}, wanted a time such as 5m")))
    })
    .transpose()
}
