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
