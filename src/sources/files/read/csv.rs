//! CSV with a header. All fields are read as text; empty fields are null.

use std::cell::Cell;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read};
use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder, new_null_array};
use arrow::datatypes::{DataType, Schema};
use csv::{ByteRecord, Reader, ReaderBuilder, StringRecord};
use serde_json::Value;

use crate::columns::integer_text::whole;
use crate::error::{Error, Result};
use crate::model::Reason;
use crate::sources::files::find::InputFile;
use crate::sources::files::options::{CsvDialect, NOT_IN_DIALECTS};
use crate::sources::{MalformedRow, RowNumbers, SourceBatches};

use super::file_columns::FileColumns;
use super::infer::{IdNumbers, InferredColumn};
use super::text::{self, BATCH_BYTES, LONGEST_RECORD};

/// Text that follows the content of a file. If it is part of a record, the last quoted field was not closed.
///
/// It is made of two characters that no dialect uses, in an order that no file can foresee.
fn end_mark() -> String {
    let random = RandomState::new().build_hasher().finish();
    (0..u64::BITS).map(|bit| char::from(NOT_IN_DIALECTS[usize::from(random >> bit & 1 == 1)])).collect()
}

/// The records of a file.
struct CsvRecords<'a> {
    file: &'a InputFile,
    reader: Reader<LimitedReader>,
    header: Vec<String>,
    end: String,
    /// The bytes read since the last record ended.
    read: Rc<Cell<usize>>,
    is_over: bool,
}

impl CsvRecords<'_> {
    fn open<'a>(file: &'a InputFile, dialect: &CsvDialect) -> Result<CsvRecords<'a>> {
        let (read, end) = (Rc::new(Cell::new(0)), end_mark());
        let content = Box::new(text::open(file)?.chain(io::Cursor::new(format!("\n{end}"))));
        let content = LimitedReader { content, read: Rc::clone(&read) };
        let mut reader = ReaderBuilder::new();
        reader.flexible(true).has_headers(false).delimiter(dialect.delimiter).escape(dialect.escape);
        reader.quoting(dialect.quote.is_some()).quote(dialect.quote.unwrap_or(b'"'));
        let reader = reader.from_reader(content);
        let mut records = CsvRecords { file, reader, header: Vec::new(), end, read, is_over: false };
        let mut header = ByteRecord::new();
        if !records.next(&mut header)? {
            // A file without content has no columns and no rows.
            return Ok(records);
        }
        let names = StringRecord::from_byte_record(header);
        let names = names.map_err(|error| records.unusable(&format!("the header is not UTF-8: {error}")))?;
        records.header = names.iter().map(str::to_owned).collect();
        Ok(records)
    }

    /// Reads the next record; false at the end of the file.
    fn next(&mut self, record: &mut ByteRecord) -> Result<bool> {
        if self.is_over {
            return Ok(false);
        }
        self.read.set(0);
        let line = self.reader.position().line();
        let cause = match self.reader.read_byte_record(record) {
            Ok(true) if record.len() == 1 && record[0] == *self.end.as_bytes() => {
                self.is_over = true;
                return Ok(false);
            }
            Ok(true) if !record.iter().next_back().is_some_and(|last| last.ends_with(self.end.as_bytes())) => {
                return Ok(true);
            }
            Ok(_) => "a quoted field that is not closed before the end of the file".to_owned(),
            Err(error) if self.read.get() > LONGEST_RECORD => format!("{error}; is a quote missing?"),
            Err(error) => return Err(Error::reading(&self.file.path)(error)),
        };
        Err(self.unusable(&format!("line {line}: {cause}")))
    }

    fn unusable(&self, cause: &str) -> Error {
        Error::unusable(format!("{}: {cause}", self.file.path.display()))
    }
}

/// How many lines a record has.
fn lines(record: &ByteRecord) -> usize {
    1 + record.as_slice().iter().filter(|byte| **byte == b'\n').count()
}

/// Fails when a record is too long.
struct LimitedReader {
    content: Box<dyn Read>,
    read: Rc<Cell<usize>>,
}

