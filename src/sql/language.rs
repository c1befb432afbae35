//! PostgreSQL's language as DataFusion takes it, and what a statement may do.
//!
//! ```text
//! text ─▶ text_limits ─▶ rules of datafusion-pg-catalog ─▶ rewrite: column_names, like_patterns, date_formats …
//!                        (all of them in catalog_rules)    └─ if it reads the catalog alone: system_columns,
//!                                                             catalog_queries: expressions, subqueries, keys
//! ```
//!
//! What becomes of a statement is planned, and described to clients, in `protocol/planned.rs`.

pub(super) mod bounded_functions;
pub(super) mod catalog_expressions;
pub(super) mod catalog_queries;
pub(super) mod catalog_rules;
pub(super) mod catalog_subqueries;
pub(super) mod column_names;
pub(super) mod date_formats;
pub(super) mod expressions;
pub(super) mod format_function;
pub(super) mod interval_product;
pub(super) mod like_patterns;
pub(super) mod rewrite;
pub(super) mod statements;
pub(super) mod system_columns;
pub(super) mod text_limits;
pub(super) mod time_zones;
pub(super) mod unnested_keys;
