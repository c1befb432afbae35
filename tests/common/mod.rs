//! What the tests of the dataflow share: random histories, the definition, and a run that records every update.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(unreachable_pub, reason = "this is a module of each test binary")]

pub mod further;
pub mod history;
pub mod naive;
pub mod record;
