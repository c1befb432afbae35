//! The sinks of a service that deliver to other systems.

#[cfg(feature = "connectors")]
mod configured;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::error::Result;
#[cfg(feature = "connectors")]
use crate::sinks::delivery::KnownEpochs;
use crate::sinks::{Committed, CurrentEpoch, Sink};

use super::activity::Activity;
use super::settings::ServiceConfig;

#[cfg(feature = "connectors")]
use configured::SinkSetting;

/// What such sinks are made with.
#[cfg_attr(not(feature = "connectors"), expect(dead_code, reason = "a build without other systems has none"))]
pub(super) struct Deliveries {
    pub(super) current: CurrentEpoch,
    /// True once the service is to stop.
    pub(super) stop: Arc<AtomicBool>,
    pub(super) activity: Activity,
}

/// Checks the sinks before they are used. Nothing is changed there.
pub(super) fn findings(config: &ServiceConfig) -> Vec<(String, Result<String>)> {
    #[cfg(feature = "connectors")]
    return configured::findings(config);
    #[cfg(not(feature = "connectors"))]
    {
        let _ = config;
        Vec::new()
    }
}

impl Deliveries {
    /// The sinks of a job that starts with an epoch of the log and applies some again; `lead_here` is false if their
    /// tables were made in another way.
    pub(super) fn sinks(
        &self,
        config: &ServiceConfig,
        first: Committed,
        applied_again: &[Committed],
        lead_here: bool,
    ) -> Result<Vec<Box<dyn Sink>>> {
        #[cfg(feature = "connectors")]
        {
            let known = KnownEpochs { first, applied_again: applied_again.to_vec(), lead_here };
            let Deliveries { current, stop, activity } = self;
            configured::sinks(config, SinkSetting { current, stop, activity, known: &known })
        }
        #[cfg(not(feature = "connectors"))]
        {
            let _ = (config, first, applied_again, lead_here);
            Ok(Vec::new())
        }
    }
}
