//! Sinks in PostgreSQL.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::config::PostgresKeys;
use crate::error::Result;
use crate::service::activity::Activity;
use crate::service::databases::sink_config;
use crate::sinks::postgres::{KnownEpochs, PostgresSink};
use crate::sinks::{CurrentEpoch, Sink};

/// Makes the sink, and tells that there is one.
pub(super) fn sink(
    keys: &PostgresKeys,
    known: KnownEpochs,
    current: &CurrentEpoch,
    stop: &Arc<AtomicBool>,
    is_first: bool,
    activity: &Activity,
) -> Result<Box<dyn Sink>> {
    let config = sink_config(keys)?;
    let place = format!("{}, schema {}", config.address, config.schema);
    let status = activity.begin_delivery(&config.name, "postgres", &place);
    Ok(Box::new(PostgresSink::new(config, known, current.clone(), Arc::clone(stop), is_first, status)))
}
