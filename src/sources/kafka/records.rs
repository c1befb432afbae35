//! Records as JSON lines, which are then read as those of a file.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, memfd_create};
use serde_json::Value;
use serde_json::value::RawValue;

use arrow::datatypes::FieldRef;

use crate::columns::InputSchema;
use crate::error::{Error, Result};
use crate::model::{InputTable, Reason};
use crate::panics::caught;
use crate::sources::files::{FileOptions, InputFormat, JsonObject, read_body};
use crate::sources::source::{MalformedRow, RowNumbers, SourceBatch};

use super::reader::RecordReader;
use super::row::RecordRow;

/// Rows that records have, as JSON lines.
pub(super) struct RecordLines {
    /// The name that the id of a row has in records; `None` if several columns are the id.
    id: Option<String>,
    /// The names of the columns that the job needs.
    required: Vec<String>,
    pub(super) lines: Vec<u8>,
    /// The offset of the record of each line.
    offsets: Vec<u64>,
    /// Records that are not rows.
    malformed: Vec<MalformedRow>,
    malformed_bytes: usize,
}

impl RecordLines {
    /// Begins to take records of a table.
    pub(super) fn new(table: InputTable, options: &FileOptions) -> RecordLines {
        let own_name = |core: &str| options.own_name(table, core);
        let id = own_name(table.cores()[0].name);
        let required = table.cores().iter().filter(|core| core.required).filter_map(|core| own_name(core.name));
        let required = required.collect();
        RecordLines { id, required, lines: Vec::new(), offsets: Vec::new(), malformed: Vec::new(), malformed_bytes: 0 }
    }

    /// The number of records.
    pub(super) fn len(&self) -> usize {
        self.offsets.len() + self.malformed.len()
    }

    /// About how many bytes they take.
    pub(super) fn bytes(&self) -> usize {
        self.lines.len() + self.malformed_bytes
    }

    /// The lines that may be rows, how many of them have all columns that the job needs, and the records that are no
    /// rows. What is no JSON object with the id of a row is left out, too.
    pub(super) fn sorted_out(self) -> (Vec<u8>, usize, Vec<MalformedRow>) {
        let RecordLines { id, required, lines, offsets, mut malformed, .. } = self;
        let mut kept = Vec::with_capacity(lines.len());
        let mut whole = 0;
        for (line, offset) in lines.split(|byte| *byte == b'\n').zip(&offsets) {
            let members = serde_json::from_slice::<JsonObject>(line);
            let reason = match (&members, &id) {
                (Ok(JsonObject(members)), Some(id)) if !members.iter().any(|(name, _)| name == id) => {
                    Reason::plain(format!("{id} is null"))
                }
                (Ok(JsonObject(members)), _) => {
                    let has = |wanted: &String| members.iter().any(|(name, _)| name == wanted);
                    whole += usize::from(required.iter().all(has));
                    kept.extend_from_slice(line);
                    kept.push(b'\n');
                    continue;
                }
                (Err(_), _) if serde_json::from_slice::<&RawValue>(line).is_ok() => Reason::plain("not a JSON object"),
                (Err(error), _) => Reason::new("not JSON", format!("not JSON: {error}")),
            };
            let json = Value::from(String::from_utf8_lossy(line)).to_string();
            malformed.push(MalformedRow { number: *offset, reason, json });
        }
        (kept, whole, malformed)
    }

