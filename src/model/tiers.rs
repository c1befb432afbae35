//! Customer tiers by total spending.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Amount, Text};

/// A tier, by its position in [`Tiers`]: 0 is the highest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tier(u8);

/// The tiers of a shop, highest first: names with inclusive lower bounds; the last tier is unbounded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tiers {
    bounds: Arc<[(Text, Amount)]>,
    rest: Text,
}

impl Tiers {
    /// Creates tiers from names with lower bounds, descending, and the name of the lowest tier.
    ///
    /// # Errors
    ///
    /// If the bounds are not strictly descending, or there are more than 255.
    pub fn new(bounds: Vec<(Text, Amount)>, rest: Text) -> Result<Tiers, String> {
        if let Some(pair) = bounds.windows(2).find(|pair| pair[0].1 <= pair[1].1) {
            return Err(format!("tier {:?} must have a lower bound than {:?} above it", pair[1].0, pair[0].0));
        }
        if bounds.len() > usize::from(u8::MAX) {
            return Err(format!("{} tiers, but at most 256 are possible", bounds.len() + 1));
        }
        Ok(Tiers { bounds: bounds.into(), rest })
    }

    /// The tier of a total.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "it can't: `new` has counted the tiers")]
    pub fn of(&self, spent: Amount) -> Tier {
        let position = self.bounds.iter().position(|(_, least)| spent >= *least).unwrap_or(self.bounds.len());
        Tier(u8::try_from(position).expect("there are at most 256 tiers"))
    }

    /// The name of a tier.
    #[must_use]
    pub fn name(&self, tier: Tier) -> &str {
        self.bounds.get(usize::from(tier.0)).map_or(&self.rest, |(name, _)| name)
    }
}

/// VIP from 10,000, Gold from 5,000, Silver from 1,000, and Bronze.
impl Default for Tiers {
    fn default() -> Self {
        let least = |units: i128| Amount::from_e8(units * 100_000_000);
        Tiers {
            bounds: Arc::new([
                (Text::const_new("VIP"), least(10_000)),
                (Text::const_new("Gold"), least(5_000)),
                (Text::const_new("Silver"), least(1_000)),
            ]),
            rest: Text::const_new("Bronze"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_part_of_its_tier() {
        let tiers = Tiers::default();
        let name = |e8| tiers.name(tiers.of(Amount::from_e8(e8))).to_owned();
        assert_eq!(name(1_000_000_000_000), "VIP");
        assert_eq!(name(999_999_999_999), "Gold");
        assert_eq!(name(100_000_000_000), "Silver");
        assert_eq!(name(-1), "Bronze");
    }

    #[test]
    fn bounds_that_do_not_fall_are_refused() {
        let bounds = vec![("A".into(), Amount::from_e8(1)), ("B".into(), Amount::from_e8(1))];
        assert!(Tiers::new(bounds, "C".into()).is_err());
    }
}
