//! Checks before and after a run, for schedulers.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::columns::InputSchema;
use crate::config::{InputConfig, JobConfig};
use crate::error::{Error, Result};
use crate::grouped::grouped;
use crate::model::InputTable;
use crate::report::{InputReport, ReasonCounts, RejectionReport, Report, check_share};
use crate::sinks::folder::count_rows;
use crate::sources::{FileSource, RowDecoder, Source};
use crate::tables::{Catalog, RejectedTable};

/// A check and its result.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// Whether the check passed.
    pub passed: bool,
    /// The finding.
    pub found: String,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<5} {}: {}", if self.passed { "ok" } else { "FAIL" }, self.name, self.found)
    }
}

impl Check {
    /// A check that passed if there is no error.
    #[must_use]
    pub fn of(name: impl Into<String>, answer: Result<String>) -> Check {
        let passed = answer.is_ok();
        Check { name: name.into(), passed, found: answer.unwrap_or_else(|error| error.to_string()) }
    }
}

/// Checks that the three input tables exist and are readable, and that their rows can be used: each is converted as a
/// run does.
#[must_use]
pub fn input(input: &InputConfig, job: &JobConfig) -> Vec<Check> {
    let open = |table| (table, FileSource::open_some(&input.path, &[table], &input.files));
    let opened = InputTable::ALL.map(open);
    let schemas = opened.iter().filter_map(|(table, source)| Some(source.as_ref().ok()?.schema(*table)));
    let text_ids: Vec<_> = schemas.flat_map(InputSchema::text_ids).collect();
    let mut rejected = 0;
    let mut of_tables: Vec<Check> = Vec::new();
    for (table, source) in &opened {
        match source {
            Ok(source) => of_tables.extend(of_table(source, *table, job, &text_ids, &mut rejected)),
            Err(error) => of_tables.push(Check::of(format!("{table} can be opened"), Err(error.clone()))),
        }
    }
    if let Some(most) = job.max_rejected {
        let found = match rejected > most {
            true => Err(Error::unusable(format!("{}, wanted at most {most} (max_rejected)", grouped(rejected)))),
            false => Ok(grouped(rejected)),
        };
        of_tables.push(Check::of("few rows are rejected", found));
    }
    of_tables
}

