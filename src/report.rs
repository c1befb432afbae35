//! The report of a run.

mod rejections;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::JobConfig;
use crate::error::{Error, Result};
use crate::grouped::grouped;
use crate::printable::printable;
use crate::process_memory;
use crate::sinks::TableReport;

pub(crate) use rejections::ReasonCounts;
pub use rejections::RejectionReport;

/// The report of a run: printed at its end, and written as JSON with `--report`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The id of the run, which is part of its file names.
    pub run_id: String,
    /// The version of millstream.
    pub version: String,
    /// The input folder; empty if the rows are not from a folder.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub input: String,
    /// The output folder; empty if the tables are not written to one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output: String,
    /// The number of worker threads in all processes.
    pub workers: usize,
    /// The number of processes.
    #[serde(default = "one")]
    pub processes: usize,
    /// The reference date of recency.
    pub as_of: String,
    /// The tables that were read.
    pub inputs: Vec<InputReport>,
    /// Rejected rows by table and reason, the commonest first.
    #[serde(default)]
    pub rejections: Vec<RejectionReport>,
    /// The tables that were written, sink by sink.
    pub tables: Vec<TableReport>,
    /// The time spent in each stage, longest first; only with `--profile`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<StageReport>,
    /// The duration in seconds, including the wait for other processes.
    pub seconds: f64,
    /// Peak memory, if the system reports it; the maximum over all processes.
    pub peak_memory_bytes: Option<u64>,
    /// What was written to files because it did not fit the [memory](JobConfig::memory).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub spilled_bytes: u64,
}

/// The time spent in a stage of the job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StageReport {
    /// The operator, or `Read`.
    pub name: String,
    /// The time of all workers in seconds.
    pub seconds: f64,
}

/// The row counts of an input table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InputReport {
    /// The table.
    pub name: String,
    /// Rows read from the source.
    pub read: u64,
    /// Rows of the source that were rejected.
    pub rejected: u64,
    /// Rows of the source that are not current: replaced or deleted by another row of it with the same id, and deletes.
    pub duplicates: u64,
    /// The ids that have rows with different contents, in the columns that are read. Not counted if the table has
    /// versions or a column `_op`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub conflicting: u64,
    /// The least of these ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflicting_id: Option<String>,
    /// Changes applied since the source was read, in a live job.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub changes: u64,
    /// Current rows: the last of each id.
    #[serde(default)]
    pub current: u64,
    /// What was noticed about rows that were used, and the number of rows: nulls that were filled, for example.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub notes: BTreeMap<String, u64>,
}

impl InputReport {
    /// The notes, and one on duplicates if there are many, or different ones.
    fn all_notes(&self) -> Vec<String> {
        let notes = self.notes.iter().map(|(what, rows)| format!("{} × {}: {what}", grouped(*rows), self.name));
        notes.chain(self.note_of_duplicates()).collect()
    }

    fn note_of_duplicates(&self) -> Option<String> {
        let InputReport { name, read, duplicates, conflicting, conflicting_id, .. } = self;
        let is_notable = duplicates.saturating_mul(100) > *read || *conflicting > 0;
        let id = format!("{}_id", name.trim_end_matches('s'));
        let example = conflicting_id.as_ref().map_or_else(String::new, |example| {
            let (ids, example) = (grouped(*conflicting), printable(example));
            let lines = match name.as_str() {
                "orders" => {
                    ". If they are lines of orders, name the columns that make them unique: columns: {orders: \
                     {order_id: [ORDER, LINE]}}"
                }
                _ => "",
            };
            format!(
                "; {ids} ids have rows that differ, such as {example}. If a column tells which row is the last, name \
                 it: version: {{{name}: COLUMN}}{lines}"
            )
        });
        is_notable
            .then(|| format!("{} × {name}: replaced by another row of the same {id}{example}", grouped(*duplicates)))
    }
}

