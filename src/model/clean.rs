//! Text cleaning and discounted prices, for `product_features` and `order_anomalies`.

use super::{Amount, Discount, Price, Text};

/// Trims and lower-cases a text, and replaces double spaces by single ones in one pass from the left.
#[must_use]
pub fn cleaned(text: &str) -> Text {
    let lower = text.trim().to_lowercase();
    if lower.contains("  ") { lower.replace("  ", " ").into() } else { lower.into() }
}

/// price × (1 − discount), exact.
#[must_use]
pub fn discounted(price: Price, discount: Discount) -> Amount {
    Amount::of(1, price, discount)
}
