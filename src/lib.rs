//! E-commerce analytics that are always right.
//!
//! A data team's nightly job reads orders, products and customers, joins them, and works out tiers, sales, RFM, cohorts
//! and rankings. millstream does that job from the same files and config. It is a *differential dataflow*: every operator
//! takes updates and gives updates, so the program that computes the tables once also keeps them up to date as orders are
//! inserted, corrected and deleted.
//!
//! # Three ways to use it
//!
//! *As a command*: `millstream run --input DIR --output DIR`; see the README.
//!
//! *As a job in a program*, over an input folder or a [source](sources::Source) of your own, to an output folder or
//! [sinks] of your own:
//!
//! ```no_run
//! use std::path::Path;
//! use std::sync::Arc;
//! use millstream::config::RunConfig;
//! use millstream::model::Day;
//! use millstream::runtime::{Progress, run};
//!
//! let as_of = Day::from_ymd(2024, 12, 31).expect("a day");
//! let config = RunConfig::new(Path::new("in"), Path::new("out"), as_of);
//! let report = run(&config, &Arc::new(Progress::default()))?;
//! println!("{report}");
//! # Ok::<(), millstream::error::Error>(())
//! ```
//!
//! [`runtime::Live`] loads the same job and then takes changes, one epoch at a time.
//!
//! *Inside another timely dataflow program*: give [`pipeline::Job`] three collections of yours, and take [tables] as
//! collections. Its page has a whole program, `examples/vips.rs` a longer one.
//!
//! # Modules, lowest layer first
//!
//! | module | knows |
//! |---|---|
//! | [`operators`] | differential operators that know nothing of shops: a crate of its own |
//! | [`error`], [`model`] | errors; the shop's words: orders, products, customers, money, days, ids |
//! | [`forest`] | isolation forests, which score orders |
//! | [`pipeline`] | what the tables share: order lines, accounts, product totals |
//! | [`columns`], [`udf`] | Arrow columns and cells; user functions over values and columns |
//! | [`sinks`] | where tables go: files, a change feed, memory |
//! | [`tables`] | the tables, one file each |
//! | [`sources`] | where rows come from: files, record batches |
//! | [`config`], [`report`] | what a run is asked to do, and what it came to |
//! | [`runtime`] | workers, epochs, processes |
//! | [`generate`], [`validate`], [`cli`] | generated shops, checks before and after a run, the command line |

pub mod error;

mod folder_names;
mod grouped;
mod suggest;

pub use millstream_operators as operators;

pub mod model;

pub mod forest;
pub mod pipeline;

pub mod columns;
pub mod udf;

pub mod sinks;
pub mod tables;

pub mod sources;

pub mod config;
pub mod report;

pub mod runtime;

pub mod generate;
pub mod validate;

pub mod cli;
