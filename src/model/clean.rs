//! What `product_features` and `order_anomalies` make of texts and prices.

use super::{Amount, Discount, Price, Text};

/// A text trimmed, in lower case, each run of two spaces replaced by one, in one pass from the left.
#[must_use]
pub fn cleaned(text: &str) -> Text {
    let lower = text.trim().to_lowercase();
    if lower.contains("  ") { lower.replace("  ", " ").into() } else { lower.into() }
}

/// price × (1 − discount), exactly.
#[must_use]
pub fn discounted(price: Price, discount: Discount) -> Amount {
    Amount::of(1, price, discount)
}
