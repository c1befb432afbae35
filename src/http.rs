//! The server of a live job: rows come in, tables and their changes go out.
//!
//! ```text
//! POST rows ─▶ body ─▶ Ingest ─▶ epoch ─▶ answer
//!                                  └─▶ MemoryTables ─┬─▶ GET rows, as of one epoch
//!                                                    └─▶ GET changes, as server-sent events
//! ```
//!
//! The async runtime has one thread, in which nothing takes long: bodies are decoded and answers encoded on threads for
//! that. Readers share the rows of an epoch by reference, so they never block the job.

mod actions;
mod answer;
mod app;
mod baseline;
mod body;
mod console;
mod dataflow;
mod demo;
mod enriched;
mod enriched_info;
mod event_text;
mod events;
mod explain;
mod follow;
mod history;
mod json_elements;
mod liveness;
mod logs;
mod measure;
mod metrics;
mod openapi;
mod overview;
mod overviews;
mod pinned;
mod post;
mod problem;
#[cfg(feature = "sql")]
mod queries;
mod query;
mod read;
mod rejected;
mod relay;
mod rows;
mod server;
#[cfg(feature = "sql")]
mod sql;
mod stamp;
mod status;
mod table_json;
mod tls;
#[cfg(feature = "sql")]
mod views;

#[cfg(feature = "cli")]
pub(crate) use demo::{DEMO_RATE_MOST, demo_rate, demo_stream_file, set_demo_rate};
#[cfg(feature = "cli")]
pub(crate) use rows::{RowEncoder, RowFormat};
pub use server::HttpServer;
