//! E-commerce analytics that are always right.
//!
//! A data team's nightly job reads orders, products and customers, joins them, and works out tiers, sales, RFM, cohorts
//! and rankings. millstream does that job from the same files and config, and because it is a *differential dataflow*,
//! in which every operator takes changes and gives changes, the same program keeps every table right while orders come,
//! change and vanish: the batch is merely the first change.
//!
//! # Three ways to use it
//!
//! *As a command*: `millstream run --input DIR --output DIR`; see the README.
//!
//! *As a batch job in a program*:
//!
//! ```no_run
//! use std::sync::Arc;
//! use millstream::config::{RunArgs, RunConfig};
//! use millstream::runtime::{Progress, run};
//!
//! let args = RunArgs { input: Some("in".into()), output: Some("out".into()), ..RunArgs::default() };
//! let report = run(&RunConfig::resolve(&args)?, &Arc::new(Progress::default()))?;
//! println!("{report}");
//! # Ok::<(), millstream::error::Error>(())
//! ```
//!
//! *Inside another timely dataflow program*: give [`pipeline::Job`] three tables of your own, and take its tables as
//! collections; its page has a whole program, and `examples/vips.rs` a longer one. [`runtime::Live`] is the same with
//! workers of its own: it reads files and then takes changes.
//!
//! # Modules, in the order data flows
//!
//! | module | knows |
//! |---|---|
//! | [`model`] | the shop's words: orders, products, customers, money, days, and the rows of the tables |
//! | [`operators`] | differential operators that know nothing of shops |
//! | [`udf`] | user functions over values and columns, and models that score |
//! | [`pipeline`] | the job: which operators make which table |
//! | [`io`] | files and Arrow: record batches to rows and back |
//! | [`runtime`] | workers, epochs and the order of things |
//! | [`config`], [`cli`], [`validate`], [`report`], [`error`] | what is asked for, and what came of it |

pub use millstream_operators as operators;

pub mod model;

pub mod forest;
pub mod pipeline;

pub mod columns;
pub mod udf;

pub mod sinks;
pub mod sources;
pub mod tables;

pub mod config;
pub mod report;
pub mod runtime;

pub mod cli;
pub mod error;
pub mod generate;
pub mod validate;

mod grouped;
mod suggest;
