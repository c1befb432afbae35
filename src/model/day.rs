//! Days and months.

use std::fmt;
use std::num::NonZeroU32;

use chrono::{Datelike, NaiveDate};
use serde::{Deserialize, Serialize};

/// A date: days since 1970-01-01 in the proleptic Gregorian calendar, from 0001-01-01 to 9999-12-31.
///
/// Both `Day` and `Option<Day>` take 4 bytes: the first day is stored as 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Day(NonZeroU32);

/// A month of a year, as months since the year 0; ordered in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Month(i32);

impl Day {
    /// The first and the last day.
    const RANGE: std::ops::RangeInclusive<i32> = -719_162..=2_932_896;

    /// The day `days` after 1970-01-01; `None` outside the years 1 to 9999.
    #[must_use]
    pub fn new(days: i32) -> Option<Day> {
        let number = u32::try_from(days.checked_sub(Self::RANGE.start() - 1)?).ok().and_then(NonZeroU32::new)?;
        Self::RANGE.contains(&days).then_some(Day(number))
    }

    /// The day of a calendar date; `None` if the date does not exist, such as the 30th of February.
    ///
    /// ```
    /// use millstream::model::Day;
    /// assert_eq!(Day::from_ymd(1970, 1, 2).map(Day::days), Some(1));
    /// assert_eq!(Day::from_ymd(2023, 2, 29), None);
    /// ```
    #[must_use]
    pub fn from_ymd(year: i32, month: u32, day: u32) -> Option<Day> {
        Day::from_date(NaiveDate::from_ymd_opt(year, month, day)?)
    }

    /// The day of a date; `None` outside the years 1 to 9999.
    #[must_use]
    pub fn from_date(date: NaiveDate) -> Option<Day> {
        Day::new(date.to_epoch_days())
    }

    /// Days since 1970-01-01.
    #[must_use]
    pub fn days(self) -> i32 {
        self.0.get().cast_signed() + (Self::RANGE.start() - 1)
    }

    /// The month of this day.
    #[must_use]
    pub fn month(self) -> Month {
        let date = self.date();
        Month(date.year() * 12 + date.month0() as i32)
    }

    /// This day as a calendar date.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "it can't: every day has a date")]
    pub fn date(self) -> NaiveDate {
        NaiveDate::from_epoch_days(self.days()).expect("a day lies in the years 1 to 9999")
    }
}

/// The date, as [`Display`](fmt::Display) writes it.
impl fmt::Debug for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.date().fmt(f)
    }
}

impl Month {
    /// The year.
    #[must_use]
    pub fn year(self) -> i32 {
        self.0.div_euclid(12)
    }

    /// The month of the year, from 1.
    #[must_use]
    pub fn month(self) -> i32 {
        self.0.rem_euclid(12) + 1
    }
}

/// As `yyyy-MM`.
impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year(), self.month())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_is_the_years_1_to_9999() {
        assert_eq!(Day::from_ymd(1, 1, 1).map(Day::days), Some(*Day::RANGE.start()));
        assert_eq!(Day::from_ymd(9999, 12, 31).map(Day::days), Some(*Day::RANGE.end()));
        assert_eq!(Day::from_ymd(10_000, 1, 1), None);
        assert_eq!((Day::new(i32::MIN), Day::new(i32::MAX)), (None, None));
        assert_eq!(size_of::<Option<Day>>(), 4);
    }

    #[test]
    fn a_month_prints_as_year_and_month() {
        let month = Day::from_ymd(1969, 12, 31).map(|day| day.month().to_string());
        assert_eq!(month.as_deref(), Some("1969-12"));
    }
}
