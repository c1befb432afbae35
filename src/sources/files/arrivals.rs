//! A folder in which files arrive while a job is live.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use arrow::datatypes::FieldRef;

use crate::columns::InputSchema;
use crate::error::{Error, Result};
use crate::model::{InputTable, Reason};
use crate::sources::{MalformedRow, RowNumbers, SourceBatch};

use super::find::{self, InputFile, InputFormat};
use super::options::FileOptions;
use super::read::TableFiles;

/// An input folder in which files arrive.
///
/// A file is taken once it has not changed between two looks at the folder. It is best written under a name that begins
/// with `.` or `_` and renamed.
pub struct FolderWatch {
    input: PathBuf,
    options: FileOptions,
    /// The files that were not taken, as they were when first seen so.
    waiting: BTreeMap<String, (FileStamp, Instant)>,
    /// Warnings that were logged.
    warned: HashSet<String>,
}

/// Size and modification time: a change of either means that the file has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStamp {
    /// Its size.
    pub bytes: u64,
    /// When it was last changed, in nanoseconds since 1970.
    pub modified_ns: u64,
}

/// The files of a folder that were read, by their path below it.
pub type FileLedger = BTreeMap<String, FileStamp>;

/// A file that has arrived.
pub struct ArrivedFile {
    table: InputTable,
    file: InputFile,
    stamp: FileStamp,
    since: Instant,
}

/// The rows of a file that has arrived.
pub struct ArrivedRows {
    /// The rows.
    pub batches: Vec<SourceBatch>,
    /// The columns of the file that its table has not.
    pub new_columns: Vec<FieldRef>,
}

/// A file that can't be read may still be being written for this long.
const PATIENCE: Duration = Duration::from_secs(60);
/// One of this age is not being written any more.
const OLD: Duration = Duration::from_secs(24 * 60 * 60);
/// How many rows are read at a time.
const BATCH_ROWS: usize = 10_000;

impl FolderWatch {
    /// Watches a folder.
    #[must_use]
    pub fn new(input: &Path, options: &FileOptions) -> FolderWatch {
        let (input, options) = (input.to_owned(), options.clone());
        let (waiting, warned) = Default::default();
        FolderWatch { input, options, waiting, warned }
    }

    /// Looks at the folder: the files that are not in the ledger and have not changed since the last look, in the order
    /// in which they count: products, customers, orders, each in the order of files. A file that was read and has
    /// changed or vanished is told once; what was read of it stays.
    pub fn look(&mut self, ledger: &FileLedger) -> Vec<ArrivedFile> {
        let (mut arrived, mut waiting, mut found) = (Vec::new(), BTreeMap::new(), HashSet::new());
        for table in InputTable::ALL {
            let (files, problems) = find::list(&self.input, table, self.options.order);
            problems.into_iter().for_each(|problem| self.warn_once(problem.to_string()));
            for file in files {
                let Ok(stamp) = FileStamp::of(&file.path) else { continue };
                found.insert(file.name.clone());
                match ledger.get(&file.name) {
                    Some(known) if *known == stamp => {}
                    Some(_) => self.warn_once(format!(
                        "{}: it has changed since it was read; what was read stays. Corrections come in a new file",
                        file.path.display()
                    )),
                    None => {
                        let known = self.waiting.get(&file.name).filter(|(known, _)| *known == stamp);
                        let since = known.map_or_else(Instant::now, |(_, since)| *since);
                        waiting.insert(file.name.clone(), (stamp, since));
                        arrived.extend(known.map(|_| ArrivedFile { table, file, stamp, since }));
                    }
                }
            }
        }
        for name in ledger.keys().filter(|name| !found.contains(*name)) {
            self.warn_once(format!("{name}: it is gone; what was read of it stays"));
        }
        self.waiting = waiting;
        arrived
    }

