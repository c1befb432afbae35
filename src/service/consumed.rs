//! Topics of Kafka that a service follows: the records that there are at its first start, and those that come after.

#[cfg(feature = "kafka")]
mod begin;
#[cfg(feature = "kafka")]
mod follow;
#[cfg(feature = "kafka")]
mod offsets;

use std::sync::Arc;

use crate::durable::State;
use crate::error::Result;

use super::activity::Activity;
use super::admission::Admission;
use super::inbox::Inbox;
use super::settings::ServiceConfig;

#[cfg(feature = "kafka")]
pub(super) use begin::FirstRecords;

/// Checks the sources before they are used. Nothing is changed there.
pub(super) fn findings(config: &ServiceConfig) -> Vec<(String, Result<String>)> {
    #[cfg(feature = "kafka")]
    return config
        .kafka_sources
        .iter()
        .flat_map(|source| match super::brokers::source_config(source) {
            Ok(source) => crate::sources::kafka::check(&source, &config.run.input.files),
            Err(error) => vec![(format!("source {}", source.name), Err(error))],
        })
        .collect();
    #[cfg(not(feature = "kafka"))]
    {
        let _ = config;
        Vec::new()
    }
}

/// Begins to take the records of the topics that a service follows, if it does.
///
/// # Errors
///
/// If what the state has of them can't be used.
pub(super) fn begin(
    config: &ServiceConfig,
    admission: &Arc<Admission>,
    state: &State,
    inbox: &Arc<Inbox>,
    activity: &Activity,
) -> Result<()> {
    #[cfg(feature = "kafka")]
    for keys in &config.kafka_sources {
        let source = super::brokers::source_config(keys)?;
        begin::remove_spool(config, &source.name);
        let watched = activity.begin_following(&source.name, "kafka", source.address.to_string());
        follow::begin(source, admission, state, inbox, watched)?;
    }
    let _ = (config, admission, state, inbox, activity);
    Ok(())
}