impl Read for LimitedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read.get() > LONGEST_RECORD {
            return Err(io::Error::other(format!("a record of more than {LONGEST_RECORD} bytes")));
        }
        let bytes = self.content.read(buffer)?;
        self.read.set(self.read.get() + bytes);
        Ok(bytes)
    }
}

/// The columns of the header. Only ids are looked at: all other columns are text.
pub(super) fn infer(
    file: &InputFile,
    dialect: &CsvDialect,
    is_id: &dyn Fn(&str) -> bool,
) -> Result<Vec<InferredColumn>> {
    let mut records = CsvRecords::open(file, dialect)?;
    let ids: Vec<usize> = (0..records.header.len()).filter(|at| is_id(&records.header[*at])).collect();
    let mut numbers = vec![IdNumbers::default(); records.header.len()];
    let (mut record, width) = (ByteRecord::new(), records.header.len());
    while records.next(&mut record)? {
        // Other records will be rejected.
        if record.len() == width && record.iter().all(|field| std::str::from_utf8(field).is_ok()) {
            for at in &ids {
                let value = std::str::from_utf8(&record[*at]).unwrap_or_default();
                numbers[*at].see(if dialect.is_null(value) { "" } else { value });
            }
        }
    }
    let columns = records.header.into_iter().zip(numbers);
    Ok(columns.map(|(name, numbers)| InferredColumn::of_text(name, numbers)).collect())
}

/// The fields of a malformed record, as a JSON list.
fn as_json(record: &ByteRecord) -> String {
    record.iter().map(|field| Value::from(String::from_utf8_lossy(field))).collect::<Value>().to_string()
}

pub(super) fn read<'a>(
    columns: FileColumns<'a>,
    file: &'a InputFile,
    schema: &Schema,
    dialect: &'a CsvDialect,
    batch_size: usize,
) -> Result<SourceBatches<'a>> {
    let mut records = CsvRecords::open(file, dialect)?;
    let width = records.header.len();
    let is_whole: Vec<bool> = schema.fields().iter().map(|field| *field.data_type() == DataType::Int64).collect();
    let mut number = 0;
    let mut batch = move || -> Result<Option<_>> {
        let builder = |position| columns.plan.reads(position).then(StringBuilder::new);
        let mut builders: Vec<Option<StringBuilder>> = (0..width).map(builder).collect();
        let (mut numbers, mut malformed, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut record = ByteRecord::new();
        while numbers.len() + malformed.len() < batch_size && bytes < BATCH_BYTES {
            let line = records.reader.position().line();
            if !records.next(&mut record)? {
                break;
            }
            bytes += record.as_slice().len();
            match StringRecord::from_byte_record(record.clone()) {
                Ok(fields) if fields.len() == width => {
                    for ((builder, value), is_whole) in builders.iter_mut().zip(&fields).zip(&is_whole) {
                        let Some(builder) = builder else { continue };
                        let value = Some(value).filter(|value| !dialect.is_null(value));
                        builder.append_option(value.map(|value| if *is_whole { whole(value) } else { value }));
                    }
                    numbers.push(number);
                }
                Ok(fields) => {
                    let lines = match lines(&record) {
                        1 => String::new(),
                        lines => format!("; the record has {lines} lines from line {line} on: is a quote missing?"),
                    };
                    let text = format!("{} fields, wanted {width}{lines}", fields.len());
                    let reason = Reason::new(format!("other than {width} fields"), text);
                    malformed.push(MalformedRow { number, reason, json: as_json(&record) });
                }
                Err(error) => {
                    let reason = Reason::new("not UTF-8", error.to_string());
                    malformed.push(MalformedRow { number, reason, json: as_json(&record) });
                }
            }
            number += 1;
        }
        if numbers.is_empty() && malformed.is_empty() {
            return Ok(None);
        }
        let array = |builder: Option<StringBuilder>| match builder {
            Some(mut builder) => Arc::new(builder.finish()) as ArrayRef,
            None => new_null_array(&DataType::Null, numbers.len()),
        };
        let arrays: Vec<ArrayRef> = builders.into_iter().map(array).collect();
        columns.arrange(&arrays, RowNumbers::Listed(numbers), malformed).map(Some)
    };
    Ok(Box::new(std::iter::from_fn(move || batch().transpose())))
}
