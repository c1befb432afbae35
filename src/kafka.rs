//! What sources and sinks in Kafka share: the address of a cluster, connections, and errors in the words of brokers.

#[cfg(feature = "kafka")]
mod address;
#[cfg(feature = "kafka")]
mod events;
mod format;
#[cfg(feature = "kafka")]
mod read;
#[cfg(feature = "kafka")]
mod registry;

#[cfg(feature = "kafka")]
pub use address::KafkaAddress;
#[cfg(feature = "kafka")]
pub(crate) use events::{KafkaEvents, kafka_error};
pub use format::{RecordFormat, StartAt};
#[cfg(feature = "kafka")]
pub use registry::SchemaRegistry;
#[cfg(feature = "kafka")]
pub(crate) use registry::{RegisteredSchema, RegistryError};
