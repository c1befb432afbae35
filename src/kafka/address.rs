//! The address of a cluster, and connections to it.

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::ClientConfig;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaConfRes;

use crate::error::{Error, Result};

use super::events::{KafkaEvents, kafka_error};

/// A cluster and how to connect to it. It is shown without the properties, which may be secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaAddress {
    brokers: String,
    properties: BTreeMap<String, String>,
}

/// Properties of the client on which guarantees rest.
const OURS: [&str; 14] = [
    "auto.offset.reset",
    "bootstrap.servers",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "isolation.level",
    "metadata.broker.list",
    "partitioner",
    "transactional.id",
    "acks",
];

impl KafkaAddress {
    /// Takes brokers as `HOST:PORT`, separated by commas, and further properties of the client, such as
    /// `security.protocol`, as librdkafka names them.
    ///
    /// # Errors
    ///
    /// If there is no broker, or a property is unknown, has an invalid value, or is not to be changed. The message has
    /// no value.
    pub fn new(brokers: &str, properties: BTreeMap<String, String>) -> Result<KafkaAddress> {
        let is_broker = |broker: &str| {
            let port = broker.trim().rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
            port.is_some_and(|port| port.parse::<u16>().is_ok())
        };
        if brokers.contains(['@', '/']) {
            let wanted = "wanted HOST:PORT, or several with commas; credentials are properties (sasl.username, …)";
            return Err(Error::usage(format!("brokers: found '@' or '/' in it, {wanted}")));
        }
        if !brokers.split(',').all(is_broker) {
            return Err(Error::usage(format!("brokers: found {brokers:?}, wanted HOST:PORT, or several with commas")));
        }
        if let Some(name) = properties.keys().find(|name| OURS.contains(&name.as_str())) {
            return Err(Error::usage(format!("properties: {name}: millstream sets it; wanted no such property")));
        }
        let address = KafkaAddress { brokers: brokers.to_owned(), properties };
        address.config().create_native_config().map_err(|error| match error {
            KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, _, name, _) => {
                Error::usage(format!("properties: {name}: librdkafka has no such property in this build"))
            }
            KafkaError::ClientConfig(_, _, name, _) => {
                Error::usage(format!("properties: {name}: the value is invalid"))
            }
            error => kafka_error(&error),
        })?;
        Ok(address)
    }

    /// True if the configuration has a property.
    pub(crate) fn sets(&self, property: &str) -> bool {
        self.properties.contains_key(property)
    }

    /// What every client is configured with.
    pub(crate) fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("client.id", "millstream");
        // A broker that is gone is noticed, and tried again, soon.
        config.set("socket.keepalive.enable", "true").set("reconnect.backoff.max.ms", "2000");
        config.set("topic.metadata.refresh.interval.ms", "10000").set("allow.auto.create.topics", "false");
        config.extend(self.properties.clone());
        // Each line is an event; whether it is logged is decided there.
        config.set_log_level(RDKafkaLogLevel::Info);
        config
    }

    /// Makes a client, which connects in the background.
    ///
    /// # Errors
    ///
    /// If a property is not as it must be, such as the file of a certificate.
    pub(crate) fn client<C: FromClientConfigAndContext<KafkaEvents>>(
        &self,
        own: &[(&str, &str)],
        events: &KafkaEvents,
    ) -> Result<C> {
        let mut config = self.config();
        own.iter().for_each(|(name, value)| _ = config.set(*name, *value));
        let made: KafkaResult<C> = config.create_with_context(events.clone());
        made.map_err(|error| kafka_error(&error))
    }
}

/// The brokers.
impl fmt::Display for KafkaAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.brokers)
    }
}

impl fmt::Debug for KafkaAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaAddress").field("brokers", &self.brokers).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(brokers: &str, properties: &[(&str, &str)]) -> String {
        let properties = properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        KafkaAddress::new(brokers, properties).expect_err("refused").to_string()
    }

    #[test]
    fn what_is_wrong_is_said_without_values() {
        for (brokers, properties, words) in [
            ("", &[][..], "brokers: found \"\", wanted HOST:PORT"),
            ("k1:9092,k2", &[], "wanted HOST:PORT"),
            ("SASL_SSL://u:s3cret@k1:9092", &[], "credentials are properties"),
            ("k1:9092", &[("acks", "0")], "properties: acks: millstream sets it"),
            ("k1:9092", &[("sasl.pasword", "s3cret")], "properties: sasl.pasword: librdkafka has no such property"),
            ("k1:9092", &[("security.protocol", "s3cret")], "properties: security.protocol: the value is invalid"),
        ] {
            let error = refused(brokers, properties);
            assert!(error.contains(words) && !error.contains("s3cret"), "{error}");
        }
        let properties = [("sasl.password".to_owned(), "s3cret".to_owned())].into();
        let address = KafkaAddress::new("k1:9092,k2:9093", properties).expect("valid");
        assert!(!format!("{address} {address:?}").contains("s3cret"));
    }
}
