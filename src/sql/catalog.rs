//! What clients are told of tables: `pg_catalog`, `information_schema`, and functions of PostgreSQL that describe them.

pub(super) mod comments;
pub(super) mod fixed_schema;
pub(super) mod functions;
pub(super) mod information_schema;
pub(super) mod missing_tables;
pub(super) mod settings;
pub(super) mod tables;