fn one() -> usize {
    1
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Report {
    pub(crate) fn new(
        run_id: String,
        config: &JobConfig,
        inputs: Vec<InputReport>,
        rejections: Vec<RejectionReport>,
        stages: Vec<StageReport>,
    ) -> Report {
        Report {
            run_id,
            version: env!("CARGO_PKG_VERSION").into(),
            input: String::new(),
            output: String::new(),
            workers: config.workers,
            processes: 1,
            as_of: config.settings.as_of.to_string(),
            inputs,
            rejections,
            tables: Vec::new(),
            stages,
            seconds: 0.0,
            peak_memory_bytes: process_memory::peak(),
            spilled_bytes: 0,
        }
    }

    /// Adds what another process has read and done.
    fn add(&mut self, other: &Report) {
        self.workers += other.workers;
        self.processes += other.processes;
        for (ours, theirs) in self.inputs.iter_mut().zip(&other.inputs) {
            assert_eq!(ours.name, theirs.name, "all processes read the same tables");
            ours.read += theirs.read;
            ours.rejected += theirs.rejected;
            // The share of a single process may be negative, because rows are read and stored by different processes.
            ours.duplicates = ours.duplicates.wrapping_add(theirs.duplicates);
            ours.conflicting += theirs.conflicting;
            let ids = [ours.conflicting_id.take(), theirs.conflicting_id.clone()];
            ours.conflicting_id = ids.into_iter().flatten().min_by_key(|id| (id.parse::<i64>().ok(), id.clone()));
            ours.changes += theirs.changes;
            ours.current = ours.current.wrapping_add(theirs.current);
            theirs.notes.iter().for_each(|(what, rows)| *ours.notes.entry(what.clone()).or_default() += rows);
        }
        RejectionReport::add(&mut self.rejections, &other.rejections);
        for theirs in &other.stages {
            match self.stages.iter_mut().find(|ours| ours.name == theirs.name) {
                Some(ours) => ours.seconds += theirs.seconds,
                None => self.stages.push(theirs.clone()),
            }
        }
        self.stages.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        self.peak_memory_bytes = self.peak_memory_bytes.max(other.peak_memory_bytes);
        self.spilled_bytes += other.spilled_bytes;
    }
}

/// Checks the share of rejected rows in each input table.
///
/// # Errors
///
/// If it is greater than `max`; the message names the commonest reasons.
pub(crate) fn check_share(max: f64, inputs: &[InputReport], rejections: &[RejectionReport]) -> Result<()> {
    for InputReport { name, read, rejected, .. } in inputs {
        #[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
        let is_too_much = *rejected as f64 > max * *read as f64;
        if is_too_much {
            let of_table = rejections.iter().filter(|rejection| rejection.table == *name);
            let reasons = RejectionReport::summary(&of_table.cloned().collect::<Vec<_>>());
            let (read, rejected) = (grouped(*read), grouped(*rejected));
            return Err(Error::unusable(format!(
                "{name}: {rejected} of {read} rows rejected, more than the share {max} (max_rejected_share): {reasons}"
            )));
        }
    }
    Ok(())
}

/// What a process has done before the first epoch is committed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ProcessShare {
    /// The report, without tables.
    pub(crate) report: Report,
    /// What each sink has written.
    pub(crate) written: Vec<Vec<TableReport>>,
    /// The number of rejected rows.
    pub(crate) rejected: u64,
}

impl ProcessShare {
    /// Adds the share of another process.
    pub(crate) fn add(&mut self, other: ProcessShare) {
        self.report.add(&other.report);
        self.rejected += other.rejected;
        for (ours, theirs) in self.written.iter_mut().zip(other.written) {
            for table in theirs {
                match ours.iter_mut().find(|known| known.name == table.name) {
                    Some(known) => known.written.add(table.written),
                    None => ours.push(table),
                }
            }
        }
    }
}

