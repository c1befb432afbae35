//! Comparing the tables of two output folders, row by row.

use std::collections::HashMap;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::{BufRead, BufReader};
use std::path::Path;

use arrow::row::{RowConverter, SortField};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use twox_hash::XxHash64;

use crate::columns::row_json::row_json;
use crate::error::{Error, Result};
use crate::sinks::folder::uncompressed;

/// How many rows that differ are shown of a table.
const SHOWN: usize = 5;

/// Compares a table in two output folders; returns the rows that are in one of them only, as text, at most a few of
/// each.
///
/// # Errors
///
/// If a file can't be read.
pub(super) fn compare(found: &Path, wanted: &Path, table: &str) -> Result<Vec<String>> {
    let mut counts: HashMap<u64, i64> = HashMap::new();
    each_row(&found.join(table), &mut |hash, _| *counts.entry(hash).or_default() += 1)?;
    each_row(&wanted.join(table), &mut |hash, _| *counts.entry(hash).or_default() -= 1)?;
    counts.retain(|_, count| *count != 0);
    if counts.is_empty() {
        return Ok(Vec::new());
    }
    let mut different = Vec::new();
    for (folder, sign, what) in [(found, 1, "found"), (wanted, -1, "wanted")] {
        let mut shown = 0;
        each_row(&folder.join(table), &mut |hash, text| {
            if counts.get(&hash).is_some_and(|count| count.signum() == sign) && shown < SHOWN {
                different.push(format!("{table}: {what} {}", text()));
                shown += 1;
            }
        })?;
    }
    Ok(different)
}

/// Calls a function with the hash of each row below a folder, and with what gives its text.
fn each_row(folder: &Path, row: &mut dyn FnMut(u64, &dyn Fn() -> String)) -> Result<()> {
    let mut entries = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>())
        .map_err(Error::reading(folder))?;
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            // The values of partition columns are in the names of folders.
            each_row(&path, &mut |hash, text| row(hashed(&(&name, hash)), text))?;
        } else if name.ends_with(".parquet") {
            each_of_parquet(&path, row)?;
        } else if !name.starts_with('_') {
            let file = BufReader::new(uncompressed(&path)?);
            for line in file.lines() {
                let line = line.map_err(Error::reading(&path))?;
                row(hashed(&line), &|| line.clone());
            }
        }
    }
    Ok(())
}

fn each_of_parquet(path: &Path, row: &mut dyn FnMut(u64, &dyn Fn() -> String)) -> Result<()> {
    let file = File::open(path).map_err(Error::reading(path))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).map_err(Error::reading(path))?;
    let fields = reader.schema().fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
    let converter = RowConverter::new(fields).map_err(Error::reading(path))?;
    for batch in reader.build().map_err(Error::reading(path))? {
        let batch = batch.map_err(Error::reading(path))?;
        let rows = converter.convert_columns(batch.columns()).map_err(Error::reading(path))?;
        for (index, bytes) in rows.iter().enumerate() {
            row(hashed(&bytes.as_ref()), &|| row_json(&batch, index).unwrap_or_default());
        }
    }
    Ok(())
}

fn hashed(value: &impl Hash) -> u64 {
    let mut hasher = XxHash64::with_seed(0);
    value.hash(&mut hasher);
    hasher.finish()
}
