//! Eleven e-commerce tables from orders, products and customers, kept current as rows change.
//!
//! A data team's nightly job reads orders, products and customers, joins them, and works out tiers, sales, RFM, cohorts
//! and rankings. millstream does that job from the same files and config. It is a *differential dataflow*: every
//! operator takes updates and gives updates, so the program that computes the tables once also keeps them up to date as
//! orders are inserted, corrected and deleted.
//!
//! # Three ways to use it
//!
//! *As a command*: `millstream run --input DIR --output DIR`; see the README.
//!
//! *As a job in a program*, from folder to folder, or from a [source](sources::Source) to [sinks]:
//!
//! ```no_run
//! use std::path::Path;
//! use std::sync::Arc;
//! use millstream::batch::run;
//! use millstream::config::RunConfig;
//! use millstream::model::Day;
//! use millstream::runtime::Progress;
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
//! | module | what it has |
//! |---|---|
//! | [`operators`] | differential operators that know nothing of shops: a crate of its own |
//! | [`error`], [`model`] | errors; the shop's words: orders, products, customers, money, days, ids |
//! | [`forest`] | isolation forests, which score orders |
//! | [`pipeline`] | what the tables share: order lines, accounts, product totals |
//! | [`columns`], [`udf`] | Arrow columns and cells; user functions over values and columns |
//! | [`sources`] | where rows come from: files, record batches |
//! | [`sinks`] | where tables go: files, a change feed, memory |
//! | [`tables`] | the tables, one file each |
//! | [`config`], [`report`] | configuration and report |
//! | [`runtime`] | workers, epochs, processes |
//! | [`durable`] | the log, the checkpoint and recovery |
//! | [`batch`], [`service`] | the run from folder to folder; the job that stays |
//! | [`validate`] | checks before and after a run |
//! | `http` | the server of a service, with the feature `http` |
//! | `generate`, `cli` | generated shops and the command line, with the feature `cli` |
//!
//! # Features
//!
//! `cli`, which is on by default, has the command, the modules `cli` and `generate`, and the `clap` derives of
//! [`config::RunArgs`]. Without it, none of the crates that only the command needs are built. It includes `http`, the
//! server of a live job; a program that has a service without a server builds no async runtime.

mod atomic_file;
mod crash;
pub mod error;
mod printable;
mod process_memory;
mod redacted;

mod folder_names;
mod grouped;
mod suggest;

pub use millstream_operators as operators;

pub mod model;

mod panics;

pub mod forest;
pub mod pipeline;

pub mod kafka;
mod objects;
#[cfg(feature = "postgres")]
pub mod postgres;

pub mod columns;
pub mod udf;

pub mod sinks;
pub mod tables;

pub mod sources;

pub mod durable;

pub mod config;
pub mod report;

pub mod runtime;

pub mod batch;
pub mod service;
pub mod validate;

#[cfg(feature = "sql")]
mod sql;

#[cfg(feature = "http")]
pub mod http;

#[cfg(feature = "cli")]
pub mod generate;

#[cfg(feature = "cli")]
pub mod cli;

/// The programs of the pages are compiled with the tests.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../README.md")]
    struct Readme;

    #[doc = include_str!("../docs/embedding.md")]
    struct Embedding;
}
