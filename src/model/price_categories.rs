//! Price categories: named price ranges.

use std::sync::Arc;

use super::{Price, Text};

/// Named price ranges with exclusive upper bounds; the last category is unbounded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceCategories {
    bounds: Arc<[(Text, Price)]>,
    rest: Text,
    unknown: Text,
}

impl PriceCategories {
    /// Creates categories from names with exclusive upper bounds, ascending, the name of the last category, and the
    /// name of null prices.
    ///
    /// # Errors
    ///
    /// If the bounds are not strictly ascending.
    pub fn new(bounds: Vec<(Text, Price)>, rest: Text, unknown: Text) -> Result<PriceCategories, String> {
        if let Some(pair) = bounds.windows(2).find(|pair| pair[0].1 >= pair[1].1) {
            return Err(format!("category {:?} must end above {:?} before it", pair[1].0, pair[0].0));
        }
        Ok(PriceCategories { bounds: bounds.into(), rest, unknown })
    }

    /// The name of the category of a price.
    #[must_use]
    pub fn of(&self, price: Option<Price>) -> &Text {
        let Some(price) = price else { return &self.unknown };
        self.bounds.iter().find(|(_, below)| price < *below).map_or(&self.rest, |(name, _)| name)
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
