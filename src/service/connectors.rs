//! Checking what other systems a service needs.

use crate::error::Result;

use super::settings::ServiceConfig;
use super::{consumed, deliveries, replicated};

/// Connects to the sources and sinks of a service that are other systems, and reads a row of each source. Nothing is
/// changed there. Returns what was checked and found, in order; of each, nothing comes after a first failure.
#[must_use]
pub fn check_connectors(config: &ServiceConfig) -> Vec<(String, Result<String>)> {
    let sources = replicated::findings(config).into_iter().chain(consumed::findings(config));
    sources.chain(deliveries::findings(config)).collect()
}
