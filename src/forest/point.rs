//! Points, and how many a forest may have.

use crate::model::{Discount, Price};

/// What is scored: a quantity, and a price and a discount in units of 10⁻⁴.
pub type Point = [i64; FEATURES];

pub(super) const FEATURES: usize = 3;

/// The point that an order is.
#[must_use]
pub fn point(quantity: i32, price: Price, discount: Discount) -> Point {
    [quantity.into(), price.e4(), discount.e4().into()]
}

/// A forest has at most so many trees: its memory grows with their square.
pub(super) const MOST_TREES: usize = 1000;

/// A tree has at most so many points, and so at most so many leaves. More do not tell normal from rare any better, says the paper.
pub(super) const MOST_POINTS: usize = 256;