fn of_table(
    source: &FileSource,
    table: InputTable,
    job: &JobConfig,
    text_ids: &[&'static str],
    all_rejected: &mut u64,
) -> Vec<Check> {
    let (files, columns) = (source.file_count(table), source.schema(table).order.len());
    let opened = Check::of(format!("{table} can be opened"), Ok(format!("{files} files, {columns} columns")));
    let name = format!("{table} can be read");
    let (report, rejections) = match count(source, table, job, text_ids) {
        Ok(counts) => counts,
        Err(error) => return vec![opened, Check::of(name, Err(error))],
    };
    let read = Check::of(name, Ok(format!("{} rows", grouped(report.read))));
    let rows = match report.read {
        0 => Err(Error::unusable("none, wanted at least one")),
        rows => Ok(grouped(rows)),
    };
    let summary = || match report.rejected {
        0 => format!("all {}", grouped(report.read)),
        rejected => format!("{} rejected: {}", grouped(rejected), RejectionReport::summary(&rejections)),
    };
    *all_rejected += report.rejected;
    let usable = check_share(job.max_rejected_share, std::slice::from_ref(&report), &rejections).map(|()| summary());
    vec![
        opened,
        read,
        Check::of(format!("{table} has rows"), rows),
        Check::of(format!("{table} has usable rows"), usable),
    ]
}

/// How many rows are read at a time.
const BATCH_ROWS: usize = 10_000;

/// Reads and converts a whole table.
fn count(
    source: &FileSource,
    table: InputTable,
    job: &JobConfig,
    text_ids: &[&'static str],
) -> Result<(InputReport, Vec<RejectionReport>)> {
    let decoder = RowDecoder::new(source.schema(table), job.conversion(), text_ids)?;
    let (mut read, mut rejected, mut reasons) = (0, 0, ReasonCounts::default());
    for split in source.splits() {
        for batch in source.read(&split, BATCH_ROWS)? {
            let batch = batch?;
            let unusable = decoder.rejections(&batch)?;
            read += batch.rows();
            rejected += unusable.len() as u64;
            reasons.add(&unusable, 1);
        }
    }
    let report = InputReport {
        name: table.name().into(),
        read,
        rejected,
        duplicates: 0,
        conflicting: 0,
        conflicting_id: None,
        changes: 0,
        current: 0,
        notes: BTreeMap::new(),
    };
    Ok((report, reasons.reports()))
}

/// Checks that the output tables exist, are complete and readable, are not empty unless the input was, and were
/// written by the run of the report.
#[must_use]
pub fn output(folder: &Path, tables: &Catalog, report: Option<&Report>) -> Vec<Check> {
    let mut checks = Vec::new();
    for name in tables.names().chain([RejectedTable::NAME]) {
        let folder = folder.join(name);
        let whole = folder.join("_SUCCESS").is_file();
        checks.push(Check::of(
            format!("{name} is whole"),
            match whole {
                true => Ok("it has _SUCCESS".into()),
                false => Err(Error::unusable(format!("{}: no _SUCCESS", folder.display()))),
            },
        ));
        if !whole {
            continue;
        }
        let counted = files(&folder).and_then(|files| files.into_iter().map(counted).collect::<Result<Vec<_>>>());
        let rows = counted.as_ref().map(|files| files.iter().map(|file| file.rows).sum::<u64>());
        checks.push(Check::of(
            format!("{name} can be read"),
            rows.as_ref().map_err(|error| Error::clone(error)).map(|rows| format!("{} rows", grouped(*rows))),
        ));
        let Ok(counted) = counted else { continue };
        let orders = report.and_then(|report| report.inputs.iter().find(|input| input.name == "orders"));
        let had_orders = orders.is_none_or(|orders| orders.current > 0);
        let rows = counted.iter().map(|file| file.rows).sum();
        let may_be_empty = name == RejectedTable::NAME;
        checks.extend((!may_be_empty).then(|| {
            Check::of(
                format!("{name} has rows"),
                match rows {
                    0 if report.is_none() => {
                        Err(Error::unusable("none; give --report to tell whether the input had usable orders"))
                    }
                    0 if had_orders => Err(Error::unusable("none, although the input has usable orders")),
                    rows => Ok(grouped(rows)),
                },
            )
        }));
        if let Some(report) = report {
            checks.push(Check::of(format!("{name} is from this run"), from_run(&counted, rows, report, name)));
        }
    }
    checks
}

/// A data file and its number of rows.
struct CountedFile {
    path: PathBuf,
    rows: u64,
}

fn counted(path: PathBuf) -> Result<CountedFile> {
    let rows = count_rows(&path)?;
    Ok(CountedFile { path, rows })
}

/// Checks that the files are exactly those of the run, with the reported number of rows.
fn from_run(files: &[CountedFile], rows: u64, report: &Report, name: &str) -> Result<String> {
    let run_id = &report.run_id;
    if let Some(other) = files.iter().find(|file| !file.path.to_string_lossy().contains(run_id)) {
        return Err(Error::unusable(format!("{}, wanted run {run_id}", other.path.display())));
    }
    let Some(table) = report.tables.iter().find(|table| table.name == name) else {
        return Err(Error::unusable(format!("run {run_id} did not write it")));
    };
    let (found, wanted) = ((rows, files.len() as u64), (table.written.rows, table.written.files));
    if found != wanted {
        let text = |(rows, files)| format!("{} rows in {} files", grouped(rows), grouped(files));
        return Err(Error::unusable(format!("{}, wanted {}", text(found), text(wanted))));
    }
    Ok(format!("{run_id}, {} files", files.len()))
}

/// The data files below a table's folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::reading(folder))? {
        let path = entry.map_err(Error::reading(folder))?.path();
        let is_data = !path.file_name().unwrap_or_default().to_string_lossy().starts_with(['_', '.']);
        match path.is_dir() {
            true if is_data => found.extend(files(&path)?),
            false if is_data => found.push(path),
            _ => {}
        }
    }
    Ok(found)
}
