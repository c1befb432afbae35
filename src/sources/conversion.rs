//! How values of the input are understood.

use chrono_tz::Tz;
use serde::Deserialize;

use crate::columns::DateFormat;

/// How values of the input are understood.
#[derive(Clone, Debug)]
pub(crate) struct Conversion {
    /// The time zone of day boundaries.
    pub(crate) zone: Tz,
    /// The form of dates that are texts; `None` for ISO 8601.
    pub(crate) date_format: Option<DateFormat>,
    pub(crate) discount: DiscountUnit,
}

impl Conversion {
    /// ISO 8601 and fractions.
    pub(crate) fn in_zone(zone: Tz) -> Conversion {
        Conversion { zone, date_format: None, discount: DiscountUnit::default() }
    }
}

/// What discounts are given in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum DiscountUnit {
    /// 0.15 is 15 %.
    #[default]
    Fraction,
    /// 15 is 15 %.
    Percent,
}

impl DiscountUnit {
    /// By how many places the point of a value moves to the left.
    pub(super) fn places(self) -> i32 {
        match self {
            DiscountUnit::Fraction => 0,
            DiscountUnit::Percent => 2,
        }
    }
}
