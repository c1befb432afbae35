//! Arrow columns: the columns of input tables, how their cells are read, and builders of table columns.

pub mod build;
pub(crate) mod cells;
mod core;
mod date_format;
mod dictionary;
pub(crate) mod integer_text;
pub(crate) mod payload;
pub(crate) mod row_json;

pub use cells::ShopId;
pub(crate) use core::{ColumnKind, CoreColumn, OPERATION, can_be_carried, is_decimal, is_text};
pub use core::{FurtherColumns, InputSchema};
pub use date_format::DateFormat;
pub(crate) use dictionary::{Sharing, can_be_shared, is_dictionary_of, with_dictionaries};