    /// Adds a record.
    ///
    /// # Errors
    ///
    /// If what it takes to read it can't be reached.
    pub(super) fn push(
        &mut self,
        reader: &mut RecordReader,
        offset: u64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<()> {
        match reader.row(key, value, self.id.as_deref())? {
            RecordRow::Line(line) => {
                self.lines.extend(line);
                self.lines.push(b'\n');
                self.offsets.push(offset);
            }
            RecordRow::Nothing => {}
            RecordRow::Malformed(reason) => {
                let json = reader.shown(value.or(key).unwrap_or_default());
                self.malformed_bytes += json.len() + reason.text.len();
                self.malformed.push(MalformedRow { number: offset, reason, json });
            }
        }
        Ok(())
    }

    /// The rows, and the columns that the table has not. `settle` refuses what can't be decoded. Of records that can't
    /// be read together each is read alone, and rejected if it can't be either.
    ///
    /// # Errors
    ///
    /// If an offset is out of range.
    pub(super) fn read(
        self,
        origin: &str,
        schema: &InputSchema,
        options: &FileOptions,
        settle: &dyn Fn(SourceBatch) -> Result<SourceBatch>,
    ) -> Result<(Vec<SourceBatch>, Vec<FieldRef>)> {
        let RecordLines { lines, offsets, mut malformed, .. } = self;
        let lines: Vec<&[u8]> = lines.split(|byte| *byte == b'\n').take(offsets.len()).collect();
        let reader = LineReader { origin, schema, options, settle };
        let (mut batches, mut new_columns): (Vec<SourceBatch>, Vec<FieldRef>) = (Vec::new(), Vec::new());
        let mut waiting: Vec<_> = (!lines.is_empty()).then_some(0..lines.len()).into_iter().collect();
        while let Some(part) = waiting.pop() {
            match reader.read(&lines[part.clone()], &offsets[part.clone()]) {
                Ok((read, new)) => {
                    batches.extend(read);
                    new_columns.extend(new.into_iter().filter(|new| !new_columns.contains(new)).collect::<Vec<_>>());
                }
                Err(error) if part.len() == 1 => {
                    let json = Value::from(String::from_utf8_lossy(lines[part.start])).to_string();
                    let reason = Reason::new("the record can't be read", error.to_string());
                    malformed.push(MalformedRow { number: offsets[part.start], reason, json });
                }
                Err(_) => {
                    let middle = part.start + part.len() / 2;
                    waiting.extend([middle..part.end, part.start..middle]);
                }
            }
        }
        if !malformed.is_empty() {
            malformed.sort_by_key(|row| row.number);
            batches.push(rejected(schema, origin, malformed)?);
        }
        Ok((batches, new_columns))
    }
}

/// A batch of records of which none is a row.
pub(super) fn rejected(schema: &InputSchema, origin: &str, malformed: Vec<MalformedRow>) -> Result<SourceBatch> {
    let mut batch = SourceBatch::new(schema, 0, &origin.into(), 0, &schema.empty())?;
    (batch.numbers, batch.malformed) = (RowNumbers::Listed(Vec::new()), malformed);
    Ok(batch)
}

/// Reads lines as those of a file.
struct LineReader<'a> {
    origin: &'a str,
    schema: &'a InputSchema,
    options: &'a FileOptions,
    settle: &'a dyn Fn(SourceBatch) -> Result<SourceBatch>,
}

impl LineReader<'_> {
    fn read(&self, lines: &[&[u8]], offsets: &[u64]) -> Result<(Vec<SourceBatch>, Vec<FieldRef>)> {
        let (_file, path) = in_memory(lines)?;
        let mut batches = Vec::new();
        let take = |mut batch: SourceBatch| {
            let of_line = |line: u64| offsets.get(usize::try_from(line).ok()?).copied();
            let numbers = (0..batch.numbers.len()).filter_map(|row| of_line(batch.numbers.get(row)));
            batch.numbers = RowNumbers::Listed(numbers.collect());
            batch.malformed.iter_mut().for_each(|row| row.number = of_line(row.number).unwrap_or(row.number));
            batches.push((self.settle)(batch.checked()?)?);
            Ok(true)
        };
        let read = || read_body(&path, InputFormat::JsonLines, self.origin, self.schema, self.options, take);
        let path = path.display().to_string();
        let read = caught(read).map_err(Error::failed).flatten();
        let new = read.map_err(|error| Error::new(error.kind(), error.to_string().replace(&path, self.origin)))?;
        Ok((batches, new.unwrap_or_default()))
    }
}

/// A file in memory with some lines, and its path for as long as it is open.
fn in_memory(lines: &[&[u8]]) -> Result<(File, PathBuf)> {
    let file = memfd_create("records", MemfdFlags::CLOEXEC).map_err(Error::failed)?;
    let mut file = File::from(file);
    file.write_all(&lines.join(&b'\n')).map_err(Error::failed)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    Ok((file, path))
}