/// A human-readable table.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<26}{:>14}{:>14}{:>14}", "read", "rows", "duplicates", "rejected")?;
        for table in &self.inputs {
            let counts = [table.read, table.duplicates, table.rejected].map(grouped);
            writeln!(f, "  {:<24}{:>14}{:>14}{:>14}", table.name, counts[0], counts[1], counts[2])?;
        }
        if self.inputs.iter().any(|table| table.changes > 0) {
            writeln!(f, "{:<26}{:>14}{:>14}", "changed", "changes", "current rows")?;
            for InputReport { name, changes, current, .. } in &self.inputs {
                writeln!(f, "  {name:<24}{:>14}{:>14}", grouped(*changes), grouped(*current))?;
            }
        }
        writeln!(f, "{:<26}{:>14}{:>14}{:>14}", "written", "rows", "files", "KiB")?;
        for table in &self.tables {
            let counts = [table.written.rows, table.written.files, table.written.bytes.div_ceil(1024)].map(grouped);
            writeln!(f, "  {:<24}{:>14}{:>14}{:>14}", table.name, counts[0], counts[1], counts[2])?;
        }
        if !self.stages.is_empty() {
            writeln!(f, "{:<54}{:>14}", "worked", "seconds")?;
            for stage in self.stages.iter().filter(|stage| stage.seconds >= 0.005) {
                writeln!(f, "  {:<52}{:>14.2}", stage.name, stage.seconds)?;
            }
        }
        let notes: Vec<_> = self.inputs.iter().flat_map(InputReport::all_notes).collect();
        if !notes.is_empty() {
            writeln!(f, "noted")?;
            notes.iter().try_for_each(|note| writeln!(f, "  {note}"))?;
        }
        if !self.rejections.is_empty() {
            const FEW: usize = 10;
            writeln!(f, "rejected")?;
            for report in self.rejections.iter().take(FEW) {
                writeln!(f, "  {report}")?;
            }
            if self.rejections.len() > FEW {
                writeln!(f, "  and {} more reasons", self.rejections.len() - FEW)?;
            }
        }
        let memory = self
            .peak_memory_bytes
            .map_or(String::new(), |bytes| format!(", at most {} MiB of memory", grouped(bytes >> 20)));
        let spilled = match self.spilled_bytes {
            0 => String::new(),
            bytes => format!(", {} MiB spilled", grouped(bytes.div_ceil(1 << 20))),
        };
        let processes = if self.processes > 1 { format!(" in {} processes", self.processes) } else { String::new() };
        let (seconds, workers, run_id) = (self.seconds, self.workers, &self.run_id);
        write!(f, "{seconds:.2} seconds on {workers} workers{processes}{memory}{spilled}; run {run_id}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Day;
    use crate::sinks::Written;

    #[test]
    fn shares_are_added_sink_by_sink_and_table_by_table() {
        let config = JobConfig::new(Day::from_ymd(2024, 1, 1).expect("a day"));
        let written = |rows| Written { rows, files: 1, bytes: 10 };
        let table = |name: &str, rows| TableReport { name: name.into(), written: written(rows) };
        let share = |written, rejected| {
            let report = Report::new("run".into(), &config, Vec::new(), Vec::new(), Vec::new());
            ProcessShare { report, written, rejected }
        };
        let mut all = share(vec![vec![], vec![table("a", 1), table("b", 2)]], 3);
        all.add(share(vec![vec![table("a", 4)], vec![table("b", 5)]], 6));
        let rows = |tables: &Vec<TableReport>| {
            tables.iter().map(|table| (table.name.clone(), table.written.rows)).collect::<Vec<_>>()
        };
        assert_eq!(
            all.written.iter().map(rows).collect::<Vec<_>>(),
            [vec![("a".to_owned(), 4)], vec![("a".to_owned(), 1), ("b".to_owned(), 7)]]
        );
        assert_eq!((all.rejected, all.report.processes), (9, 2));
    }
}
