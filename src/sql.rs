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

mod arrow_versions;
mod bounded_functions;
mod cancellation;
mod catalog_expressions;
mod catalog_functions;
mod catalog_tables;
mod copy;
mod cursor_hook;
mod date_formats;
mod engine;
mod enriched_provider;
mod environment;
mod fixed_schema;
mod folder;
mod information_schema;
mod kept_provider;
mod key_filters;
mod login;
mod parsed_expression;
mod pg_session;
mod queried_tables;
mod read_epoch;
mod rewrite;
mod rows_of_query;
mod service_tables;
mod session_hook;
mod settings;
mod sql_server;
mod sql_state;
mod statements;
mod subscribe;
mod table_comments;
mod text_limits;
mod views;
mod yielding_joins;

pub(crate) use engine::{QueryAnswer, SqlEngine};
#[cfg(feature = "cli")]
pub(crate) use folder::FolderQueries;
pub(crate) use service_tables::ServiceState;
pub(crate) use sql_server::{SqlPort, SqlServer};
pub(crate) use sql_state::QueryProblem as QueryError;
pub(crate) use views::{PlannedViews, ViewInfo};
