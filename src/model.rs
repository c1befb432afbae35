//! The shop's words: what is read, what flows between operators, money, days and ids.
//!
//! Rows are narrow and typed. A column that some table computes with has a field of its own; all others travel
//! together as one opaque [`Payload`]. Money is fixed point (see [`money`]), dates are [`Day`]s, and ids are one type
//! parameter, [`Id`]: [`IntId`] where every table has integers, [`AnyId`] otherwise.

mod change;
mod clean;
mod day;
mod epoch;
mod id;
mod input_table;
pub mod money;
mod money_text;
mod payload;
mod price_categories;
mod rejection;
mod rows;
mod score;
mod text_map;
mod tiers;
mod version;

pub use change::Change;
pub use clean::{cleaned, discounted};
pub use day::{Day, Month};
pub use epoch::Epoch;
pub use id::{AnyId, Id, IntId, OutOfRange, Text};
pub use input_table::InputTable;
pub use money::{Amount, Discount, Price};
pub use money_text::NotMoney;
pub use payload::Payload;
pub use price_categories::PriceCategories;
pub use rejection::{Origin, Reason, Rejection};
pub use rows::{Account, AmountSum, Customer, CustomerPattern, Line, Order, Product, ProductSales};
pub use score::Score;
pub use text_map::TextMap;
pub use tiers::{Tier, Tiers};
pub use version::Version;
