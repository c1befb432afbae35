//! The sinks of a service that deliver to other systems.

#[cfg(feature = "postgres")]
mod in_postgres;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

#[cfg(feature = "postgres")]
use crate::config::PostgresKeys;
use crate::error::Result;
#[cfg(feature = "postgres")]
use crate::sinks::postgres::{KnownEpochs, PostgresSink, check as check_sink};
use crate::sinks::{Committed, CurrentEpoch, Sink};

use super::activity::Activity;
#[cfg(feature = "postgres")]
use super::databases::sink_config;
use super::settings::ServiceConfig;

/// What such sinks are made with.
#[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "a build without other systems has none"))]
pub(super) struct Deliveries {
    pub(super) current: CurrentEpoch,
    /// True once the service is to stop.
    pub(super) stop: Arc<AtomicBool>,
    pub(super) activity: Activity,
}

/// Checks the sinks before they are used. Nothing is changed there.
#[cfg(feature = "postgres")]
pub(super) fn findings(config: &ServiceConfig) -> Vec<(String, Result<String>)> {
    let of_sink = |keys: &PostgresKeys| match sink_config(keys) {
        Ok(sink) => {
            if let Err(error) = PostgresSink::check_tables(&sink, config.run.job.tables.names()) {
                return vec![(format!("sink {}: its tables", sink.name), Err(error))];
            }
            let tables = config.run.job.tables.names().filter(|table| PostgresSink::takes(&sink, table));
            check_sink(&sink, &tables.map(str::to_owned).collect::<Vec<_>>())
        }
        Err(error) => vec![(format!("sink {}", keys.name), Err(error))],
    };
    config.postgres_sinks.iter().flat_map(of_sink).collect()
}

/// Nothing: this build has none.
#[cfg(not(feature = "postgres"))]
pub(super) fn findings(_: &ServiceConfig) -> Vec<(String, Result<String>)> {
    Vec::new()
}

impl Deliveries {
    /// The sinks of a job that starts with an epoch of the log and applies some again; `lead_here` is false if their
    /// tables were made in another way.
    #[cfg(feature = "postgres")]
    pub(super) fn sinks(
        &self,
        config: &ServiceConfig,
        first: Committed,
        applied_again: &[Committed],
        lead_here: bool,
    ) -> Result<Vec<Box<dyn Sink>>> {
        let is_first = self.activity.report().deliveries.is_empty();
        // Who was fenced off once does not come back by itself.
        let fenced = self.activity.keep_fenced();
        let wanted = config.postgres_sinks.iter().filter(|keys| !fenced.contains(&keys.name));
        let sink = |keys| {
            let known = KnownEpochs { first, applied_again: applied_again.to_vec(), lead_here };
            in_postgres::sink(keys, known, &self.current, &self.stop, is_first, &self.activity)
        };
        wanted.map(sink).collect()
    }

    /// None: this build has none.
    #[cfg(not(feature = "postgres"))]
    pub(super) fn sinks(
        &self,
        _: &ServiceConfig,
        _: Committed,
        _: &[Committed],
        _: bool,
    ) -> Result<Vec<Box<dyn Sink>>> {
        Ok(Vec::new())
    }
}
