//! Shared by the dataflow tests: random histories, the oracle, and runs that record every update.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(unreachable_pub, reason = "this is a module of each test binary")]

pub mod further;
pub mod history;
pub mod naive;
pub mod record;