    /// The rows of a file, for a table with these columns, as a part of an epoch; `None` if it may still be being
    /// written, or is gone. Of a file that can't be read or settled there is one rejected row with the reason.
    ///
    /// # Errors
    ///
    /// If the job's own columns are at fault.
    pub fn read(
        &mut self,
        arrived: &ArrivedFile,
        part: usize,
        schema: &InputSchema,
        settle: impl Fn(SourceBatch) -> Result<SourceBatch>,
    ) -> Result<Option<ArrivedRows>> {
        let read = || {
            let (files, new) = TableFiles::open_arrived(arrived.file.clone(), schema, &self.options)?;
            let batches = files.parts().into_iter().map(|of_file| files.read(&of_file, BATCH_ROWS));
            let batches = batches.collect::<Result<Vec<_>>>()?.into_iter().flatten();
            let batches: Vec<SourceBatch> = batches.collect::<Result<_>>()?;
            Ok((batches.into_iter().map(&settle).collect::<Result<Vec<_>>>()?, new))
        };
        let read = read();
        if FileStamp::of(&arrived.file.path).ok() != Some(arrived.stamp) {
            return Ok(None);
        }
        let (mut batches, new) = match read {
            Ok(read) => read,
            Err(_) if arrived.may_be_unfinished() => return Ok(None),
            Err(error) => (vec![rejected_file(arrived, schema, &error)?], Vec::new()),
        };
        batches.iter_mut().for_each(|batch| batch.part = part);
        Ok(Some(ArrivedRows { batches, new_columns: new }))
    }

    fn warn_once(&mut self, problem: String) {
        if !self.warned.contains(&problem) {
            tracing::warn!("{problem}");
            self.warned.insert(problem);
        }
    }
}

/// Gives the rows of a file, for a table with these columns, to a function until it returns false. Returns the columns
/// that the table has not; `None` if the function returned false. `origin` is the name of the file for `rejected`.
///
/// # Errors
///
/// If it can't be read, or lacks a column that the job needs; and those of the function.
pub(crate) fn read_body(
    path: &Path,
    format: InputFormat,
    origin: &str,
    schema: &InputSchema,
    options: &FileOptions,
    mut take: impl FnMut(SourceBatch) -> Result<bool>,
) -> Result<Option<Vec<FieldRef>>> {
    let (path, name) = (path.to_owned(), origin.to_owned());
    let file = InputFile { path, name, format, compression: None, partition: Vec::new() };
    let (files, new) = TableFiles::open_arrived(file, schema, options)?;
    for part in files.parts() {
        for batch in files.read(&part, BATCH_ROWS)? {
            if !take(batch?)? {
                return Ok(None);
            }
        }
    }
    Ok(Some(new))
}

/// A file's name, size and modification time.
pub(super) fn stamped(file: &InputFile) -> Result<(String, FileStamp)> {
    Ok((file.name.clone(), FileStamp::of(&file.path).map_err(Error::reading(&file.path))?))
}

/// A batch without rows that says why a file has none.
fn rejected_file(arrived: &ArrivedFile, schema: &InputSchema, error: &Error) -> Result<SourceBatch> {
    let origin = arrived.file.name.as_str().into();
    let mut batch = SourceBatch::new(schema, 0, &origin, 0, &schema.empty())?;
    batch.numbers = RowNumbers::Listed(Vec::new());
    let reason = Reason::new("the file can't be read", error.to_string());
    batch.malformed.push(MalformedRow { number: 0, reason, json: String::new() });
    Ok(batch)
}

impl ArrivedFile {
    /// The table.
    #[must_use]
    pub fn table(&self) -> InputTable {
        self.table
    }

    /// Its path below the folder.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.file.name
    }

    /// True if it may still be being written: it was seen to change a short time ago. The clock of a file server may be
    /// wrong, but hardly by a day.
    fn may_be_unfinished(&self) -> bool {
        let modified = SystemTime::UNIX_EPOCH + Duration::from_nanos(self.stamp.modified_ns);
        let age = SystemTime::now().duration_since(modified).unwrap_or_default();
        self.since.elapsed() < PATIENCE && age < OLD
    }

    /// Its size and modification time when it was found.
    #[must_use]
    pub fn stamp(&self) -> FileStamp {
        self.stamp
    }
}

impl FileStamp {
    fn of(path: &Path) -> std::io::Result<FileStamp> {
        let metadata = fs::metadata(path)?;
        let modified = metadata.modified()?.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let modified_ns = u64::try_from(modified.as_nanos()).unwrap_or(u64::MAX);
        Ok(FileStamp { bytes: metadata.len(), modified_ns })
    }
}
