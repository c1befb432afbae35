//! What clients report: errors of brokers, and their log.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use rdkafka::{ClientContext, Message};

use crate::error::{Error, Result};
use crate::printable::printable;

/// Keeps the last error of a broker, for messages: a client that can't connect tries again by itself, and otherwise
/// reports only a timeout. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct KafkaEvents {
    last: Arc<Mutex<Option<String>>>,
    /// Why a record was not taken.
    undelivered: Arc<Mutex<Option<String>>>,
}

impl KafkaEvents {
    /// What a client was refused, with the last that a broker said.
    pub(crate) fn explained<T>(&self, result: std::result::Result<T, KafkaError>) -> Result<T> {
        // What was said before a success has nothing to do with a later failure.
        let reason = self.take();
        result.map_err(|error| {
            let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
            Error::failed(format!("{}{reason}", kafka_error(&error)))
        })
    }

    /// What a broker said last, once.
    pub(crate) fn take(&self) -> Option<String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Why a record was not taken, if one was not, once.
    pub(crate) fn take_undelivered(&self) -> Option<String> {
        self.undelivered.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// An error of a client in plain words.
pub(crate) fn kafka_error(error: &KafkaError) -> Error {
    let text = match error {
        KafkaError::Transaction(error) => error.to_string(),
        error => match error.rdkafka_error_code() {
            Some(code) => code.to_string(),
            None => error.to_string(),
        },
    };
    // Such as `UnknownTopicOrPartition (Broker: Unknown topic or partition)`.
    let words = text.split_once(" (").and_then(|(_, words)| words.strip_suffix(')'));
    Error::failed(printable(words.unwrap_or(&text)))
}

impl ClientContext for KafkaEvents {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", ?level, "{facility}: {}", printable(message));
    }

    fn error(&self, _: KafkaError, reason: &str) {
        // Such as `k1:9092/bootstrap: Connect to ipv4#10.0.0.1:9092 failed: Connection refused (after 0ms in state …`.
        let reason = reason.split(" (after ").next().unwrap_or(reason);
        if !reason.ends_with("brokers are down") {
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(printable(reason));
        }
    }
}

impl ConsumerContext for KafkaEvents {}

impl ProducerContext for KafkaEvents {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, record)) = result {
            let reason = format!("topic {}: {}", record.topic(), kafka_error(error));
            *self.undelivered.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
        }
    }
}
