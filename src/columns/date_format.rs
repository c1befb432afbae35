//! The form of dates that are texts.

use std::fmt::Write;

use chrono::format::{Item, StrftimeItems};
use chrono::{NaiveDate, NaiveDateTime};

use crate::error::{Error, Result};

/// The form of dates that are texts, in the letters of `strftime`: `%d.%m.%Y` for 31.12.2024.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DateFormat(String);

impl DateFormat {
    /// A format with at least a year, a month and a day.
    ///
    /// # Errors
    ///
    /// If it has an unknown letter, or a date can't be told from it.
    pub fn new(format: &str) -> Result<DateFormat> {
        let sample = NaiveDate::from_ymd_opt(2024, 12, 31).unwrap_or_default();
        let is_known = StrftimeItems::new(format).all(|item| item != Item::Error);
        let format = DateFormat(format.to_owned());
        let (time, mut text) = (sample.and_hms_opt(0, 0, 0).unwrap_or_default(), String::new());
        // A zone can't be written for a time without one.
        let is_local = is_known && write!(text, "{}", time.format(&format.0)).is_ok();
        match is_local && format.date_of(&text) == Some(sample) {
            true => Ok(format),
            false => Err(Error::usage(format!(
                "date_format: {} has an unknown letter or a zone, or lacks the year, month or day; wanted one such as \
                 %d.%m.%Y",
                format.0
            ))),
        }
    }

    /// The date of a text in this form.
    pub(crate) fn date_of(&self, text: &str) -> Option<NaiveDate> {
        let date = NaiveDate::parse_from_str(text, &self.0).ok();
        date.or_else(|| NaiveDateTime::parse_from_str(text, &self.0).ok().map(|time| time.date()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_format_tells_a_date() {
        for (format, text) in [("%d.%m.%Y", "31.12.2024"), ("%m/%d/%y %H:%M", "12/31/24 13:30"), ("%Y%m%d", "20241231")]
        {
            let format = DateFormat::new(format).expect("a format");
            assert_eq!(format.date_of(text), NaiveDate::from_ymd_opt(2024, 12, 31), "{text}");
            assert_eq!(format.date_of("2024-12-31T"), None);
        }
        for wrong in ["", "%d.%m.", "%Q", "day", "%H:%M", "%d.%m.%Y %z", "%d.%m.%Y %Z", "%+"] {
            assert!(DateFormat::new(wrong).is_err(), "{wrong}");
        }
    }
}
