//! Points, and how many a forest may have.

use crate::model::{Discount, Price};

/// The features of an order: quantity, and price and discount in units of 10⁻⁴.
pub type Point = [i64; FEATURES];

pub(super) const FEATURES: usize = 3;

/// The features of an order.
#[must_use]
pub fn point(quantity: i32, price: Price, discount: Discount) -> Point {
    [quantity.into(), price.e4(), discount.e4().into()]
}

/// The maximum number of trees: memory grows with their square.
pub(super) const MOST_TREES: usize = 1000;

/// The maximum number of points, and thus of leaves, per tree. According to the paper, more do not improve detection.
pub(super) const MOST_POINTS: usize = 256;
