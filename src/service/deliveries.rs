//! The sinks of a service that deliver to other systems.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::config::PostgresKeys;
use crate::error::Result;
use crate::sinks::{Committed, CurrentEpoch, Sink};

use super::activity::Activity;
use super::settings::ServiceConfig;

/// What such sinks are made with.
pub(super) struct Deliveries {
    pub(super) current: CurrentEpoch,
    /// True once the service is to stop.
    pub(super) stop: Arc<AtomicBool>,
    pub(super) activity: Activity,
}

/// Checks what is known of the sinks without connecting to anything.
#[cfg(feature = "postgres")]
pub(super) fn check(sinks: &[PostgresKeys]) -> Result<()> {
    sinks.iter().try_for_each(|sink| in_postgres::configured(sink).map(drop))
}

/// The configuration has none: it would have been refused.
#[cfg(not(feature = "postgres"))]
pub(super) fn check(_: &[PostgresKeys]) -> Result<()> {
    Ok(())
}

/// What there is to say of the sinks before they are used. Nothing is changed there.
#[cfg(feature = "postgres")]
pub(super) fn findings(config: &ServiceConfig) -> Vec<(String, Result<String>)> {
    use crate::sinks::postgres::{PostgresSink, check};
    let of_sink = |keys: &PostgresKeys| match in_postgres::configured(keys) {
        Ok(sink) => {
            let tables = config.run.job.tables.names().filter(|table| PostgresSink::takes(&sink, table));
            check(&sink, &tables.map(str::to_owned).collect::<Vec<_>>())
        }
        Err(error) => vec![(format!("sink {}", keys.name), Err(error))],
    };
    config.postgres_sinks.iter().flat_map(of_sink).collect()
}

/// Nothing: see [`check`].
#[cfg(not(feature = "postgres"))]
pub(super) fn findings(_: &ServiceConfig) -> Vec<(String, Result<String>)> {
    Vec::new()
}

impl Deliveries {
    /// The sinks of a job that starts with an epoch of the log and applies some again.
    #[cfg(feature = "postgres")]
    pub(super) fn sinks(
        &self,
        config: &ServiceConfig,
        first: Committed,
        applied_again: &[Committed],
    ) -> Result<Vec<Box<dyn Sink>>> {
        self.activity.begin_deliveries();
        config.postgres_sinks.iter().map(|keys| in_postgres::sink(self, keys, first, applied_again)).collect()
    }

    /// None: see [`check`].
    #[cfg(not(feature = "postgres"))]
    pub(super) fn sinks(&self, _: &ServiceConfig, _: Committed, _: &[Committed]) -> Result<Vec<Box<dyn Sink>>> {
        let Deliveries { .. } = self;
        Ok(Vec::new())
    }
}

#[cfg(feature = "postgres")]
mod in_postgres {
    use std::sync::Arc;

    use crate::config::PostgresKeys;
    use crate::error::{Error, Result};
    use crate::postgres::PostgresAddress;
    use crate::sinks::postgres::{KnownEpochs, PostgresSink, PostgresSinkConfig};
    use crate::sinks::{Committed, Sink};

    use super::Deliveries;

    pub(super) fn configured(keys: &PostgresKeys) -> Result<PostgresSinkConfig> {
        let PostgresKeys { name, url, schema, tables } = keys.clone();
        let address = PostgresAddress::parse(&String::from_utf8_lossy(url.bytes()));
        let address = address.map_err(|error| Error::usage(format!("sinks: {name}: {error}")))?;
        Ok(PostgresSinkConfig { name, address, schema, tables })
    }

    pub(super) fn sink(
        made_with: &Deliveries,
        keys: &PostgresKeys,
        first: Committed,
        applied_again: &[Committed],
    ) -> Result<Box<dyn Sink>> {
        let (config, applied_again) = (configured(keys)?, applied_again.to_vec());
        let place = format!("{}, schema {}", config.address, config.schema);
        let status = made_with.activity.begin_delivery(&config.name, "postgres", &place);
        let (current, stop) = (made_with.current.clone(), Arc::clone(&made_with.stop));
        Ok(Box::new(PostgresSink::new(config, KnownEpochs { first, applied_again }, current, stop, status)))
    }
}
