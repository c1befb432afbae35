//! The shop's words: what is read, what flows, and the rows of the tables.
//!
//! Rows are narrow and typed. A column that some table computes with has a field of its own; all others travel
//! together as one opaque [`Payload`]. Money is fixed point (see [`money`]), dates are [`Day`]s, and ids are one type
//! parameter, [`Id`]: [`Number`] where every table has integers, [`Name`] otherwise.

mod day;
mod id;
pub mod money;
mod payload;
mod rows;
mod score;
mod text_map;
mod tiers;

pub use day::{Day, Month};
pub use id::{Id, Name, Number, Text};
pub use money::{Amount, Discount, Price};
pub use payload::Payload;
pub use rows::{
    Account, CategoryProducts, CategoryStats, CohortSize, Customer, CustomerPattern, DailySales, Enriched, Line,
    MatrixEntry, Order, OrderAnomaly, Product, ProductFeatures, ProductRanking, ProductSales, Rfm, Standing, Sum,
};
pub use score::Score;
pub use text_map::TextMap;
pub use tiers::{Tier, Tiers};
