//! Rejected rows by reason.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::grouped::grouped;
use crate::model::{Rejection, Text};
use crate::printable::printable;

/// Rejected rows that have the same kind of reason.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RejectionReport {
    /// The input table, or the output table whose function rejected the rows.
    pub table: String,
    /// The reason, without the values of single rows.
    pub reason: String,
    /// The number of rows.
    pub rows: u64,
    /// One of the rows: its place and reason in full.
    pub example: String,
}

impl RejectionReport {
    /// The commonest first.
    pub(crate) fn sorted(mut reports: Vec<RejectionReport>) -> Vec<RejectionReport> {
        reports.sort_by(|a, b| b.rows.cmp(&a.rows).then_with(|| (&a.table, &a.reason).cmp(&(&b.table, &b.reason))));
        reports
    }

    /// The commonest reasons on one line.
    pub(crate) fn summary(reports: &[RejectionReport]) -> String {
        const FEW: usize = 3;
        let few = reports.iter().take(FEW).map(|report| format!("{report}"));
        let more = reports.len().checked_sub(FEW).filter(|more| *more > 0);
        few.chain(more.map(|more| format!("{more} more reasons"))).collect::<Vec<_>>().join("; ")
    }

    /// Adds the rejected rows of another process.
    pub(super) fn add(ours: &mut Vec<RejectionReport>, theirs: &[RejectionReport]) {
        for report in theirs {
            match ours.iter_mut().find(|known| (&known.table, &known.reason) == (&report.table, &report.reason)) {
                Some(known) => known.rows += report.rows,
                None => ours.push(report.clone()),
            }
        }
        *ours = RejectionReport::sorted(std::mem::take(ours));
    }
}

impl fmt::Display for RejectionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RejectionReport { table, reason, rows, example } = self;
        write!(f, "{} × {table}: {reason} ({example})", grouped(*rows))
    }
}

/// Counts of rejected rows by table and kind of reason.
#[derive(Default)]
pub(crate) struct ReasonCounts(BTreeMap<(Text, Text), ReasonCount>);

struct ReasonCount {
    rows: i64,
    /// One of them, or one that was.
    example: String,
}

/// More kinds of reasons than these are counted together.
const KINDS: usize = 1000;
const OTHERS: &str = "other reasons";

impl ReasonCounts {
    /// Adds rejected rows, or with a negative sign, removes them.
    pub(crate) fn add(&mut self, rejected: &[Rejection], sign: i64) {
        for row in rejected {
            let mut key = (row.table.clone(), row.reason.kind.clone());
            if self.0.len() >= KINDS && !self.0.contains_key(&key) {
                key.1 = Text::const_new(OTHERS);
            }
            self.0.entry(key).or_insert_with(|| ReasonCount { rows: 0, example: example(row) }).rows += sign;
        }
    }

    /// The counts, the greatest first.
    pub(crate) fn reports(&self) -> Vec<RejectionReport> {
        let report = |((table, kind), count): (&(Text, Text), &ReasonCount)| {
            let rows = u64::try_from(count.rows).ok().filter(|rows| *rows > 0)?;
            let (table, reason, example) = (table.to_string(), kind.to_string(), count.example.clone());
            Some(RejectionReport { table, reason, rows, example })
        };
        RejectionReport::sorted(self.0.iter().filter_map(report).collect())
    }
}

/// Where a rejected row is, and its reason in full, shortened.
fn example(row: &Rejection) -> String {
    const LONGEST: usize = 200;
    let reason = printable(&row.reason.text.chars().take(LONGEST).collect::<String>());
    match &row.origin {
        Some(origin) => format!("{} row {}: {reason}", printable(&origin.file), origin.row + 1),
        None => reason,
    }
}
