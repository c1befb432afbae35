//! The databases of a configuration.

use crate::config::{PostgresKeys, PostgresSourceKeys};
#[cfg(feature = "postgres")]
use crate::error::Error;
use crate::error::Result;
#[cfg(feature = "postgres")]
use crate::postgres::PostgresAddress;
#[cfg(feature = "postgres")]
use crate::sinks::delivery::DeliveredTables;
#[cfg(feature = "postgres")]
use crate::sinks::postgres::PostgresTarget;
#[cfg(feature = "postgres")]
use crate::sources::postgres::PostgresSourceConfig;

/// Checks what is known of databases without connecting to anything.
#[cfg(feature = "postgres")]
pub(super) fn check(source: Option<&PostgresSourceKeys>, sinks: &[PostgresKeys]) -> Result<()> {
    source.map(source_config).transpose()?;
    sinks.iter().try_for_each(|sink| sink_target(sink).map(drop))
}

/// The configuration has none: it would have been refused.
#[cfg(not(feature = "postgres"))]
pub(super) fn check(_: Option<&PostgresSourceKeys>, _: &[PostgresKeys]) -> Result<()> {
    Ok(())
}

/// A source, as the configuration has it.
///
/// # Errors
///
/// If its URL is none. The message names the key.
#[cfg(feature = "postgres")]
pub(super) fn source_config(keys: &PostgresSourceKeys) -> Result<PostgresSourceConfig> {
    let PostgresSourceKeys { name, url, publication, slot, tables } = keys.clone();
    let address = PostgresAddress::parse(&String::from_utf8_lossy(url.bytes()));
    let address = address.map_err(|error| Error::usage(format!("sources: {name}: {error}")))?;
    Ok(PostgresSourceConfig { name, address, publication, slot, tables })
}

/// A sink, as the configuration has it.
///
/// # Errors
///
/// As [`source_config`].
#[cfg(feature = "postgres")]
pub(super) fn sink_target(keys: &PostgresKeys) -> Result<PostgresTarget> {
    let PostgresKeys { name, url, schema, tables } = keys.clone();
    let address = PostgresAddress::parse(&String::from_utf8_lossy(url.bytes()));
    let address = address.map_err(|error| Error::usage(format!("sinks: {name}: {error}")))?;
    Ok(PostgresTarget { name, address, schema, tables: DeliveredTables(tables) })
}
