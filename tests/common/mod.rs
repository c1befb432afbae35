//! What the tests of the dataflow share: random histories, the definition, and a run that records every update.

#![allow(dead_code, reason = "each test binary uses a part")]

pub mod history;
pub mod naive;
pub mod record;
