//! The Kafka clusters of a configuration.

#[cfg(feature = "kafka")]
use crate::config::{KafkaCluster, SchemaRegistryKeys, Secret};
use crate::config::{KafkaSinkKeys, KafkaSourceKeys};
#[cfg(feature = "kafka")]
use crate::error::Error;
use crate::error::Result;
#[cfg(feature = "kafka")]
use crate::kafka::{KafkaAddress, SchemaRegistry};
#[cfg(feature = "kafka")]
use crate::sinks::delivery::DeliveredTables;
#[cfg(feature = "kafka")]
use crate::sinks::kafka::KafkaTarget;
#[cfg(feature = "kafka")]
use crate::sources::kafka::KafkaSourceConfig;

/// Checks what is known of clusters without connecting to anything.
#[cfg(feature = "kafka")]
pub(super) fn check(sources: &[KafkaSourceKeys], sinks: &[KafkaSinkKeys]) -> Result<()> {
    sources.iter().try_for_each(|source| source_config(source).map(drop))?;
    sinks.iter().try_for_each(|sink| sink_target(sink).map(drop))
}

/// The configuration has none: they would have been refused.
#[cfg(not(feature = "kafka"))]
pub(super) fn check(_: &[KafkaSourceKeys], _: &[KafkaSinkKeys]) -> Result<()> {
    Ok(())
}

/// A source, as the configuration has it.
///
/// # Errors
///
/// If its brokers or properties are not as they must be. The message names the key.
#[cfg(feature = "kafka")]
pub(super) fn source_config(keys: &KafkaSourceKeys) -> Result<KafkaSourceConfig> {
    let KafkaSourceKeys { name, cluster, topics, format, registry, start, group } = keys.clone();
    let of = format!("sources: {name}");
    let (address, registry) = (address(&of, &cluster)?, schema_registry(&of, registry)?);
    Ok(KafkaSourceConfig { name, address, topics, format, registry, start, group })
}

/// A sink, as the configuration has it.
///
/// # Errors
///
/// As [`source_config`].
#[cfg(feature = "kafka")]
pub(super) fn sink_target(keys: &KafkaSinkKeys) -> Result<KafkaTarget> {
    let KafkaSinkKeys { name, cluster, prefix, format, registry, partitions, tables } = keys.clone();
    let of = format!("sinks: {name}");
    let (address, registry) = (address(&of, &cluster)?, schema_registry(&of, registry)?);
    Ok(KafkaTarget { name, address, prefix, format, registry, partitions, tables: DeliveredTables(tables) })
}

#[cfg(feature = "kafka")]
fn address(of: &str, cluster: &KafkaCluster) -> Result<KafkaAddress> {
    let properties = cluster.properties.iter().map(|(name, value)| (name.clone(), text(value)));
    let address = KafkaAddress::new(&cluster.brokers, properties.collect());
    address.map_err(|error| Error::new(error.kind(), format!("{of}: {error}")))
}

#[cfg(feature = "kafka")]
fn schema_registry(of: &str, keys: Option<SchemaRegistryKeys>) -> Result<Option<SchemaRegistry>> {
    let Some(SchemaRegistryKeys { url, user, ca }) = keys else { return Ok(None) };
    let user = user.map(|(name, password)| (name, text(&password)));
    let user = user.as_ref().map(|(name, password)| (name.as_str(), password.as_str()));
    let registry = SchemaRegistry::new(&url, user, ca.as_deref());
    registry.map(Some).map_err(|error| Error::new(error.kind(), format!("{of}: schema_registry: {error}")))
}

#[cfg(feature = "kafka")]
fn text(secret: &Secret) -> String {
    String::from_utf8_lossy(secret.bytes()).into_owned()
}
