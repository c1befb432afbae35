//! Functions on prices.

use crate::model::{Amount, Discount, Price, PriceCategories, Text, discounted};

use super::function::Udf;

/// `calculate_discount`: price × (1 − discount), exact; null if either is null.
///
/// ```
/// use millstream::model::{Amount, Discount, Price};
/// use millstream::udf::calculate_discount;
/// let (price, discount) = (Price::from_e4(19_9900), Discount::from_e4(1500));
/// assert_eq!(calculate_discount().call((price, discount)), Ok(Some(Amount::from_e8(16_99150000))));
/// ```
#[must_use]
pub fn calculate_discount() -> Udf<(Price, Discount), Amount> {
    Udf::scalar("calculate_discount", |(price, discount): (Price, Discount)| discounted(price, discount))
}

/// `categorize_price`: the name of a price's category; null has a category of its own.
#[must_use]
pub fn categorize_price(categories: &PriceCategories) -> Udf<Option<Price>, Text> {
    let categories = categories.clone();
    Udf::scalar("categorize_price", move |price: Option<Price>| categories.of(price).clone())
}
