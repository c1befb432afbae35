//! Checking what other systems a service needs.

use crate::error::Result;

use super::settings::ServiceConfig;
use super::{deliveries, replicated};

/// Connects to the sources and sinks of a service that are other systems, and reads a row of each source. Nothing is
/// changed there. Returns what was checked and found, in order; of each, nothing comes after a first failure.
#[must_use]
pub fn check_connectors(config: &ServiceConfig) -> Vec<(String, Result<String>)> {
    replicated::findings(config).into_iter().chain(deliveries::findings(config)).collect()
}
