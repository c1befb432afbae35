//! Late orders: those whose day lies far behind the days that were seen.

use crate::error::Result;
use crate::model::{Day, InputTable, Reason};

use super::decode::RowDecoder;
use super::source::SourceBatch;

/// The kind of reason of a late order.
pub(crate) const LATE: &str = "late";

/// Rejects the orders that are late: more than some days before the greatest day that was seen when their file began.
///
/// Days after a limit, such as today, do not count as seen: a single wrong date would make all orders late.
#[derive(Clone, Debug)]
pub struct Lateness {
    days: u32,
    /// The greatest day of the files before this one.
    before: Option<Day>,
    /// The greatest day of this file and those before it.
    seen: Option<Day>,
}

impl Lateness {
    /// Orders are late after so many days; `seen` is the greatest day so far.
    #[must_use]
    pub fn new(days: u32, seen: Option<Day>) -> Lateness {
        Lateness { days, before: seen, seen }
    }

    /// The greatest day that was seen.
    #[must_use]
    pub fn seen(&self) -> Option<Day> {
        self.seen
    }

    /// Begins the next file.
    pub(crate) fn begin(&mut self) {
        self.before = self.seen;
    }

    /// A batch of which all rows can be used, without those that are late: they are rejected.
    pub(crate) fn reject(&mut self, batch: SourceBatch, limit: Day, decoder: &RowDecoder) -> Result<SourceBatch> {
        if batch.table != InputTable::Orders {
            return Ok(batch);
        }
        let days = decoder.days(&batch)?;
        let is_late = |day: &Option<Day>| day.zip(self.before).is_some_and(|(day, seen)| self.is_late(day, seen));
        let late: Vec<bool> = days.iter().map(is_late).collect();
        let on_time = days.iter().zip(&late).filter(|(_, late)| !**late).filter_map(|(day, _)| *day);
        self.seen = self.seen.max(on_time.filter(|day| *day <= limit).max());
        if !late.contains(&true) {
            return Ok(batch);
        }
        decoder.without(batch, &late, |row| {
            let (day, seen) = (days[row], self.before);
            let (day, seen) = (day.map_or_else(String::new, |day| day.to_string()), seen.unwrap_or(limit));
            Reason::new(LATE, format!("late: order_date {day} is more than {} days before {seen}", self.days))
        })
    }

    fn is_late(&self, day: Day, seen: Day) -> bool {
        i64::from(seen.days()) - i64::from(day.days()) > i64::from(self.days)
    }
}
