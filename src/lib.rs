//! E-commerce analytics that are always right.
pub mod model;
pub mod operators;
pub mod pipeline;
