//! How values of the input are understood.

use arrow::datatypes::DataType;
use chrono_tz::Tz;
use serde::Deserialize;

use crate::columns::{DateFormat, is_decimal};

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
    /// The output type of discounts, which are written as fractions, for a column of this type.
    pub(crate) fn written(self, found: Option<DataType>) -> DataType {
        match (self, found) {
            (DiscountUnit::Percent, Some(found)) if is_decimal(&found) => DataType::Decimal128(38, 4),
            (_, found) => found.unwrap_or(DataType::Float64),
        }
    }

    /// What is noted of discounts above 100 %.
    pub(super) fn note_of_great(self) -> &'static str {
        match self {
            DiscountUnit::Fraction => {
                "discount is above 1, that is 100 %; if discounts are percentages, set discount: percent"
            }
            DiscountUnit::Percent => "discount is above 100 %",
        }
    }

    /// By how many places the point of a value moves to the left.
    pub(super) fn places(self) -> i32 {
        match self {
            DiscountUnit::Fraction => 0,
            DiscountUnit::Percent => 2,
        }
    }
}
