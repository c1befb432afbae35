//! SQL over the live tables: DataFusion over what is kept in memory and looked up, in PostgreSQL's protocol and for the
//! HTTP server.
//!
//! ```text
//! psql, drivers ─▶ port ─▶ session ─▶ plan ─▶ tables of one epoch ─▶ rows
//! GET /v1/sql ───────────▶ session ──┘           ├─ kept: ranges of keys, columns
//!                                                ├─ enriched_data: looked up in the job
//!                                                └─ millstream: the state of the service
//! ```
//!
//! A statement, or all statements of a transaction, read one epoch: the newest when the first table is read. Nothing
//! can be written. Queries run on threads of their own, at a lower priority than those of the job.

mod catalog;
mod engine;
mod environment;
mod folder;
mod language;
mod protocol;
mod queried_tables;
mod rows_of_query;
mod sql_state;
mod tables;
mod views;
mod yielding_joins;

pub(crate) use engine::{QueryAnswer, SqlEngine};
#[cfg(feature = "cli")]
pub(crate) use folder::FolderQueries;
pub(crate) use protocol::server::{SqlPort, SqlServer};
pub(crate) use sql_state::QueryProblem as QueryError;
pub(crate) use tables::service::ServiceState;
pub(crate) use views::{PlannedViews, ViewInfo};
