//! Tables of a database that a service follows: their first rows, and the transactions that come after.

#[cfg(feature = "postgres")]
mod begin;
#[cfg(feature = "postgres")]
mod follow;
#[cfg(feature = "postgres")]
mod truncated;

use std::sync::Arc;

use crate::durable::State;
use crate::error::Result;

use super::activity::Activity;
use super::admission::Admission;
#[cfg(feature = "postgres")]
use super::databases::source_config;
use super::inbox::Inbox;
use super::settings::ServiceConfig;

#[cfg(feature = "postgres")]
pub(super) use begin::SnapshotRows;

/// Checks the source before it is used. Nothing is changed there.
pub(super) fn findings(config: &ServiceConfig) -> Vec<(String, Result<String>)> {
    #[cfg(feature = "postgres")]
    if let Some(keys) = &config.postgres_source {
        return match source_config(keys) {
            Ok(source) => crate::sources::postgres::check(&source, &config.run.input.files),
            Err(error) => vec![(format!("source {}", keys.name), Err(error))],
        };
    }
    let _ = config;
    Vec::new()
}

/// Begins to take the transactions of the database that a service follows, if it does.
///
/// # Errors
///
/// If the state was begun without it.
pub(super) fn begin(
    config: &ServiceConfig,
    admission: &Arc<Admission>,
    state: &State,
    inbox: &Arc<Inbox>,
    activity: &Activity,
) -> Result<()> {
    #[cfg(feature = "postgres")]
    if let Some(keys) = &config.postgres_source {
        let source = source_config(keys)?;
        let watched = activity.begin_following(&source.name, "postgres", source.address.to_string());
        follow::begin(source, admission, state, inbox, watched)?;
    }
    let _ = (config, admission, state, inbox, activity);
    Ok(())
}
