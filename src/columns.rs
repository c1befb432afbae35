//! Arrow columns of the shop: which an input table has, what their cells are read as, and how values become columns again.
//!
//! User functions, tables, sources and sinks share it.

pub(crate) mod build;
pub(crate) mod cells;
mod core;
pub(crate) mod payload;
pub(crate) mod row_json;

pub use cells::ShopId;
pub use core::InputSchema;
pub(crate) use core::{ColumnKind, CoreColumn, can_be_carried, is_decimal};
