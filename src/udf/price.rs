//! Prices: what is left of one after a discount, and how high it is.

use std::sync::Arc;

use crate::model::{Amount, Discount, Price, Text};

use super::Udf;

/// `calculate_discount`: price × (1 − discount), exactly; null if either is.
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

/// What [`calculate_discount`] makes of a price and a discount.
pub(crate) fn discounted(price: Price, discount: Discount) -> Amount {
    Amount::of(1, price, discount)
}

/// Names for how high prices are: each a name and the price below which it stops; the last takes the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceCategories {
    bounds: Arc<[(Text, Price)]>,
    rest: Text,
    unknown: Text,
}

impl PriceCategories {
    /// Categories from names and the prices below which they stop, ascending, the name of what lies above, and that of
    /// a price that is null.
    ///
    /// # Errors
    ///
    /// Says what is wrong where the bounds do not rise strictly.
    pub fn new(bounds: Vec<(Text, Price)>, rest: Text, unknown: Text) -> Result<PriceCategories, String> {
        if let Some(pair) = bounds.windows(2).find(|pair| pair[0].1 >= pair[1].1) {
            return Err(format!("category {:?} must end above {:?} before it", pair[1].0, pair[0].0));
        }
        Ok(PriceCategories { bounds: bounds.into(), rest, unknown })
    }

    /// The name of a price's category.
    #[must_use]
    pub fn of(&self, price: Option<Price>) -> &Text {
        let Some(price) = price else { return &self.unknown };
        self.bounds.iter().find(|(_, below)| price < *below).map_or(&self.rest, |(name, _)| name)
    }

    /// `categorize_price`: the name of a price's category, which null has too.
    #[must_use]
    pub fn udf(&self) -> Udf<Option<Price>, Text> {
        let categories = self.clone();
        Udf::scalar("categorize_price", move |price: Option<Price>| categories.of(price).clone())
    }
}

/// Low below 100, Medium below 500, and High; Unknown for null.
impl Default for PriceCategories {
    fn default() -> Self {
        let below = |units: i128| Price::from_e4(units * 10_000).expect("in range");
        PriceCategories {
            bounds: Arc::new([(Text::const_new("Low"), below(100)), (Text::const_new("Medium"), below(500))]),
            rest: Text::const_new("High"),
            unknown: Text::const_new("Unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_begins_the_next_category() {
        let categories = PriceCategories::default();
        let of = |e4: i128| categories.of(Price::from_e4(e4)).as_str();
        assert_eq!(
            [of(-1), of(99_9999), of(100_0000), of(499_9999), of(500_0000)],
            ["Low", "Low", "Medium", "Medium", "High"]
        );
        assert_eq!(categories.of(None), "Unknown");
    }

    #[test]
    fn bounds_that_do_not_rise_are_refused() {
        let price = |e4| Price::from_e4(e4).expect("in range");
        let bounds = vec![("A".into(), price(1)), ("B".into(), price(1))];
        assert!(PriceCategories::new(bounds, "C".into(), "?".into()).is_err());
    }
}
