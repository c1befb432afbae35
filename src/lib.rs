//! E-commerce analytics that are always right.
pub mod cli;
pub mod config;
pub mod error;
pub mod io;
pub mod model;
pub mod operators;
pub mod pipeline;
pub mod report;
pub mod runtime;
pub mod validate;
